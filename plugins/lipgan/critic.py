"""The critic: face and sound as two vectors, near each other only where a real mouth says just that."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fctfg.errors import BadRecipe
from fctfg.interfaces import Clip, Critic, Output

from ..wav2lip.blocks import to_bgr
from .blocks import LICENCE, PAPER, SIZE
from .fronts import MEL, MFCC
from .towers import critic_face_tower, critic_mel_tower, critic_mfcc_tower

FRONTS = {"mel": (MEL, critic_mel_tower), "mfcc": (MFCC, critic_mfcc_tower)}
"""What it may hear, and the tower over it."""


class LipGANCriticNetwork(nn.Module):
    """Faces and sounds as vectors of length one, of 512 numbers."""

    def __init__(self, sound: str, scale: float = 1.0):
        super().__init__()
        self.face_encoder = critic_face_tower(scale)
        self.audio_encoder = FRONTS[sound][1](scale)

    def forward(self, faces: Tensor, sounds: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (M, 512) of `faces` (M, 3, 96, 96), BGR in [0, 1], and of `sounds` (L, 1, rows, columns); float32."""
        faces, sounds = self.embed(faces, sounds)
        return F.normalize(faces), F.normalize(sounds)

    def embed(self, faces: Tensor, sounds: Tensor) -> tuple[Tensor, Tensor]:
        """The vectors before they are brought to length one."""
        return self.face_encoder(faces).flatten(1).float(), self.audio_encoder(sounds).flatten(1).float()


class LipGANCritic(Critic):
    """The squared distance between the drawn face and its sound, as a critic sees and hears them.

    Prajwal K R et al., "Towards Automatic Face-to-Face Translation", 2019, arXiv:2003.00418, section 3.3. The critic
    brings real faces near their sound, and real faces with other sound and drawn faces with theirs to a distance of 1
    or more. It judges the whole face of single frames at 96 px; other sizes are resized. Loads the disc.h5 of the
    authors' training.

    Differs: it learns from all three kinds of pairs at every step, the two wrong kinds at half weight each, where the
    authors toss a coin between them and take a step for each; the other sound is of the same video, where theirs is
    of another in the batch.

    Args:
        sound: `mel` or `mfcc`; what it hears, as the audio encoders `lipgan` and `lipgan-mfcc` do.
        offset: seconds by which it hears late; see there.
        scale: multiplies the channels of every layer; 1 is the public network.
    """

    paper = PAPER
    licence = LICENCE
    context = MEL.context()
    test_options = {"scale": 1 / 16}
    test_size = SIZE

    def __init__(self, *, sound: str = "mel", offset: float = 0.0, lr: float = 1e-4,
                 betas: tuple[float, float] = (0.9, 0.999), scale: float = 1.0):
        super().__init__()
        if sound not in FRONTS:
            raise BadRecipe(f"loss 'lipgan-critic': sound '{sound}' is unknown; give {' or '.join(FRONTS)}.")
        self.front = FRONTS[sound][0]
        self.offset = offset
        self.context = self.front.context(offset)
        self.network = LipGANCriticNetwork(sound, scale).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=lr, betas=tuple(betas))

    def forward(self, output: Output, clip: Clip) -> Tensor:
        faces, sounds = self.network(self.see(output.frames), self.hear(clip.wave, clip.times))
        return contrastive(distances(faces, sounds), apart=False)

    def critic_loss(self, output: Output, clip: Clip) -> tuple[Tensor, dict[str, Tensor]]:
        real, other, drawn = self._distances(output, clip)
        loss = contrastive(real, apart=False) + 0.5 * (contrastive(other, apart=True) + contrastive(drawn, apart=True))
        return loss, {"real": real.mean(), "other": other.mean(), "drawn": drawn.mean()}

    def measure(self, output: Output, clip: Clip) -> dict[str, Tensor]:
        """Mean distances, 0 to 2: of `real` faces to their sound, to `other` sound, and of `drawn` ones to theirs."""
        with torch.no_grad():
            real, other, drawn = self._distances(output, clip)
        return {"real": real.mean(), "other": other.mean(), "drawn": drawn.mean()}

    def see(self, frames: Tensor) -> Tensor:
        """Single faces (B T, 3, 96, 96), BGR in [0, 1]."""
        pictures = to_bgr(frames).flatten(0, 1)
        if pictures.shape[-2:] == (SIZE, SIZE):
            return pictures
        return F.interpolate(pictures, (SIZE, SIZE), mode="bilinear", align_corners=False, antialias=True)

    def hear(self, wave: Tensor, times: Tensor) -> Tensor:
        """The windows (B T, 1, rows, columns) of the frames."""
        return self.front.hear(wave, times, self.offset).flatten(0, 1)[:, None]

    def _distances(self, output: Output, clip: Clip) -> tuple[Tensor, Tensor, Tensor]:
        """Each (B T,): of real faces and their sound, of real faces and other sound, of drawn faces and their sound."""
        other_wave = clip.wave.roll(1, 0) if clip.other_wave is None else clip.other_wave
        if clip.other_wave is None and len(clip.wave) < 2:
            raise BadRecipe("loss 'lipgan-critic' takes other sounds from the other clips of a batch, and this one has "
                            "a single clip; give batch: 2 or more.")
        faces, sounds = self.network(torch.cat([self.see(clip.frames), self.see(output.frames)]),
                                     torch.cat([self.hear(clip.wave, clip.times), self.hear(other_wave, clip.times)]))
        (real, drawn), (right, other) = faces.chunk(2), sounds.chunk(2)
        return distances(real, right), distances(real, other), distances(drawn, right)


def distances(faces: Tensor, sounds: Tensor) -> Tensor:
    """(M,): from 0 to 2, between vectors (M, 512) of length one."""
    return torch.linalg.vector_norm(faces - sounds, dim=1)


def contrastive(distance: Tensor, apart: bool | Tensor) -> Tensor:
    """The mean contrastive loss of pairs at `distance` (M,): d^2 of those that belong together, max(0, 1-d)^2 `apart`.

    Hadsell, Chopra, LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", 2006, equation 4, without the
    halves.
    """
    together = distance.square()
    away = (1 - distance).clamp(min=0).square()
    return torch.where(torch.as_tensor(apart, device=distance.device), away, together).mean()
