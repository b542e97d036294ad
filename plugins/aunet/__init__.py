"""AUnet: from speech to facial action units; and a critic that knows which face belongs to which sound. Of IETaFS."""

from .contrast import AVContrastCritic
from .encoder import AUNetAudioEncoder
from .listen import ActionUnitsLoss, ListenTask

__all__ = ["AUNetAudioEncoder", "AVContrastCritic", "ActionUnitsLoss", "ListenTask"]
