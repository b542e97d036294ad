"""The face that talks without weights, held against known sounds, known faces and other people's splines.

The contracts of all plugins run over these, too, in test_contracts.py.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fctfg_plugins.warp import LoudnessAudioEncoder, WarpDecoder, WarpFusion, WarpVisualEncoder
from fctfg_plugins.warp.encoder import meet_lips
from fctfg_plugins.warp.mouth import FaceFrame
from fctfg_plugins.warp.spline import Spline
from scipy.interpolate import CubicSpline, RBFInterpolator

from fctfg.data.heads import Look, Pose, Shape, turned
from fctfg.data.painting import paint
from fctfg.data.synthetic import TalkingHead
from fctfg.errors import BadRecipe
from fctfg.interfaces import SAMPLE_RATE, Clip, CodeShape, FaceCode, Latent
from fctfg.model import build_model
from fctfg.recipe import Recipe

SIZE = 256


def sound(*parts: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.concatenate(parts).astype(np.float32))[None]


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * SAMPLE_RATE))


def noise(seconds: float, decibel: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(round(seconds * SAMPLE_RATE)) * 10 ** (decibel / 20)


def vowel(*formants: float, seconds: float = 1.0, pitch: float = 120.0) -> np.ndarray:
    """Pulses of a larynx through formants and lips: a sum of harmonics, each as loud as the formants let it be."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    wave = np.zeros_like(time)
    for harmonic in np.arange(pitch, 7800, pitch):
        s = 2j * math.pi * harmonic
        gain = 1 / harmonic  # of pulses that fall by 12 dB an octave, and of lips that raise by 6
        for formant, width in zip(formants, (60, 90, 120, 150)):
            pole = complex(-math.pi * width, 2 * math.pi * formant)
            gain *= abs(pole) ** 2 / abs((s - pole) * (s - pole.conjugate()))
        wave += gain * np.sin(2 * math.pi * harmonic * time)
    return 0.3 * wave / np.abs(wave).max()


# Men's means of Peterson and Barney, 1952.
EE, AH, OO = (270, 2290, 3010, 3700), (730, 1090, 2440, 3500), (300, 870, 2240, 3300)
HUM = 0.1 * np.sin(2 * math.pi * 50 * np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE)


def heard(wave: torch.Tensor, at: float) -> torch.Tensor:
    """Opening, width and teeth `at` seconds."""
    return LoudnessAudioEncoder()(wave, torch.tensor([at]))[0, 0]


@pytest.mark.parametrize("wave", [silence(4), noise(4, -60), noise(4, -30), HUM],
                         ids=["nothing", "a room", "loud noise", "mains hum"])
def test_the_mouth_stays_closed_without_a_voice(wave):
    speech = LoudnessAudioEncoder()(sound(wave), torch.arange(0.2, 3.8, 0.04))  # a hum cut off clicks
    assert speech.abs().max() < 0.02


def test_the_louder_the_wider():
    parts = [part for level in (1.0, 0.3, 0.1) for part in (vowel(*AH, seconds=0.3) * level, silence(0.2))]
    loud, softer, soft = (heard(sound(silence(0.5), *parts), 0.65 + 0.5 * i)[0] for i in range(3))
    assert loud > 0.8 and loud > softer + 0.1 and softer > soft + 0.1 and soft > 0


def test_vowels_shape_the_mouth():
    ee, ah, oo = (heard(sound(silence(1), vowel(*formants, seconds=0.5), silence(1)), 1.25)
                  for formants in (EE, AH, OO))
    assert ee[1] > 0.3 and oo[1] < -0.6, "'ee' is wide and 'oo' is round"
    assert ah[0] > 0.8 and ah[0] > ee[0] + 0.3 and ah[0] > oo[0] + 0.3, "'ah' is open"
    assert max(ee[2], ah[2], oo[2]) < 0.05


def test_a_held_vowel_keeps_the_mouth_open():
    assert heard(sound(vowel(*AH, seconds=5)), 2.5)[0] > 0.8


