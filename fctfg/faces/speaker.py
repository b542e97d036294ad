"""Which of the faces speaks: chosen once, and the same person from then on."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from .. import media
from ..errors import BadMedia, BadOption
from ..interfaces import Detector
from .tracker import TrackedFace

SAME_PERSON = 0.56
"""The distance of identities under which they are of one person."""
LOOKS = 5
"""How many looks at the speaker are remembered, LOOK_EVERY frames apart."""
LOOK_EVERY = 25
ASK_EVERY = 5
"""Frames after which a face that did not look like the speaker is compared again; it may have turned to the front."""
NEAR = 1.0
"""Sizes of a face within which it is near."""
ALIKE = 1.5
"""How many times larger a face may be to be of about the same size."""
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic")

Choice = Callable[[list[TrackedFace]], "TrackedFace | None"]


class Speaker:
    """The one face of a video that speaks.

    It is chosen in the first frame in which it can be, and then followed by its track. Once that has ended, by a cut or
    with the face out of sight, the speaker is the new face of the same identity. Where the detector knows none, it is
    the new face that is near where the speaker was last seen and about as large, or, if the largest was asked for, the
    largest. A face once seen beside the speaker is somebody else.
    """

    def __init__(self, text: str, detector: Detector, choose: Choice | None, looks: list[np.ndarray] | None = None):
        self.text = text
        self._detector = detector
        self._choose = choose
        self._looks = looks or []
        self._last: TrackedFace | None = None
        self._others: set[int] = set()
        self._asked: dict[int, int] = {}
        self._now = -1
        self._looked = -LOOK_EVERY
        self._most = 0

    @classmethod
    def parse(cls, text: str, detector: Detector) -> Speaker:
        """The speaker that `text` means: `largest`, `left:2` (the second from the left), `right:1`, `640,200` (the face
        at or near that pixel), or the path of a picture of the person.

        Raises:
            BadOption: it means nothing, or `detector` cannot do what it asks for.
            BadMedia: the picture cannot be read, or shows no face.
        """
        text = text.strip()
        if text == "largest":
            return cls(text, detector, _largest)
        if match := re.fullmatch(r"(left|right):([1-9]\d*)", text):
            return cls(text, detector, partial(_counted, match[1], int(match[2])))
        if match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*,\s*(\d+(?:\.\d+)?)", text):
            return cls(text, detector, partial(_nearest, np.array([float(match[1]), float(match[2])])))
        if Path(text).suffix.lower() in PICTURES or Path(text).is_file():
            return cls(text, detector, None, [_identity(text, detector)])
        raise BadOption(f"'{text}' is no speaker; say largest, left:2 for the second face from the left, right:1, a "
                        "pixel of the face as 640,200, or the path of a picture of the person.")

    def pick(self, frame: np.ndarray, faces: list[TrackedFace]) -> TrackedFace | None:
        """The speaker among the `faces` of the next `frame` (H, W, 3) uint8 RGB, or None. Call it for every frame."""
        self._now += 1
        self._most = max(self._most, len(faces))
        face = self._find(frame, faces)
        if face is not None:
            self._others |= {other.track for other in faces} - {face.track}
            self._remember(frame, face)
            self._last = face
        return face

    def absence(self) -> str:
        """Why `pick` never found anybody, for an error message."""
        if not self._most:
            return "no face was found"
        faces = "1 face" if self._most == 1 else f"{self._most} faces"
        return f"nobody was found for the speaker '{self.text}'; at most {faces} could be seen at once"

    def _find(self, frame: np.ndarray, faces: list[TrackedFace]) -> TrackedFace | None:
        if self._last is not None:
            followed = next((face for face in faces if face.track == self._last.track), None)
            if followed is not None:
                return followed
        elif self._choose:
            return self._choose(faces)
        faces = [face for face in faces if face.track not in self._others]
        if self._looks:
            return self._recognise(frame, faces)
        if self._choose is _largest:
            return _largest(faces)
        return _beside(self._last, faces)

    def _recognise(self, frame: np.ndarray, faces: list[TrackedFace]) -> TrackedFace | None:
        best, found = SAME_PERSON, None
        for face in faces:
            if self._now - self._asked.get(face.track, -ASK_EVERY) >= ASK_EVERY:
                self._asked[face.track] = self._now
                identity = self._detector.embed(frame, face.landmarks)
                distance = min(np.linalg.norm(identity - look) for look in self._looks)
                if distance < best:
                    best, found = distance, face
        return found

    def _remember(self, frame: np.ndarray, face: TrackedFace) -> None:
        if len(self._looks) < LOOKS and face.score > 0 and self._now - self._looked >= LOOK_EVERY:
            self._looked = self._now
            identity = self._detector.embed(frame, face.landmarks)
            self._looks += [identity] if identity is not None else []


def _largest(faces: list[TrackedFace]) -> TrackedFace | None:
    return max(faces, key=lambda face: _size(face), default=None)


def _counted(side: str, number: int, faces: list[TrackedFace]) -> TrackedFace | None:
    """The face that is `number`-th from `side`, in the first frame with so many."""
    ordered = sorted(faces, key=lambda face: _middle(face)[0], reverse=side == "right")
    return ordered[number - 1] if number <= len(ordered) else None


def _nearest(point: np.ndarray, faces: list[TrackedFace]) -> TrackedFace | None:
    """The face in or near whose box `point` lies."""
    def away(face: TrackedFace) -> float:
        return float(np.hypot(*np.maximum(np.maximum(face.box[:2] - point, point - face.box[2:]), 0)))

    return min((face for face in faces if away(face) <= NEAR * _size(face)),
               key=lambda face: (away(face), np.hypot(*(_middle(face) - point))), default=None)


def _beside(last: TrackedFace, faces: list[TrackedFace]) -> TrackedFace | None:
    """The face nearest to where `last` was, if it is near and about as large."""
    def away(face: TrackedFace) -> float:
        return float(np.hypot(*(_middle(face) - _middle(last))))

    near = [face for face in faces
            if away(face) <= NEAR * _size(last) and 1 / ALIKE < _size(face) / _size(last) < ALIKE]
    return min(near, key=away, default=None)


def _identity(path: str, detector: Detector) -> np.ndarray:
    """Who the largest face in a picture is."""
    picture = media.read_picture(path)
    faces = detector.detect(picture)
    if not faces:
        raise BadMedia(f"{path} shows no face by which to know the speaker; give another picture, or say largest.")
    box = max((face.box for face in faces), key=lambda box: box[2] - box[0])
    identity = detector.embed(picture, detector.landmarks(picture, box))
    if identity is None:
        raise BadOption(f"The speaker cannot be known by the picture {path}, since {type(detector).__name__} cannot "
                        "tell people apart; the detectors dlib-hog and dlib-cnn can. Or say largest, or left:1.")
    return identity


def _size(face: TrackedFace) -> float:
    return float(face.box[2] - face.box[0])


def _middle(face: TrackedFace) -> np.ndarray:
    return (face.box[:2] + face.box[2:]) / 2
