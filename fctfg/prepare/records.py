"""What is known of each video that was prepared, so that nothing finished is done again.

    OUT/settings.json           how everything in OUT is prepared
    OUT/records/<name>.json     one for each video, written when all of its clips are
    OUT/clips/<name>-<ms>.zip   the clips
    OUT/manifest.json           put together from the records; manifest-3-of-64.json for a shard
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

from ..errors import BadData
from ..files import write_text
from .sources import Source, in_shard

FORMAT = 1  # raised when the same settings would give other clips


@dataclass(frozen=True)
class Settings:
    """All that decides which clips come of a video."""

    crop: str
    size: int
    """Of the crops, in pixels."""
    detector: str
    vocals: bool
    min_seconds: float
    max_seconds: float
    min_face: int
    """The least height of a face in the video, in pixels."""
    action_units: str | None = None
    """Where they come from: a detector, or a file or folder of tables."""
    format: int = FORMAT


@dataclass
class Record:
    """What came of one video."""

    source: str
    size: int
    modified_ns: int
    """Of the file, when it was read."""
    frames: int = 0
    """At 25 a second."""
    clips: list[dict] = field(default_factory=list)
    """As the manifest's `KeptClip`."""
    dropped: list[dict] = field(default_factory=list)
    """As the manifest's `Dropped`; `detail` is a sentence where the reason needs one."""
    failed: bool = False
    """Whether it failed in a way that another try may mend: a bug, a crash, no memory. The next run tries it again."""
    traceback: str = ""

    @classmethod
    def of(cls, source: Source, **values) -> Record:
        return cls(source.shown, source.size, source.modified_ns, **values)

    @property
    def lacks_units(self) -> bool:
        """Whether there are clips without action units."""
        return not all(clip.get("action_units") for clip in self.clips)

    def drop(self, reason: str, start: float | None = None, end: float | None = None, **more: str) -> None:
        """Say why a stretch, in seconds, or all of the video was not kept."""
        self.dropped.append({"source": self.source, "start": start, "end": end, "reason": reason, **more})


class PreparedFolder:
    """The output folder, as it is written."""

    def __init__(self, root: Path):
        self.root, self.clips, self.records = root, root / "clips", root / "records"

    def claim(self, settings: Settings) -> None:
        """Make the folder one of these settings.

        Raises:
            BadData: it cannot be written to, holds something else, or was prepared with other settings.
        """
        path = self.root / "settings.json"
        try:
            if not self.root.is_dir() and self.root.exists():
                raise BadData(f"{self.root} is a file; give a folder to write the clips to.")
            if self.root.exists() and not path.exists() and any(
                    not path.name.startswith(".") for path in self.root.iterdir()):
                raise BadData(f"{self.root} is not empty and was not made by `fctfg prepare`; give a new folder.")
            self.records.mkdir(parents=True, exist_ok=True)
            self.clips.mkdir(exist_ok=True)
            if not path.exists():
                _write(path, asdict(settings))
        except OSError as error:
            raise BadData(f"{self.root} cannot be written to: {error.strerror}.") from None
        there = _read(path)  # what another machine wrote at the same moment counts
        if there is None:
            raise BadData(f"{path} cannot be read; remove it, or give a new folder.")
        wanted = asdict(settings)
        if there.get("action_units") is None:  # they can be added
            there["action_units"] = settings.action_units
        if differing := [name for name in wanted if there.get(name) != wanted[name]]:
            was, now = (", ".join(f"{name} {values.get(name)}" for name in differing) for values in (there, wanted))
            raise BadData(f"{self.root} was prepared with {was}, not {now}; give the same options or a new folder.")
        if there != _read(path):
            _write(path, there)

    def record_of(self, source: Source) -> Record | None:
        """What came of `source`, if it is finished: unchanged since, its clips all there, and nothing failed."""
        record = self._read_record(self.records / f"{source.name}.json")
        if (record and (record.size, record.modified_ns) == (source.size, source.modified_ns) and not record.failed
                and all((self.root / clip["file"]).is_file() for clip in record.clips)):
            return record
        return None

    def write_record(self, source: Source, record: Record) -> None:
        """Mark `source` as finished, and remove what an earlier version of it left behind."""
        path = self.records / f"{source.name}.json"
        before = self._read_record(path)
        _write(path, asdict(record))
        kept = {clip["file"] for clip in record.clips}
        for clip in before.clips if before else ():
            if clip["file"] not in kept:
                (self.root / clip["file"]).unlink(missing_ok=True)

    def sweep(self, shard: tuple[int, int]) -> None:
        """Remove half-written clips of `shard`, which a killed process leaves."""
        for path in self.clips.glob(".*.part"):
            match = re.search(r"-([0-9a-f]{8})-\d+\.zip\.\d+\.part$", path.name)
            if match and in_shard(match[1], shard):
                path.unlink(missing_ok=True)

    def write_manifest(self, settings: Settings, shard: tuple[int, int], others: list[Source]) -> list[Record]:
        """Write the manifest of all records of `shard`, and give these, sorted by source."""
        from ..data.manifest import write_manifest

        paths = [path for path in self.records.glob("*.json") if in_shard(path.stem[-8:], shard)]
        records = sorted(filter(None, map(self._read_record, paths)), key=lambda record: record.source)
        suffixes = Counter(PurePosixPath(other.shown).suffix.lower() for other in others)
        not_videos = [{"source": f"*{suffix}", "reason": NOT_VIDEO, "files": files}
                      for suffix, files in sorted(suffixes.items())]
        manifest = {
            "crop": settings.crop,
            "size": settings.size,
            "clips": [clip for record in records for clip in record.clips],
            "dropped": [entry for record in records for entry in record.dropped] + not_videos,
            "settings": asdict(settings),
        }
        write_manifest(self.root, manifest, None if shard == (1, 1) else shard)
        if shard == (1, 1):
            for path in self.root.glob("manifest-*-of-*.json"):
                path.unlink(missing_ok=True)  # all that they say is in the whole one
        return records

    def clear(self) -> None:
        """Remove what `claim` and dropped videos left, where there is not one clip to lose."""
        if any(self.clips.iterdir()):
            return
        for path in [*self.records.iterdir(), *self.root.glob("*.json")]:
            path.unlink(missing_ok=True)
        for folder in (self.records, self.clips, self.root):
            try:
                folder.rmdir()
            except OSError:
                pass  # someone else's file is in it

    @staticmethod
    def _read_record(path: Path) -> Record | None:
        values = _read(path)
        try:
            return Record(**values) if values else None
        except TypeError:
            return None  # damaged, or of another version: done again


NOT_VIDEO = "not a video"


def _write(path: Path, values: dict) -> None:
    write_text(path, json.dumps(values, indent=1, ensure_ascii=False) + "\n")


def _read(path: Path) -> dict | None:
    """JSON that is an object; None where there is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None
