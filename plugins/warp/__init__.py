"""A face that talks without weights: landmarks moved by loudness and vowels, and the picture warped after them."""

from .decoder import WarpDecoder
from .encoder import WarpVisualEncoder
from .fusion import WarpFusion
from .loudness import LoudnessAudioEncoder

__all__ = ["LoudnessAudioEncoder", "WarpDecoder", "WarpFusion", "WarpVisualEncoder"]
