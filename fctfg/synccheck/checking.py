"""One video at a time: cut as for training, then judged stretch by stretch, so that length takes no memory."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from .. import media
from ..data.clipfile import ClipFile
from ..errors import BadMedia
from ..interfaces import FRAME_RATE, SAMPLE_RATE, Clip
from ..prepare.records import PreparedFolder, Record, Settings
from ..prepare.sources import Source
from ..prepare.stretches import NO_FACE
from ..prepare.video import VideoPreparer
from ..recipe import Recipe
from .evidence import Verdict, weigh
from .judges import SyncJudge

REACH = 15
"""Frames by which the sound is tried early and late: 0.6 s."""
STRETCH = 20.0
"""Seconds of a stretch that is judged at once."""
LEAST_SECONDS = 1.0
LEAST_FACE = 48
"""Pixels: of smaller faces no expert can read the lips."""

REASONS = {  # why nothing was left to judge, as prepare says it -> what to tell
    "no sound": "has no sound, so there is nothing to compare its picture with",
    "silent": "is silent, so there is nothing to compare its picture with",
    "no face": "shows no face that {detector} finds; try another --detector",
    "several faces": "shows several faces side by side, and nobody knows who speaks; crop it to one of them",
    "small face": "shows only faces lower than {least} pixels, too small to read lips from",
    "too short": "shows a face for less than {seconds:g} s at a time, too short to judge",
}


class SyncChecker:
    """Judges videos of any rate, at 25 frames a second, by one expert.

    Args:
        recipe: says by which crop and at which size the expert's pictures are cut.
        reach: frames by which the sound is tried early and late.
    """

    def __init__(self, judge: SyncJudge, recipe: Recipe, *, detector: str = "dlib-hog", reach: int = REACH,
                 device: str | torch.device = "cpu"):
        self.device = torch.device(device)
        self.judge = judge.to(self.device)
        self.reach = reach
        self.settings = Settings(recipe.crop, recipe.size, detector, vocals=False, min_seconds=LEAST_SECONDS,
                                 max_seconds=STRETCH, min_face=LEAST_FACE)

    def check(self, path: str | Path) -> tuple[Verdict, float]:
        """What the expert says of a video, and how many seconds of it show one speaker and were judged.

        Raises:
            BadMedia: it cannot be read, or nothing in it can be judged; the message says why.
        """
        path = Path(path)
        duration = media.probe_video(path).duration
        with TemporaryDirectory(prefix="fctfg-") as folder:
            record = self._prepare(path, Path(folder))
            if not record.clips:
                raise BadMedia(f"{path} {self._reason(record)}.")
            wave = media.read_sound(path, SAMPLE_RATE)
            judged = [self.judge_clip(ClipFile(Path(folder, clip["file"])), round(clip["start"] * FRAME_RATE), wave)
                      for clip in sorted(record.clips, key=lambda clip: clip["start"])]
        times, log_odds = (np.concatenate(parts) for parts in zip(*judged))
        seconds = min(sum(clip["seconds"] for clip in record.clips), duration)
        return weigh(log_odds, times, self.judge.window), seconds

    def _prepare(self, path: Path, folder: Path) -> Record:
        PreparedFolder(folder).claim(self.settings)
        status = path.stat()
        source = Source(path.parent, path.name, status.st_size, status.st_mtime_ns)
        *_, record = VideoPreparer(folder, self.settings)(source)
        return record

    def _reason(self, record: Record) -> str:
        """Of what is wrong with a video, what takes the most of it; that nobody is seen only if nobody ever is."""
        worst = max(record.dropped, key=lambda dropped: (dropped["reason"] != NO_FACE,
                                                         (dropped["end"] or 0) - (dropped["start"] or 0)))
        if worst["reason"] not in REASONS:
            return f"cannot be judged: {worst.get('detail', worst['reason']).rstrip('.')}"
        return REASONS[worst["reason"]].format(detector=self.settings.detector, least=LEAST_FACE, seconds=LEAST_SECONDS)

    @torch.no_grad()
    def judge_clip(self, file: ClipFile, first: int, wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """When the windows of a prepared clip begin (W,), and their log odds (W, 2 reach + 1).

        The clip's first frame is number `first` of the video, `wave` all of its sound at 16 kHz.
        """
        frames = np.arange(file.num_frames)
        more = (self.reach + 1) / FRAME_RATE
        before, after = (round((seconds + more) * SAMPLE_RATE) for seconds in self.judge.context)
        start = first * SAMPLE_RATE // FRAME_RATE - before
        end = (first + len(frames)) * SAMPLE_RATE // FRAME_RATE + after
        heard = wave[max(0, start):end]
        silence = max(0, -start)
        sound = np.pad(heard, (silence, end - start - silence - len(heard)))
        pictures = torch.from_numpy(file.frames(frames).transpose(0, 3, 1, 2).copy())[None].to(self.device)
        landmarks = file.landmarks(frames) * np.divide(2, file.size, dtype=np.float32) - 1
        shown = pictures.float() / 127.5 - 1
        clip = Clip(shown[:, :1], shown, torch.from_numpy(sound)[None].to(self.device),
                    torch.from_numpy(before / SAMPLE_RATE + frames / FRAME_RATE).float().to(self.device),
                    landmarks=torch.from_numpy(landmarks)[None].to(self.device))
        log_odds = self.judge.log_odds(clip, self.reach)[0].float().cpu().numpy()
        times = (first + np.arange(len(log_odds))) / FRAME_RATE
        moments = times[:, None] - np.arange(-self.reach, self.reach + 1) / FRAME_RATE
        last = (len(wave) - 1) / SAMPLE_RATE - self.judge.window / FRAME_RATE
        return times, np.where((moments > -1e-6) & (moments < last), log_odds, np.nan)
