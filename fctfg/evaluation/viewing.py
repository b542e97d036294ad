"""Videos as a browser can show them."""

from __future__ import annotations

import hashlib
from contextlib import closing
from pathlib import Path

from .. import media
from ..errors import BadMedia
from ..media.container import open_media, video_stream

CODECS = {"h264", "vp8", "vp9", "av1", "libdav1d"}
SUFFIXES = {".mp4", ".m4v", ".mov", ".webm"}
PLAYERS = "players"
"""The folder beside the page for copies of what browsers have no decoder for."""


def viewable(path: Path, folder: Path) -> Path:
    """The video itself where browsers show such ones, else a copy of it as H.264, made once, in the report's `folder`.

    One that cannot be read stays what it is; the page says so where it stands.
    """
    try:
        with open_media(path) as container:
            stream = video_stream(container)
            if stream is None or stream.codec_context.name in CODECS and path.suffix.lower() in SUFFIXES:
                return path
        status = path.stat()
        digest = hashlib.sha256(f"{path.absolute()} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:12]
        copy = folder / PLAYERS / f"{path.stem} {digest}.mp4"
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            info = media.probe_video(path)
            with closing(media.read_video(path)) as frames, media.VideoWriter(
                    copy, info.width, info.height, info.frame_rate, sound=path if info.has_sound else None) as writer:
                for frame in frames:
                    writer.write(frame)
        return copy
    except (BadMedia, OSError):
        return path