def test_hiss_parts_the_lips_over_closed_teeth():
    hiss = np.diff(noise(0.3, -20), prepend=0)  # rises with frequency, as an 's' does
    hiss = np.diff(hiss, prepend=0)
    opening, _, teeth = heard(sound(vowel(*AH, seconds=0.7), hiss, vowel(*AH, seconds=0.7)), 0.85)
    assert teeth > 0.8 and opening < 0.3


def test_a_quiet_recording_speaks_like_a_loud_one():
    wave = torch.from_numpy(TalkingHead(seed=1, seconds=4).speech.wave)[None]
    times = torch.arange(0, 4, 0.04)
    loud, quiet = LoudnessAudioEncoder()(wave, times), LoudnessAudioEncoder()(0.1 * wave, times)
    torch.testing.assert_close(loud, quiet, atol=0.05, rtol=0)


def test_noise_does_not_hold_the_mouth_open():
    head = TalkingHead(seed=1, seconds=4)
    wave, times = torch.from_numpy(head.speech.wave)[None], torch.arange(head.num_frames) / 25
    hiss = torch.from_numpy(noise(4, 0).astype(np.float32)) * wave.square().mean().sqrt() * 10 ** (-15 / 20)
    clean, noisy = (LoudnessAudioEncoder()(part, times)[0, :, 0] for part in (wave, wave + hiss))
    assert np.corrcoef(clean, noisy)[0, 1] > 0.9
    assert noisy[clean < 0.01].max() < 0.1


def test_the_mouth_moves_as_that_of_a_drawn_speaker():
    for identity in range(3):
        head = TalkingHead(seed=5, identity=identity, seconds=5)
        wave, times = torch.from_numpy(head.speech.wave)[None], torch.arange(head.num_frames) / 25
        speech = LoudnessAudioEncoder(lead=0.02)(wave, times)[0]
        assert np.corrcoef(speech[:, 0], head.opening)[0, 1] > 0.85
        assert np.corrcoef(speech[:, 1], head.spread)[0, 1] > 0.7


@pytest.mark.parametrize("frame_rate", [25, 24000 / 1001])
def test_a_chunk_hears_what_the_whole_does(frame_rate):
    """To the last bits, whichever sample the chunk begins with."""
    wave = torch.from_numpy(TalkingHead(seed=2, seconds=8).speech.wave)[None]
    encoder, times = LoudnessAudioEncoder(), torch.arange(0, 8, 1 / frame_rate, dtype=torch.float64)
    whole = encoder(wave, times)
    before, after = encoder.context
    chunk = times[70:100]
    start, end = int((chunk[0] - before) * SAMPLE_RATE) - 7, int((chunk[-1] + after) * SAMPLE_RATE) + 1
    part = encoder(wave[:, start:end], chunk - start / SAMPLE_RATE)
    torch.testing.assert_close(part, whole[:, 70:100], atol=1e-5, rtol=0)


def test_silence_needs_no_samples():
    assert not LoudnessAudioEncoder()(torch.zeros(2, 0), torch.arange(3) / 25).any()


def test_sound_beyond_the_context_is_not_heard():
    wave = sound(noise(8, -20))
    changed = wave.clone()
    changed[:, :2 * SAMPLE_RATE], changed[:, 5 * SAMPLE_RATE:] = 0.5, -0.5
    assert torch.equal(heard(wave, 4.0), heard(changed, 4.0))


def test_the_spline_is_everyone_elses():
    draw = np.random.default_rng(0)
    points, values, places = draw.uniform(-1, 1, (40, 2)), draw.normal(size=(40, 2)), draw.uniform(-1, 1, (100, 2))
    ours = Spline(*(torch.from_numpy(part)[None] for part in (points, values)))(torch.from_numpy(places)[None])[0]
    theirs = RBFInterpolator(points, values, kernel="thin_plate_spline", smoothing=1e-4)(places)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)

    knots = np.array([-1, -0.6, 0.1, 0.4, 1])
    heights = draw.normal(size=5)
    line = np.linspace(-1, 1, 50)
    at, values, places = (torch.from_numpy(part)[None, :, None] for part in (knots, heights, line))
    theirs = CubicSpline(knots, heights, bc_type="natural")(line)
    np.testing.assert_allclose(Spline(at, values)(places)[0, :, 0], theirs, atol=5e-3)


