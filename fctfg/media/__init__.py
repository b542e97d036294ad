"""Pictures, sounds and videos in and out. The only place that opens media files.

Frames are (H, W, 3) uint8 RGB, upright; sound is float32 in [-1, 1]. Time counts from a video's first frame. PyAV and
Pillow are imported when a file is opened, so importing this costs nothing.
"""

from __future__ import annotations

from .container import VideoInfo, probe_video
from .picture import is_picture, read_picture
from .shifting import shift_sound
from .sound import read_sound, write_wave
from .video import VideoFrames, read_video
from .writer import VideoWriter

__all__ = ["VideoFrames", "VideoInfo", "VideoWriter", "is_picture", "probe_video", "read_picture", "read_sound",
           "read_video", "shift_sound", "write_wave"]
