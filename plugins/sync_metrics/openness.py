"""Lip sync without a network: how far the mouth opens against how loud the voice is."""

from __future__ import annotations

import numpy as np

from fctfg.errors import BadOption, CannotMeasure
from fctfg.faces.profiles import Measures
from fctfg.interfaces import FRAME_RATE, SAMPLE_RATE, Film, Measurement, Metric, Moments, Quantity, Score
from fctfg.metrics import NO_FACE, demand

REACH = 15
"""Frames by which the sound is tried early and late."""
LEAST = 50
"""Frames with a face from which on a correlation says anything: two seconds."""
SLOW = 12.0
"""Standard deviation in frames of the mean that is taken off both curves: what changes more slowly is no speech."""
VOICE = 200.0, 3500.0
"""Hz of the band whose power is loudness."""
WINDOW = 960
"""Samples about the middle of a frame that it is heard by: 60 ms."""
LOUDNESS = 0.25
"""The power of the band's energy that is taken for loudness: half of that of amplitude, about as ears have it."""
UPPER, LOWER = (50, 51, 52), (58, 57, 56)
"""Of the iBUG points, the outer edges of the lips. The inner ones, which detectors place worse, tell less: measured on
75 real clips."""


class OpennessMetric(Metric):
    """How the opening of the mouth goes with the loudness of the voice: as it is, and at other offsets of the sound.

    In the spirit of Hershey and Movellan, "Audio vision: using audio-visual synchrony to locate sounds", 1999, who
    correlate single measurements of picture and sound. The distance of the lips' outer edges, in distances between the
    eyes, is correlated with the fourth root of the energy from 200 to 3500 Hz; from both, what changes more slowly than
    speech is taken off. No weights, and nothing that any system here is trained against.

    Args:
        reach: frames by which the sound is tried early and late.
    """

    paper = "Hershey and Movellan, Audio vision: using audio-visual synchrony to locate sounds, 1999"
    quantities = (
        Quantity("openness-correlation", "higher", -1, 1, about="Of mouth and sound as they are. Real footage has 0.1 "
                 "to 0.5, out of step about 0."),
        Quantity("openness-offset", "near zero", -REACH, REACH, "frames", "By how many frames of 25 a second the sound "
                 "is early where they agree best; below 0 it is late."),
        Quantity("openness-confidence", "higher", 0, 2, about="How much higher the correlation is there than at the "
                 "median offset. Under 0.35 the offset may well be chance."))
    blindness = ("It sees how far the mouth opens and not what it says: any mouth that opens with the loudness does as "
                 "well as the right one. A single short clip says little: of 75 real clips of 3 to 15 s, some of them "
                 "out of step as they were found, 50 score higher than with their sound moved by 10 frames either way, "
                 "and for 39 the best offset is within 2 frames of 0. Music, a second voice, and heads that turn while "
                 "they speak mislead it.")
    needs = frozenset({"face", "sound"})
    frame_rate = FRAME_RATE

    def __init__(self, *, reach: int = REACH):
        if reach < 1:
            raise BadOption(f"metric 'openness': reach {reach} tries no other offset; give 1 or more.")
        self.reach = reach

    @property
    def protocol(self) -> str:
        return (f"25 fps, outer lips of the 68 points over the distance between the eyes, energy of {VOICE[0]:.0f} to "
                f"{VOICE[1]:.0f} Hz in {1000 * WINDOW // SAMPLE_RATE} ms to the {LOUDNESS:g}, both less their mean "
                f"over {SLOW / FRAME_RATE:.2f} s, Pearson, +-{self.reach} frames")

    def begin(self, film: Film) -> Measurement:
        demand(self, film)
        if film.num_frames < LEAST:
            raise CannotMeasure(f"it is too short: {film.num_frames} frames, and a correlation needs {LEAST}")
        return OpennessMeasurement(film, self.reach)


