"""The small expert: what it sees, how it finds what is out of step, and that it learns."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fctfg import registry
from fctfg.audio import log_mel, mel_windows
from fctfg.data.noise import random_clip
from fctfg.errors import BadData, BadRecipe
from fctfg.interfaces import Output
from fctfg_plugins.lip_sync.alignment import aligned, nearby
from fctfg_plugins.lip_sync.mouths import POINTS, mirrored, mouth_pictures, mouth_shapes

SMALL = {"width": 8}


def moved(landmarks, angle=0.0, scale=1.0, shift=(0.0, 0.0)):
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return scale * landmarks @ turn.T + torch.tensor(shift)


def test_a_shape_is_the_same_however_the_head_is_held():
    landmarks = random_clip(16).landmarks
    held_otherwise = moved(landmarks, 0.4, 0.7, (0.1, -0.2))
    torch.testing.assert_close(mouth_shapes(held_otherwise), mouth_shapes(landmarks), rtol=0, atol=1e-4)
    opened = landmarks.clone()
    opened[:, :, 57] += 0.05
    assert (mouth_shapes(opened) - mouth_shapes(landmarks)).abs().max() > 0.1


def test_a_mirrored_face_has_the_mirrored_shape():
    landmarks = random_clip(16).landmarks
    order = list(range(16, -1, -1)) + list(range(26, 16, -1)) + [27, 28, 29, 30, 35, 34, 33, 32, 31]
    order += [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55]
    order += [64, 63, 62, 61, 60, 67, 66, 65]
    reflected = landmarks[:, :, order] * torch.tensor([-1, 1])
    torch.testing.assert_close(mouth_shapes(reflected), mirrored(mouth_shapes(landmarks)), rtol=0, atol=1e-4)
    assert len(POINTS) == 25


def test_a_picture_shows_the_same_of_a_face_that_is_turned():
    """A smooth picture over a face, and the same face turned, with the picture turned along."""
    def painted(where):
        x, y = where.unbind(-1)
        return (torch.sin(5 * x) * torch.cos(4 * y + 1)).expand(3, -1, -1)

    size, angle, scale, shift = 128, 0.3, 0.8, (0.05, -0.1)
    landmarks = 0.5 * random_clip(16).landmarks[:1, :2]
    y, x = torch.meshgrid(*[(2 * torch.arange(size) + 1) / size - 1] * 2, indexing="ij")
    here = torch.stack([x, y], -1)
    upright = painted(here)[None, None].expand(1, 2, -1, -1, -1)
    there = moved(here - torch.tensor(shift), -angle, 1 / scale)
    turned = painted(there)[None, None].expand(1, 2, -1, -1, -1)
    one, two = mouth_pictures(upright, landmarks), mouth_pictures(turned, moved(landmarks, angle, scale, shift))
    assert one.shape == (1, 2, 20, 32)
    torch.testing.assert_close(one, two, rtol=0, atol=0.02)
    assert one.square().mean() == pytest.approx(1, abs=1e-3) and one.mean((-1, -2)).abs().max() < 1e-5


def test_nearby_sounds_are_those_of_the_frames_around_the_latest_first():
    sounds = torch.arange(9.0)[None, :, None]  # sound k is heard with frame k - 2
    near = nearby(sounds, frames=5)
    assert near.shape == (1, 5, 5, 1)
    assert near[0, 0, :, 0].tolist() == [4, 3, 2, 1, 0] and near[0, 4, :, 0].tolist() == [8, 7, 6, 5, 4]


def test_aligned_is_the_sum_over_what_the_offset_may_be():
    scores = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
    loss, offsets = aligned(scores, slack=1.5, overlap=3.0)
    for clip in range(2):
        prior = [math.exp(-0.5 * ((j - 2) / 1.5) ** 2) for j in range(5)]
        joint = []
        for j in range(5):
            likely = 1.0
            for t in range(7):
                row = [math.exp(v) for v in scores[clip, t].tolist()]
                likely *= row[j] / sum(row)
            joint.append(prior[j] / sum(prior) * likely ** (1 / 3))
        assert float(loss[clip]) == pytest.approx(-math.log(sum(joint)) * 3 / 7, abs=1e-9)
        np.testing.assert_allclose(offsets[clip].numpy(), np.array(joint) / sum(joint), atol=1e-9)


def test_without_slack_every_clip_is_taken_to_be_in_step():
    scores = torch.randn(2, 7, 5)
    loss, offsets = aligned(scores, slack=0, overlap=3.0)
    middle = torch.full((2, 7), 2)
    torch.testing.assert_close(loss.mean(), F.cross_entropy(scores.transpose(1, 2), middle))
    assert offsets.tolist() == [[0, 0, 1, 0, 0]] * 2


def speaking(clips: int, frames: int, offsets: list[int], seed: int, margin: float = 0.95):
    """Faces whose lower lips follow a curve, and noise as loud as that curve is, so many frames early."""
    draw = torch.Generator().manual_seed(seed)
    clip = random_clip(24, frames, margin, seed, clips)
    around = round(margin * 25)
    steps = torch.randn(clips, 1, frames + 2 * around, generator=draw)
    curve = F.avg_pool1d(steps, 3, 1, 1, count_include_pad=False)[:, 0].sigmoid()
    opening = curve[:, around:around + frames]
    landmarks = clip.landmarks[:, :1].expand(-1, frames, -1, -1).clone()
    landmarks[..., 55:60, 1] += 0.3 * opening[..., None]
    landmarks[..., 65:68, 1] += 0.3 * opening[..., None]
    moved = torch.stack([row.roll(-offset) for row, offset in zip(curve, offsets)])
    loud = F.interpolate(moved[:, None], scale_factor=640, mode="linear")[:, 0]
    start = around * 640 - round(margin * 16000)
    sound = (loud ** 3 * torch.randn(loud.shape, generator=draw) * 0.5).clamp(-1, 1)
    clip.wave = sound[:, start:start + clip.wave.shape[1]]
    clip.landmarks, clip.other_wave = landmarks, None
    return clip


def test_it_learns_from_clips_that_are_out_of_step_and_says_by_how_much():
    torch.manual_seed(0)
    loss = registry.build("loss", "mouth-sync", width=16, reach=6, slack=2.0, ema=0.8, lr=1e-2, dropout=0.0)
    rng = np.random.default_rng(0)
    for step in range(30):
        clip = speaking(6, 24, rng.integers(-2, 3, 6).tolist(), seed=step)
        loss.train_critic(Output(clip.frames), clip)
    truth = [3, 0, -2, 1]
    clip = speaking(4, 50, truth, seed=1000)
    found = loss.log_odds(clip, 6).mean(1).argmax(-1) - 6
    assert (found - torch.tensor(truth)).abs().max() <= 1
    measured = loss.measure(Output(clip.frames), speaking(4, 50, [0] * 4, seed=1001))
    assert measured["ranking"] > 0.6 and measured["found"] == 1


def test_the_running_average_judges_once_there_is_one():
    torch.manual_seed(0)
    loss = registry.build("loss", "mouth-sync", **SMALL, ema=0.9)
    assert loss.judge is loss.network
    clip = random_clip(24, 20)
    loss.train_critic(Output(clip.frames), clip)
    assert loss.judge is loss.average.module and not loss.judge.training
    plain = registry.build("loss", "mouth-sync", **SMALL, ema=0)
    plain.train_critic(Output(clip.frames), clip)
    assert plain.judge is plain.network


def test_what_does_not_do_is_refused():
    with pytest.raises(BadRecipe, match="give a reach of 6 frames or more"):
        registry.build("loss", "mouth-sync", reach=3)
    loss, clip = registry.build("loss", "mouth-sync", **SMALL), random_clip(24)
    clip.landmarks = None
    with pytest.raises(BadData, match="carry no landmarks"):
        loss(Output(clip.frames), clip)


def test_the_original_heard_another_moment_and_so_could_not_learn():
    """Lip-Sync (fantasy-fish/Lip-Sync) keeps Wav2Lip's hop of 200 samples and its 80 columns a second, but reads its
    sound at 48 kHz, where those are 240: its window for 6 s is what was heard at 2 s, and 67 ms of it, not 200."""
    rate, frame_rate, seconds = 48_000, 25, 9
    draw = torch.Generator().manual_seed(0)
    curve = torch.rand(1, 1, seconds * frame_rate, generator=draw)  # how loud, and how far the mouth is open
    curve[..., 50] = 3.0  # a shout at 2 s
    loud = F.interpolate(curve, scale_factor=rate // frame_rate)[0]
    wave = loud * torch.randn(loud.shape, generator=draw) / 10
    at_16k = wave[:, ::3]  # of noise, as good as resampled
    frames = torch.arange(seconds * frame_rate - 10)

    mel = log_mel(wave)[0]  # the hop counts samples, whatever their rate
    theirs = torch.stack([mel[:, start:start + 16].mean() for start in (80 * frames / frame_rate).long().tolist()])
    ours = mel_windows(at_16k, frames / frame_rate, 4)[0].mean((1, 2))
    assert abs(int(ours.argmax()) - 50) <= 1 and abs(int(theirs.argmax()) - 3 * 50) <= 1

    def agreement(heard):
        without_shout = torch.cat([torch.arange(10, 45), torch.arange(60, 140), torch.arange(160, len(frames))])
        return float(torch.corrcoef(torch.stack([heard, curve[0, 0, frames].log()])[:, without_shout])[0, 1])

    assert agreement(ours) > 0.7 and abs(agreement(theirs)) < 0.2
