"""What action units a generated face shows: those that are asked for, the others as they are heard."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from fctfg import media, registry
from fctfg.action_units import MOUTH, NAMES
from fctfg.errors import BadMedia, BadRecipe
from fctfg.interfaces import Detector, Face
from fctfg.model import build_model
from fctfg.pipeline import Expression, generate
from fctfg.pipeline.expression import Blinks
from fctfg.recipe import Recipe

RATE, FRAMES = Fraction(25), 10
RECIPE = Recipe.from_dict({
    "name": "expressive", "visual_encoder": "ganimation", "fusion": "action-units", "size": 32,
    "audio_encoder": {"name": "aunet", "options": {"scale": 0.05}},
    "decoder": {"name": "ganimation", "options": {"g_conv_dim": 4, "g_repeat": 1}}})
LANDMARKS = np.float32([
    (84, 104), (84, 116), (85, 127), (86, 139), (89, 150), (95, 160), (104, 169), (113, 176), (125, 179), (136,
    177), (147, 172), (157, 164), (164, 155), (169, 144), (172, 131), (174, 120), (176, 108), (91, 94), (97, 89),
    (105, 87), (113, 89), (121, 93), (140, 94), (148, 91), (156, 91), (164, 92), (169, 99), (130, 103), (130, 111),
    (130, 119), (130, 128), (119, 131), (124, 133), (129, 135), (134, 133), (139, 132), (99, 101), (105, 98), (111,
    99), (117, 104), (111, 105), (104, 104), (142, 105), (148, 101), (154, 101), (160, 105), (154, 107), (148, 107),
    (105, 140), (113, 140), (122, 140), (128, 141), (134, 140), (142, 141), (150, 141), (142, 152), (133, 156),
    (126, 156), (120, 155), (112, 150), (108, 141), (121, 143), (128, 144), (134, 144), (147, 142), (133, 150),
    (127, 151), (121, 150)])
"""Of the portrait, as dlib finds them."""
UPPER = [place for place, name in enumerate(NAMES) if name not in MOUTH]


class Portrait(Detector):
    """Finds the face where the portrait of these tests has it."""

    def detect(self, frame):
        return [Face(np.array([90.0, 50.0, 180.0, 160.0]), 1.0)]

    def landmarks(self, frame, box):
        return LANDMARKS

    def confirm(self, frame, box):
        return self.detect(frame)[0]


class Attentive(Portrait):
    """Sees every action unit at what the left upper pixel of the frame says."""

    def action_units(self, frame, landmarks):
        return np.full(17, frame[0, 0, 0] / 255, np.float32)


@pytest.fixture(autouse=True)
def _detectors():
    with registry.offering("detector", portrait=Portrait, attentive=Attentive):
        yield


@pytest.fixture(scope="module")
def model():
    return build_model(RECIPE).eval()


@pytest.fixture
def shown(model, tmp_path):
    """Generate, and give the action units (T, 17) that were drawn."""
    Image.fromarray(astronaut()[:256, 96:352]).save(tmp_path / "face.png")
    random = np.random.default_rng(0)
    media.write_wave(tmp_path / "voice.wav", (0.1 * random.standard_normal(FRAMES * 640)).astype(np.float32), 16000)
    drawn = []

    def run(face="face.png", audio="voice.wav", driving=None, plot=None, recipe=RECIPE, **asked):
        drawn.clear()
        seen = model.decoder.register_forward_pre_hook(lambda _, inputs: drawn.append(inputs[0].codes[0, :, 0].numpy()))
        try:
            generate(tmp_path / face, audio and tmp_path / audio, tmp_path / "out.mp4", model, recipe, expression=Expression(**asked),
                     driving=driving, plot=plot, batch=2 * FRAMES, detector="portrait")
        finally:
            seen.remove()
        return np.concatenate(drawn)

    return run


def test_what_is_asked_for_is_drawn_and_the_rest_is_heard(shown, tmp_path):
    heard = shown()
    asked = shown(wanted=["AU12=0.8", "au01=0"], plot=tmp_path / "units.png")
    smile, brow = NAMES.index("AU12"), NAMES.index("AU01")
    others = [place for place in range(17) if place not in (smile, brow)]
    assert heard.shape == (FRAMES, 17) and np.ptp(heard, 0).max() > 0
    assert (asked[:, smile] == np.float32(0.8)).all() and (asked[:, brow] == 0).all()
    np.testing.assert_allclose(asked[:, others], heard[:, others], atol=1e-6)
    plot = np.asarray(Image.open(tmp_path / "units.png"))
    assert plot.std() > 10
    assert media.probe_video(tmp_path / "out.mp4").has_sound


def test_a_driving_video_keeps_its_upper_face_and_the_sound_its_mouth(shown, tmp_path):
    with media.VideoWriter(tmp_path / "moving.mp4", 256, 256, RATE, crf=1) as writer:
        for number in range(FRAMES):
            frame = astronaut()[:256, 96:352].copy()
            frame[:32, :32] = 20 * number
            writer.write(frame)
    heard, driven = shown(), shown(driving=tmp_path / "moving.mp4", detector="attentive")
    np.testing.assert_allclose(driven[:, UPPER], np.repeat(np.arange(FRAMES)[:, None] * 20 / 255, len(UPPER), 1), atol=0.03)
    mouth = [NAMES.index(name) for name in MOUTH]
    np.testing.assert_allclose(driven[:, mouth], heard[:, mouth], atol=1e-6)


def test_a_driving_video_that_nobody_reads_is_told_of(model, tmp_path, shown):
    with media.VideoWriter(tmp_path / "moving.mp4", 256, 256, RATE, crf=1) as writer:
        for _ in range(FRAMES):
            writer.write(astronaut()[:256, 96:352])
    warnings = {}
    for detector in (None, "attentive"):
        shown(driving=tmp_path / "moving.mp4", detector=detector)
        warnings[detector] = json.loads((tmp_path / "out.json").read_text())["warnings"]
    assert len(warnings[None]) == 1 and "--action-units mediapipe keeps its upper face" in warnings[None][0]
    assert warnings["attentive"] == []


def test_attributes_say_the_strengths_of_each_frame(shown, tmp_path):
    path, said = tmp_path / "attributes.txt", np.linspace(0, 5, FRAMES * 17).reshape(FRAMES, 17).round(2)
    rows = [f"{number}.jpg {' '.join(map(str, row))}" for number, row in enumerate(said)]
    path.write_text("\n".join(rows))
    np.testing.assert_allclose(shown(table=path), said / 5, atol=1e-6)
    path.write_text("\n".join(rows[:-1]))
    with pytest.raises(BadMedia, match="has 9 rows; 10 frames are to be drawn"):
        shown(table=path)


def test_a_plot_is_written_over_nothing_else(shown, tmp_path):
    with pytest.raises(BadMedia, match=r"face.png would be written over, and it is an input; give another --plot"):
        shown(plot=tmp_path / "face.png")
    with pytest.raises(BadMedia, match=r"out.mp4 would be written twice"):
        shown(plot=tmp_path / "out.mp4")


def test_what_is_drawn_is_blended_into_the_picture_by_alpha_once(shown, model, monkeypatch, tmp_path):
    """Half red, half the portrait's own sharp pixels, whatever the size that the model draws at."""
    written = []

    class Recording(media.VideoWriter):
        def write(self, frame):
            written.append(frame.copy())
            super().write(frame)

    monkeypatch.setattr(media, "VideoWriter", Recording)
    red = torch.tensor([1.0, -1, -1])[:, None, None]
    monkeypatch.setattr(model.decoder, "look", lambda pictures, _: (
        torch.full_like(pictures[:, :1], 0.5), red.expand_as(pictures)))
    shown()
    face = np.s_[110:150, 110:150]
    expected = 0.5 * np.array([255, 0, 0]) + 0.5 * astronaut()[:256, 96:352][face]
    assert np.abs(written[0][face] - expected).max() < 3


