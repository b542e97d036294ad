"""Motion kept apart from identity: scaled, blended, moved along directions, left out; in pictures and in videos."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file
from skimage.data import astronaut

from fctfg import media, registry
from fctfg.cli import main
from fctfg.directions import Directions
from fctfg.errors import BadRecipe, BadRun
from fctfg.interfaces import Detector, Latent
from fctfg.model import Steering, build_model
from fctfg.recipe import Recipe
from fctfg.runs import Run
from fctfg.testing import random_clip

RECIPE = (Recipe.find("tiny").with_part("fusion", "canonical-motion").with_setting("fusion.options", "{width: per-code}")
          .with_setting("references.generate", "first").with_setting("redraws", "crop").with_setting("name", "controlled"))


@pytest.fixture(scope="module")
def model():
    model = build_model(RECIPE).eval()
    with torch.no_grad():  # so that motions are told apart in bytes
        model.visual_encoder.net.weight *= 3
    return model


class OneDetector(Detector):
    """The default detector, whose files are read once for all of these tests."""

    real = None

    def __new__(cls):
        cls.real = cls.real or registry.build("detector", "dlib-hog")
        return cls.real


@pytest.fixture(autouse=True)
def _one_detector():
    with registry.offering("detector", one=OneDetector):
        yield


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    run = Run.create(RECIPE, tmp_path_factory.mktemp("runs") / "a run")
    run.export(model, torch.nn.ModuleDict(), 0)
    return run.path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A portrait, two videos of a face that moves and brightens, the second beginning without one, and a sound."""
    folder = tmp_path_factory.mktemp("files with spaces")
    picture = astronaut()
    Image.fromarray(picture[:256, 96:352]).save(folder / "who is it.png")
    media.write_wave(folder / "tone.wav", 0.3 * np.sin(np.arange(8000) / 20))
    media.write_wave(folder / "long.wav", 0.3 * np.sin(np.arange(16000) / 30))
    for name, sound, dim in (("one", folder / "long.wav", 1.0), ("two", None, 0.4)):
        with media.VideoWriter(folder / f"{name}.mp4", 240, 240, 25, sound, crf=10) as writer:
            for i in range(14):
                frame = picture[i:i + 240, 80 + 2 * i:320 + 2 * i] * (dim * (1 - i / 40))
                writer.write(np.full((240, 240, 3), 30, np.uint8) if name == "two" and i < 4 else frame.astype(np.uint8))
    return folder


def fctfg(*arguments, fails: str | None = None) -> str:
    done = CliRunner().invoke(main, [*map(str, arguments), "--detector", "one"], catch_exceptions=fails is not None)
    assert (done.exit_code == 0) == (fails is None), done.output
    if fails:
        assert fails in done.output, done.output
    return done.output


def test_motion_is_scaled_blended_and_offset(model):
    clip = random_clip(32)
    plain = model(clip).latent
    other = Latent(plain.codes, plain.canonical, plain.motion.flip(1))
    offset = torch.randn(model.decoder.codes)
    with torch.no_grad():
        steered = Steering(0.5, 0.25, offset)(model.fusion, plain, other)
    motion = 0.5 * (0.75 * plain.motion + 0.25 * plain.motion.flip(1)) + offset
    torch.testing.assert_close(steered.motion, motion)
    torch.testing.assert_close(steered.codes, plain.canonical[:, None] + motion)  # the convolution begins as the identity


def test_directions_are_the_principal_components():
    draw = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(12, 2, generator=draw))[0].T
    amounts = torch.randn(500, 2, generator=draw) * torch.tensor([3.0, 1.0])
    found = Directions.of((amounts @ axes + 5).unflatten(1, (3, 4)))
    for number, (axis, amount) in enumerate(zip(axes, amounts.T), 1):
        direction = found.find(str(number)).flatten()
        assert abs(float(direction @ axis)) == pytest.approx(float(amount.std()), rel=0.05)
    with pytest.raises(BadRun, match="1 to 12"):
        found.find("99")
    with pytest.raises(BadRun, match="several frames"):
        Directions.of(torch.zeros(1, 3, 4))


def test_a_picture_is_inverted(run, files, model):
    out = files / "codes of it"
    said = fctfg("invert", files / "who is it.png", "--run", run, "--out", out)
    shown, drawn = (np.asarray(Image.open(out / f"{name}.png")) for name in ("input", "reconstruction"))
    codes = load_file(out / "codes.safetensors")["codes"]
    with torch.no_grad():
        expected = model.decoder(Latent(codes[None, None]))[0, 0].permute(1, 2, 0)
    assert np.abs(drawn - ((expected.clamp(-1, 1) + 1) * 127.5).numpy()).max() <= 1
    l1 = np.abs(shown.astype(float) - drawn).mean() / 255
    report = json.loads((out / "report.json").read_text())
    assert report["l1"] == pytest.approx(l1, abs=0.004) and f"L1 {report['l1']:.4f}" in said


