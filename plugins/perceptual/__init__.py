"""Losses that compare pictures by what networks of image classification see in them."""

from .lpips import LPIPSLoss
from .pyramid import VGG19Loss

__all__ = ["LPIPSLoss", "VGG19Loss"]
