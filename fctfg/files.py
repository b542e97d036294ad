"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def unfinished(path: Path) -> Path:
    """A name beside `path` to write to meanwhile: this process's own, hidden, ending in .part."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


class replacing:
    """A temporary name beside `path` that takes its place if the block succeeds and vanishes if it does not."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.temporary = unfinished(self.path)

    def __enter__(self) -> Path:
        return self.temporary

    def __exit__(self, kind, *_) -> None:
        try:
            if kind is None:
                os.replace(self.temporary, self.path)
        finally:
            self.temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write `text` as UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
