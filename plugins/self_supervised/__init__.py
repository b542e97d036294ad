"""Speech as networks hear it that learnt from sound alone: HuBERT and wav2vec 2.0, through the package transformers."""

from importlib.util import find_spec

if find_spec("transformers") is None:  # asked for now, imported where it is used: it takes seconds
    raise ModuleNotFoundError("No module named 'transformers'", name="transformers")

from .encoders import HubertAudioEncoder, Wav2Vec2AudioEncoder

__all__ = ["HubertAudioEncoder", "Wav2Vec2AudioEncoder"]