def drawn_face(seed: int = 4, size: int = SIZE, **pose) -> tuple[torch.Tensor, torch.Tensor]:
    """A drawn person (1, 1, 3, size, size), with the landmarks (1, 1, 68, 2)."""
    look, pose = Look.of(np.random.Generator(np.random.PCG64(seed))), Pose(**pose)
    unit = 0.2 * size
    to_picture = np.array([[unit, 0, 0.5 * size], [0, unit, 0.4 * size]])
    picture = torch.from_numpy(paint(look, pose, to_picture, size, size).copy())
    points = turned(Shape(look, pose).landmarks, pose) @ to_picture[:, :2].T + to_picture[:, 2]
    points = torch.from_numpy(points).float() / (size / 2) - 1
    return picture.permute(2, 0, 1)[None, None] / 127.5 - 1, points[None, None]


def moved(points: torch.Tensor, opening: float, width: float = 0.0, teeth: float = 0.0) -> torch.Tensor:
    fusion = WarpFusion(codes=CodeShape(68, 2), speech_width=3)
    speech = torch.tensor([opening, width, teeth]).expand(*points.shape[:2], 3)
    return fusion(FaceCode(points.mean(1), points), speech).codes


def gap(points: torch.Tensor) -> torch.Tensor:
    """Of the inner lips, in distances between the eyes."""
    eyes = (points[..., 42:48, :].mean(-2) - points[..., 36:42, :].mean(-2)).norm(dim=-1)
    return (points[..., 62, :] - points[..., 66, :]).norm(dim=-1) / eyes


