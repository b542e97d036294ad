"""The four parts that draw: the face and what is heard meet in a U-Net, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fctfg.audio import MEL_CONTEXT, mel_windows
from fctfg.interfaces import (AudioEncoder, CodeShape, Decoder, FaceCode, Fusion, Latent, SkipAdapter, SkipShape,
                              VisualEncoder)

from .blocks import (LICENCE, PAPER, SIZE, ConvBlock, UpBlock, audio_tower, check_batch, check_size, from_bgr,
                     residuals, scaled, to_bgr)

HEIGHTS = (1, 3, 6, 12, 24, 48, 96)
"""Of the feature maps, coarse to fine."""
CHANNELS = (512, 512, 256, 128, 64, 32, 16)


def _maps(scale: float) -> tuple[SkipShape, ...]:
    """The feature maps of the face encoder, coarse to fine."""
    return tuple(SkipShape(scaled(channels, scale), height, height) for channels, height in zip(CHANNELS, HEIGHTS))


class Wav2LipVisualEncoder(VisualEncoder):
    """Feature maps of each frame without its lower half beside a reference picture that has one.

    Prajwal et al., 2020, arXiv:2008.10010. Frame t's reference is picture t of `source`, counted round
    where there are fewer: one for all, or each its own. Loads `face_encoder_blocks` of wav2lip.pth and
    wav2lip_gan.pth (research and personal use only). Differs: besides the maps it gives a code, the face's last
    vector, for other decoders: `identity` is its mean over the clip and `motion` what is left.

    Args:
        scale: multiplies the channels of every layer; 1 is the public network.
    """

    paper = PAPER
    licence = LICENCE
    gives = frozenset({"skips"})
    test_options = {"scale": 1 / 16}
    test_size = SIZE

    def __init__(self, *, size: int, codes: CodeShape, skips: tuple[SkipShape, ...] = (), scale: float = 1.0):
        super().__init__()
        check_size("visual encoder", size)
        c512, _, c256, c128, c64, c32, c16 = (shape.channels for shape in _maps(scale))
        self.face_encoder_blocks = nn.ModuleList([
            nn.Sequential(ConvBlock(6, c16, 7, 1, 3)),  # 96 x 96
            nn.Sequential(ConvBlock(c16, c32, 3, 2, 1), *residuals(c32, 2)),  # 48
            nn.Sequential(ConvBlock(c32, c64, 3, 2, 1), *residuals(c64, 3)),  # 24
            nn.Sequential(ConvBlock(c64, c128, 3, 2, 1), *residuals(c128, 2)),  # 12
            nn.Sequential(ConvBlock(c128, c256, 3, 2, 1), *residuals(c256, 2)),  # 6
            nn.Sequential(ConvBlock(c256, c512, 3, 2, 1), *residuals(c512, 1)),  # 3
            nn.Sequential(ConvBlock(c512, c512, 3), ConvBlock(c512, c512, 1)),  # 1
        ])
        self.adapter = SkipAdapter(_maps(scale), tuple(skips))
        self.codes = CodeShape(*codes)
        count = self.codes.count * self.codes.width
        self.to_codes = nn.Identity() if count == c512 else nn.Linear(c512, count)

    def forward(self, source: Tensor, frames: Tensor) -> FaceCode:
        clips = frames.shape[:2]
        maps = self.encode(self.see(source, frames))
        code = self.to_codes(maps[0].flatten(1)).unflatten(1, self.codes).unflatten(0, clips)
        identity = code.mean(1)
        skips = tuple(skip.unflatten(0, clips) for skip in self.adapter(maps))
        return FaceCode(identity, code - identity[:, None], skips)

    def see(self, source: Tensor, frames: Tensor) -> Tensor:
        """The masked frame and its reference (B T, 6, 96, 96), both BGR in [0, 1]; the lower half of the first is 0."""
        masked = to_bgr(frames)
        masked[..., frames.shape[-2] // 2:, :] = 0
        turn = torch.arange(frames.shape[1], device=source.device) % source.shape[1]
        return torch.cat([masked, to_bgr(source[:, turn])], 2).flatten(0, 1)

    def encode(self, pictures: Tensor) -> list[Tensor]:
        """The feature maps (M, C, h, w) of `pictures` (M, 6, 96, 96), coarse to fine."""
        check_batch("visual encoder 'wav2lip'", self, len(pictures))
        maps = []
        for block in self.face_encoder_blocks:
            pictures = block(pictures)
            maps.append(pictures)
        return maps[::-1]


class Wav2LipAudioEncoder(AudioEncoder):
    """One vector of 512 for the 0.2 s of sound that follow the beginning of each frame.

    Prajwal et al., 2020, arXiv:2008.10010; on the mel spectrogram of `fctfg.audio`. Loads
    `audio_encoder` of wav2lip.pth and wav2lip_gan.pth (research and personal use only).

    Args:
        offset: seconds by which the sound is heard late. At 0 the window begins with the frame, as in the authors'
            inference. Their training cuts it one frame earlier (-0.04), so that their weights at 0 draw the mouth 40 ms
            early; give -0.04 to hear as they learnt.
        scale: multiplies the channels of every layer; 1 is the public network.
    """

    paper = PAPER
    licence = LICENCE
    context = MEL_CONTEXT
    test_options = {"scale": 1 / 16}

    def __init__(self, *, offset: float = 0.0, scale: float = 1.0):
        super().__init__()
        self.offset = offset
        self.width = scaled(512, scale)
        self.context = max(0.0, MEL_CONTEXT[0] - offset), max(0.0, MEL_CONTEXT[1] + offset)
        self.audio_encoder = audio_tower(scale, last_residuals=1)

    def forward(self, wave: Tensor, times: Tensor) -> Tensor:
        mel = self.hear(wave, times)
        return self.encode(mel.flatten(0, 1)[:, None]).unflatten(0, mel.shape[:2])

    def hear(self, wave: Tensor, times: Tensor) -> Tensor:
        """The mel windows (B, T, 80, 16) at `times`."""
        return mel_windows(wave, times + self.offset)

    def encode(self, mel: Tensor) -> Tensor:
        """Speech vectors (M, A) of `mel` (M, 1, 80, 16)."""
        check_batch("audio encoder 'wav2lip'", self, len(mel))
        return self.audio_encoder(mel).flatten(1)


class SpeechFusion(Fusion):
    """The speech itself as the decoder's codes; the face reaches the decoder through its skips alone.

    Prajwal et al., 2020, arXiv:2008.10010. Differs: where the speech of another audio encoder has
    another width than the codes, a linear layer brings it there.
    """

    paper = PAPER

    def __init__(self, *, codes: CodeShape, speech_width: int):
        super().__init__()
        self.codes = CodeShape(*codes)
        count = self.codes.count * self.codes.width
        self.to_codes = nn.Identity() if speech_width == count else nn.Linear(speech_width, count)

    def forward(self, face: FaceCode, speech: Tensor) -> Latent:
        return Latent(self.to_codes(speech).unflatten(-1, self.codes), skips=face.skips, deltas=face.deltas)


class Wav2LipDecoder(Decoder):
    """Draws each frame at 96 px from its speech and seven feature maps of the face.

    Prajwal et al., 2020, arXiv:2008.10010. Loads `face_decoder_blocks` and `output_block` of wav2lip.pth
    and wav2lip_gan.pth (research and personal use only).

    Args:
        scale: multiplies the channels of every layer; 1 is the public network.
    """

    paper = PAPER
    licence = LICENCE
    needs = frozenset({"skips"})
    test_options = {"scale": 1 / 16}
    test_size = SIZE

    def __init__(self, *, size: int, scale: float = 1.0):
        super().__init__()
        check_size("decoder", size)
        self.skips = _maps(scale)
        c512, c384, c256, c128, c64, c32 = (scaled(channels, scale) for channels in (512, 384, 256, 128, 64, 32))
        self.codes = CodeShape(1, c512)
        # What comes into each block: what the last one drew, beside the map of its size.
        into = [out + skip.channels for out, skip in zip((c512, c512, c512, c384, c256, c128, c64), self.skips)]
        self.face_decoder_blocks = nn.ModuleList([
            nn.Sequential(ConvBlock(c512, c512, 1)),  # 1 x 1
            nn.Sequential(UpBlock(into[0], c512, 3), *residuals(c512, 1)),  # 3
            nn.Sequential(UpBlock(into[1], c512, 3, 2, 1, 1), *residuals(c512, 2)),  # 6
            nn.Sequential(UpBlock(into[2], c384, 3, 2, 1, 1), *residuals(c384, 2)),  # 12
            nn.Sequential(UpBlock(into[3], c256, 3, 2, 1, 1), *residuals(c256, 2)),  # 24
            nn.Sequential(UpBlock(into[4], c128, 3, 2, 1, 1), *residuals(c128, 2)),  # 48
            nn.Sequential(UpBlock(into[5], c64, 3, 2, 1, 1), *residuals(c64, 2)),  # 96
        ])
        self.output_block = nn.Sequential(ConvBlock(into[6], c32, 3, 1, 1), nn.Conv2d(c32, 3, 1))

    def forward(self, latent: Latent) -> Tensor:
        codes = latent.codes.flatten(0, 1).flatten(1)[..., None, None]
        drawn = self.draw(codes, [skip.flatten(0, 1) for skip in latent.skips])
        return from_bgr(drawn).unflatten(0, latent.codes.shape[:2])

    def draw(self, codes: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """Pictures (M, 3, 96, 96), BGR in [0, 1]; `codes` (M, 512, 1, 1), `skips` (M, C, h, w) coarse to fine."""
        check_batch("decoder 'wav2lip'", self, len(codes))
        x = codes
        for block, skip in zip(self.face_decoder_blocks, skips):
            x = torch.cat([block(x), skip], 1)
        # In float32: near black and white the steps of bf16 are wider than those of the picture file.
        return self.output_block(x).float().sigmoid()
