"""LSE-C, LSE-D and the offset between picture and sound, by SyncNet and a named protocol."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from fctfg.errors import BadOption, CannotMeasure
from fctfg.interfaces import Film, Measurement, Metric, Moments, Quantity, Score
from fctfg.metrics import NO_FACE, demand
from fctfg.registry import suggest
from fctfg_plugins.syncnet import Agreement, SyncNet, agreement, median_filter
from fctfg_plugins.syncnet.network import LICENCE, WINDOW
from fctfg_plugins.syncnet.offset import REACH, SMOOTHING

from .towers import QuickTowers, TrackDistances
from .tracks import CROP_SCALE, MEDIAN, Track, resized, seen_boxes
from .weights import network_of_file, network_of_run

FILE = "syncnet_v2.model"


class Protocol(NamedTuple):
    """What a published way of measuring prescribes."""

    crop: bool
    """Whether a face is cut out; else the whole frame is squeezed to 224 px."""
    min_track: int
    """Frames that a track must have more of."""
    min_face: int
    """Pixels that the mean side of its boxes must have more of."""


PROTOCOLS = {"syncnet-python": Protocol(True, 100, 100), "wav2lip-lrs": Protocol(False, WINDOW, 0)}
TRACKS = ("mean", "best", "longest")
PRECISIONS = {"auto": "fp32, or bf16 where that is quick (the same to 0.05)", "fp32": "fp32", "bf16": "bf16"}


class SyncNetMetric(Metric):
    """How well lips and sound agree, and by how many frames they are apart, as SyncNet sees it: LSE-C and LSE-D.

    Chung and Zisserman, "Out of time: automated lip sync in the wild", 2016, section 4; named LSE by Prajwal et al.,
    "A Lip Sync Expert Is All You Need", 2020, arXiv:2008.10010. Reads syncnet_v2.model (MIT), or takes the towers of a
    critic that was trained here.

    Differs from joonson/syncnet_python: the box hangs on landmarks and not on S3FD; a track ends where the face is not
    seen, and where its boxes overlap by half or less, not at cuts that keep it in place; faces are not compressed once
    more before they are looked at. Each moves the numbers a little: compare only what was measured by one program.

    Args:
        protocol: `syncnet-python` cuts the face out (scale 0.4, median of 13 frames, grey outside, 224 px) and takes
            tracks of more than 100 frames and 100 px; `wav2lip-lrs` squeezes the whole frame to 224 px, which is right
            for films that are crops already, such as those of LRS.
        weights: a local file; by default the one that `fctfg weights` keeps.
        run: a run folder of fctfg whose loss `syncnet` was trained; instead of weights. Its scale is not the public
            one.
        tracks: what counts where the face that is followed has several tracks: their `mean`, weighted by length; the
            one with the `best` confidence; or the `longest`. The offset is always that of the best.
        min_track: frames that a track must have more of; None for the protocol's.
        min_face: pixels that its mean side must have more of; None for the protocol's.
        reach: frames by which the sound is tried early and late.
        precision: `fp32`, or `bf16`, which is five times as fast where there are matrix units; `auto` takes it there.
    """

    paper = ("Chung and Zisserman, Out of time: automated lip sync in the wild, 2016; Prajwal et al., A Lip Sync "
             "Expert Is All You Need, 2020, arXiv:2008.10010")
    licence = LICENCE
    quantities = (
        Quantity("lse-c", "higher", 0, float("inf"), about="How much nearer mouth and sound are at the best offset "
                 "than at the median one. Real speech has 6 to 8; under 2, nobody speaks or nothing fits."),
        Quantity("lse-d", "lower", 0, float("inf"), about="The distance of mouth and sound at the best offset. Real "
                 "speech has 6 to 8, and 13 to 15 out of step."),
        Quantity("av-offset", "near zero", -REACH, REACH, "frames", "By how many frames of 25 a second the sound is "
                 "early; below 0 it is late. Means something where lse-c is 2 or more."))
    blindness = ("It rewards what it was taught: systems that are trained against it (Wav2Lip) score better than real "
                 "footage. lse-c and lse-d are those of the best offset, so a constant delay shows in av-offset alone. "
                 "The crop alone moves lse-d by 1.3 and lse-c by 1.7, compression by about 1. It saw English "
                 "television; music, a second voice and languages such as Mandarin lower it. It sees nothing of the "
                 "picture's quality.")
    frame_rate = 25
    test_options = {"min_track": 20, "min_face": 20, "precision": "fp32"}

    def __init__(self, *, protocol: str = "syncnet-python", weights: str | None = None, run: str | None = None,
                 tracks: str = "mean", min_track: int | None = None, min_face: int | None = None, reach: int = REACH,
                 precision: str = "auto"):
        for name, value, known in (("protocol", protocol, PROTOCOLS), ("tracks", tracks, TRACKS),
                                   ("precision", precision, PRECISIONS)):
            if value not in known:
                raise BadOption(f"metric 'syncnet': no {name} '{value}'.{suggest(value, known)} Give one of "
                                f"{', '.join(known)}.")
        if weights and run:
            raise BadOption("metric 'syncnet': give weights or run, not both.")
        if reach < 1:
            raise BadOption(f"metric 'syncnet': reach {reach} tries no other offset; give 1 or more.")
        named = PROTOCOLS[protocol]
        self.by = Protocol(named.crop, named.min_track if min_track is None else max(min_track, WINDOW),
                           named.min_face if min_face is None else min_face)
        self.name, self.tracks, self.reach, self.precision = protocol, tracks, reach, precision
        self.needs = frozenset({"sound", "face"} if self.by.crop else {"sound"})
        self._weights, self._run = weights, run
        self.towers: QuickTowers | None = None

    @property
    def protocol(self) -> str:
        seen = (f"one followed face, box on landmarks, crop scale {CROP_SCALE}, median of {MEDIAN}, tracks over "
                f"{self.by.min_track} frames and {self.by.min_face} px, their {self.tracks}" if self.by.crop
                else "whole frame")
        network = f"run {self._run}" if self._run else FILE
        return (f"{self.name}: 25 fps, {seen}, 224 px, {WINDOW}-frame windows, MFCC 13 x 20, +-{self.reach} frames, "
                f"confidence median - min, {network}, {PRECISIONS[self.precision]}")

    def load(self, device: str | torch.device = "cpu") -> None:
        if self._run:
            network = network_of_run(self._run)
        else:
            network = network_of_file(self._weights, FILE)
        self.use(network, device)

    def use(self, network: SyncNet, device: str | torch.device = "cpu") -> None:
        """Look through `network`."""
        from fctfg.quicken import fast_at_bf16

        device = torch.device(device)
        quick = self.precision == "auto" and fast_at_bf16(device)
        self.towers = QuickTowers(network, device, "bf16" if quick else self.precision.replace("auto", "fp32"))

    def begin(self, film: Film) -> Measurement:
        demand(self, film)
        if self.towers is None:
            self.load()
        least = self.by.min_track + 1
        frames = min(film.num_frames, len(film.wave) * self.frame_rate // 16_000)
        if frames < least:
            raise CannotMeasure(f"it is too short: {frames} frames with sound; protocol '{self.name}' measures from "
                                f"{least} on ({least / self.frame_rate:.2f} s)")
        return (CropMeasurement if self.by.crop else FrameMeasurement)(self, film)


class _SyncNetMeasurement(Measurement):
    """What both protocols share: the distances of tracks, and what they come to."""

    def __init__(self, metric: SyncNetMetric, film: Film):
        self.metric, self.film = metric, film
        self.tracks: list[tuple[int, np.ndarray]] = []
        """The number of the first frame, and the distances (W, 2 reach + 1)."""

    def distances(self, first: int) -> TrackDistances:
        return TrackDistances(self.metric.towers, self.film.wave, first, self.metric.reach)

    def found(self) -> Score:
        """The score of `tracks`, of which there is at least one."""
        judged = [(first, agreement(torch.from_numpy(distances))) for first, distances in self.tracks]
        lengths = np.array([len(found.by_window) for _, found in judged])
        best = max((found for _, found in judged), key=lambda found: found.confidence)
        counted = {"mean": judged, "best": [pair for pair in judged if pair[1] is best],
                   "longest": [judged[int(lengths.argmax())]]}[self.metric.tracks]
        weights = [len(found.by_window) for _, found in counted]

        def mean(values) -> float:
            return float(np.average(list(values), weights=weights))

        return Score({"lse-c": mean(found.confidence for _, found in counted),
                      "lse-d": mean(found.distance for _, found in counted), "av-offset": float(best.offset)},
                     {"distance over offset": np.average([found.by_offset for _, found in counted], 0, weights),
                      "confidence": self._over_time(counted)})

    def _over_time(self, counted: list[tuple[int, Agreement]]) -> np.ndarray:
        """(T,): the confidence of every window at its track's offset, smoothed as the authors do; NaN elsewhere."""
        curve = np.full(self.film.num_frames, np.nan, np.float32)
        for first, found in counted:
            curve[first:first + len(found.by_window)] = median_filter(found.by_window, SMOOTHING)
        return curve


