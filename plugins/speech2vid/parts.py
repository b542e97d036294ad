"""The four parts of Speech2Vid: a face that speaks, drawn from pictures of it and from its voice."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fctfg.audio import mfcc12_windows, mfcc_context
from fctfg.errors import BadRecipe
from fctfg.faces.profiles import Fade
from fctfg.interfaces import (FRAME_RATE, AudioEncoder, CodeShape, Decoder, FaceCode, Fusion, Latent, SkipAdapter,
                              SkipShape, VisualEncoder)

from .windows import Windows

PAPER = "Chung, Jamaludin, Zisserman, You said that?, BMVC 2017, arXiv:1705.02966"
SIZE = 112
"""Of the paper's pictures; any multiple of 16 will do."""
CEPSTRA = 12
ALONE = 35
"""MFCC columns that a frame drawn by itself is given, about its beginning."""
TOGETHER = 4
"""MFCC columns of each of several frames drawn together: the 40 ms it lasts."""
LOWER_HALF = Fade((0.25, 0.6, 0.75, 0.82), (0.06, 0.48, 0.94, 0.98))
"""Where drawn frames are shown: above, the frame itself is sharper than what comes back of it."""


class Speech2VidVisualEncoder(VisualEncoder):
    """Who speaks, and how the head is held: from stills, and from the frames to be drawn without their lower halves.

    Chung, Jamaludin, Zisserman, "You said that?", 2017, arXiv:1705.02966: the identity encoder, in layers as
    Sindhu-Hegde/you_said_that has them. Still j of frame t is picture t + j of `source`, counted round. With `frames`
    of 5 it looks at five at once and says the same of all, as cranberrymuffin/anime-dub does; see `Windows`. Besides
    the feature maps it gives a code, `identity` its mean over the clip and `motion` what is left.

    Differs: anime-dub is shown the five true frames with their mouths, in another order; these are masked, and a still
    is added, as in you_said_that.

    Args:
        frames: that it sees at once.
        stills: pictures of the person beside them.
        scale: multiplies the channels of every layer; 1 is the published network.
    """

    paper = PAPER
    gives = frozenset({"skips"})
    test_options = {"scale": 1 / 16}

    def __init__(self, *, size: int, codes: CodeShape, skips: tuple[SkipShape, ...] = (), frames: int = 5,
                 stills: int = 1, scale: float = 1.0):
        super().__init__()
        _check("visual encoder", size, frames)
        if stills < 0:
            raise BadRecipe(f"visual encoder 'speech2vid' cannot see {stills} stills; give 0 or more.")
        self.frames, self.stills = frames, stills
        native = _maps(size, scale)
        c512, c256, c96 = (scaled(channels, scale) for channels in (512, 256, 96))
        self.to_quarter = nn.Sequential(*_conv(3 * (stills + frames), c96, 7, 2), nn.MaxPool2d(3, 2, 1))
        self.to_eighth = nn.Sequential(*_conv(c96, c256, 5, 2))
        self.to_sixteenth = nn.MaxPool2d(3, 2, 1)
        self.to_face = nn.Sequential(
            *_conv(c256, c512, 3), *_conv(c512, c512, 3), *_conv(c512, c512, 3), nn.Flatten(),
            nn.Linear(c512 * (size // 16) ** 2, c512), nn.ReLU(), nn.Linear(c512, c256), nn.ReLU())
        self.adapter = SkipAdapter(native, tuple(skips))
        self.codes = CodeShape(*codes)
        # The bias is the speech's, see Speech2VidFusion.
        self.to_codes = nn.Linear(c256, self.codes.count * self.codes.width, bias=False)

    def forward(self, source: Tensor, frames: Tensor) -> FaceCode:
        windows = Windows.over(frames.shape[1], self.frames, frames.device)
        pictures = self.see(source, frames, windows)
        shape = pictures.shape[:2]
        face, maps = self.encode(pictures.flatten(0, 1))
        code = windows.each_frame(self.to_codes(face).unflatten(1, self.codes).unflatten(0, shape))
        identity = code.mean(1)
        skips = tuple(windows.each_frame(skip.unflatten(0, shape)) for skip in self.adapter(maps))
        return FaceCode(identity, code - identity[:, None], skips)

    def see(self, source: Tensor, frames: Tensor, windows: Windows) -> Tensor:
        """Each window's stills, then its frames, lower half black: (B, W, 3 (stills + frames), H, W), RGB in [0, 1]."""
        masked = frames / 2 + 0.5
        masked[..., frames.shape[-2] // 2:, :] = 0
        still = windows.shows[:, :1] + torch.arange(self.stills, device=frames.device)
        stills = source[:, still % source.shape[1]] / 2 + 0.5
        return torch.cat([stills.flatten(2, 3), windows.cut(masked).flatten(2, 3)], 2)

    def encode(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The face (M, 256) in `pictures` as `see` gives them, and its feature maps, coarse to fine."""
        quarter = self.to_quarter(pictures)
        eighth = self.to_eighth(quarter)
        sixteenth = self.to_sixteenth(eighth)
        return self.to_face(sixteenth), [sixteenth, eighth, quarter]


class Speech2VidAudioEncoder(AudioEncoder):
    """One vector of 256 for each frame, from the 0.35 s about it; or one for five at once, from the 0.2 s they last.

    Chung, Jamaludin, Zisserman, "You said that?", 2017, arXiv:1705.02966, on twelve cepstra of `fctfg.audio`; in
    layers as Sindhu-Hegde/you_said_that has them. With `frames` of 5 every frame brings the four columns of its own 40
    ms, which at 25 frames a second are the 20 columns of anime-dub, and at other rates stay in step with the picture.

    Args:
        frames: whose sound is heard at once, with one vector for all; 1 for the paper's 35 columns about each.
        scale: multiplies the channels of every layer; 1 is the published network.
    """

    paper = PAPER
    context = mfcc_context(5 * TOGETHER)
    test_options = {"scale": 1 / 16}

    def __init__(self, *, frames: int = 5, scale: float = 1.0):
        super().__init__()
        if frames < 1:
            raise BadRecipe(f"audio encoder 'speech2vid': {frames} frames at once; give 5, or 1 for the paper's form.")
        self.frames = frames
        self.columns, self.offset = (ALONE, -ALONE / 200) if frames == 1 else (TOGETHER, 0.0)
        before, after = mfcc_context(frames * self.columns, self.offset)
        self.context = before + (frames - 1) / FRAME_RATE, after  # a window's last frame hears the first one's sound
        c64, c128, c256, c512 = (scaled(channels, scale) for channels in (64, 128, 256, 512))
        self.width = c256
        rest = -(-(frames * self.columns) // 4)
        self.net = nn.Sequential(
            *_conv(1, c64, 3), *_conv(c64, c128, 3), nn.MaxPool2d(3, (1, 2), 1),
            *_conv(c128, c256, 3), *_conv(c256, c256, 3), *_conv(c256, c512, 3), nn.MaxPool2d(3, 2, 1), nn.Flatten(),
            nn.Linear(c512 * CEPSTRA // 2 * rest, c512), nn.ReLU(), nn.Linear(c512, c256), nn.ReLU())

    def forward(self, wave: Tensor, times: Tensor) -> Tensor:
        windows = Windows.over(len(times), self.frames, times.device)
        cepstra = self.hear(wave, times, windows)
        speech = self.net(cepstra.flatten(0, 1)[:, None]).unflatten(0, cepstra.shape[:2])
        return windows.each_frame(speech)

    def hear(self, wave: Tensor, times: Tensor, windows: Windows) -> Tensor:
        """The cepstra of each window: (B, W, 12, columns of all its frames)."""
        beyond = (windows.shows - (len(times) - 1)).clamp(min=0) / FRAME_RATE
        begins = times[windows.shows.clamp(max=len(times) - 1)] + beyond + self.offset
        heard = mfcc12_windows(wave, begins.flatten(), self.columns)  # (B, W F, 12, columns)
        return heard.unflatten(1, begins.shape).transpose(2, 3).flatten(3)


class Speech2VidFusion(Fusion):
    """The face's code and the speech, brought to its width, added up: one linear layer over both, side by side.

    Chung, Jamaludin, Zisserman, "You said that?", 2017, arXiv:1705.02966. The face's half of the layer is the
    visual encoder's last.
    """

    paper = PAPER

    def __init__(self, *, codes: CodeShape, speech_width: int):
        super().__init__()
        self.codes = CodeShape(*codes)
        self.to_codes = nn.Linear(speech_width, self.codes.count * self.codes.width)

    def forward(self, face: FaceCode, speech: Tensor) -> Latent:
        speech = self.to_codes(speech).unflatten(-1, self.codes)
        return Latent(face.identity[:, None] + face.motion + speech, skips=face.skips, deltas=face.deltas)


class Speech2VidDecoder(Decoder):
    """Draws frames, several at once, from their code and three feature maps of the face.

    Chung, Jamaludin, Zisserman, "You said that?", 2017, arXiv:1705.02966, in layers as Sindhu-Hegde/you_said_that has
    them; with `frames` of 5, five frames at once as cranberrymuffin/anime-dub does. Of an encoder that
    says something else of each frame it takes the mean over those drawn together. Its alpha is the lower half, softly.

    Args:
        frames: that it draws at once.
        scale: multiplies the channels of every layer; 1 is the published network.
    """

    paper = PAPER
    needs = frozenset({"skips"})
    test_options = {"scale": 1 / 16}

    def __init__(self, *, size: int, frames: int = 5, scale: float = 1.0):
        super().__init__()
        _check("decoder", size, frames)
        self.frames, self.base = frames, size // 16
        self.register_buffer("alpha", torch.from_numpy(LOWER_HALF.mask(size)), persistent=False)
        self.codes = CodeShape(1, 2 * self.base**2)
        self.skips = _maps(size, scale)
        c512, c256, c96, c64 = (scaled(channels, scale) for channels in (512, 256, 96, 64))
        self.start = nn.Sequential(*_up(2, c512, 6, 1, 2), nn.ZeroPad2d((0, -1, 0, -1)), *_up(c512, c256, 5, 1, 2))
        self.from_sixteenth = nn.Sequential(*_up(2 * c256, c96, 5))
        self.from_eighth = nn.Sequential(*_up(c96 + c256, c96, 5))
        self.from_quarter = nn.Sequential(*_up(2 * c96, c64, 5), nn.ConvTranspose2d(c64, 3 * frames, 5, 2, 2, 1))

    def forward(self, latent: Latent) -> tuple[Tensor, Tensor]:
        shape = latent.codes.shape[:2]
        windows = Windows.over(shape[1], self.frames, latent.codes.device)
        codes = windows.mean(latent.codes)
        drawn = self.draw(codes.flatten(0, 1), [windows.mean(skip).flatten(0, 1) for skip in latent.skips])
        drawn = drawn.unflatten(1, (self.frames, 3)).unflatten(0, codes.shape[:2])
        return windows.put_together(drawn) * 2 - 1, self.alpha.expand(*shape, 1, -1, -1)

    def draw(self, codes: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """Windows (M, 3 frames, H, W), RGB in [0, 1]; `codes` (M, 1, D), `skips` (M, C, h, w), coarse to fine."""
        x = self.start(codes.relu().unflatten(2, (2, self.base, self.base))[:, 0])
        for block, skip in zip((self.from_sixteenth, self.from_eighth, self.from_quarter), skips):
            x = block(torch.cat([x, skip], 1))
        # In float32: near black and white the steps of bf16 are wider than those of the picture file.
        return x.float().sigmoid()


def scaled(channels: int, scale: float) -> int:
    return max(1, round(channels * scale))


def _maps(size: int, scale: float) -> tuple[SkipShape, ...]:
    """The feature maps of the face, coarse to fine."""
    return tuple(SkipShape(scaled(channels, scale), size // part, size // part)
                 for channels, part in ((256, 16), (256, 8), (96, 4)))


def _conv(channels: int, out: int, kernel: int, stride: int = 1) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, out, kernel, stride, kernel // 2), nn.BatchNorm2d(out, momentum=0.2), nn.ReLU()


def _up(channels: int, out: int, kernel: int, stride: int = 2, padding: int = 2) -> tuple[nn.Module, ...]:
    return (nn.ConvTranspose2d(channels, out, kernel, stride, padding, stride - 1), nn.BatchNorm2d(out, momentum=0.2),
            nn.ReLU())


def _check(what: str, size: int, frames: int) -> None:
    if size % 16:
        raise BadRecipe(f"{what} 'speech2vid' works at multiples of 16 px, not at {size}; give size: {SIZE}.")
    if frames < 1:
        raise BadRecipe(f"{what} 'speech2vid': {frames} frames at once; give 5, or 1 for the paper's form.")
