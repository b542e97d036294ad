"""The list of a prepared folder: which clips were kept, which stretches were dropped, and why."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import BadData
from ..files import write_text
from ..interfaces import FRAME_RATE, SAMPLE_RATE

MEDIA_SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".flv", ".wmv"}


class _Record(BaseModel):
    model_config = ConfigDict(extra="allow")


class KeptClip(_Record):
    """A clip that was kept."""

    name: str
    file: str
    """Its clip file, relative to the prepared folder, with forward slashes."""
    speaker: str
    source: str
    """The video it was cut from."""
    start: float = Field(ge=0)
    """Seconds into the source."""
    frames: int = Field(gt=0)
    seconds: float = Field(gt=0)
    action_units: bool = False
    """Whether its file has them."""


class Dropped(_Record):
    """A stretch of a video, or a whole one, that was not kept."""

    source: str
    start: float | None = None
    end: float | None = None
    reason: str


class Manifest(_Record):
    """What a prepared folder holds."""

    format: Literal[1] = 1
    crop: str
    """The crop profile its frames were cut by."""
    size: int = Field(gt=0)
    """Height and width of its frames."""
    frame_rate: int = FRAME_RATE
    sample_rate: int = SAMPLE_RATE
    clips: list[KeptClip] = []
    dropped: list[Dropped] = []
    settings: dict[str, Any] = {}


def write_manifest(root: str | Path, manifest: Manifest | dict, shard: tuple[int, int] | None = None) -> Path:
    """Write `manifest.json`, or `manifest-3-of-64.json` for `shard` (3, 64), and give its path."""
    manifest = Manifest.model_validate(manifest)
    name = "manifest.json" if shard is None else f"manifest-{shard[0]}-of-{shard[1]}.json"
    path = Path(root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(manifest.model_dump(), indent=1, ensure_ascii=False) + "\n")
    return path


def read_manifest(root: str | Path) -> Manifest:
    """The manifest of a prepared folder, those of its shards merged, clips sorted by name.

    Raises:
        BadData: there is no such folder, it is empty or was not prepared, or its shards do not fit together.
    """
    root = Path(root)
    if not root.is_dir():
        raise BadData(f"{root} is {'no folder' if root.exists() else 'not there'}; give a folder that "
                      "`fctfg prepare VIDEOS OUT` wrote, or `synthetic`.")
    paths = [path for path in sorted(root.glob("manifest*.json"))
             if re.fullmatch(r"manifest(-\d+-of-\d+)?\.json", path.name)]
    if not paths:
        raise BadData(_not_prepared(root))
    merged = _read(paths[0])
    for path in paths[1:]:
        shard = _read(path)
        for key in ("crop", "size", "frame_rate", "sample_rate"):
            if getattr(shard, key) != getattr(merged, key):
                raise BadData(f"{root}: {paths[0].name} and {path.name} differ in {key} ({getattr(merged, key)} and "
                              f"{getattr(shard, key)}); prepare them alike.")
        merged.clips += shard.clips
        merged.dropped += shard.dropped
    merged.clips = sorted({clip.file: clip for clip in merged.clips}.values(), key=lambda clip: clip.name)
    return merged


def _read(path: Path) -> Manifest:
    try:
        return Manifest.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BadData(f"{path} cannot be read: {error.strerror}.") from None
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(step) for step in problem["loc"])
        raise BadData(f"{path}: {where}: {problem['msg']}; prepare the folder again.") from None
    except ValueError:  # not JSON, or not text
        raise BadData(f"{path} is no manifest: not JSON, or cut off; prepare the folder again.") from None


def _not_prepared(root: Path) -> str:
    if any(path.suffix.lower() in MEDIA_SUFFIXES for path in root.rglob("*")):
        return f"{root} holds raw videos; run `fctfg prepare {root} OUT` first and train on OUT."
    what = "has no manifest.json" if any(root.iterdir()) else "is empty"
    return f"{root} {what}, so it was not prepared; run `fctfg prepare VIDEOS {root}` first."