def test_a_picture_is_moved_along_found_and_named_directions(run, files):
    fctfg("edit", files / "who is it.png", "--run", run, "--direction", 1, fails="--motions VIDEO")
    said = fctfg("edit", files / "who is it.png", "--run", run, "--motions", files / "one.mp4", "--direction", 1, "--by", 4,
                 "--call", "dim", "--out", files / "moved.png")
    assert "14 frames" in said and "also called 'dim'" in said
    strip = np.asarray(Image.open(files / "moved.strip.png")).astype(int)
    assert strip.shape == (32, 5 * 32, 3)
    still = np.asarray(Image.open(files / "moved.png")).astype(int)
    assert np.array_equal(strip[:, -32:], still)
    colours = strip[0, ::32].sum(-1)
    assert (np.diff(colours) > 0).all() or (np.diff(colours) < 0).all()
    fctfg("edit", files / "who is it.png", "--run", run, "--direction", "dim", "--by", 4, "--out", files / "by name.png")
    assert np.array_equal(np.asarray(Image.open(files / "by name.png")), still)
    fctfg("edit", files / "who is it.png", "--run", run, "--direction", "din", fails="Did you mean 'dim'?")
    fctfg("edit", files / "who is it.png", "--run", run, "--motions", files / "two.mp4")  # found anew; names stay
    assert "dim" in Directions.load(run).named
    fctfg("edit", files / "who is it.png", "--run", run, fails="Give --direction")


def colours(path):
    return np.stack([frame.mean((0, 1)) for frame in media.read_video(path)])


def test_a_driving_video_moves_a_picture_with_and_without_its_own_sound(run, files):
    out = files / "out.mp4"
    fctfg("generate", "--face", files / "who is it.png", "--driving", files / "one.mp4", "--run", run, "--out", out)
    report = json.loads(out.with_suffix(".json").read_text())
    assert (report["width"], report["height"]) == (32, 32) and report["audio"].endswith("one.mp4")
    assert report["frames_out"] == 14 and report["frames_drawn"] == 14 and media.probe_video(out).has_sound
    moving = colours(out)

    fctfg("generate", "--face", files / "who is it.png", "--driving", files / "one.mp4", "--run", run, "--out", out, "--motion", 0)
    assert np.ptp(colours(out), axis=0).max() < 3 < np.ptp(moving, axis=0).max()
    still = colours(out)[0]
    canonical = files / "canonical.png"
    fctfg("generate", "--face", files / "who is it.png", "--run", run, "--canonical", "--out", canonical)
    assert np.abs(np.asarray(Image.open(canonical)).mean((0, 1)) - still).max() < 3
    fctfg("generate", "--face", files / "who is it.png", "--run", run, "--canonical", fails=".png")

    fctfg("generate", "--face", files / "who is it.png", "--driving", files / "one.mp4", "--audio", files / "tone.wav",
          "--run", run, "--out", out)
    assert json.loads(out.with_suffix(".json").read_text())["frames_out"] == 13  # half a second


def test_a_driving_video_that_begins_without_a_face_is_waited_for_or_cut(run, files):
    out = files / "late.mp4"
    fctfg("generate", "--face", files / "who is it.png", "--driving", files / "two.mp4", "--run", run, "--out", out)
    report = json.loads(out.with_suffix(".json").read_text())
    assert report["frames_out"] == 14 and report["audio"] is None and not media.probe_video(out).has_sound
    assert any("no face before frame 4; its first pose is held" in warning for warning in report["warnings"])
    held = colours(out)
    assert np.abs(np.diff(held[:5], axis=0)).max() < 2

    media.write_wave(files / "silence.wav", np.zeros(8000))
    said = fctfg("generate", "--face", files / "who is it.png", "--driving", files / "two.mp4", "--audio", files / "silence.wav",
                 "--run", run, "--out", out)
    assert "the motion begins there" in said
    assert np.abs(colours(out)[:10] - held[4:]).max() < 3


def test_two_motions_are_blended(run, files):
    def drawn(*options):
        out = files / "blend.mp4"
        fctfg("generate", "--face", files / "who is it.png", "--driving", files / "one.mp4", "--audio", files / "tone.wav",
              "--run", run, "--out", out, *options)
        return colours(out)

    none, half, all_ = (drawn("--blend", files / "two.mp4", "--blend-share", share) for share in (0, 0.5, 1))
    assert np.abs(none - drawn()).max() < 2
    assert np.abs(none - all_).max() > 4
    middle = np.abs(half - (none + all_) / 2).max()
    assert middle < np.abs(none - all_).max() / 2
    fctfg("generate", "--face", files / "one.mp4", "--blend", files / "two.mp4", "--run", run, fails="--driving")


def test_what_cannot_be_controlled_says_so(files, tmp_path):
    plain = Recipe.find("tiny")
    run = Run.create(plain, tmp_path / "plain")
    run.export(build_model(plain), torch.nn.ModuleDict(), 0)
    fctfg("generate", "--face", files / "who is it.png", "--audio", files / "tone.wav", "--motion", 0.5, "--run", run.path,
          fails="canonical-motion")
    fctfg("edit", files / "who is it.png", "--run", run.path, "--motions", files / "one.mp4", fails="canonical-motion")
    with pytest.raises(BadRecipe, match="canonical-motion"):
        build_model(plain).fusion.compose(torch.zeros(1, 2, 4), torch.zeros(1, 1, 2, 4))
    with pytest.raises(BadRecipe, match="stylegan2"):
        build_model(plain).decoder.imagine(1, 1)
