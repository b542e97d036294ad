"""Which frame of the face is on screen when.

The face's own frames come first, each at its own time. Where the sound is shorter they are cut, or go on in silence;
where it is longer they are played again: there and back (bounce), from the start (loop), the last one held (freeze),
or the sound is cut.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import count, islice
from typing import Callable, Iterator, Literal, NamedTuple

import numpy as np

WhenLonger = Literal["bounce", "loop", "freeze", "cut"]
WhenShorter = Literal["cut", "silence"]

Read = Callable[[int], Iterator[np.ndarray]]
"""Gives the frames of the face (H, W, 3) from the n-th on, every time the same ones."""

BACKWARDS_BYTES = 96 * 2**20  # frames held to play them backwards: few, for memory; many, since each lot is sought anew


class Shown(NamedTuple):
    """One frame of the result before drawing."""

    index: int
    """Of the frame in the face video, from 0; the same picture whenever it is the same."""
    pixels: np.ndarray
    """(H, W, 3) uint8 RGB"""


def frames_in(duration: Fraction, frame_rate: Fraction) -> int:
    """How many frames last `duration` seconds: the nearest whole number, half a frame up, and at least one.

    So picture and sound end within half a frame of each other.
    """
    return max(1, int(duration * frame_rate + Fraction(1, 2)))


def frames_shown(length: int, sounding: int, when_longer: WhenLonger, when_shorter: WhenShorter) -> int:
    """How many frames `play` gives of a face of `length` frames."""
    if length < sounding:
        return length if when_longer == "cut" else sounding
    return sounding if when_shorter == "cut" else length


def play(read: Read, sounding: int, when_longer: WhenLonger = "bounce",
         when_shorter: WhenShorter = "cut") -> Iterator[Shown]:
    """The frames on screen, one after the other, for a sound that lasts `sounding` frames. Holds few at a time."""
    limit = sounding if when_shorter == "cut" else None
    length = 0
    for length, pixels in enumerate(islice(read(0), limit), start=1):
        yield Shown(length - 1, pixels)
    if not length or length >= sounding or when_longer == "cut":
        return
    yield from islice(_again(read, Shown(length - 1, pixels), when_longer), sounding - length)


def _again(read: Read, last: Shown, how: WhenLonger) -> Iterator[Shown]:
    """Frames without end, to follow a first showing that ended with `last`."""
    length = last.index + 1
    if how == "freeze" or length == 1:
        while True:
            yield last
    if how == "loop":
        while True:
            yield from _forwards(read, 0, length)
    at_once = max(1, BACKWARDS_BYTES // last.pixels.nbytes)
    while True:  # neither end is shown twice in a row
        for end in range(length - 1, 0, -at_once):
            yield from reversed(list(_forwards(read, max(0, end - at_once), end)))
        yield from _forwards(read, 1, length)


def _forwards(read: Read, start: int, end: int) -> Iterator[Shown]:
    return map(Shown, count(start), islice(read(start), end - start))
