"""Single pictures through a trained model: inverted to codes, freed of their motion, moved along a direction."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from . import faces
from .directions import Directions
from .errors import BadRecipe
from .files import replacing, write_text
from .generating import open_model, pick_device
from .interfaces import FRAME_RATE, SAMPLE_RATE, Fusion, Latent
from .media import probe_video, read_sound
from .model import Steering, TalkingFace
from .pipeline.draw import Artist, Picture
from .pipeline.find import Finder
from .pipeline.footage import Footage
from .pipeline.timeline import play
from .runs import save_tensors

STEPS = 5
"""Pictures of a strip, from one end of a direction to the other."""
AT_ONCE = 16


class Editor:
    """A trained model and the faces that are put through it."""

    def __init__(self, run: str | None = None, checkpoint: str | None = None, recipe: str | None = None, *,
                 device: str = "auto", detector: str = "dlib-hog", speaker: str = "largest", say: Callable[[str], None] = print):
        self.device = pick_device(device)
        self.run, self.detector, self.speaker, self.say = run, detector, speaker, say
        model, self.recipe, _ = open_model(run, recipe, checkpoint, say)
        self.model: TalkingFace = model.to(self.device)

    def invert(self, picture: str | Path, out: str | Path) -> dict:
        """Write what the model makes of the face in `picture` into the folder `out`; the report.

        `input.png`, the crop that is read; `reconstruction.png`, what the decoder draws of its codes; `codes.safetensors`:
        `codes` (N, D), offsets from the decoder's mean, and `deltas.<layer>` where the encoder gives them; `report.json`.

        Raises:
            BadMedia: the picture shows no face.
        """
        face = self._face(picture)
        pictures = self._tensor(face.crop)[0]
        with torch.inference_mode():
            if "deltas" in self.model.visual_encoder.gives:
                *_, (codes, deltas, drawn) = self.model.visual_encoder.refinements(pictures, self.model.decoder)
            else:
                codes, deltas = self.model.visual_encoder.invert(pictures), ()
                drawn = self.model.draw(Latent(codes[:, None])).frames[:, 0]
        error = (drawn.float().clamp(-1, 1) - pictures) / 2
        report = {"picture": str(picture), "recipe": self.recipe.name, "size": self.recipe.size, "crop": self.recipe.crop,
                  "l1": round(float(error.abs().mean()), 5),
                  "psnr": round(float(-10 * error.square().mean().clamp_min(1e-12).log10()), 2)}
        out = Path(out)
        out.mkdir(parents=True, exist_ok=True)
        write_picture(out / "input.png", face.crop)
        write_picture(out / "reconstruction.png", to_bytes(drawn)[0])
        tensors = {"codes": codes[0], **{f"deltas.{i}": delta[0] for i, delta in enumerate(deltas) if delta is not None}}
        save_tensors(out / "codes.safetensors", {name: value.float().cpu().contiguous() for name, value in tensors.items()},
                     {"recipe": self.recipe.name})
        write_text(out / "report.json", json.dumps(report, indent=2, ensure_ascii=False) + "\n")
        self.say(f"{out}: codes.safetensors, reconstruction.png; L1 {report['l1']:.4f}, PSNR {report['psnr']:.1f} dB.")
        return report

    def draw_canonical(self, picture: str | Path, out: str | Path) -> None:
        """Write the face in `picture` without any motion to the picture `out`."""
        write_picture(out, self._moved(picture, [Steering(motion=0.0)])[0])
        self.say(f"{out}: the canonical face of {picture}.")

    def edit(self, picture: str | Path, direction: str, by: float, out: str | Path) -> None:
        """Write the face in `picture`, moved `by` along `direction`, to `out`, and a strip from -by to by beside it."""
        towards = self.directions().find(direction)
        amounts = np.linspace(-by, by, STEPS)
        strip = self._moved(picture, [Steering(offset=float(amount) * towards) for amount in amounts])
        out = Path(out)
        strip_path = out.with_name(f"{out.stem}.strip.png")
        write_picture(out, strip[-1])
        write_picture(strip_path, np.concatenate(list(strip), axis=1))
        self.say(f"{out}: moved by {by:g} along {direction}; {strip_path}: from {-by:g} to {by:g}.")

    def find_directions(self, videos: list[str]) -> Directions:
        """Directions along which the faces of `videos` move, saved in the run folder; named ones are kept."""
        self._require_motion()
        motions = torch.cat([self.motions(video) for video in videos])
        found = Directions.of(motions)
        if Directions.known(self.run):
            found.named = self.directions().named
        found.save(self.run)
        self.say(f"Found {len(found.numbered)} directions in {len(motions)} frames; kept in {self.run}.")
        return found

    def name_direction(self, direction: str, name: str) -> None:
        """Keep `direction` under `name` too."""
        directions = self.directions()
        directions.named[name] = directions.find(direction)
        directions.save(self.run)
        self.say(f"Direction {direction} is also called '{name}' in {self.run}.")

    def directions(self) -> Directions:
        return Directions.load(self.run)

    def motions(self, video: str | Path) -> Tensor:
        """The motion codes (F, N, D) of every frame of `video` with a face, on the CPU."""
        self._require_motion()
        footage = Footage(video, Fraction(FRAME_RATE), resampled=True)
        finder = self._finder(footage)
        speaks = not footage.is_picture and probe_video(footage.path).has_sound
        wave = read_sound(video, SAMPLE_RATE) if speaks else np.zeros(1, np.float32)
        found = [picture for picture in finder.find(play(footage.read, 1, when_shorter="silence")) if picture.place]
        artist = self._artist(wave)
        with torch.inference_mode():
            return torch.cat([self._latent(artist.clip(found[i:i + AT_ONCE])).motion[0].float().cpu()
                              for i in range(0, len(found), AT_ONCE)])

    def _latent(self, clip) -> Latent:
        return self.model.fusion(self.model.see(clip), self.model.audio_encoder(clip.wave, clip.times))

    def _moved(self, picture: str | Path, steerings: list[Steering]) -> np.ndarray:
        """(P, size, size, 3) uint8: the face in `picture`, saying nothing, once for each of `steerings`."""
        self._require_motion()
        with torch.inference_mode():
            latent = self._latent(self._artist(np.zeros(1, np.float32)).clip([self._face(picture)]))
            steered = [steer(self.model.fusion, latent, None) for steer in steerings]
            drawn = [self.model.draw(replace(latent, codes=one.codes, motion=one.motion)).frames[0] for one in steered]
        return to_bytes(torch.cat(drawn))

    def _require_motion(self) -> None:
        if type(self.model.fusion).compose is Fusion.compose:
            raise BadRecipe(f"Recipe '{self.recipe.name}' does not keep who a face is and how it moves apart; one with fusion "
                            "'canonical-motion' does, such as fc-tfg.")

    def _artist(self, wave: np.ndarray) -> Artist:
        return Artist(self.model, wave, Fraction(FRAME_RATE), self.device, AT_ONCE, own_reference=False)

    def _finder(self, footage: Footage) -> Finder:
        return Finder(footage, self.detector, self.speaker, faces.find_profile(self.recipe.crop), self.recipe.size)

    def _face(self, picture: str | Path) -> Picture:
        """The face in a picture, or the first in a video."""
        return self._finder(Footage(picture, Fraction(FRAME_RATE))).find_start()

    def _tensor(self, crop: np.ndarray) -> Tensor:
        """(1, 1, 3, size, size) in [-1, 1]"""
        return torch.from_numpy(crop).to(self.device).permute(2, 0, 1)[None, None].float() / 127.5 - 1


def to_bytes(pictures: Tensor) -> np.ndarray:
    """From (P, 3, H, W) in [-1, 1] to (P, H, W, 3) uint8."""
    return ((pictures.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def write_picture(path: str | Path, picture: np.ndarray) -> None:
    """Write (H, W, 3) uint8 as PNG, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")
