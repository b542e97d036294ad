"""What a generation is made from: who is shown, what moves, what is heard, and where each of them begins."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path

from .. import faces, media
from ..errors import BadMedia
from ..recipe import Recipe
from .draw import Picture
from .find import Finder, blend, hold
from .footage import Footage
from .timeline import Shown, WhenLonger, WhenShorter, play


class Scene:
    """`face` alone, a video or a picture; or the picture `face` moved by the video `driving`, and by `other_driving`.

    `by_action_units` says that a driving video gives action units, and so may move a picture that is redrawn in place.

    Raises:
        BadMedia: a file cannot be used, they do not go together, or no frame has the face that is looked for.
    """

    def __init__(self, face: str | Path, audio: str | Path | None, driving: str | Path | None,
                 other_driving: str | Path | None, fps: float | str | Fraction, speaker: str, detector: str, recipe: Recipe,
                 by_action_units: bool = False):
        self.notes: list[str] = []
        """What was done that was not asked for, in sentences."""
        self.moving, still = _footage(face, driving, fps, recipe, by_action_units)
        self.rate = self.moving.frame_rate
        self.crop_only = still is not None and recipe.redraws == "crop"
        shown = still or self.moving
        self.width, self.height = (recipe.size, recipe.size) if self.crop_only else (shown.width, shown.height)
        self.own_sound = audio is None or Path(audio).exists() and self.moving.path.samefile(audio)
        self.audio = _sound_of(self.moving) if audio is None else audio
        """None where nothing is heard."""
        self.profile = faces.find_profile(recipe.crop)

        follow = partial(Finder, detector=detector, profile=self.profile, size=recipe.size)
        self.finder = follow(self.moving, speaker="largest" if still else speaker)
        self.canvas: Picture | None = still and follow(still, speaker=speaker).find_first()
        """The picture that is moved, and its face."""
        self._other: Finder | None = None
        self._held = self.crop_only or by_action_units and still is not None
        if self._held:
            self._first = follow(self.moving, speaker="largest").find_start()
            if self._first.number:
                self.notes.append(f"{self.moving.path} shows no face before frame {self._first.number}; "
                                  + ("its first pose is held until then" if self.own_sound else "the motion begins there"))
                self.moving.start = 0 if self.own_sound else self._first.number
        if other_driving:
            if not self.crop_only:
                raise BadMedia("A second driving video is blended with a first one that moves a picture: give --face "
                               f"PICTURE, --driving, and a recipe that redraws the whole crop; '{recipe.name}' does not.")
            footage = Footage(other_driving, self.rate, resampled=True)
            self._other_first = follow(footage, speaker="largest").find_start()
            footage.start = self._other_first.number
            self._other = follow(footage, speaker="largest")

    def read(self, sounding: int, when_longer: WhenLonger, when_shorter: WhenShorter) -> Iterator[Shown]:
        """The moving frames, for a sound that lasts `sounding` of them."""
        return play(self.moving.read, sounding, when_longer, when_shorter)

    def find(self, shown: Iterator[Shown]) -> Iterator[Picture]:
        """A picture for each of the moving frames `shown`, with what the model is to see."""
        found = self.finder.find(shown)
        if not self._held:
            return found
        held = hold(found, self._first)
        if self._other is None:
            return held
        return blend(held, hold(self._other.find(play(self._other.footage.read, sys.maxsize)), self._other_first))


def _sound_of(footage: Footage) -> Path | None:
    return footage.path if not footage.is_picture and media.probe_video(footage.path).has_sound else None


def _footage(face: str | Path, driving: str | Path | None, fps: float | str | Fraction, recipe: Recipe,
             by_action_units: bool) -> tuple[Footage, Footage | None]:
    """What moves, and the picture that it moves where that is another."""
    try:
        rate = Fraction(str(fps))
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 1 <= rate <= 240:
        raise BadMedia(f"--fps {fps} is no frame rate; give 25, 29.97 or 30000/1001.")
    person = Footage(face, rate)
    if driving is None:
        return person, None
    if not person.is_picture:
        raise BadMedia(f"{face} is a video and moves by itself; --driving goes with a picture.")
    if recipe.references.generate == "same" and not by_action_units:
        raise BadMedia(f"Recipe '{recipe.name}' redraws the frames that it is given, so nothing can drive another face "
                       "with it; leave out --driving, or take a recipe with `references: {generate: first}`.")
    return Footage(driving, rate), person
