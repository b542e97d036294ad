"""pSp and its kin: encoders that read the style codes of StyleGAN2 from a picture.

Richardson et al., "Encoding in Style: a StyleGAN Encoder for Image-to-Image Translation", CVPR 2021, arXiv:2008.00951;
Tov et al., "Designing an Encoder for StyleGAN Image Manipulation" (e4e), SIGGRAPH 2021, arXiv:2102.02766.
"""

from .encoders import E4EEncoder, PSPEncoder, PSPWEncoder, PSPWPlusEncoder

__all__ = ["E4EEncoder", "PSPEncoder", "PSPWEncoder", "PSPWPlusEncoder"]
