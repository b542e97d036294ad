"""What a plugin can be, and the data that flows between them.

    source, frames --VisualEncoder--> FaceCode --.
                                                  Fusion --> Latent --Decoder--> frames
    wave ----------AudioEncoder----> speech -----'

Shape letters used throughout fctfg:

    B  clips in the batch      N  style codes per frame     S  sound samples
    K  reference pictures      D  width of one style code   A  width of one speech vector
    T  frames in a clip        H, W  picture size

Pictures are RGB float in [-1, 1]. Sound is mono float in [-1, 1] at 16 kHz. Training clips run at 25 frames per second;
generation at any rate, since frames carry their times. Every component converts at its own edge (BGR, [0, 1], mel, ...).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .errors import BadRecipe

if TYPE_CHECKING:
    from .model import TalkingFace

SAMPLE_RATE = 16_000
FRAME_RATE = 25


class CodeShape(NamedTuple):
    """How many style codes a decoder takes per frame, and how wide each is."""

    count: int
    width: int


class SkipShape(NamedTuple):
    """One feature map that a U-Net decoder takes from the encoder: channels, height and width."""

    channels: int
    height: int
    width: int


class DeltaShape(NamedTuple):
    """One convolution of a decoder whose weight (outputs, inputs, kernel, kernel) a hypernetwork may offset."""

    outputs: int
    inputs: int
    kernel: int


@dataclass
class Clip:
    """A batch of aligned picture and sound: all that data loaders and the pipeline yield."""

    source: Tensor
    """(B, K, 3, H, W): reference pictures that say who. K is 1, or T where each frame has its own."""
    frames: Tensor
    """(B, T, 3, H, W): the driving frames; in training also the truth."""
    wave: Tensor
    """(B, S): the sound from before the first frame until after the last, so that windows at the edge hear real sound."""
    times: Tensor
    """(T,): when each frame begins, in seconds from the first sample of `wave`."""
    other_wave: Tensor | None = None
    """(B, S): the sound of another moment of the same video, laid out as `wave`; what critics learn is out of step."""
    driving: Tensor | None = None
    """(B, T, 3, H, W): what the encoder sees of `frames` where that is not all of them: their mouths may be hidden."""
    other_driving: Tensor | None = None
    """(B, T, 3, H, W): frames of another motion, to be blended with the one of `frames` when generating."""
    landmarks: Tensor | None = None
    """(B, T, 68, 2): the iBUG points of `frames` in [-1, 1], x then y; -1 is the left or upper edge."""
    action_units: Tensor | None = None
    """(B, T, 17) in [0, 1]: `action_units.NAMES` of `frames`, with `action_units_known` (B, T, 17) bool beside it."""
    action_units_known: Tensor | None = None

    def to(self, *args, **kwargs) -> Clip:
        """The same clip with every tensor moved, as `Tensor.to`."""
        return replace(self, **{f.name: value.to(*args, **kwargs) for f in fields(self)
                                if (value := getattr(self, f.name)) is not None})


@dataclass
class FaceCode:
    """What a visual encoder sees: who the person is, and how the face moves.

    Codes are offsets from the decoder's own mean code: zeros draw the mean face.
    """

    identity: Tensor
    """(B, N, D)"""
    motion: Tensor
    """(B, T, N, D)"""
    skips: tuple[Tensor, ...] = ()
    """Feature maps (B, T, C, h, w), coarse to fine, as the decoder's `skips` asked; for U-Net decoders."""
    deltas: tuple[Tensor | None, ...] = ()
    """One for each of the decoder's `deltas`, or none at all: (B, outputs, inputs, kernel, kernel) or what broadcasts to
    it; None leaves a layer as it is. A clip's weight is W * (1 + delta), for all of its frames."""


@dataclass
class Latent:
    """What a decoder draws from."""

    codes: Tensor
    """(B, T, N, D)"""
    canonical: Tensor | None = None
    """(B, N, D) and `motion` (B, T, N, D): the two halves, for losses that keep identity and motion apart."""
    motion: Tensor | None = None
    skips: tuple[Tensor, ...] = ()
    deltas: tuple[Tensor | None, ...] = ()


