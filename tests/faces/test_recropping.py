from __future__ import annotations

import numpy as np
import pytest
import torch

from fctfg.data.synthetic import HeadFootage, TalkingHead
from fctfg.errors import UnknownPlugin
from fctfg.faces import crop, find_profile, recrop

FRAMES = [0, 9]


@pytest.fixture(scope="module")
def head() -> TalkingHead:
    return TalkingHead(0, 1, 1.0)


@pytest.fixture(scope="module")
def whole(head) -> HeadFootage:
    return HeadFootage(head, "face", 256)


def tensors(footage: HeadFootage) -> tuple[torch.Tensor, torch.Tensor]:
    """A clip of one, as the loaders yield it: frames (1, T, 3, H, W) and landmarks (1, T, 68, 2) in [-1, 1]."""
    frames = torch.from_numpy(footage.frames(FRAMES)).permute(0, 3, 1, 2)[None].float() / 127.5 - 1
    return frames, torch.from_numpy(footage.landmarks(FRAMES))[None] * 2 / footage.size[0] - 1


def pixels(frames: torch.Tensor) -> np.ndarray:
    return (127.5 * (frames[0] + 1)).permute(0, 2, 3, 1).numpy()


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.square(a.astype(float) - b).mean())


@pytest.mark.parametrize("profile, size", [("arcface112", 112), ("wav2lip", 96), ("arcface112", 40)])
def test_it_shows_what_prepare_would_have_cut(head, whole, profile, size):
    drawn = pixels(recrop(*tensors(whole), profile, size))
    matrices = find_profile(profile).matrices(whole.landmarks(FRAMES))
    cut = np.stack([crop(frame, matrix, size) for frame, matrix in zip(whole.frames(FRAMES), matrices)])
    assert psnr(drawn, cut) > 36, "as faces.crop does"
    native = HeadFootage(head, profile, size).frames(FRAMES)
    assert psnr(drawn, native) > 28, "as if the head had been drawn in that crop"


def test_its_pixels_are_means_over_the_area_they_cover(whole):
    """Against thousands of samples of a smooth picture, of which the true mean under any crop is known."""
    _, landmarks = tensors(whole)
    matrices = find_profile("arcface112").matrices((landmarks[0].numpy() + 1) * 128)
    v, u = (np.mgrid[:256, :256] + 0.5) / 256
    grey = torch.from_numpy(np.stack([np.sin(9 * u + 5 * v), u, v])).float().expand(1, 2, 3, 256, 256)
    drawn = recrop(grey, landmarks, "arcface112", 16)
    fine = (np.arange(480) + 0.5) / 480
    for t, matrix in enumerate(matrices):
        x, y = np.tensordot(matrix, np.stack([*np.meshgrid(fine, fine), np.ones((480, 480))]), 1) / 256
        for channel, value in enumerate((np.sin(9 * x + 5 * y), x, y)):
            mean = value.reshape(16, 30, 16, 30).mean((1, 3))
            np.testing.assert_allclose(drawn[0, t, channel].numpy(), mean, atol=2e-3)


def test_gradients_reach_the_frames(whole):
    frames, landmarks = tensors(whole)
    frames.requires_grad_()
    recrop(frames, landmarks, "arcface112", 112).mean().backward()
    reached = frames.grad[0].abs().sum((1, 2, 3)) > 0
    assert reached.all() and torch.isfinite(frames.grad).all()
    np.testing.assert_allclose(frames.grad.sum().item(), 1, rtol=1e-4)


def test_autocast_does_not_blur_where_things_are(whole):
    frames, landmarks = tensors(whole)
    exact = recrop(frames, landmarks, "wav2lip", 96)
    with torch.autocast("cpu", torch.bfloat16):
        cast = recrop(frames.bfloat16(), landmarks, "wav2lip", 96)
    assert cast.dtype == torch.float32
    assert (cast - exact).abs().max() < 2e-2


def test_an_unknown_profile_is_refused(whole):
    with pytest.raises(UnknownPlugin, match="Did you mean 'arcface112'"):
        recrop(*tensors(whole), "arcface", 112)
