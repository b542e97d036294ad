"""FC-TFG: who a face is and how it moves, as two codes of one latent space that are added."""

from .fusion import CanonicalMotionFusion

__all__ = ["CanonicalMotionFusion"]
