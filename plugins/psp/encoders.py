"""Pictures to style codes: a pyramid of feature maps, and a small head for every code."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fctfg.errors import BadRecipe
from fctfg.interfaces import CodeShape, FaceCode, VisualEncoder

from ..arcface.irse import feature_maps, irse50_layers, scaled
from ..stylegan2.layers import EqualLinear
from .heads import StyleHead

PSP = ("Richardson et al., Encoding in Style: a StyleGAN Encoder for Image-to-Image Translation, 2021, "
       "arXiv:2008.00951")
E4E = "Tov et al., Designing an Encoder for StyleGAN Image Manipulation, 2021, arXiv:2102.02766"
LICENCE = "MIT; public weights: MIT, trained on FFHQ (CC BY-NC-SA 4.0) from StyleGAN2 (non-commercial)"
COARSE, MIDDLE = 3, 7
"""The first code that is read from the middle feature map, and the first from the fine one."""
ALL_IN = 1 << 40
"""A count of batches at which every difference of an e4e encoder is in."""


def default_input_size(size: int) -> int:
    """What an encoder makes of pictures of `size` where it is not told: at most 256, which public weights have."""
    return max(32, min(256, 1 << size.bit_length() - 1))


class IRSE50Encoder(VisualEncoder):
    """What the encoders of pSp have in common: the body, and each picture seen once, by itself.

    `identity` is the mean code of the references, `motion` the code of each frame. Codes are offsets from the decoder's
    mean code, as pSp's are. Pictures are brought to `input_size` bilinearly, antialiased where they shrink, as the
    authors' data loader does. The body may begin with model_ir_se50.pth, as pSp's does.

    Args:
        input_size: height and width of the pictures that the network sees, a power of two of 32 or more; by default 256
            (of the public weights), or the largest that `size` holds.
        scale: multiplies the channels of body and pyramid; 1 is the public network.
    """

    paper = PSP
    licence = LICENCE
    test_options = {"scale": 1 / 16}
    test_size = 32

    def __init__(self, *, size: int, codes: CodeShape, input_size: int | None = None, scale: float = 1.0):
        super().__init__()
        self.input_size = input_size or default_input_size(size)
        if self.input_size < 32 or self.input_size.bit_count() != 1:
            raise BadRecipe(f"visual encoder: input_size {input_size} is not a power of two of 32 or more; give 64, "
                            "128 or 256, which the public weights have.")
        self.codes = CodeShape(*codes)
        self.channels = scaled(512, scale)
        self.input_layer, self.body = irse50_layers(scale)

    def forward(self, source: Tensor, frames: Tensor) -> FaceCode:
        """Encode `source` (B, K, 3, H, W) and `frames` (B, T, 3, H, W); once, where they are the same tensor."""
        clips, count = frames.shape[:2]
        pictures = frames if source is frames else torch.cat([frames, source], 1)
        seen = self.invert(pictures.flatten(0, 1)).unflatten(0, (clips, -1))
        motion = seen[:, :count]
        return FaceCode((motion if source is frames else seen[:, count:]).mean(1), motion)

    def invert(self, pictures: Tensor) -> Tensor:
        """The codes (M, N, D), float32, of `pictures` (M, 3, H, W)."""
        if pictures.shape[-2:] != (self.input_size, self.input_size):
            pictures = F.interpolate(pictures, (self.input_size, self.input_size), mode="bilinear", align_corners=False,
                                     antialias=True)
        return self.read(feature_maps(self.input_layer, self.body, pictures))

    @abstractmethod
    def read(self, maps: list[Tensor]) -> Tensor:
        """The codes (M, N, D) in the feature `maps` of the body, fine to coarse."""


class PSPEncoder(IRSE50Encoder):
    """One code per layer of the generator (W+), the coarse ones read from the coarse feature map.

    Richardson et al., "Encoding in Style: a StyleGAN Encoder for Image-to-Image Translation", 2021, arXiv:2008.00951,
    section 3. Loads the `encoder` of pSp's files. Differs: other sizes than 256 px have fewer or more strided
    convolutions in each head, and the codes of any decoder are read, not StyleGAN2's alone.

    Args:
        input_size, scale: see `IRSE50Encoder`.
    """

    def __init__(self, *, size: int, codes: CodeShape, input_size: int | None = None, scale: float = 1.0):
        super().__init__(size=size, codes=codes, input_size=input_size, scale=scale)
        count, width = self.codes
        self.styles = nn.ModuleList(
            StyleHead(self.channels, self.input_size // (16 if code < COARSE else 8 if code < MIDDLE else 4), width)
            for code in range(count))
        if count > COARSE:
            self.latlayer1 = nn.Conv2d(scaled(256, scale), self.channels, 1)
        if count > MIDDLE:
            self.latlayer2 = nn.Conv2d(scaled(128, scale), self.channels, 1)

    def read(self, maps: list[Tensor]) -> Tensor:
        return torch.stack([head(x) for head, x in zip(self.styles, self.pyramid(maps))], 1)

    def pyramid(self, maps: list[Tensor]) -> list[Tensor]:
        """What each code is read from."""
        fine, middle, coarse = maps
        levels = [coarse] * COARSE
        if self.codes.count > COARSE:
            middle = _enlarged(coarse, middle) + self.latlayer1(middle)
            levels += [middle] * (MIDDLE - COARSE)
        if self.codes.count > MIDDLE:
            levels += [_enlarged(middle, fine) + self.latlayer2(fine)] * (self.codes.count - MIDDLE)
        return levels


class E4EEncoder(PSPEncoder):
    """One code for all layers, and a small difference for each: codes that stay where pictures can be edited.

    Tov et al., "Designing an Encoder for StyleGAN Image Manipulation", 2021, arXiv:2102.02766, section 4. While it
    trains, the differences come in one after the other, coarse to fine; how far it has come is saved with the weights.
    Loads the `encoder` of e4e's files, whose differences are all in.

    Args:
        input_size, scale: see `IRSE50Encoder`.
        progressive_start: batches before the first difference comes in.
        progressive_every: batches from each to the next; 0 lets all in at once.
    """

    paper = E4E
    test_options = {"scale": 1 / 16, "progressive_start": 0, "progressive_every": 0}

    def __init__(self, *, size: int, codes: CodeShape, input_size: int | None = None, scale: float = 1.0,
                 progressive_start: int = 20_000, progressive_every: int = 2_000):
        super().__init__(size=size, codes=codes, input_size=input_size, scale=scale)
        if progressive_start < 0 or progressive_every < 0:
            raise BadRecipe(f"visual encoder 'e4e': progressive_start {progressive_start} and progressive_every "
                            f"{progressive_every} count batches; give 0 or more.")
        starts = progressive_start + progressive_every * torch.arange(self.codes.count - 1)
        self.register_buffer("starts", starts, persistent=False)
        self.register_buffer("batches", torch.tensor(0))

    def read(self, maps: list[Tensor]) -> Tensor:
        first, differences = super().read(maps).split([1, self.codes.count - 1], 1)
        # Those that are not yet in are computed all the same: the GPU is never asked how many there are.
        differences = torch.where((self.batches >= self.starts)[:, None], differences, 0)
        if self.training:
            self.batches += 1
        return torch.cat([first, first + differences], 1)

    def _load_from_state_dict(self, state_dict, prefix, *others):
        """Public weights count no batches: they have been through all."""
        if f"{prefix}styles.0.linear.weight" in state_dict:
            state_dict.setdefault(f"{prefix}batches", torch.tensor(ALL_IN))
        super()._load_from_state_dict(state_dict, prefix, *others)


class PSPWEncoder(IRSE50Encoder):
    """One code for all layers of the generator (W), from the mean of the last feature map.

    Richardson et al., 2021, arXiv:2008.00951, section 4.1, where it is the plain encoder that pSp is compared with;
    also the first inversion of HyperStyle (Alaluf et al., 2022, arXiv:2111.15666). Loads the `encoder` of their files.

    Args:
        input_size, scale: see `IRSE50Encoder`.
    """

    def __init__(self, *, size: int, codes: CodeShape, input_size: int | None = None, scale: float = 1.0):
        super().__init__(size=size, codes=codes, input_size=input_size, scale=scale)
        self.linear = EqualLinear(self.channels, self.codes.width)

    def read(self, maps: list[Tensor]) -> Tensor:
        code = self.linear(maps[-1].mean((2, 3)))
        return code[:, None].expand(-1, self.codes.count, -1)


class PSPWPlusEncoder(IRSE50Encoder):
    """One code per layer of the generator (W+), all from the last feature map.

    Richardson et al., 2021, arXiv:2008.00951, section 4.1: pSp without its pyramid. Loads the `encoder` of its files.

    Args:
        input_size, scale: see `IRSE50Encoder`.
    """

    def __init__(self, *, size: int, codes: CodeShape, input_size: int | None = None, scale: float = 1.0):
        super().__init__(size=size, codes=codes, input_size=input_size, scale=scale)
        self.output_layer_2 = nn.Sequential(nn.BatchNorm2d(self.channels), nn.AdaptiveAvgPool2d(7), nn.Flatten(),
                                            nn.Linear(self.channels * 7 * 7, self.channels))
        self.linear = EqualLinear(self.channels, self.codes.count * self.codes.width)

    def read(self, maps: list[Tensor]) -> Tensor:
        return self.linear(self.output_layer_2(maps[-1])).unflatten(1, self.codes)


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=True)