def test_blinks_close_the_eyes_every_few_seconds_as_the_seed_says():
    blinks, times = Blinks(7), np.arange(0, 60, 1 / 25)
    closed = np.array([blinks.at(time) for time in times])
    starts = times[1:][(closed[1:] > 0) & (closed[:-1] == 0)]
    assert closed.max() > 0.9 and closed.min() == 0 and 60 / 6 - 1 <= len(starts) <= 60 / 2
    assert np.diff(starts).min() > 1.9 and np.diff(starts).max() < 6.1
    assert (closed > 0).mean() < 0.15
    again = Blinks(7)
    assert [again.at(time) for time in times] == closed.tolist() != [Blinks(8).at(time) for time in times]


def test_blinks_are_drawn(shown):
    eyes = shown(blink=34)[:, NAMES.index("AU45")]
    seconds = np.arange(FRAMES) / 25
    blinks = Blinks(34)
    np.testing.assert_allclose(eyes, [blinks.at(second) for second in seconds], atol=1e-6)
    assert eyes.max() > 0.5


@pytest.mark.parametrize("asked, message", [
    ({"wanted": ["AU99=0.5"]}, "--au AU99=0.5: no action unit 'AU99'"),
    ({"wanted": ["AU12=3"]}, "--au AU12=3: give a strength from 0, at rest, to 1, as in AU12=0.8"),
    ({"wanted": ["AU12"]}, "as in AU12=0.8"),
    ({"table": "nowhere.csv"}, "nowhere.csv"),
])
def test_what_cannot_be_shown_is_said(shown, asked, message, tmp_path):
    with pytest.raises(BadMedia, match=message):
        shown(**asked)
    assert not (tmp_path / "out.mp4").exists()


def test_only_what_action_units_move_can_be_asked(shown):
    with pytest.raises(BadRecipe, match="detector 'portrait' sees no action units; --action-units mediapipe does"):
        shown(detector="portrait")


def test_a_recipe_without_action_units_refuses_them(tmp_path):
    tiny = Recipe.find("tiny")
    with pytest.raises(BadRecipe, match="'tiny' is not moved by action units; 'ietafs' is"):
        generate("face.png", "voice.wav", tmp_path / "out.mp4", build_model(tiny).eval(), tiny,
                 expression=Expression(wanted=("AU12=0.8",)))
