"""StyleGAN2: faces from a code for each layer, the critic that teaches them, and the regularisation of both.

Karras, Laine, Aittala, Hellsten, Lehtinen, Aila, "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020,
arXiv:1912.04958.
"""

from .decoder import StyleGAN2Decoder
from .gan import StyleGAN2GANLoss
from .path_length import PathLengthLoss

__all__ = ["PathLengthLoss", "StyleGAN2Decoder", "StyleGAN2GANLoss"]