class OpennessMeasurement(Measurement):
    """Keeps one number a frame."""

    def __init__(self, film: Film, reach: int):
        self.film, self.reach = film, reach
        self._openings: list[np.ndarray] = []

    def see(self, moments: Moments) -> None:
        self._openings.append(opening(moments.landmarks))

    def score(self) -> Score:
        mouth = np.concatenate(self._openings) if self._openings else np.empty(0)
        seen = int(np.isfinite(mouth).sum())
        if seen < LEAST:
            raise CannotMeasure(f"the face is seen in {seen} frames only; a correlation needs {LEAST}" if seen
                                else NO_FACE)
        sound = loudness(self.film.wave, len(mouth)) ** LOUDNESS
        if np.nanstd(sound) < 1e-6:
            raise CannotMeasure("the sound is silent, or always equally loud")
        mouth, sound = without_slow(mouth), without_slow(sound)
        lags = np.arange(self.reach, -self.reach - 1, -1)  # by which the sound is early
        curve = np.array([_correlation(mouth, sound, -lag) for lag in lags])
        values = {"openness-correlation": float(curve[self.reach])}
        if curve.any():  # a mouth that never moves goes with nothing, at no offset more than at another
            best = int(curve.argmax())
            values |= {"openness-offset": float(lags[best]),
                       "openness-confidence": float(curve[best] - np.median(curve))}
        return Score(values, {"correlation over offset": curve, "opening": mouth.astype(np.float32),
                              "loudness": sound.astype(np.float32)})


def opening(landmarks: np.ndarray) -> np.ndarray:
    """(T,): how far apart the outer edges of the lips of faces (T, 68, 2) are, in distances between the eyes."""
    known = np.isfinite(landmarks).all((1, 2))
    found = np.full(len(landmarks), np.nan)
    points = np.asarray(landmarks[known], np.float64)
    if len(points):
        found[known] = np.linalg.norm(points[:, UPPER] - points[:, LOWER], axis=-1).mean(1) / Measures.of(points).unit
    return found


def loudness(wave: np.ndarray, num_frames: int) -> np.ndarray:
    """(T,): the energy of the voice's band about the middle of each frame, of 25 a second; NaN beyond the end."""
    window = np.hanning(WINDOW).astype(np.float32)
    frequency = np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE)
    band = (frequency >= VOICE[0]) & (frequency < VOICE[1])
    found = np.full(num_frames, np.nan)
    step = SAMPLE_RATE // FRAME_RATE
    heard = min(num_frames, -(-len(wave) // step))
    for first in range(0, heard, 512):  # so that hours of sound take no more memory than its samples
        middles = step * np.arange(first, min(first + 512, heard)) + step // 2
        places = middles[:, None] + np.arange(-WINDOW // 2, WINDOW // 2)
        there = (places >= 0) & (places < len(wave))
        pieces = np.where(there, wave[places.clip(0, len(wave) - 1)], 0) * window
        found[first:first + len(middles)] = np.square(np.abs(np.fft.rfft(pieces)[:, band])).mean(1) / window.sum()
    return found


def without_slow(curve: np.ndarray) -> np.ndarray:
    """`curve` (T,) less its Gaussian mean over SLOW; what is NaN stays so and does not count."""
    away = np.arange(-round(4 * SLOW), round(4 * SLOW) + 1)
    kernel = np.exp(-0.5 * np.square(away / SLOW))
    known = np.isfinite(curve)
    reach = len(away) // 2

    def spread(values: np.ndarray) -> np.ndarray:
        return np.convolve(values, kernel)[reach:reach + len(values)]

    weight = np.maximum(spread(known.astype(float)), 1e-12)
    return np.where(known, curve - spread(np.where(known, curve, 0)) / weight, np.nan)


def _correlation(mouth: np.ndarray, sound: np.ndarray, lag: int) -> float:
    """Pearson's, of the mouth with the sound `lag` frames later, where both are known; 0 where one does not change."""
    length = len(mouth) - abs(lag)
    a, b = (mouth[:length], sound[lag:]) if lag >= 0 else (mouth[-lag:], sound[:length])
    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < LEAST // 2:
        return 0.0
    a, b = a[known] - a[known].mean(), b[known] - b[known].mean()
    size = np.sqrt(np.square(a).sum() * np.square(b).sum())
    return float(a @ b / size) if size > 1e-9 else 0.0
