"""One video to its clips."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np

from .. import faces, media, registry
from ..action_units import NAMES
from ..data.clipfile import ClipFile, add_action_units, write_clip
from ..errors import BadData, BadMedia, FctfgError
from ..faces.boxes import usual_place
from ..interfaces import FRAME_RATE, SAMPLE_RATE
from .progress import Advance
from .records import PreparedFolder, Record, Settings
from .sources import Source
from .stretches import Run, Stretch, choose, join
from .units import open_units
from .vocals import separate_voice

NO_SOUND = "no sound"
SILENT = "silent"
UNREADABLE = "unreadable"
NO_UNITS = "no action units"
FAILED = "failed"

SAMPLES = SAMPLE_RATE // FRAME_RATE  # of sound, to a frame
LATE = 5  # frames by which a picture may outlast its sound; codecs end where their blocks do
QUIET = 1e-3  # -60 dB: where no sample is louder, nobody speaks
TELL_EVERY = 50  # frames
MACHINE_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class VideoPreparer:
    """Prepares one video at a time, with a detector of its own."""

    def __init__(self, root: Path, settings: Settings):
        self.folder, self.settings = PreparedFolder(root), settings
        self.profile = faces.find_profile(settings.crop)
        self.detector = registry.build("detector", settings.detector)
        self.units = open_units(settings.action_units)

    def __call__(self, source: Source) -> Iterator[Advance | Record]:
        """Write the clips of `source` and its record; tell how far it is and at last the record.

        Whatever is wrong with one video is the reason why (the rest of) it is dropped, and stops nothing else.

        Raises:
            BadData: nothing more can be written.
            FctfgError: the detector cannot work at all.
        """
        before = self.folder.record_of(source) if self.units else None
        record = before or Record.of(source)
        try:
            try:
                yield from self._add_units(source, record) if before else self._prepare(source, record)
            except BadMedia as error:
                record.drop(UNREADABLE, detail=str(error))
            except FctfgError:  # a detector that lacks its files, say, would fail on every video
                raise
            except Exception as error:  # a bug of ours or of a codec: this video is lost, the others are not
                if isinstance(error, OSError) and error.errno in MACHINE_FULL:
                    raise
                record.failed, record.traceback = True, traceback.format_exc()
                record.drop(FAILED, detail=f"{source.shown}: {type(error).__name__}: {error}")
            self.folder.write_record(source, record)
        except OSError as error:
            raise BadData(f"{self.folder.root} cannot be written to any more: {error.strerror}. What is finished is "
                          "kept: make room and give the same command again.") from None
        yield record

    def _prepare(self, source: Source, record: Record) -> Iterator[Advance]:
        info = media.probe_video(source.file)
        if not info.has_sound:
            return record.drop(NO_SOUND, 0.0, round(info.duration, 3))
        wave = media.read_sound(source.file, SAMPLE_RATE)
        if _is_silent(wave):
            return record.drop(SILENT, 0.0, round(info.duration, 3))
        if not self._open_units(source, info, record):
            return None
        if self.settings.vocals:
            wave = separate_voice(wave)

        heard = -(-len(wave) // SAMPLES) + LATE
        stretches = yield from self._find(source, info.duration, heard, record)
        last = round(info.duration * FRAME_RATE)
        if record.frames == heard < last:
            stretches.append(Stretch(heard, last, reason=NO_SOUND))
        self._write(source, join(stretches), wave, record)

    def _open_units(self, source: Source, info: media.VideoInfo, record: Record) -> bool:
        """Turn to the action units of `source`; where there should be some and are none, say why and give False."""
        try:
            if self.units:
                self.units.open(source, info)
        except BadMedia as error:
            record.drop(NO_UNITS, 0.0, round(info.duration, 3), detail=str(error))
            return False
        return True

    def _add_units(self, source: Source, record: Record) -> Iterator[Advance]:
        """Put action units into the clips of `record`, which were prepared without. Faces are where the clips say."""
        info = media.probe_video(source.file)
        record.dropped = [entry for entry in record.dropped if entry["reason"] != NO_UNITS]
        if not self._open_units(source, info, record):
            return
        with closing(media.read_video(source.file, Fraction(FRAME_RATE))) as frames:
            numbered = enumerate(frames)
            for clip in sorted(record.clips, key=lambda clip: clip["start"]):
                path, first = self.folder.root / clip["file"], round(clip["start"] * FRAME_RATE)
                boxes = ClipFile(path).boxes()
                units = np.full((len(boxes), len(NAMES)), np.nan, np.float32)
                for number, frame in numbered:
                    if number >= first:
                        units[number - first] = self.units.read(number, frame, usual_place(boxes[number - first]))
                    if number == first + len(boxes) - 1:
                        break
                if not clip.get("action_units"):
                    add_action_units(path, units)
                    clip["action_units"] = True
                yield Advance(len(boxes), min(1.0, (first + len(boxes)) / FRAME_RATE / max(info.duration, 1e-3)))

    def _find(self, source: Source, duration: float, limit: int, record: Record):
        """Go through the first `limit` frames and give their stretches, in order and without a gap."""
        runs: list[Run] = []
        latest: dict[int, Run] = {}
        with closing(media.read_video(source.file, Fraction(FRAME_RATE))) as frames:
            for _, found in faces.FaceTracker(self.detector).track(islice(frames, limit)):
                for face in found:
                    run = latest.get(face.track)
                    if run is None or run.stop != record.frames:
                        runs.append(run := Run(record.frames))
                        latest[face.track] = run
                    run.add(face.box, face.landmarks)
                record.frames += 1
                if record.frames % TELL_EVERY == 0:
                    yield Advance(TELL_EVERY, min(1.0, record.frames / FRAME_RATE / max(duration, 1e-3)))
            yield Advance(record.frames % TELL_EVERY, 1.0)
            if frames.problem and duration - record.frames / FRAME_RATE > 0.1:
                record.drop(UNREADABLE, record.frames / FRAME_RATE, round(duration, 3), detail=frames.problem)
        return choose(runs, record.frames, min_frames=round(self.settings.min_seconds * FRAME_RATE),
                      max_frames=round(self.settings.max_seconds * FRAME_RATE), min_face=self.settings.min_face)

    def _write(self, source: Source, stretches: list[Stretch], wave: np.ndarray, record: Record) -> None:
        """Go through the video a second time, since crops can be cut when it is known whose they are."""
        with closing(media.read_video(source.file, Fraction(FRAME_RATE))) as frames:
            numbered = enumerate(frames)
            for stretch in stretches:
                start, end = stretch.first / FRAME_RATE, stretch.stop / FRAME_RATE
                sound = wave[stretch.first * SAMPLES:stretch.stop * SAMPLES]
                if stretch.face is None:
                    record.drop(stretch.reason, start, end)
                elif _is_silent(sound):
                    record.drop(SILENT, start, end)
                else:
                    sound = np.pad(sound, (0, (stretch.stop - stretch.first) * SAMPLES - len(sound)))
                    record.clips.append(self._write_clip(source, stretch.face, numbered, sound))

    def _write_clip(self, source: Source, face: Run, numbered: Iterator[tuple[int, np.ndarray]],
                    sound: np.ndarray) -> dict:
        """Crop `face` out of the frames that come, write its clip, and give the manifest's entry."""
        start, size = face.first / FRAME_RATE, self.settings.size
        landmarks = face.landmarks.astype(np.float64)
        matrices = self.profile.matrices(landmarks)
        units: list[np.ndarray] | None = [] if self.units else None

        def crops() -> Iterator[np.ndarray]:
            for number, frame in numbered:
                if number >= face.first:
                    if self.units:
                        units.append(self.units.read(number, frame, landmarks[number - face.first]))
                    yield faces.crop(frame, matrices[number - face.first], size)
                if number == face.stop - 1:
                    return
            raise BadMedia(f"{source.shown} could be read for {face.stop / FRAME_RATE:.1f} s, but not a second time.")

        name = f"{source.name}-{round(1000 * start):08}"
        facts = {"name": name, "speaker": source.speaker, "source": source.shown, "start": start}
        how = {"crop": self.settings.crop, "detector": self.settings.detector, "vocals": self.settings.vocals}
        if self.units:
            facts["action_units"], how["action_units_from"] = True, self.settings.action_units
        count = write_clip(self.folder.clips / f"{name}.zip", crops(), sound, size * _into_crop(landmarks, matrices),
                           face.boxes, {**facts, **how}, units)
        return {**facts, "file": f"clips/{name}.zip", "frames": count, "seconds": count / FRAME_RATE}


def _into_crop(points: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """`points` (T, 68, 2) of the frames in the unit square of the crops that `matrices` (T, 2, 3) lay in these."""
    turned = np.linalg.solve(matrices[:, :, :2], (points - matrices[:, None, :, 2]).transpose(0, 2, 1))
    return turned.transpose(0, 2, 1)


def _is_silent(wave: np.ndarray) -> bool:
    return not len(wave) or max(wave.max(), -wave.min()) < QUIET