@dataclass
class Output:
    """Everything a loss may look at, and what the pipeline pastes back."""

    frames: Tensor
    """(B, T, 3, H, W) as drawn; outside [-1, 1] only before training has taught better."""
    face: FaceCode | None = None
    speech: Tensor | None = None
    """(B, T, A)"""
    latent: Latent | None = None
    alpha: Tensor | None = None
    """(B, T, 1, H, W) in [0, 1]: where the decoder changed the picture; None for the crop profile's own mask."""
    extra: dict[str, Tensor] = field(default_factory=dict)
    """What a task adds by name: a cycle, an attention map."""

    def detach(self) -> Output:
        """What critics learn from: the drawn frames, the codes and the extras alone, cut from the graph."""
        return Output(self.frames.detach(), latent=self.latent and Latent(self.latent.codes.detach()),
                      extra={name: value.detach() for name, value in self.extra.items()})


class Component(nn.Module, ABC):
    """A part of the model. Constructors take keywords only; what the core does not give has a default."""

    paper: ClassVar[str] = ""
    """Authors, title, year, arXiv id; empty where there is no paper."""
    licence: ClassVar[str] = "MIT"
    """Of the code here; and of public weights, where it loads any."""
    test_options: ClassVar[dict] = {}
    """Constructor options that make an instance small enough for a unit test."""
    test_size: ClassVar[int] = 32
    """A picture size it can work at, for the same tests."""


class VisualEncoder(Component):
    """Reads the person's pictures and the driving frames.

    Built with `size` and `codes`, and with the decoder's `skips` or `deltas` where it gives them.
    """

    gives: ClassVar[frozenset[str]] = frozenset()
    """The optional fields of FaceCode it fills: "skips", "deltas"."""
    needs: ClassVar[frozenset[str]] = frozenset()
    """What it cannot work without, passed to `forward` by name: optional fields of Clip, and "decoder", the model's own,
    for encoders that look at what would be drawn."""
    test_decoder: ClassVar[str] = "tiny"
    """The decoder plugin it looks at in the contract tests, if it needs one."""

    @abstractmethod
    def forward(self, source: Tensor, frames: Tensor, **needed: Tensor | Decoder) -> FaceCode:
        """Encode `source` (B, K, 3, H, W) and `frames` (B, T, 3, H, W), with what `needs` names."""

    def invert(self, pictures: Tensor) -> Tensor:
        """The codes (M, N, D) from which a decoder would draw `pictures` (M, 3, H, W), each a person of its own."""
        alone = pictures[:, None]
        return self(alone, alone).identity

    def refinements(self, pictures: Tensor, decoder: Decoder) -> Iterator[tuple[Tensor, tuple[Tensor | None, ...], Tensor]]:
        """Ever closer inversions of `pictures` (M, 3, H, W), for encoders that give deltas: codes (M, N, D), deltas, and
        what `decoder` draws of them (M, 3, H, W). The plain one comes first; no gradient goes from one to the one before.
        """
        raise BadRecipe(f"{type(self).__name__} does not refine what it reads.")


class AudioEncoder(Component):
    """Turns sound into one vector per frame. Owns its front end (mel, MFCC, ...). Built with no given options."""

    width: int
    """A, the width of one speech vector."""
    context: ClassVar[tuple[float, float]] = (0.0, 0.2)
    """Seconds of sound it hears before and after the moment a frame begins."""

    @abstractmethod
    def forward(self, wave: Tensor, times: Tensor) -> Tensor:
        """Encode `wave` (B, S) to (B, T, A) at `times` (T,), seconds from its first sample. Beyond its ends is silence."""


