"""Lip-Sync for little data: an expert that looks at the shape and the picture of the mouth alone."""

from .alignment import aligned
from .loss import MouthSyncLoss
from .network import MouthExpert

__all__ = ["MouthExpert", "MouthSyncLoss", "aligned"]
