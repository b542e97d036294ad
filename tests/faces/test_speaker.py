from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fctfg.errors import BadMedia, BadOption
from fctfg.faces import Speaker, TrackedFace

FRAME = np.zeros((200, 400, 3), np.uint8)
ANNA, BEN, CLEO = np.eye(3)


def at(track: int, x: float, y: float = 100, size: float = 40, score: float = 1.0) -> TrackedFace:
    box = np.array([x - size / 2, y - size / 2, x + size / 2, y + size / 2])
    return TrackedFace(track, box, np.full((68, 2), (x, y), float), score)


class Recogniser:
    """A detector that knows who is where: the person whose place is nearest to the landmarks."""

    def __init__(self, **places):
        self.places = {name: (np.array(place), who) for name, (place, who) in places.items()}
        self.asked = 0

    def embed(self, frame, landmarks):
        self.asked += 1
        middle = landmarks.mean(0)
        nearest = min(self.places.values(), key=lambda known: np.abs(known[0] - middle).sum(), default=(None, None))
        return nearest[1]


NOBODY_KNOWN = Recogniser()


def picked(speaker: Speaker, frames: list[list[TrackedFace]]) -> list[int | None]:
    found = [speaker.pick(FRAME, faces) for faces in frames]
    return [face and face.track for face in found]


def test_the_largest_is_kept_when_another_comes_nearer():
    speaker = Speaker.parse("largest", NOBODY_KNOWN)
    assert picked(speaker, [[], [at(0, 100), at(1, 300, size=30)], [at(0, 100), at(1, 300, size=90)]]) == [None, 0, 0]


@pytest.mark.parametrize("text, track", [("left:1", 7), ("left:2", 3), ("right:1", 5), ("right:3", 7), ("left:3", 5)])
def test_faces_are_counted_from_either_side(text, track):
    faces = [at(3, 200), at(5, 330, size=60), at(7, 60)]
    assert picked(Speaker.parse(text, NOBODY_KNOWN), [faces]) == [track]


def test_the_second_from_the_left_waits_for_two_faces():
    speaker = Speaker.parse("left:2", NOBODY_KNOWN)
    assert picked(speaker, [[at(0, 100)], [at(0, 100), at(1, 300)], [at(1, 310)]]) == [None, 1, 1]


def test_a_point_takes_the_face_under_it_or_near_it():
    faces = [at(0, 100), at(1, 300)]
    assert picked(Speaker.parse("310, 95", NOBODY_KNOWN), [faces]) == [1]
    assert picked(Speaker.parse("130,130.5", NOBODY_KNOWN), [faces]) == [0]
    assert picked(Speaker.parse("200,10", NOBODY_KNOWN), [faces]) == [None]


def test_after_a_cut_the_speaker_is_known_again():
    detector = Recogniser(here=((100, 100), ANNA), there=((300, 100), BEN), far=((40, 20), ANNA))
    speaker = Speaker.parse("largest", detector)
    anna, ben = at(3, 40, 20), at(2, 300, size=80)
    frames = [[at(0, 100, size=60), at(1, 300)], [ben, anna], [ben], [anna]]
    assert picked(speaker, frames) == [0, 3, None, 3]


def test_somebody_else_alone_is_not_the_speaker():
    detector = Recogniser(here=((100, 100), ANNA), there=((300, 100), BEN))
    assert picked(Speaker.parse("largest", detector), [[at(0, 100)], *[[at(1, 300)]] * 30]) == [0] + [None] * 30


def test_a_face_that_was_not_known_at_first_is_asked_again():
    detector = Recogniser(here=((100, 100), ANNA), turned=((200, 100), CLEO), front=((220, 100), ANNA))
    frames = [[at(0, 100)], *[[at(1, 200)]] * 8, *[[at(1, 220)]] * 8]
    found = picked(Speaker.parse("largest", detector), frames)
    assert found[:9] == [0] + [None] * 8 and found[-1] == 1


def test_few_faces_are_embedded():
    detector = Recogniser(here=((100, 100), ANNA))
    picked(Speaker.parse("largest", detector), [[at(0, 100), at(1, 300)]] * 300)
    assert detector.asked == 5


def test_without_identities_the_near_one_of_the_same_size_is_taken():
    speaker = Speaker.parse("left:1", NOBODY_KNOWN)
    frames = [[at(0, 100), at(1, 300)], [at(2, 120, size=90), at(3, 290), at(4, 125)], [at(4, 130)]]
    assert picked(speaker, frames) == [0, 4, 4]
    assert picked(Speaker.parse("left:1", NOBODY_KNOWN), [[at(0, 100)], [at(1, 300)]]) == [0, None]


def test_without_identities_the_largest_is_again_the_largest():
    frames = [[at(0, 100)], [at(1, 300), at(2, 350, size=20)], [at(1, 300), at(2, 350, size=99)]]
    assert picked(Speaker.parse("largest", NOBODY_KNOWN), frames) == [0, 1, 1]


def test_who_was_seen_beside_the_speaker_is_somebody_else():
    frames = [[at(0, 100), at(1, 120)], [at(1, 101)]]
    assert picked(Speaker.parse("left:1", NOBODY_KNOWN), frames) == [0, None]


@pytest.mark.parametrize("text", ["", "biggest", "left", "left:0", "left:-1", "right:x", "12", "3,", "-4,5", "4,5,6"])
def test_what_means_nothing_is_answered_with_what_would(text):
    message = "^'.*' is no speaker; say largest, left:2 .*, right:1, .*640,200, .*picture.*"
    with pytest.raises(BadOption, match=message) as raised:
        Speaker.parse(text, NOBODY_KNOWN)
    assert "\n" not in str(raised.value)


@pytest.fixture
def portrait(tmp_path, face, knowing):
    """A picture in which a detector sees Ben; and that detector."""
    truth = [{"small": 10 * face + [40, 60], "ben": 30 * face + [200, 110]}]
    detector = knowing(truth, people={"small": ANNA, "ben": BEN})
    Image.fromarray(detector.frames()[0]).save(tmp_path / "ben.png")
    return str(tmp_path / "ben.png"), detector


def test_a_picture_says_who_speaks(portrait):
    path, detector = portrait
    speaker = Speaker.parse(path, detector)
    speaker._detector = Recogniser(left=((60, 100), ANNA), right=((300, 100), BEN))
    assert picked(speaker, [[at(0, 60)], [at(0, 60, size=80), at(1, 300, size=30)], [at(1, 290)]]) == [None, 1, 1]


def test_a_picture_needs_a_detector_that_knows_people(portrait):
    path, detector = portrait
    detector.people = None
    with pytest.raises(BadOption, match="KnowingDetector cannot tell people apart; the detectors dlib-hog"):
        Speaker.parse(path, detector)


def test_a_picture_without_a_face_or_without_a_file(portrait, tmp_path):
    path, detector = portrait
    detector.truth = [{}]
    with pytest.raises(BadMedia, match="ben.png shows no face"):
        Speaker.parse(path, detector)
    with pytest.raises(BadMedia, match="nobody.jpg"):
        Speaker.parse(str(tmp_path / "nobody.jpg"), detector)


def test_why_there_was_nobody():
    speaker = Speaker.parse("left:3", NOBODY_KNOWN)
    picked(speaker, [[]])
    assert speaker.absence() == "no face was found"
    picked(speaker, [[at(0, 100)], [at(0, 100), at(1, 300)]])
    assert speaker.absence() == "nobody was found for the speaker 'left:3'; at most 2 faces could be seen at once"
