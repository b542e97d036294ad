"""Speech2Vid: a face that speaks, drawn from pictures of it and from its voice; one frame at a time, or five.

Chung, Jamaludin, Zisserman, "You said that?", BMVC 2017, arXiv:1705.02966.
"""

from .parts import Speech2VidAudioEncoder, Speech2VidDecoder, Speech2VidFusion, Speech2VidVisualEncoder

__all__ = ["Speech2VidAudioEncoder", "Speech2VidDecoder", "Speech2VidFusion", "Speech2VidVisualEncoder"]
