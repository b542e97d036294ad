"""SyncNet: whether a mouth and a sound belong together, and by how much they are out of step.

Chung and Zisserman, "Out of time: automated lip sync in the wild", Workshop on Multi-view Lip-reading at ACCV, 2016.
"""

from .encoder import SyncNetAudioEncoder
from .loss import SyncNetLoss
from .network import SyncNet, shown
from .offset import Agreement, agreement, distances, lip_sync, median_filter

__all__ = ["Agreement", "SyncNet", "SyncNetAudioEncoder", "SyncNetLoss", "agreement", "distances", "lip_sync",
           "median_filter", "shown"]
