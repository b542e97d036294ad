"""LipGAN: a U-Net that redraws the lower half of a face to the sound, taught by pixels and a critic of face and sound.

Prajwal K R, Mukhopadhyay, Philip, Jha, Namboodiri, Jawahar, "Towards Automatic Face-to-Face Translation", ACM
Multimedia 2019, arXiv:2003.00418.
"""

from .critic import LipGANCritic
from .parts import LipGANAudioEncoder, LipGANDecoder, LipGANMFCCAudioEncoder, LipGANVisualEncoder

__all__ = ["LipGANAudioEncoder", "LipGANCritic", "LipGANDecoder", "LipGANMFCCAudioEncoder", "LipGANVisualEncoder"]
