"""What StyleGAN2's networks do, against slow and literal ways to do it."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fctfg.errors import BadOption, BadRecipe
from fctfg.interfaces import Latent
from fctfg.trainer import lay_out_channels_last
from fctfg_plugins.stylegan2 import StyleGAN2Decoder, filters
from fctfg_plugins.stylegan2.discriminator import Discriminator, deviation
from fctfg_plugins.stylegan2.layers import ModulatedConv, StyledConv

SMALL = {"size": 16, "channel_max": 6, "w_dim": 5, "num_mapping": 2}


def small(**options) -> StyleGAN2Decoder:
    """With noise that shows."""
    torch.manual_seed(0)
    decoder = StyleGAN2Decoder(**{**SMALL, **options}).eval()
    for layer in (decoder.conv1, *decoder.convs):
        layer.noise.weight.data.fill_(0.5)
    return decoder


def random_codes(decoder: StyleGAN2Decoder, clips: int = 2, frames: int = 3, seed: int = 1) -> Tensor:
    return torch.randn(clips, frames, *decoder.codes, generator=torch.Generator().manual_seed(seed))


def random_deltas(decoder: StyleGAN2Decoder, clips: int = 2) -> tuple[Tensor | None, ...]:
    """A whole offset, one for each pair of channels, one for all clips, none, and so on."""
    draw = torch.Generator().manual_seed(2)
    shapes = [lambda o, i, k: (clips, o, i, k, k), lambda o, i, k: (clips, o, i, 1, 1), lambda o, i, k: (1, o, i, k, k)]
    return tuple(None if index % 4 == 3 else 0.3 * torch.randn(shapes[index % 4](*shape), generator=draw)
                 for index, shape in enumerate(decoder.deltas))


def upfirdn(x: Tensor, up: int, down: int, before: int, after: int, gain: float) -> Tensor:
    """Zeros between pixels, padding, the whole filter, every `down`-th pixel."""
    pictures, channels, height, width = x.shape
    spread = x.new_zeros(pictures, channels, height * up, width * up)
    spread[..., ::up, ::up] = x
    weight = filters.kernel(gain).to(x.dtype).expand(channels, 1, 4, 4)
    return F.conv2d(F.pad(spread, (before, after) * 2), weight, groups=channels)[..., ::down, ::down]


class TestFilters:
    CASES = {"blur 1": (lambda x: filters.blur(x, 1), (1, 1, 1, 1)), "blur 2": (lambda x: filters.blur(x, 2), (1, 1, 2, 2)),
             "halve": (filters.halve, (1, 2, 1, 1)), "double": (filters.double, (2, 1, 2, 1))}

    @pytest.mark.parametrize("gpu", [False, True])
    @pytest.mark.parametrize("name", CASES)
    def test_they_filter_and_so_do_their_gradients_of_any_order(self, name, gpu, monkeypatch):
        """`gpu`: the sums that run elsewhere than on a CPU."""
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: gpu)
        filtered, (up, down, before, after) = self.CASES[name]
        x = torch.randn(2, 3, 6, 4, dtype=torch.float64, requires_grad=True)
        torch.testing.assert_close(filtered(x), upfirdn(x, up, down, before, after, gain=4))
        small = x[:1, :1].detach().requires_grad_(True)
        assert torch.autograd.gradcheck(filtered, small)
        assert torch.autograd.gradgradcheck(lambda x: filtered(x).pow(3), small)


class TestLayers:
    @pytest.mark.parametrize("up, kernel, demodulated", [(False, 3, True), (True, 3, True), (False, 1, False)])
    @pytest.mark.parametrize("offset", [False, True])
    def test_modulation_is_a_weight_for_each_picture(self, up, kernel, demodulated, offset):
        torch.manual_seed(0)
        layer = ModulatedConv(4, 5, kernel, width=6, up=up, demodulated=demodulated)
        x, codes = torch.randn(2 * 3, 4, 7, 7), torch.randn(2, 3, 6)
        delta = 0.3 * torch.randn(2, 5, 4, kernel, kernel) if offset else None
        y, factor = layer(x, codes, delta)
        y = y * factor[..., None, None] if demodulated else y
        for clip in range(2):
            for frame in range(3):
                style = F.linear(codes[clip, frame], layer.modulation.weight / math.sqrt(6), layer.modulation.bias)
                weight = layer.weight * (1 + delta[clip] if offset else 1) / math.sqrt(4 * kernel ** 2)
                weight = weight * style[:, None, None]
                if demodulated:
                    weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
                own = x[clip * 3 + frame][None]
                if up:
                    own = F.conv_transpose2d(own, weight.transpose(0, 1), stride=2)
                    own = upfirdn(own, 1, 1, 1, 1, gain=4)
                else:
                    own = F.conv2d(own, weight, padding=kernel // 2)
                torch.testing.assert_close(y[clip * 3 + frame], own[0], rtol=1e-4, atol=1e-5)

    def test_noise_bias_and_activation_follow_the_demodulated_convolution(self):
        torch.manual_seed(0)
        layer = StyledConv(4, 5, width=6)
        layer.noise.weight.data.fill_(0.7)
        layer.activate.bias.data.normal_()
        x, codes, noise = torch.randn(2, 4, 8, 8), torch.randn(1, 2, 6), torch.randn(2, 1, 8, 8)
        y, factor = layer.conv(x, codes)
        plain = y * factor[..., None, None] + 0.7 * noise + layer.activate.bias[:, None, None]
        torch.testing.assert_close(layer(x, codes, noise), F.leaky_relu(plain, 0.2) * math.sqrt(2))

    def test_any_batch_has_groups_of_at_least_four_that_reach_across_clips(self):
        torch.manual_seed(0)
        for count in range(1, 12):
            x = torch.randn(count, 3, 4, 4)
            groups = max(1, count // 4)
            means = deviation(x)
            assert means.shape == (count, 1, 4, 4)
            for index in range(count):
                group = x[index % groups::groups]
                assert len(group) >= min(count, 4)
                expected = ((group - group.mean(0)).square().mean(0) + 1e-8).sqrt().mean()
                torch.testing.assert_close(means[index], expected.expand(1, 4, 4))


class TestDecoder:
    @torch.no_grad()
    def test_offsets_are_weights_of_a_clip_that_its_frames_share(self):
        decoder = small()
        codes, deltas = random_codes(decoder), random_deltas(decoder)
        together = decoder(Latent(codes, deltas=deltas))
        for clip in range(len(codes)):
            changed = copy.deepcopy(decoder)
            for layer, delta in zip(changed._layers(), deltas):
                if delta is not None:
                    layer.conv.weight *= 1 + delta[clip % len(delta)]
            torch.testing.assert_close(together[clip], changed(Latent(codes[clip][None]))[0], rtol=1e-4, atol=1e-4)

    def test_offsets_get_gradients(self):
        decoder = small()
        deltas = tuple(None if delta is None else delta.requires_grad_(True) for delta in random_deltas(decoder))
        decoder(Latent(random_codes(decoder), deltas=deltas)).square().sum().backward()
        assert all(delta.grad.abs().sum() > 0 for delta in deltas if delta is not None)

    @torch.no_grad()
    def test_noise_is_fixed_in_eval_mode_and_random_in_training(self):
        decoder = small()
        codes = random_codes(decoder)[:1, :1].expand(1, 3, -1, -1)
        still = decoder(Latent(codes))
        assert (still[0, 0] - still[0, 1]).abs().max() < 1e-5, "a video would flicker"
        first, second = (decoder.train()(Latent(codes)) for _ in range(2))
        assert (first - second).abs().max() > 0.01 and (first[0, 0] - first[0, 1]).abs().max() > 0.01
        fixed = small(noise="fixed").train()(Latent(codes))
        torch.testing.assert_close(fixed, still)
        silent = small(noise="none")(Latent(codes))
        for layer in (decoder.conv1, *decoder.convs):
            layer.noise.weight.data.zero_()
        torch.testing.assert_close(silent, decoder.eval()(Latent(codes)))

    @torch.no_grad()
    def test_codes_are_offsets_from_the_mean(self):
        decoder = small()
        codes = random_codes(decoder)
        plain = decoder(Latent(codes))
        decoder.mean += 1
        torch.testing.assert_close(decoder(Latent(codes - 1)), plain)

    @torch.no_grad()
    def test_weights_laid_out_for_tensor_cores_draw_the_same(self):
        decoder = small()
        codes = random_codes(decoder)
        plain = decoder(Latent(codes))
        lay_out_channels_last(decoder)
        assert decoder.conv1.conv.weight.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(decoder(Latent(codes)), plain, rtol=1e-4, atol=1e-5)
        again = small()
        again.load_state_dict(decoder.state_dict())
        assert again.state_dict()["conv1.conv.weight"].shape == (1, 6, 6, 3, 3)

    @torch.no_grad()
    def test_bf16_draws_the_same_picture(self):
        decoder = small(channel_max=32)
        codes = random_codes(decoder)
        exact = decoder(Latent(codes))
        with torch.autocast("cpu", torch.bfloat16):
            drawn = decoder(Latent(codes))
        assert drawn.dtype == torch.float32
        assert (drawn - exact).square().mean() < 1e-4 * exact.square().mean()

    @pytest.mark.parametrize("size", [4, 48, 2048])
    def test_a_size_that_there_is_not_is_refused(self, size):
        for build in (lambda: StyleGAN2Decoder(size=size), lambda: Discriminator(size)):
            with pytest.raises(BadRecipe, match=f"8, 16, 32, 64, 128, 256, 512, 1024 px, not {size}"):
                build()

    def test_what_belongs_to_another_network_is_refused(self):
        decoder = small()
        with pytest.raises(BadRecipe, match="takes 6 codes of width 5 a frame; got 14 x 512"):
            decoder(Latent(torch.zeros(1, 1, 14, 512)))
        with pytest.raises(BadRecipe, match="takes 8 deltas.*; got 20"):
            decoder(Latent(torch.zeros(1, 1, 6, 5), deltas=(None,) * 20))
        with pytest.raises(BadOption, match="noise=auto, random, fixed, none; not 'loud'"):
            small(noise="loud")


class TestImagination:
    def test_people_differ_and_the_mapping_network_learns(self):
        decoder = small().train()
        codes = decoder.imagine(2, 3).codes
        assert codes.shape == (2, 3, 6, 5)
        assert torch.pdist(codes.detach().flatten(0, 1).flatten(1)).min() > 0.01
        codes.square().sum().backward()
        assert all(parameter.grad.abs().sum() > 0 for parameter in decoder.style.parameters())

    @torch.no_grad()
    def test_styles_are_mixed_as_often_as_asked(self):
        decoder = small(mixing=0.7).train()
        codes = decoder.imagine(1, 4000).codes[0] + decoder.mean
        changes = (codes[:, 1:] - codes[:, :-1]).abs().amax(-1) > 1e-4
        assert changes.sum(1).max() == 1, "one crossing at most"
        assert abs(changes.any(1).float().mean() - 0.7) < 0.03
        where = changes.float().sum(0) / changes.sum()
        assert (where - 1 / 5).abs().max() < 0.03, "anywhere"
        assert not (decoder.eval().imagine(1, 50).codes.diff(dim=2).abs() > 1e-4).any()

    @torch.no_grad()
    def test_the_mean_follows_in_training_only(self):
        decoder = small(mean_decay=0.9)
        decoder.imagine(4, 4)
        assert not decoder.mean.any()
        for _ in range(60):
            decoder.train().imagine(50, 4)
        followed = decoder.mean.clone()
        torch.testing.assert_close(followed, decoder.estimate_mean(4000), rtol=0, atol=0.1)
        assert "mean" in decoder.state_dict()

    @torch.no_grad()
    def test_the_mean_is_estimated_alike_each_time(self):
        decoder = small()
        torch.manual_seed(5)
        before = torch.get_rng_state()
        mean = decoder.estimate_mean(2500, seed=3).clone()
        assert torch.equal(torch.get_rng_state(), before), "nothing else draws otherwise for it"
        assert torch.equal(decoder.estimate_mean(2500, seed=3), mean)
        draw = torch.Generator().manual_seed(3)
        noise = torch.cat([torch.randn(1000, 5, generator=draw), torch.randn(1000, 5, generator=draw),
                           torch.randn(500, 5, generator=draw)])
        torch.testing.assert_close(mean, decoder.style(noise).mean(0).expand(6, 5))

    @torch.no_grad()
    def test_truncation_draws_towards_the_mean(self):
        decoder = small(truncation=0.5)
        decoder.estimate_mean(500)
        latents = []
        for options in ({"truncation": 1.0}, {}, {"truncation": 0.0}):
            torch.manual_seed(7)
            latents.append(decoder.imagine(2, 2, **options).codes)
        torch.testing.assert_close(latents[1], latents[0] / 2)
        assert not latents[2].any()
        torch.manual_seed(7)
        torch.testing.assert_close(decoder.train().imagine(2, 2, mixing=0).codes + decoder.mean,
                                   latents[0] + decoder.eval().estimate_mean(500), msg="training is not truncated")
