"""The decoder: a code for each layer, from noise or from an encoder, to a picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fctfg.errors import BadOption, BadRecipe
from fctfg.interfaces import CodeShape, Decoder, DeltaShape, Latent

from .layers import EqualLinear, PixelNorm, StyledConv, ToRGB
from .sizes import LICENCE, PAPER, channels_at, check_size, sizes_above_four

NOISES = ("auto", "random", "fixed", "none")


class StyleGAN2Decoder(Decoder):
    """Draws a face from a code for each of its layers, and imagines faces of its own.

    Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", 2020, arXiv:1912.04958, with skips to RGB.
    Loads the generators of rosinality's and NVIDIA's files (see README.md; NVIDIA's are for non-commercial use). Codes
    are offsets from `mean` (N, D), the mean of what the mapping network gives, so zeros draw the mean face; of the N = 2
    log2(size) - 2 codes the first act on the coarsest layers. Differs: the mean has a row for each code, as inversions
    have it; noise is fixed in eval mode, since a video would flicker. fp16 is not guarded against overflow; bf16 needs
    no guard.

    Args:
        size: 8 to 1024, a power of two.
        channel_multiplier: of the layers from 64 px on; 2 is NVIDIA's configuration F, 1 their `paper256`.
        channel_max: the most channels of any layer; less than 512 for small networks.
        w_dim: D, the width of a code and of the noise it comes from.
        num_mapping: layers of the mapping network.
        mapping_lr: multiplies the mapping network's learning rate.
        mixing: how often, in training, an imagined face takes its finer layers from another one.
        truncation: how far imagined faces reach from the mean in eval mode; 1 is as far as they go, 0 the mean face.
        noise: `random`, `fixed` (the same maps for every frame), `none`, or `auto`: random in training, else fixed.
        mean_decay: of the moving average that `mean` is while the mapping network learns.
    """

    paper = PAPER
    licence = LICENCE
    test_options = {"channel_max": 8, "w_dim": 8, "num_mapping": 2}

    mean: Tensor

    def __init__(self, *, size: int, channel_multiplier: float = 2, channel_max: int = 512, w_dim: int = 512,
                 num_mapping: int = 8, mapping_lr: float = 0.01, mixing: float = 0.9, truncation: float = 1.0,
                 noise: str = "auto", mean_decay: float = 0.995):
        super().__init__()
        check_size("decoder", size)
        if noise not in NOISES:
            raise BadOption(f"decoder 'stylegan2' takes noise={', '.join(NOISES)}; not '{noise}'.")
        self.size, self.mixing, self.truncation, self.noise, self.mean_decay = size, mixing, truncation, noise, mean_decay
        sizes = sizes_above_four(size)
        self.codes = CodeShape(2 * len(sizes) + 2, w_dim)

        mapping = [EqualLinear(w_dim, w_dim, lr=mapping_lr, activated=True) for _ in range(num_mapping)]
        self.style = nn.Sequential(PixelNorm(), *mapping)
        channels = channels_at(4, channel_multiplier, channel_max)
        self.input = Constant(channels)
        self.conv1 = StyledConv(channels, channels, width=w_dim)
        self.to_rgb1 = ToRGB(channels, width=w_dim, up=False)
        self.convs, self.to_rgbs = nn.ModuleList(), nn.ModuleList()
        for side in sizes:
            before, channels = channels, channels_at(side, channel_multiplier, channel_max)
            self.convs.append(StyledConv(before, channels, width=w_dim, up=True))
            self.convs.append(StyledConv(channels, channels, width=w_dim))
            self.to_rgbs.append(ToRGB(channels, width=w_dim))
        self.noises = nn.Module()
        for index, side in enumerate([4, *(side for side in sizes for _ in range(2))]):
            self.noises.register_buffer(f"noise_{index}", torch.randn(1, 1, side, side))
        self.register_buffer("mean", torch.zeros(self.codes))
        self.deltas = tuple(DeltaShape(*layer.conv.weight.shape[:3]) for layer in self._layers())

    def forward(self, latent: Latent) -> Tensor:
        """Draw (B, T, 3, H, W) from `latent.codes` (B, T, N, D) and, where given, `latent.deltas`.

        Raises:
            BadRecipe: codes or deltas of another network.
        """
        if latent.codes.shape[2:] != self.codes:
            raise BadRecipe(f"decoder 'stylegan2' at {self.size} px takes {self.codes.count} codes of width "
                            f"{self.codes.width} a frame; got {' x '.join(map(str, latent.codes.shape[2:]))}.")
        if len(latent.deltas) not in (0, len(self.deltas)):
            raise BadRecipe(f"decoder 'stylegan2' at {self.size} px takes {len(self.deltas)} deltas, one a convolution; "
                            f"got {len(latent.deltas)}.")
        drawn = self.draw(self.mean + latent.codes, latent.deltas)
        return drawn.unflatten(0, latent.codes.shape[:2])

    def draw(self, codes: Tensor, deltas: Sequence[Tensor | None] = ()) -> Tensor:
        """Pictures (B * T, 3, H, W) in float32 from `codes` (B, T, N, D) as the mapping network gives them."""
        offsets = iter(deltas or [None] * len(self.deltas))
        code = iter(codes.unbind(2))
        frames = codes.shape[0] * codes.shape[1]
        noises = iter(self._noises(frames))
        x = self.input.input.expand(frames, -1, -1, -1).contiguous(memory_format=torch.channels_last)
        x = self.conv1(x, next(code), next(noises), next(offsets))
        last = next(code)
        picture = self.to_rgb1(x, last, None, next(offsets))
        for up, same, to_rgb in zip(self.convs[::2], self.convs[1::2], self.to_rgbs):
            x = up(x, last, next(noises), next(offsets))  # shares its code with the picture of the size before
            x = same(x, next(code), next(noises), next(offsets))
            last = next(code)
            picture = to_rgb(x, last, picture, next(offsets))
        return picture

    def imagine(self, count: int, frames: int, *, truncation: float | None = None, mixing: float | None = None) -> Latent:
        """Random people, another in each frame, as codes (count, frames, N, D) with gradients to the mapping network.

        `truncation` and `mixing` default to the options in eval mode and in training respectively, else to none. While
        training, `mean` follows what is imagined.
        """
        truncation = (1.0 if self.training else self.truncation) if truncation is None else truncation
        mixing = (self.mixing if self.training else 0.0) if mixing is None else mixing
        noise = torch.randn(2, count * frames, self.codes.width, device=self.mean.device)
        w = self.style(noise[0])
        if self.training:
            with torch.no_grad():
                self.mean.lerp_(w.detach().mean(0).to(self.mean.dtype).expand(self.codes), 1 - self.mean_decay)
        codes = w[:, None].expand(-1, self.codes.count, -1)
        if mixing:
            codes = mix(codes, self.style(noise[1]), mixing)
        return Latent(truncate(codes - self.mean, truncation).unflatten(0, (count, frames)))

    @torch.no_grad()
    def estimate_mean(self, samples: int = 10_000, seed: int = 0) -> Tensor:
        """Set `mean` (N, D) to that of `samples` faces, and give it: for weights that come without one."""
        draw = torch.Generator().manual_seed(seed)
        total = torch.zeros(self.codes.width, dtype=torch.float64)
        for start in range(0, samples, 1000):
            noise = torch.randn(min(1000, samples - start), self.codes.width, generator=draw)
            total += self.style(noise.to(self.mean)).double().sum(0).cpu()
        self.mean.copy_((total / samples).expand(self.codes))
        return self.mean

    def _layers(self) -> list[StyledConv | ToRGB]:
        """All convolutions in the order in which they draw, which is that of `deltas`."""
        layers = [self.conv1, self.to_rgb1]
        for up, same, to_rgb in zip(self.convs[::2], self.convs[1::2], self.to_rgbs):
            layers += [up, same, to_rgb]
        return layers

    def _noises(self, frames: int) -> list[Tensor | None]:
        """For each layer that takes noise: a map (1, 1, h, w) for all frames, one for each, or None."""
        fixed = list(self.noises.buffers())
        kind = ("random" if self.training else "fixed") if self.noise == "auto" else self.noise
        if kind == "random":
            return [torch.randn(frames, *noise.shape[1:], device=noise.device) for noise in fixed]
        return fixed if kind == "fixed" else [None] * len(fixed)


class Constant(nn.Module):
    """The picture (1, C, 4, 4) that every face begins with."""

    def __init__(self, channels: int):
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, channels, 4, 4))


def truncate(codes: Tensor, psi: float, count: int | None = None) -> Tensor:
    """Offsets (..., N, D) brought nearer to the mean: all of them, or the `count` coarsest."""
    if psi == 1:
        return codes
    share = torch.ones(codes.shape[-2], 1, device=codes.device, dtype=codes.dtype)
    share[:count] = psi
    return codes * share


def mix(codes: Tensor, other: Tensor, probability: float) -> Tensor:
    """`codes` (M, N, D) of which some, with `probability`, go on as `other` (M, D) from a random layer on."""
    people, count = codes.shape[:2]
    crossing = torch.randint(1, count, (people, 1), device=codes.device)
    mixed = torch.rand(people, 1, device=codes.device) < probability
    as_other = mixed & (torch.arange(count, device=codes.device) >= crossing)
    return torch.where(as_other[..., None], other[:, None], codes)