class Fusion(Component):
    """Makes the face say the speech. Built with `codes` and `speech_width`."""

    test_codes: ClassVar[CodeShape] = CodeShape(2, 4)
    """The codes it is built for in the contract tests, for one that takes no others."""
    reach: int = 0
    """How many frames before and after it a frame's latent depends on. Beyond the ends of a clip the last frame goes on."""

    @abstractmethod
    def forward(self, face: FaceCode, speech: Tensor) -> Latent:
        """Combine `face` with `speech` (B, T, A)."""

    def compose(self, canonical: Tensor, motion: Tensor) -> Tensor:
        """The codes (B, T, N, D) of the face `canonical` (B, N, D) in `motion` (B, T, N, D), for fusions that keep the
        two apart; motion may then be scaled, mixed or left out."""
        raise BadRecipe(f"{type(self).__name__} does not keep who a face is and how it moves apart, so its motion cannot be "
                        "controlled; `--fusion canonical-motion` does.")


class Decoder(Component):
    """Draws frames. Built with `size`; everything else is built to fit it."""

    needs: ClassVar[frozenset[str]] = frozenset()
    """The optional fields of Latent it cannot draw without: "skips", "deltas"."""
    blends: ClassVar[bool] = False
    """Whether its frames are what it drew blended by alpha with the picture that it was shown. Generating then takes the
    two apart, and blends what was drawn into the video at the video's own resolution."""

    codes: CodeShape
    """The style codes it takes per frame."""
    skips: tuple[SkipShape, ...] = ()
    """The feature maps it takes, coarse to fine."""
    deltas: tuple[DeltaShape, ...] = ()
    """Its convolutions that a hypernetwork may offset, in the order of `Latent.deltas`."""

    @abstractmethod
    def forward(self, latent: Latent) -> Tensor | tuple[Tensor, Tensor]:
        """Draw (B, T, 3, H, W) from `latent`; or that and alpha (B, T, 1, H, W)."""

    def imagine(self, count: int, frames: int) -> Latent:
        """Random people, another in each frame: codes (count, frames, N, D) with gradients to the weights they come from,
        for decoders that can draw faces from noise."""
        raise BadRecipe(f"{type(self).__name__} imagines no faces; `--decoder stylegan2` does.")


class Loss(Component):
    """One term of the objective. A loss that learns is a Critic."""

    built_with: ClassVar[frozenset[str]] = frozenset()
    """The recipe's values that its constructor takes beside its options: "size", "crop"."""
    context: ClassVar[tuple[float, float]] = (0.0, 0.0)
    """Seconds of sound it hears before and after the moment a frame begins."""

    @abstractmethod
    def forward(self, output: Output, clip: Clip) -> Tensor:
        """The mean loss of the batch, a scalar."""

    def measure(self, output: Output, clip: Clip) -> dict[str, Tensor]:
        """Further scalars to report on held-out clips."""
        return {}

    def advice(self) -> str | None:
        """A sentence for the user on how training goes, where there is something to say; asked after each evaluation."""
        return None


class Critic(Loss):
    """A loss that trains itself: its network learns in `train_critic` and is held still in `forward`.

    A subclass builds `self.network` and `self.optimizer`, says its objective in `critic_loss`, and calls
    `self.network` freely; the optimizer's state is saved with the weights.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer

    @abstractmethod
    def critic_loss(self, output: Output, clip: Clip) -> tuple[Tensor, dict[str, Tensor]]:
        """What the critic minimises on a detached `output`, and scalars to report."""

    def train_critic(self, output: Output, clip: Clip) -> dict[str, Tensor]:
        """Improve the critic by one step. A loss that is not finite is reported and not learnt from."""
        self.network.requires_grad_(True).train()
        loss, report = self.critic_loss(output, clip)
        finite = torch.isfinite(loss.detach())
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            everywhere = finite.float()
            torch.distributed.all_reduce(everywhere, torch.distributed.ReduceOp.MIN)
            finite = everywhere.bool()
        self.optimizer.zero_grad(set_to_none=True)
        if finite:
            loss.backward()
            average_gradients(self.network)
            self.optimizer.step()
        self.network.requires_grad_(False)
        return {"critic": loss.detach(), **{name: value.detach() for name, value in report.items()}}

    def get_extra_state(self):
        return self.optimizer.state_dict()

    def set_extra_state(self, state) -> None:
        self.optimizer.load_state_dict(state)


def average_gradients(module: nn.Module) -> None:
    """Average gradients over processes. Critics step outside the wrapped model, so they are kept equal here."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for parameter in module.parameters():
            if parameter.grad is not None:
                torch.distributed.all_reduce(parameter.grad)
                parameter.grad /= torch.distributed.get_world_size()