class FrameMeasurement(_SyncNetMeasurement):
    """Whole frames."""

    def __init__(self, metric: SyncNetMetric, film: Film):
        super().__init__(metric, film)
        self._distances = self.distances(0)

    def see(self, moments: Moments) -> None:
        for frame in moments.frames:
            self._distances.see(resized(frame))

    def score(self) -> Score:
        self.tracks = [(0, self._distances.finish())]
        if not len(self.tracks[0][1]):
            raise CannotMeasure(f"it ended before {WINDOW + 1} frames were seen")
        return self.found()


class CropMeasurement(_SyncNetMeasurement):
    """Tracks of the face that is followed."""

    def __init__(self, metric: SyncNetMetric, film: Film):
        super().__init__(metric, film)
        self._track: Track | None = None
        self._distances: TrackDistances | None = None
        self._passed: list[tuple[int, float]] = []  # length and side of tracks that do not count

    def see(self, moments: Moments) -> None:
        for number, frame, box in seen_boxes(moments):
            if self._track and (box is None or not self._track.takes(box)):
                self._end()
            if box is None:
                continue
            if self._track is None:
                self._distances = self.distances(number)
                self._track = Track(number, self._distances.see)
            self._track.add(frame, box)

    def score(self) -> Score:
        self._end()
        if self.tracks:
            return self.found()
        if not self._passed:
            raise CannotMeasure(NO_FACE)
        by, (length, side) = self.metric.by, max(self._passed)
        raise CannotMeasure(f"its longest track of the face has {length} frames and {side:.0f} px; protocol "
                            f"'{self.metric.name}' takes those of more than {by.min_track} frames and {by.min_face} px")

    def _end(self) -> None:
        track, self._track = self._track, None
        if track is None:
            return
        track.finish()
        distances = self._distances.finish()
        if track.length > self.metric.by.min_track and track.side > self.metric.by.min_face and len(distances):
            self.tracks.append((track.first, distances))
        else:
            self._passed.append((track.length, track.side))
