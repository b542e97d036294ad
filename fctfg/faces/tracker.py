"""Following faces through a video: found on some frames, followed between them, smoothed without lag."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count, groupby
from operator import itemgetter

import numpy as np

from ..interfaces import Detector
from .boxes import overlap, square
from .profiles import STILL, Measures
from .shots import number_shots
from .smoothing import POSE_REACH, smooth

CONFIRM_EVERY = 3
"""Frames after which the detector is asked whether a face that is followed is still there."""
SAME = 0.5
"""The part of the smaller of two boxes that lies in the other from which on they are of the same face."""
SLIPPED = 0.65
"""Intersection over union of the detector's box and the expected one under which landmarks are found anew."""
TRUST = 1 / 3
"""How far the expected box gives way to the detector's, which is a coarse one."""


@dataclass(frozen=True)
class TrackedFace:
    """One face in one frame of a video."""

    track: int
    """The same number is the same face. A track never crosses a shot change."""
    box: np.ndarray
    """(4,): left, top, right, bottom of the square about brows, jaw and chin, in pixels, perhaps beyond the frame."""
    landmarks: np.ndarray
    """(68, 2): the smoothed iBUG points in pixels of the frame, x then y."""
    score: float
    """The detector's, when it last looked; 0 where the face was out of sight and is interpolated."""


class FaceTracker:
    """Follows every face of a video, at most the `most` largest.

    The detector looks at a whole frame at the start of each shot, every `every` frames, and when a face is lost. In
    between, faces are followed by their landmarks, and the detector confirms now and then that they are there. A face
    that is found later is followed back to where it came into view. One that is out of sight for at most `max_gap`
    frames is interpolated; for longer, the frames have no face.
    """

    def __init__(self, detector: Detector, *, every: int = 10, max_gap: int = 10, most: int = 6):
        self.detector = detector
        self.every = every
        self.max_gap = max_gap
        self.most = most
        self._numbers = count()

    @property
    def ahead(self) -> int:
        """How many frames are held back to look ahead, within a shot."""
        return max(self.every, self.max_gap) + POSE_REACH

    def track(self, frames: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, list[TrackedFace]]]:
        """Each of `frames` (H, W, 3) uint8 RGB, in order, with its faces, the largest first."""
        for _, shot in groupby(number_shots(frames), key=itemgetter(0)):
            yield from self._follow(frame for _, frame in shot)

    def _follow(self, frames: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, list[TrackedFace]]]:
        shot = _Shot(self)
        for frame in frames:
            shot.see(frame)
            if len(shot.held) > self.ahead:
                yield shot.release()
        while shot.held:
            yield shot.release()


@dataclass
class _Sight:
    """A face as it was seen in one frame."""

    landmarks: np.ndarray
    score: float
    confirmed: bool


@dataclass
class _Track:
    number: int
    box: np.ndarray
    """Where the detector would have drawn it when it last looked."""
    face: np.ndarray
    """(68, 2): the landmarks it had then."""
    sights: dict[int, _Sight]
    """By the frame's number in the shot."""
    lost: bool = False

    @property
    def last(self) -> int:
        return max(self.sights)

    def expect(self, landmarks: np.ndarray) -> np.ndarray:
        """Where the detector would draw the box of the face with these `landmarks`, as it is moved and scaled since."""
        measures = Measures.of(np.stack([self.face, landmarks]))
        (then, now), (before, after) = measures.middle, measures.unit
        return ((self.box.reshape(2, 2) - then) * (after / before) + now).ravel()

    def guess(self, now: int, way: int) -> np.ndarray:
        """The landmarks to expect in frame `now`, seen `way` frames before: moved on as they moved then."""
        near, before = self.sights[now - way].landmarks, self.sights.get(now - 2 * way)
        return near if before is None else near + (near[STILL] - before.landmarks[STILL]).mean(0)

    def at(self, now: int, max_gap: int) -> np.ndarray | None:
        """The landmarks at frame `now`, interpolated over gaps of at most `max_gap` frames."""
        if now in self.sights:
            return self.sights[now].landmarks
        before = next((t for t in range(now - 1, now - max_gap - 1, -1) if t in self.sights), None)
        if before is None:
            return None
        after = next((t for t in range(now + 1, before + max_gap + 2) if t in self.sights), None)
        if after is None:
            return None
        part = (now - before) / (after - before)
        return (1 - part) * self.sights[before].landmarks + part * self.sights[after].landmarks


