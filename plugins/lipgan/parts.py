"""The parts that draw: face and sound meet in a U-Net, frame by frame. Their fusion is `speech` of Wav2Lip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from fctfg.interfaces import AudioEncoder, CodeShape, Decoder, FaceCode, Latent, SkipAdapter, SkipShape, VisualEncoder

from ..wav2lip.blocks import check_batch, from_bgr, scaled, to_bgr
from .blocks import LICENCE, PAPER, SIZE, ConvBlock, UpBlock, check_size, check_variant, convolution
from .fronts import MEL, MFCC, Front
from .towers import face_maps, face_tower, mel_tower, mfcc_tower, residuals, widths


class LipGANVisualEncoder(VisualEncoder):
    """Feature maps of a reference picture beside each frame without its lower half.

    Prajwal K R et al., "Towards Automatic Face-to-Face Translation", 2019, arXiv:2003.00418, with the authors' code
    for the layers. Frame t's reference is picture t of `source`, counted round where there are fewer. Loads the first
    part of lipgan_residual_mel.h5 and of its variants. Differs: besides the maps it gives a code, one of the face's
    last two vectors, for other decoders: `identity` is its mean over the clip and `motion` what is left.

    Args:
        variant: `residual`, or the smaller `basic`.
        scale: multiplies the channels of every layer; 1 is the public network.
    """

    paper = PAPER
    licence = LICENCE
    gives = frozenset({"skips"})
    test_options = {"scale": 1 / 16}
    test_size = SIZE

    def __init__(self, *, size: int, codes: CodeShape, skips: tuple[SkipShape, ...] = (), variant: str = "residual",
                 scale: float = 1.0):
        super().__init__()
        check_size("visual encoder", size)
        check_variant("visual encoder 'lipgan'", variant)
        native = face_maps(variant, scale)
        self.face_encoder = face_tower(variant, scale)
        self.adapter = SkipAdapter(native, tuple(skips))
        self.codes = CodeShape(*codes)
        count, last, before = self.codes.count * self.codes.width, native[0].channels, native[1].channels
        self.code_of_last = count == last or count != before
        self.to_codes = nn.Identity() if count in (last, before) else nn.Linear(last, count)

    def forward(self, source: Tensor, frames: Tensor) -> FaceCode:
        clips = frames.shape[:2]
        last, before, *wider = self.encode(self.see(source, frames))
        vector = (last if self.code_of_last else before).flatten(1)
        code = self.to_codes(vector).unflatten(1, self.codes).unflatten(0, clips)
        identity = code.mean(1)
        skips = tuple(skip.unflatten(0, clips) for skip in self.adapter([last, *wider]))
        return FaceCode(identity, code - identity[:, None], skips)

    def see(self, source: Tensor, frames: Tensor) -> Tensor:
        """Reference and masked frame (B T, 6, 96, 96), both BGR in [0, 1]; the lower half of the second is 0."""
        masked = to_bgr(frames)
        masked[..., frames.shape[-2] // 2:, :] = 0
        turn = torch.arange(frames.shape[1], device=source.device) % source.shape[1]
        return torch.cat([to_bgr(source[:, turn]), masked], 2).flatten(0, 1)

    def encode(self, pictures: Tensor) -> list[Tensor]:
        """What each block makes of `pictures` (M, 6, 96, 96), coarse to fine: two vectors, then maps of 3 px and up."""
        check_batch("visual encoder 'lipgan'", self, len(pictures))
        maps = []
        for block in self.face_encoder:
            pictures = block(pictures)
            maps.append(pictures)
        return maps[::-1]


class _LipGANAudioEncoder(AudioEncoder):
    """What the two encoders share: a window of sound for each frame, and a tower of convolutions over it."""

    paper = PAPER
    licence = LICENCE
    test_options = {"scale": 1 / 16}
    front: ClassVar[Front]
    tower: ClassVar[Callable[[str, float], nn.Sequential]]

    def __init__(self, *, variant: str = "residual", offset: float = 0.0, scale: float = 1.0):
        super().__init__()
        check_variant("audio encoder 'lipgan'", variant)
        self.offset = offset
        self.context = self.front.context(offset)
        self.audio_encoder = self.tower(variant, scale)
        self.width = self.audio_encoder[-1].layers[0].out_channels

    def forward(self, wave: Tensor, times: Tensor) -> Tensor:
        windows = self.hear(wave, times)
        return self.encode(windows.flatten(0, 1)[:, None]).unflatten(0, windows.shape[:2])

    def hear(self, wave: Tensor, times: Tensor) -> Tensor:
        """The windows (B, T, rows, columns) at `times`."""
        return self.front.hear(wave, times, self.offset)

    def encode(self, windows: Tensor) -> Tensor:
        """Speech vectors (M, A) of `windows` (M, 1, rows, columns)."""
        check_batch("audio encoder 'lipgan'", self, len(windows))
        return self.audio_encoder(windows).flatten(1)


class LipGANAudioEncoder(_LipGANAudioEncoder):
    """One vector of 512 for 0.34 s of mel spectrogram, 80 bands by 27 columns.

    Prajwal K R et al., 2019, arXiv:2003.00418, as the authors' later code hears. Loads the second part of
    lipgan_residual_mel.h5 and of its basic variant.

    Args:
        variant: `residual`, or `basic`, which has plain convolutions in place of the residual ones.
        offset: seconds by which the sound is heard late. At 0 the window begins with the frame, as in the authors'
            inference; at -0.17 the frame is in its middle, as in the paper.
        scale: multiplies the channels of every layer; 1 is the public network.
    """

    front = MEL
    context = MEL.context()
    tower = staticmethod(mel_tower)


class LipGANMFCCAudioEncoder(_LipGANAudioEncoder):
    """One vector of 512, or of 256 where `basic`, for 0.35 s of voice: 12 cepstra by 35 columns.

    Prajwal K R et al., 2019, arXiv:2003.00418, as the authors' first code hears, which takes the cepstra from
    MATLAB. Loads the second part of lipgan_best_residual.h5 and of its basic variant.

    Args:
        variant: `residual` or `basic`.
        offset: seconds by which the sound is heard late. At 0 the window begins with the frame, as in the authors'
            inference; their training puts the frame in its middle: give -0.16 to hear as the weights learnt.
        scale: multiplies the channels of every layer; 1 is the public network.
    """

    front = MFCC
    context = MFCC.context()
    tower = staticmethod(mfcc_tower)


class LipGANDecoder(Decoder):
    """Draws each frame at 96 px from its speech and seven feature maps of the face.

    Prajwal K R et al., 2019, arXiv:2003.00418, with the authors' code for the layers. Loads the last part of
    lipgan_residual_mel.h5 and of its variants.

    Args:
        variant: `residual`, or the smaller `basic`.
        speech: the width of the code, to which the fusion brings what is heard; 512, or 256 in the public `basic` that
            hears cepstra. Multiplied by `scale`.
        scale: multiplies the channels of every layer but the last two: colours do not fit into fewer than their 16.
            1 is the public network.
    """

    paper = PAPER
    licence = LICENCE
    needs = frozenset({"skips"})
    test_options = {"scale": 1 / 16}
    test_size = SIZE

    def __init__(self, *, size: int, variant: str = "residual", speech: int = 512, scale: float = 1.0):
        super().__init__()
        check_size("decoder", size)
        check_variant("decoder 'lipgan'", variant)
        self.codes = CodeShape(1, scaled(speech, scale))
        self.skips = face_maps(variant, scale)
        c32, c64, c128, c256, c512 = widths(scale)
        drawn = self.codes.width
        blocks = []
        # The map of a size stands before what was drawn at it. From 6 px on the residual variant refines.
        for skip, out in zip(self.skips, (c512, c512, c256, c128, c64, c32)):
            up = UpBlock(skip.channels + drawn, out, stride=3 if skip.height == 1 else 2)
            refining = variant == "residual" and 3 <= skip.height < 48
            blocks.append(nn.Sequential(up, *residuals(out, 2 if refining else 0)))
            drawn = out
        self.face_decoder = nn.ModuleList(blocks)
        self.output = nn.Sequential(ConvBlock(self.skips[-1].channels + drawn, 16), ConvBlock(16, 16),
                                    convolution(16, 3, 1))

    def forward(self, latent: Latent) -> Tensor:
        codes = latent.codes.flatten(0, 1).flatten(1)[..., None, None]
        drawn = self.draw(codes, [skip.flatten(0, 1) for skip in latent.skips])
        return from_bgr(drawn).unflatten(0, latent.codes.shape[:2])

    def draw(self, codes: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """Pictures (M, 3, 96, 96), BGR in [0, 1]; `codes` (M, 512, 1, 1), `skips` (M, C, h, w) coarse to fine."""
        check_batch("decoder 'lipgan'", self, len(codes))
        x = codes
        for block, skip in zip(self.face_decoder, skips):
            x = block(torch.cat([skip, x], 1))
        # In float32: near black and white the steps of bf16 are wider than those of the picture file.
        return self.output(torch.cat([skips[-1], x], 1)).float().sigmoid()
