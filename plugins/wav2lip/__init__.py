"""Wav2Lip: a U-Net that redraws the lower half of a face to the sound, taught by a frozen expert of lip sync.

Prajwal, Mukhopadhyay, Namboodiri, Jawahar, "A Lip Sync Expert Is All You Need for Speech to Lip Generation In the
Wild", ACM Multimedia 2020, arXiv:2008.10010.
"""

from .parts import SpeechFusion, Wav2LipAudioEncoder, Wav2LipDecoder, Wav2LipVisualEncoder
from .quality import VisualQualityLoss
from .sync import SyncLoss

__all__ = ["SpeechFusion", "SyncLoss", "VisualQualityLoss", "Wav2LipAudioEncoder", "Wav2LipDecoder",
           "Wav2LipVisualEncoder"]