def redrawn(picture: torch.Tensor, source: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return WarpDecoder(size=picture.shape[-1])(Latent(target, motion=source, skips=(picture,)))


def test_speech_opens_rounds_and_widens_the_lips():
    _, points = drawn_face()
    width = lambda points: (points[..., 54, :] - points[..., 48, :]).norm(dim=-1)
    assert gap(moved(points, 1.0)) > 0.2 and gap(moved(points, 0.5)) > 0.1
    assert moved(points, 1.0)[..., 8, 1] > points[..., 8, 1] + 0.05, "the chin goes down with the jaw"
    assert width(moved(points, 0.3, -1.0)) < 0.85 * width(points) < width(points) < width(moved(points, 0.3, 1.0))
    hissing, resting = moved(points, 0, 0, 1), moved(points, 0)
    assert gap(hissing) > 0.02 and torch.equal(hissing[..., :17, :], resting[..., :17, :]), "an 's' leaves the jaw shut"


def test_what_the_source_says_is_replaced():
    _, closed = drawn_face(opening=0.0)
    _, talking = drawn_face(opening=0.8)
    assert gap(talking) > 0.2
    assert gap(moved(talking, 0.0)) < 0.04
    assert abs(gap(moved(talking, 0.6)) - gap(moved(closed, 0.6))) < 0.04


def test_the_upper_face_and_the_cheeks_hold_still():
    _, points = drawn_face(opening=0.5)
    still = [0, 1, *range(15, 48)]
    torch.testing.assert_close(moved(points, 1.0, -1.0)[..., still, :], points[..., still, :], atol=1e-6, rtol=0)


def test_a_tilted_or_small_face_speaks_in_kind():
    _, points = drawn_face()
    angle = torch.tensor(0.6)
    turn = 0.4 * torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    in_kind = moved(points, 0.7, -0.5) @ turn.T + 0.1
    torch.testing.assert_close(moved(points @ turn.T + 0.1, 0.7, -0.5), in_kind, atol=1e-5, rtol=0)


def test_a_profile_is_left_alone():
    _, points = drawn_face()
    flat = points * torch.tensor([0.02, 1.0])
    flat[..., 48, 0] = flat[..., 33, 0] + 0.01  # the far corner of the mouth, seen past the nose
    torch.testing.assert_close(moved(flat, 1.0), flat)


def test_fusion_refuses_a_decoder_without_landmarks():
    with pytest.raises(BadRecipe, match="2 codes of width 4.*'add'"):
        WarpFusion(codes=CodeShape(2, 4), speech_width=3)


def test_closed_lips_meet_on_the_dark_line_between_them():
    picture, points = drawn_face(opening=0.0)
    wrong = points.clone()
    wrong[..., [61, 62, 63, 65, 66, 67], 1] += 0.03
    met = meet_lips(wrong[0], picture[0])
    assert (met[:, 62] - met[:, 66]).norm() < 1e-6
    assert (met[:, 62] - points[0, :, 62]).abs().max() < 0.012 < (wrong - points).abs().max()
    _, talking = drawn_face(opening=0.8)
    assert torch.allclose(meet_lips(talking[0], picture[0]), talking[0], atol=1e-6), "parted lips stay where they are"


def test_points_that_stay_leave_the_picture_alone():
    picture, points = drawn_face(opening=0.5)
    frames, alpha = redrawn(picture, points, points)
    assert torch.equal(frames, picture) and not alpha.any()
    shifted = points.clone()
    shifted[..., 8, 1] += 2e-3  # a quarter of a pixel: what is around is drawn anew
    frames, alpha = redrawn(picture, points, shifted)
    assert alpha.any() and 10 * torch.log10(4 / (frames - picture).square().mean()) > 45


@pytest.mark.parametrize("point", [8, 57, 51, 54, 6])
def test_a_mark_on_the_face_goes_where_its_point_goes(point):
    _, points = drawn_face()
    pixel = (torch.arange(SIZE) * 2 + 1) / SIZE - 1
    far = (pixel[None] - points[0, 0, point, 0]).square() + (pixel[:, None] - points[0, 0, point, 1]).square()
    picture = (1 - 2 * (-far / (2 / SIZE) ** 2 / 8).exp()).expand(1, 1, 3, SIZE, SIZE)
    target = moved(points, 0.8, -0.6)
    assert (target - points)[0, 0, point].norm() > 1.5 * 2 / SIZE
    frames, _ = redrawn(picture, points, target)
    dark = (0.2 - frames[0, 0, 0]).clamp_min(0)
    # what is painted in the mouth is dark, too
    x, y = target[0, 0, point]
    dark = dark * ((pixel[None] - x).abs() < 0.05) * ((pixel[:, None] - y).abs() < 0.05)
    seen = torch.stack([(dark.sum(0) * pixel).sum(), (dark.sum(1) * pixel).sum()]) / dark.sum()
    assert (seen - target[0, 0, point]).norm() < 1.0 * 2 / SIZE


def test_an_opening_mouth_shows_its_dark_inside_and_keeps_its_lips():
    picture, points = drawn_face(opening=0.0)
    target = moved(points, 0.9)
    frames, alpha = redrawn(picture, points, target)

    def brightness(pictures: torch.Tensor, place: torch.Tensor) -> float:
        return torch.nn.functional.grid_sample(pictures[0], place[None, None], align_corners=False).mean().item()

    inside = target[0, 0, [62]].lerp(target[0, 0, [66]], 0.6)
    assert brightness(frames, inside) < brightness(picture, points[0, 0, [62]]) - 0.1
    assert brightness(alpha, inside) > 0.99
    for lip, inner in ((51, 62), (57, 66)):
        before, after = (part[0, 0, [lip]].lerp(part[0, 0, [inner]], 0.5) for part in (points, target))
        assert abs(brightness(frames, after) - brightness(picture, before)) < 0.1, "the lip went along"


def test_alpha_ends_before_the_border_and_above_the_nose():
    picture, points = drawn_face(opening=0.6)
    close_up = points * 1.9 - torch.tensor([0.0, 0.5])  # the chin reaches over the lower edge
    for source in (points, close_up):
        frames, alpha = redrawn(picture, source, moved(source, 1.0, 0.5))
        assert not torch.cat([alpha[..., [0, -1], :].flatten(), alpha[..., [0, -1]].flatten()]).any()
        assert 0 <= alpha.min() and alpha.max() <= 1
    frames, alpha = redrawn(picture, points, moved(points, 1.0, 0.5))
    bridge = int((points[0, 0, 27, 1] + 1) * SIZE / 2)
    assert torch.equal(frames[..., :bridge, :], picture[..., :bridge, :]) and not alpha[..., :bridge, :].any()
    pasted = picture + alpha * (frames - picture)
    assert (pasted - frames).abs().max() < 0.05, "what alpha leaves out has not changed"


def test_another_voice_can_learn_to_drive_it():
    picture, points = drawn_face(size=64)
    torch.manual_seed(0)
    fusion = WarpFusion(codes=CodeShape(68, 2), speech_width=7)
    latent = fusion(FaceCode(points.mean(1), points, (picture,)), torch.rand(1, 1, 7))
    WarpDecoder(size=64)(latent)[0].square().mean().backward()
    gradient = fusion.hear.weight.grad
    assert gradient.isfinite().all() and gradient.abs().sum() > 0


def test_faces_in_a_batch_do_not_influence_each_other():
    faces = [drawn_face(seed, opening=0.3 * seed, x=0.3 * seed - 0.3, roll=0.2 * seed) for seed in range(3)]
    pictures, points = (torch.cat(part) for part in zip(*faces))
    together, alpha = redrawn(pictures, points, moved(points, 0.7))
    for i, (picture, source) in enumerate(faces):
        alone, its_alpha = redrawn(picture, source, moved(source, 0.7))
        torch.testing.assert_close(together[i:i + 1], alone, atol=2e-3, rtol=0)
        torch.testing.assert_close(alpha[i:i + 1], its_alpha, atol=2e-3, rtol=0)


@pytest.mark.parametrize("points", [torch.zeros(1, 3, 68, 2), torch.ones(1, 3, 68, 2) * 5,
                                    torch.randn(1, 3, 68, 2, generator=torch.Generator().manual_seed(0))],
                         ids=["one place", "elsewhere", "anywhere"])
def test_no_landmarks_break_it(points):
    picture = drawn_face(size=64)[0].expand(1, 3, -1, -1, -1)
    encoder = WarpVisualEncoder(size=64, codes=CodeShape(68, 2), skips=WarpDecoder(size=64).skips)
    face = encoder(picture[:, :1], picture, points)
    latent = WarpFusion(codes=CodeShape(68, 2), speech_width=3)(face, torch.rand(1, 3, 3))
    frames, alpha = WarpDecoder(size=64)(latent)
    assert frames.isfinite().all() and frames.abs().max() <= 1 and alpha.isfinite().all()


def test_the_recipe_talks_in_speech_and_rests_in_silence():
    model = build_model(Recipe.find("warp").with_setting("size", "128")).eval()
    assert not list(model.parameters()), "there is nothing to train"
    picture, points = drawn_face(size=128)
    frames = picture.expand(1, 50, -1, -1, -1)
    wave = sound(silence(1), vowel(*AH, seconds=1.0))
    with torch.no_grad():
        output = model(Clip(frames[:, :1], frames, wave, torch.arange(50) / 25, landmarks=points.expand(1, 50, -1, -1)))
    changed = output.alpha.amax((0, 2, 3, 4))
    assert not changed[:20].any() and torch.equal(output.frames[:, :20], frames[:, :20])
    assert (changed[27:47] > 0.99).all()
    assert (gap(output.latent.codes)[0, 30:45] > 0.15).all()


def test_the_frame_of_a_face_has_its_axes():
    _, points = drawn_face(roll=0.3)
    frame = FaceFrame.of(points[0])
    across, down = frame.inside(points[0])
    assert torch.allclose(frame.outside(across, down), points[0], atol=1e-6)
    assert down[0, 8] > down[0, 57] > down[0, 51] > down[0, 30] and across[0, 48] < 0 < across[0, 54]