class _Shot:
    """The faces of one shot, while it goes by."""

    def __init__(self, tracker: FaceTracker):
        self.tracker = tracker
        self.detector = tracker.detector
        self.held: deque[np.ndarray] = deque()
        self.first = 0  # the number of the oldest frame held
        self.looked = -tracker.every
        self.tracks: list[_Track] = []

    def see(self, frame: np.ndarray) -> None:
        """Take the next frame and follow the faces into it."""
        self.held.append(frame)
        now = self.first + len(self.held) - 1
        lost = False
        for track in self.tracks:
            if not track.lost:
                was_seen = now - 1 in track.sights
                lost |= was_seen and not self._follow(track, now)
                if not was_seen:
                    self._seek(track, now)
        self._part(now)
        if lost or now - self.looked >= self.tracker.every:
            self._look(now)

    def release(self) -> tuple[np.ndarray, list[TrackedFace]]:
        """Give up the oldest frame, with its faces."""
        now, gap = self.first, self.tracker.max_gap
        faces = []
        for track in self.tracks:
            around = {t: points for t in range(now - POSE_REACH, now + POSE_REACH + 1)
                      if (points := track.at(t, gap)) is not None}
            if now not in around:
                continue
            low = next(t for t in range(now, now - POSE_REACH - 2, -1) if t - 1 not in around)
            high = next(t for t in range(now, now + POSE_REACH + 2) if t + 1 not in around)
            landmarks = smooth(np.stack([around[t] for t in range(low, high + 1)]), now - low)
            score = track.sights[now].score if now in track.sights else 0.0
            faces.append(TrackedFace(track.number, square(landmarks), landmarks, score))
        self.first += 1
        oldest = self.first - POSE_REACH - gap - 1
        for track in self.tracks:
            track.sights = {t: sight for t, sight in track.sights.items() if t >= oldest}
        self.tracks = [track for track in self.tracks if track.sights]
        return self.held.popleft(), sorted(faces, key=lambda face: -_area(face.box))

    def _frame(self, now: int) -> np.ndarray:
        return self.held[now - self.first]

    def _follow(self, track: _Track, now: int, way: int = 1) -> bool:
        """See the face of `track` in frame `now` as it was seen `way` frames before; False if it is gone."""
        frame = self._frame(now)
        box = track.expect(track.guess(now, way))
        sight = track.sights[now - way]
        score, confirmed = sight.score, False
        landmarks = self.detector.landmarks(frame, box)
        if way < 0 or now % CONFIRM_EVERY == track.number % CONFIRM_EVERY:
            box = track.expect(landmarks)
            face = self.detector.confirm(frame, box)
            if face is None:
                self._unsee(track, now - way)
                return False
            if _agreement(face.box, box) < SLIPPED:
                landmarks = self.detector.landmarks(frame, face.box)
                box = face.box
            score, confirmed = face.score, True
            track.box, track.face = box + TRUST * (face.box - box), landmarks
        track.sights[now] = _Sight(landmarks, score, confirmed)
        return True

    def _unsee(self, track: _Track, now: int) -> None:
        """Find back to the frame in which the face was last there, of those not confirmed."""
        while now in track.sights and not track.sights[now].confirmed and now >= self.first:
            face = self.detector.confirm(self._frame(now), track.expect(track.sights[now].landmarks))
            if face is not None:
                track.sights[now].confirmed = True
                return
            del track.sights[now]
            now -= 1

    def _seek(self, track: _Track, now: int) -> None:
        """See whether a face out of sight is back where it was."""
        if now - track.last > self.tracker.max_gap:
            track.lost = True
            return
        face = self.detector.confirm(self._frame(now), track.expect(track.sights[track.last].landmarks))
        if face is not None:
            landmarks = self.detector.landmarks(self._frame(now), face.box)
            track.sights[now] = _Sight(landmarks, face.score, True)
            track.box, track.face = face.box, landmarks

    def _part(self, now: int) -> None:
        """Where two tracks have slid onto one face, leave it to the one that has it longer."""
        seen = sorted((track for track in self.tracks if now in track.sights), key=lambda track: -len(track.sights))
        boxes = [track.expect(track.sights[now].landmarks) for track in seen]
        for i, track in enumerate(seen):
            if any(overlap(boxes[i], box) > SAME for box in boxes[:i]):
                del track.sights[now]
                track.lost = True
        self.tracks = [track for track in self.tracks if track.sights]

    def _look(self, now: int) -> None:
        """Look at the whole frame `now` for faces that are not followed yet."""
        self.looked = now
        followed = [track.expect(track.sights[now].landmarks) for track in self.tracks if now in track.sights]
        for face in sorted(self.detector.detect(self._frame(now)), key=lambda face: -_area(face.box)):
            if len(followed) < self.tracker.most and all(overlap(face.box, box) < SAME for box in followed):
                track = self._begin(now, face.box, face.score)
                followed.append(track.expect(track.sights[now].landmarks))

    def _begin(self, now: int, box: np.ndarray, score: float) -> _Track:
        """A face new in frame `now`, followed back to where it came into view, or to where it was lost."""
        landmarks = self.detector.landmarks(self._frame(now), box)
        track = _Track(next(self.tracker._numbers), box, landmarks, {now: _Sight(landmarks, score, True)})
        start = now
        while start > self.first and not self._meets(track, start) and self._follow(track, start - 1, -1):
            start -= 1
        track.box, track.face = box, landmarks
        for old in self.tracks:
            if self._is_same(old, track, start):
                old.sights = {**track.sights, **old.sights}
                old.box, old.face, old.lost = box, landmarks, False
                return old
        self.tracks.append(track)
        return track

    def _meets(self, track: _Track, now: int) -> bool:
        """Whether another track has the face in frame `now` already."""
        box = track.expect(track.sights[now].landmarks)
        return any(now in other.sights and overlap(other.expect(other.sights[now].landmarks), box) > SAME
                   for other in self.tracks)

    def _is_same(self, old: _Track, new: _Track, now: int) -> bool:
        """Whether `new`, which came into view in frame `now`, is the face of `old`, lost nearby a moment before."""
        if old.last >= max(new.sights) or now - old.last > self.tracker.max_gap + 1:
            return False
        then, here = (track.expect(track.sights[t].landmarks) for track, t in ((old, min(now, old.last)), (new, now)))
        sizes = then[2] - then[0], here[2] - here[0]
        away = np.abs((then[:2] + then[2:] - here[:2] - here[2:]) / 2).max()
        return max(sizes) < 1.5 * min(sizes) and away < max(sizes)


def _area(box: np.ndarray) -> float:
    return float(np.prod(box[2:] - box[:2]))


def _agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    return _common(a, b) / max(_area(a) + _area(b) - _common(a, b), 1e-9)


def _common(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0).prod())
