"""Losses that judge codes rather than pictures."""

from .critic import LatentCriticLoss
from .norms import DeltaNormLoss, WNormLoss
from .orthogonality import OrthogonalityLoss

__all__ = ["DeltaNormLoss", "LatentCriticLoss", "OrthogonalityLoss", "WNormLoss"]
