"""GANimation: a picture, redrawn with the action units that one asks for.

Pumarola et al., "GANimation: Anatomically-aware Facial Animation from a Single Image", ECCV 2018, arXiv:1807.09251.
"""

from .critic import GANimationCritic
from .decoder import GANimationDecoder
from .encoder import GANimationVisualEncoder
from .express import ExpressTask
from .fusion import ActionUnitsFusion
from .rest import AtRestAudioEncoder

__all__ = ["ActionUnitsFusion", "AtRestAudioEncoder", "ExpressTask", "GANimationCritic", "GANimationDecoder",
           "GANimationVisualEncoder"]
