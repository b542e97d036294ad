"""A quickened model draws the same pictures, and leaves the given one as it was."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from fctfg import quicken as module
from fctfg.errors import BadOption
from fctfg.interfaces import AudioEncoder, Clip, CodeShape, Decoder, FaceCode, Fusion, Latent, VisualEncoder
from fctfg.model import TalkingFace, build_model
from fctfg.quicken import fast_at_bf16, fold_norms, psnr, quicken
from fctfg.recipe import Recipe
from fctfg.testing import random_clip


def disturb(network: nn.Module, seed: int = 0) -> nn.Module:
    """Norms that have seen something, so that folding them matters."""
    draw = torch.Generator().manual_seed(seed)
    for child in network.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm) and child.running_mean is not None:
            child.running_mean.normal_(0, 0.2, generator=draw)
            child.running_var.uniform_(0.5, 2, generator=draw)
            if child.affine:
                nn.init.uniform_(child.weight, 0.5, 1.5, generator=draw)
                nn.init.normal_(child.bias, 0, 0.2, generator=draw)
    return network.eval()


@pytest.fixture(scope="module")
def wav2lip() -> TalkingFace:
    recipe = Recipe.find("wav2lip")
    for part in ("visual_encoder", "audio_encoder", "decoder"):
        recipe = recipe.with_setting(f"{part}.options.scale", "0.125")
    return disturb(build_model(recipe))


@pytest.fixture(scope="module")
def clip() -> Clip:
    return random_clip(96)


class Vision(VisualEncoder):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
                                 nn.Conv2d(8, 3, 3, padding=1))

    def forward(self, source: Tensor, frames: Tensor) -> FaceCode:
        motion = self.net(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).flatten(3).transpose(2, 3)
        return FaceCode(motion.mean(1), motion)


class Hearing(AudioEncoder):
    width = 1

    def forward(self, wave: Tensor, times: Tensor) -> Tensor:
        return times[None, :, None].expand(len(wave), -1, -1)


class Passing(Fusion):
    def forward(self, face: FaceCode, speech: Tensor) -> Latent:
        return Latent(face.motion)


class Drawing(Decoder):
    """Lays the codes out as pixels, after `change`."""

    codes = CodeShape(64, 3)

    def __init__(self, change):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
        self.change = change

    def forward(self, latent: Latent) -> tuple[Tensor, Tensor]:
        pictures = self.change(self, latent.codes).transpose(2, 3).unflatten(3, (8, 8))
        return pictures, pictures.mean(2, keepdim=True).sigmoid()


def small_model(change) -> TalkingFace:
    torch.manual_seed(0)
    return disturb(TalkingFace(Vision(), Hearing(), Passing(), Drawing(change)))


def in_full_precision(self: Drawing, codes: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return self.net(codes.float())


@pytest.mark.parametrize("precision, decibels", [("fp32", 100), ("bf16", 45)])
def test_the_picture_is_the_same(wav2lip, clip, precision, decibels):
    quick = quicken(wav2lip, "cpu", precision)
    with torch.no_grad():
        expected = wav2lip(clip).frames
    for _ in range(2):
        output = quick(clip)
        assert output.frames.dtype == torch.float32 and not output.frames.requires_grad
        assert psnr(output.frames, expected) > decibels
    assert quick.precision == precision and quick.notes == []
    assert output.face is None


def test_the_given_model_is_left_as_it_was(wav2lip, clip):
    given = copy.deepcopy(wav2lip).train()
    before = {name: (value.clone(), value.stride()) for name, value in given.state_dict().items()}
    quicken(given, "cpu", "bf16")(clip)
    assert given.training and all(parameter.requires_grad for parameter in given.parameters())
    for name, value in given.state_dict().items():
        assert value.dtype == before[name][0].dtype and value.stride() == before[name][1]
        assert torch.equal(value, before[name][0])


def test_alpha_and_what_the_pipeline_asks_for_are_there(clip):
    model = small_model(lambda self, codes: self.net(codes))
    quick = quicken(model, "cpu", "fp32")
    small = replace(clip, frames=clip.frames[..., :8, :8], source=clip.source[..., :8, :8])
    with torch.no_grad():
        torch.testing.assert_close(quick(small).alpha, model(small).alpha)
    assert quick.visual_encoder.needs == frozenset() and quick.audio_encoder.context == Hearing.context


@pytest.mark.parametrize("change, why", [
    (lambda self, codes: self.net(codes) * (self.net[0].weight.dtype == torch.float32), "would agree to"),
    (lambda self, codes: self.net(codes) / (self.net[0].weight.dtype == torch.float32) * 0, "agree to nan"),
    (in_full_precision, "dtype"),
])
def test_a_model_that_cannot_run_so_is_drawn_as_it_is(clip, change, why):
    model = small_model(change)
    small = replace(clip, frames=clip.frames[:1, :, :, :8, :8], source=clip.source[..., :8, :8])
    quick = quicken(model, "cpu", "bf16")
    drawn = quick(small).frames
    with torch.no_grad():
        assert torch.equal(drawn, model(small).frames)
    assert quick.precision == "fp32"
    assert len(quick.notes) == 1 and why in quick.notes[0] and "unchanged model" in quick.notes[0]


def test_noise_is_compared_with_the_same_noise_and_none_of_it_is_used_up(clip):
    model = small_model(lambda self, codes: self.net(codes) + torch.randn(codes.shape))
    small = replace(clip, frames=clip.frames[..., :8, :8], source=clip.source[..., :8, :8])
    quick = quicken(model, "cpu", "bf16")
    torch.manual_seed(3)
    first = quick(small).frames
    assert quick.notes == []
    torch.manual_seed(3)
    assert torch.equal(quick(small).frames, first)


def test_matrix_layers_take_the_precision_and_the_layout(wav2lip):
    quick = quicken(wav2lip, "cpu", "bf16")
    layers = [child for child in quick.modules() if type(child) in (nn.Conv2d, nn.ConvTranspose2d)]
    assert len(layers) > 40 and all(layer.weight.dtype == torch.bfloat16 for layer in layers)
    assert all(layer.weight.is_contiguous(memory_format=torch.channels_last) for layer in layers)
    assert not any(isinstance(child, nn.BatchNorm2d) for child in quick.modules())


@pytest.mark.parametrize("network, x", [
    (nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4), nn.ReLU()), torch.rand(2, 3, 9, 9)),
    (nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.BatchNorm2d(4, affine=False)), torch.rand(2, 4, 9, 9)),
    (nn.Sequential(nn.ConvTranspose2d(3, 5, 3, 2, 1, 1), nn.BatchNorm2d(5)), torch.rand(2, 3, 5, 5)),
    (nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)), torch.rand(2, 3, 9)),
    (nn.Sequential(nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4)), torch.rand(2, 3, 5, 5, 5)),
    (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), torch.rand(5, 3)),
    (nn.Sequential(nn.ReLU(), nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))), torch.rand(2, 3, 4, 4)),
])
def test_folding_keeps_what_a_network_does(network, x):
    expected = disturb(network)(x)
    fold_norms(network)
    assert not any(isinstance(child, nn.modules.batchnorm._BatchNorm) for child in network.modules())
    torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-5)


def hooked(layer: nn.Module) -> nn.Module:
    layer.register_forward_hook(lambda module, given, output: output * 2)
    return layer


class TwoUses(nn.Module):
    """The same convolution inside a pair and on its own."""

    def __init__(self):
        super().__init__()
        self.alone = nn.Conv2d(3, 3, 1)
        self.pair = nn.Sequential(self.alone, nn.BatchNorm2d(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.alone(self.pair(x))


@pytest.mark.parametrize("network", [
    TwoUses(),
    nn.Sequential(hooked(nn.Conv2d(3, 3, 1)), nn.BatchNorm2d(3)),
    nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)),
    nn.Sequential(nn.ConvTranspose2d(3, 6, 1, groups=3), nn.BatchNorm2d(6)),
    nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)),
    nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 1)), nn.BatchNorm2d(3)),
])
def test_what_cannot_be_folded_for_sure_stays(network):
    x = torch.rand(2, 3, 4, 4)
    expected = disturb(network)(x)
    fold_norms(network)
    assert any(isinstance(child, nn.BatchNorm2d) for child in network.modules())
    assert torch.equal(network(x), expected)


def test_psnr_is_that_of_pictures_from_minus_one_to_one():
    assert psnr(torch.zeros(4), torch.full((4,), 0.02)) == pytest.approx(40)
    assert psnr(torch.ones(4), torch.ones(4)) == float("inf")


def test_the_machine_decides_on_bf16(wav2lip):
    device = torch.device("cpu")
    assert quicken(wav2lip, device).precision == ("bf16" if fast_at_bf16(device) else "fp32")
    assert fast_at_bf16(torch.device("meta")) is False


def test_an_unknown_precision_names_those_there_are(wav2lip):
    with pytest.raises(BadOption, match="No precision 'int4'; give one of fp32, bf16, fp16"):
        quicken(wav2lip, "cpu", "int4")


def test_silence_to_the_next_tenth_of_a_second_is_not_heard(wav2lip, clip):
    longer = module._whole_tenths(replace(clip, wave=clip.wave[:, :-37]))
    assert longer.wave.shape[1] % 1600 == 0 and longer.wave.shape[1] - clip.wave.shape[1] < 1600
    with torch.no_grad():
        assert torch.equal(wav2lip(longer).frames, wav2lip(replace(clip, wave=clip.wave[:, :-37])).frames)


def test_the_first_frames_keep_their_references(clip):
    own = replace(clip, source=clip.frames)
    assert module._first_frames(own, 2).source.shape[1] == 2 and module._first_frames(clip, 2).source.shape[1] == 1
    first = module._first_frames(clip, 2)
    assert first.frames.shape[1] == first.landmarks.shape[1] == len(first.times) == 2
    assert torch.equal(first.wave, clip.wave)


@pytest.mark.gpu
@pytest.mark.parametrize("fuse", [False, True])
def test_replays_draw_each_clip_anew(wav2lip, fuse):
    quick = quicken(wav2lip, "cuda", "bf16", fuse)
    clips = [random_clip(96, seed=seed) for seed in range(4)]
    drawn = [quick(clip).frames for clip in clips]
    assert quick.notes == [] and len(quick._replays._recorded) == 1
    for clip, frames in zip(clips, drawn):  # the earlier ones are not overwritten by the later
        with torch.no_grad():
            assert psnr(frames.cpu(), wav2lip(clip).frames) > 40
    shorter = random_clip(96, frames=3)
    with torch.no_grad():
        assert psnr(quick(shorter).frames.cpu(), wav2lip(shorter).frames) > 40


@pytest.mark.gpu
def test_a_model_that_waits_for_the_gpu_is_drawn_without_replays(clip):
    model = small_model(lambda self, codes: self.net(codes) * (1 if codes.sum().item() > -1e9 else 0))
    small = replace(clip, frames=clip.frames[..., :8, :8], source=clip.source[..., :8, :8])
    quick = quicken(model, "cuda", "fp32")
    for _ in range(4):
        with torch.no_grad():
            assert psnr(quick(small).frames.cpu(), model(small).frames) > 80
    assert len(quick.notes) == 1 and "without a CUDA graph" in quick.notes[0]