class Task(Component):
    """How a stage turns a Clip into an Output: talk, observe, synthesise, invert, refine."""

    needs: ClassVar[frozenset[str]] = frozenset()
    """What the visual encoder must give ("deltas") for the stage to have a meaning; it is passed over otherwise."""

    @abstractmethod
    def forward(self, model: TalkingFace, clip: Clip) -> Output | list[Output]:
        """Run the parts of `model` that this task is about. Of several outputs the losses are averaged, and critics look
        at the last."""


@dataclass
class Face:
    """One face in one frame."""

    box: np.ndarray
    """(4,) float: left, top, right, bottom, in pixels of the frame; may reach outside it."""
    score: float
    landmarks: np.ndarray | None = None
    """(68, 2) float: the iBUG points in pixels of the frame, x then y."""


class Detector(ABC):
    """Finds faces in a frame. Not a network of ours: an outside package behind one interface."""

    paper: ClassVar[str] = ""
    licence: ClassVar[str] = "MIT"

    @abstractmethod
    def detect(self, frame: np.ndarray) -> list[Face]:
        """Every face in `frame` (H, W, 3) uint8 RGB, best first."""

    @abstractmethod
    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        """The 68 iBUG points (68, 2), in pixels, of the face in `box` (left, top, right, bottom)."""

    def confirm(self, frame: np.ndarray, box: np.ndarray) -> Face | None:
        """The face that was in `box` a moment ago, where it is now; None if it is gone. May be less strict than `detect`."""
        middle = (box[:2] + box[2:]) / 2
        return next((face for face in self.detect(frame) if (face.box[:2] < middle).all() and (middle < face.box[2:]).all()),
                    None)

    def embed(self, frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray | None:
        """Who the face with these `landmarks` is, as a vector: of one person they lie under 0.56 apart. None: it cannot say."""
        return None

    def action_units(self, frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray | None:
        """How strongly each of `action_units.NAMES` shows in the face with these `landmarks`: (17,) float32 in [0, 1], NaN
        for those it cannot tell. None: it knows nothing of action units, or sees no face there."""
        return None


@dataclass(frozen=True)
class Film:
    """A video that is measured, before its frames are seen."""

    path: Path
    width: int
    height: int
    num_frames: int
    """As many as will be seen."""
    frame_rate: Fraction
    """Of the frames that will be seen; the metric's own where it names one."""
    wave: np.ndarray | None
    """(S,) float32, 16 kHz, from the first frame on; None where there is no sound."""
    reference: Film | None = None
    """The real video that it should be, of the same size, rate and number of frames."""


@dataclass(frozen=True)
class Moments:
    """Consecutive frames of a film, with those of its reference."""

    first: int
    """The number of the first of them; each comes once, in order."""
    frames: np.ndarray
    """(T, H, W, 3) uint8 RGB"""
    landmarks: np.ndarray
    """(T, 68, 2) float32: the iBUG points of the face that is followed, in pixels; NaN where it is not seen."""
    reference: Moments | None = None


class Quantity(NamedTuple):
    """One number that a metric gives."""

    name: str
    """Lower case with hyphens, as it heads a column."""
    better: Literal["higher", "lower", "near zero", "near the reference", "neither"]
    low: float
    high: float
    """The range of its values; may be infinite."""
    unit: str = ""
    about: str = ""
    """What it says, in a sentence."""


@dataclass
class Score:
    """What a metric found in one film."""

    values: dict[str, float]
    """By the name of the quantity; those that only a set of films has are left out."""
    curves: dict[str, np.ndarray] = field(default_factory=dict)
    """(T,) or (n,) by name, for plots: a value for each frame, a distance for each offset."""
    features: np.ndarray | None = None
    """(n, D), for metrics that compare sets of films, with `reference_features` beside it."""
    reference_features: np.ndarray | None = None


class Measurement(ABC):
    """A metric at work on one film, in memory that does not grow with its length beyond what a curve takes."""

    @abstractmethod
    def see(self, moments: Moments) -> None:
        """Take the next frames."""

    @abstractmethod
    def score(self) -> Score:
        """What was found, after the last frame.

        Raises:
            CannotMeasure: nothing can be said of this film, and why.
        """


class Metric(ABC):
    """A way to measure films. Constructors take keywords only, each with a default."""

    paper: ClassVar[str] = ""
    licence: ClassVar[str] = "MIT"
    quantities: ClassVar[tuple[Quantity, ...]]
    blindness: ClassVar[str]
    """What it cannot see, and what misleads it."""
    needs: ClassVar[frozenset[str]] = frozenset()
    """Of "face", "sound" and "reference": a film that lacks one is not measured. An instance says it of its options."""
    frame_rate: ClassVar[int | None] = None
    """The frames per second that it is defined for; None takes the film's own."""
    test_options: ClassVar[dict] = {}
    """Constructor options that make it fast, and content with two seconds of a small film, for the contract tests."""

    @property
    @abstractmethod
    def protocol(self) -> str:
        """How this instance measures: crop, size, backbone, windows; what must agree before two numbers are compared.
        Known before `load`."""

    def load(self, device: str | torch.device = "cpu") -> None:
        """Read the weights it looks through, where it does, and bring them to `device`. Once, before the first film.

        Raises:
            BadWeights, BadRun, MissingExtra: it lacks a file or a package; the message says which, and how to give it.
        """

    @abstractmethod
    def begin(self, film: Film) -> Measurement:
        """Start on `film`.

        Raises:
            CannotMeasure: it can be seen beforehand that nothing can be said of it, such as that it is too short.
        """

    def pool(self, scores: Sequence[Score]) -> dict[str, float]:
        """The quantities of all films together; by default the mean over those that have one."""
        names = [quantity.name for quantity in self.quantities]
        values = {name: [score.values[name] for score in scores if name in score.values] for name in names}
        return {name: float(np.mean(found)) for name, found in values.items() if found}


INTERFACES: dict[str, type] = {
    "visual_encoder": VisualEncoder,
    "audio_encoder": AudioEncoder,
    "fusion": Fusion,
    "decoder": Decoder,
    "loss": Loss,
    "task": Task,
    "detector": Detector,
    "metric": Metric,
}


class SkipAdapter(nn.Module):
    """Brings an encoder's own feature maps to the shapes a decoder asks for, so that any U-Net halves fit.

    Each wanted map is drawn from the native one of the nearest height, through a 1x1 convolution where the channels
    differ and bilinear resizing where the size does. Without differences it holds no weights, so public files load.
    """

    def __init__(self, native: tuple[SkipShape, ...], wanted: tuple[SkipShape, ...]):
        super().__init__()
        self.wanted = wanted
        exact = native == wanted
        self.picks = [i if exact else min(range(len(native)), key=lambda j: abs(native[j].height - want.height))
                      for i, want in enumerate(wanted)]
        self.convs = nn.ModuleList(
            nn.Identity() if native[pick].channels == want.channels else nn.Conv2d(native[pick].channels, want.channels, 1)
            for pick, want in zip(self.picks, wanted))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """From native `maps` (M, C, h, w), coarse to fine, to the wanted ones."""
        adapted = []
        for pick, conv, want in zip(self.picks, self.convs, self.wanted):
            x = conv(maps[pick])
            if x.shape[-2:] != (want.height, want.width):
                x = nn.functional.interpolate(x, (want.height, want.width), mode="bilinear", align_corners=False)
            adapted.append(x)
        return adapted
