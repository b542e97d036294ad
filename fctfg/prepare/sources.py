"""The videos below a folder: which they are, what they are called, and which machine takes which."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from ..errors import BadData

# Files that lie beside videos in every collection. What any other file is, its content says.
NEVER_VIDEO = frozenset(
    ".aac .bmp .csv .db .dvc .flac .gz .h5 .html .ini .jpeg .jpg .js .json .lab .lock .log .m4a .md .mp3 .npy .npz "
    ".ogg .opus .part .pdf .pickle .pkl .png .pt .pth .py .rar .safetensors .sha256 .sh .srt .tar .textgrid .tgz .tif "
    ".tiff .tmp .toml .tsv .txt .url .vtt .wav .webp .xml .yaml .yml .zip".split())


@dataclass(frozen=True)
class Source:
    """One file below the raw folder, known by its path from there, which is the same on every machine."""

    root: Path
    path: str
    """From `root`, with forward slashes."""
    size: int
    modified_ns: int

    @property
    def file(self) -> Path:
        return self.root / self.path

    @property
    def shown(self) -> str:
        """The path as it can be written in UTF-8; the same, but for names in another encoding."""
        return self.path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    @cached_property
    def digest(self) -> str:
        """Eight hexadecimal digits of the path; composed and decomposed accents (Linux, macOS) give the same."""
        composed = unicodedata.normalize("NFC", self.path)
        return hashlib.sha256(composed.encode("utf-8", "surrogateescape")).hexdigest()[:8]

    @cached_property
    def name(self) -> str:
        """A file name of its own: readable, the same on every machine, and legal on every file system."""
        stem = PurePosixPath(self.shown).with_suffix("").as_posix()
        plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
        readable = re.sub(r"[^0-9a-zA-Z]+", "-", plain).strip("-")[:80].rstrip("-")
        return f"{readable or 'video'}-{self.digest}"

    @property
    def speaker(self) -> str:
        """Who is in it, as far as the folders say: the first one below the root, else the file itself."""
        first, slash, _ = self.shown.partition("/")
        return first if slash else Path(self.shown).stem


def in_shard(digest: str, shard: tuple[int, int]) -> bool:
    """Whether machine k of n takes the source of that digest. Only its path decides: a growing folder moves nothing."""
    which, count = shard
    return int(digest, 16) % count == which - 1


def find_sources(root: Path) -> tuple[list[Source], list[Source]]:
    """The possible videos below `root`, sorted by path, and the files that cannot be any.

    Hidden files and folders (`.git`, `._clip.mp4`) are passed over.

    Raises:
        BadData: `root` is not a folder, or holds no file that could be a video.
    """
    if not root.exists():
        raise BadData(f"{root}: no such folder; give the folder that holds the videos.")
    if not root.is_dir():
        raise BadData(f"{root} is a file; give the folder that holds the videos.")
    sources, others = [], []
    above = {}  # the real folders above each, to see where links go round in a circle
    for folder, inner, files in os.walk(root, followlinks=True):
        lineage = above.pop(folder, ()) + (os.path.realpath(folder),)
        inner[:] = sorted(name for name in inner if not name.startswith(".")
                          and os.path.realpath(os.path.join(folder, name)) not in lineage)
        above.update((os.path.join(folder, name), lineage) for name in inner)
        for name in files:
            file = Path(folder, name)
            if name.startswith(".") or not file.is_file():
                continue
            status = file.stat()
            source = Source(root, file.relative_to(root).as_posix(), status.st_size, status.st_mtime_ns)
            (others if file.suffix.lower() in NEVER_VIDEO else sources).append(source)
    if not sources:
        held = f"holds {len(others)} files but no video" if others else "is empty"
        raise BadData(f"{root} {held}; give a folder of videos, with one folder below it for each speaker if you know "
                      "them.")
    return sorted(sources, key=lambda source: source.path), others


def parse_shard(text: str) -> tuple[int, int]:
    """(3, 64) from `3/64`: the third of 64 equal shares of the videos.

    Raises:
        BadData: not of that form, or not within 1..n.
    """
    match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
    which, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= which <= count:
        raise BadData(f"Shard '{text}' is not one of 1/n to n/n; say 3/64 for the third of 64 shares.")
    return which, count
