"""Faces in frames: followed through shots, cut out by profile, pasted back, and told apart.

Frames are (H, W, 3) uint8 RGB. Coordinates are pixels, x then y, and continuous: the first pixel reaches from 0 to 1.
"""

from __future__ import annotations

from .crops import crop, paste
from .hiding import hide_mouth
from .profiles import PROFILES, CropProfile, find_profile
from .recropping import recrop
from .shots import number_shots
from .speaker import Speaker
from .tracker import FaceTracker, TrackedFace

__all__ = ["PROFILES", "CropProfile", "FaceTracker", "Speaker", "TrackedFace", "crop", "find_profile",
           "hide_mouth", "number_shots", "paste", "recrop"]
