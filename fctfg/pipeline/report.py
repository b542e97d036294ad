"""What a generation did, in plain values."""

from __future__ import annotations

import sys
from fractions import Fraction

from .draw import Picture


class Tally:
    """Counts the frames that were drawn, and keeps the stretches that passed through."""

    def __init__(self):
        self.drawn = 0
        self.passed: list[list[int]] = []
        """First and last frame of each stretch, in order."""

    def count(self, picture: Picture) -> None:
        """One more frame, in order."""
        if picture.drawn is not None:
            self.drawn += 1
        elif self.passed and self.passed[-1][1] == picture.number - 1:
            self.passed[-1][1] = picture.number
        else:
            self.passed.append([picture.number, picture.number])

    @property
    def frames(self) -> int:
        return self.drawn + self.passed_through

    @property
    def passed_through(self) -> int:
        return sum(last - first + 1 for first, last in self.passed)

    def stretches(self, frame_rate: Fraction) -> list[dict]:
        """The stretches that passed through: first and last frame, and the seconds from when to when they are shown."""
        def seconds(number: int) -> float:
            return round(float(number / frame_rate), 3)

        return [{"frames": [first, last], "seconds": [seconds(first), seconds(last + 1)]}
                for first, last in self.passed]


def peak_memory() -> float | None:
    """The most MB of memory that this process ever held; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
