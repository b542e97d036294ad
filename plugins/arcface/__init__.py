"""ArcFace: networks that tell people apart by their faces, and the loss that keeps a drawn face the same person.

Deng, Guo, Xue, Zafeiriou, "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019,
arXiv:1801.07698.
"""

from .identity import IdentityLoss
from .iresnet import IResNet
from .irse import IRSE50

__all__ = ["IRSE50", "IResNet", "IdentityLoss"]
