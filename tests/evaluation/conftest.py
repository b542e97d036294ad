"""Films that are small, and metrics whose numbers can be told beforehand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from fctfg import registry
from fctfg.errors import CannotMeasure
from fctfg.interfaces import Film, Measurement, Metric, Moments, Quantity, Score
from fctfg.media import VideoWriter, write_wave


class _Seen(Measurement):
    """Calls `take` with each stretch and `tell` at the end."""

    def __init__(self, metric, film: Film):
        self.metric, self.film, self.firsts, self.curve = metric, film, [], []

    def see(self, moments: Moments) -> None:
        self.firsts.append(moments.first)
        self.curve += self.metric.take(moments)

    def score(self) -> Score:
        return self.metric.tell(self)


class _Told(Metric):
    blindness = "Everything else."

    def begin(self, film):
        return _Seen(self, film)

    def take(self, moments):
        return [float(frame.mean()) for frame in moments.frames]

    def tell(self, seen):
        return Score({self.quantities[0].name: float(np.mean(seen.curve))}, {self.quantities[0].name: np.array(seen.curve)})


class Brightness(_Told):
    """How bright it is."""

    quantities = (Quantity("brightness", "higher", 0, 255),)

    def __init__(self, *, scale: float = 1.0):
        self.scale = scale

    @property
    def protocol(self):
        return f"whole frame, times {self.scale:g}"

    def take(self, moments):
        return [self.scale * value for value in super().take(moments)]


class Difference(_Told):
    """How far it is from its reference."""

    quantities = (Quantity("difference", "lower", 0, np.inf),)
    needs = frozenset({"reference"})
    protocol = "mean absolute, whole frame"

    def take(self, moments):
        pairs = zip(moments.frames.astype(float), moments.reference.frames)
        return [float(np.abs(own - other).mean()) for own, other in pairs]


class Loudness(_Told):
    """How loud it is; for films of a second."""

    quantities = (Quantity("loudness", "neither", 0, 1),)
    needs = frozenset({"sound"})
    frame_rate = 25
    protocol = "root mean square, 25 frames/s"

    def begin(self, film):
        if film.num_frames < 20:
            raise CannotMeasure(f"it has {film.num_frames} frames at 25 a second, 20 are needed")
        return super().begin(film)

    def tell(self, seen):
        return Score({"loudness": float(np.sqrt((seen.film.wave ** 2).mean()))}, {"brightness": np.array(seen.curve)})


class Spread(_Told):
    """What only a set has: how far apart films are in brightness."""

    quantities = (Quantity("spread", "lower", 0, 255),)
    protocol = "standard deviation of films"

    def tell(self, seen):
        return Score({}, features=np.array([[np.mean(seen.curve)]]))

    def pool(self, scores):
        return {"spread": float(np.std(np.concatenate([score.features for score in scores])))}


class Chin(_Told):
    """Where the chin is."""

    quantities = (Quantity("chin", "neither", 0, np.inf),)
    needs = frozenset({"face"})
    protocol = "pixels from the top"

    def take(self, moments):
        return moments.landmarks[:, 8, 1].tolist()


class Broken(_Told):
    """Has a bug."""

    quantities = (Quantity("nothing", "higher", 0, 1),)
    protocol = "none"

    def take(self, moments):
        return [[][1]]


@pytest.fixture
def offered():
    with registry.offering("metric", brightness=Brightness, difference=Difference, loudness=Loudness, spread=Spread,
                           chin=Chin, broken=Broken):
        yield


@pytest.fixture
def film(tmp_path):
    """Write a film of grey frames: `film("a.mp4", shades=[90, 100], size=(64, 48), rate=25, sound=True)`."""

    def write(name, shades, size=(64, 48), rate=25, sound=True):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        voice = path.with_suffix(".wav")
        if sound:
            times = np.arange(round(16_000 * len(shades) / rate)) / 16_000
            write_wave(voice, (0.5 * np.sin(2 * np.pi * 220 * times)).astype(np.float32), 16_000)
        with VideoWriter(path, *size, Fraction(rate), sound=voice if sound else None) as writer:
            for shade in shades:
                writer.write(np.full((size[1], size[0], 3), shade, np.uint8))
        voice.unlink(missing_ok=True)
        return path

    return write
