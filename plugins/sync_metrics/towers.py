"""SyncNet's towers made quick, and the distances between mouths and sounds as a track of faces comes in."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from fctfg.audio import mfcc_windows
from fctfg.interfaces import FRAME_RATE, SAMPLE_RATE
from fctfg.quicken import fold_norms
from fctfg_plugins.syncnet import SyncNet, distances
from fctfg_plugins.syncnet.network import WINDOW, FlatConv3d

AT_ONCE = 16
"""Windows that go through the towers together. Their feature maps, 9 MB each in float32, are all the memory that is
taken; larger batches are no faster."""
SAMPLES = SAMPLE_RATE // FRAME_RATE
"""Of sound, in the time of a frame."""


class QuickTowers:
    """What `network` computes in eval mode, faster: norms folded into the layers before them, pictures channels-last.

    In bf16 a CPU with matrix units takes a fifth of the time for the lips; a vector is then off by 1 % of its spread,
    and the mean distances of a track by 0.01 (see README.md).
    """

    def __init__(self, network: SyncNet, device: torch.device, precision: str):
        network = copy.deepcopy(network).eval().requires_grad_(False)
        for tower in (network.netcnnlip, network.netcnnaud):
            for place, layer in enumerate(tower):
                if isinstance(layer, FlatConv3d):
                    tower[place] = _over_pictures(layer)
        fold_norms(network)
        self.network = network.to(device=device, memory_format=torch.channels_last)
        self.device = device
        self.precision = precision

    def watch(self, faces: np.ndarray) -> Tensor:
        """Mouths (T - 4, A) of every five consecutive of `faces` (T, 224, 224, 3) uint8 RGB."""
        shown = torch.from_numpy(faces).to(self.device).flip(-1)  # it knows BGR from 0 to 255
        windows = shown.unfold(0, WINDOW, 1)  # (T - 4, 224, 224, 3, 5)
        # Frames side by side as channels, which are last in memory.
        pictures = windows.transpose(-1, -2).flatten(-2).to(self._dtype).permute(0, 3, 1, 2)
        return self._run(lambda: self.network.netfclip(self.network.netcnnlip(pictures).flatten(1)))

    def listen(self, cepstra: Tensor) -> Tensor:
        """Sounds (M, A) of `cepstra` (M, 13, 20)."""
        return self._run(lambda: self.network.listen(cepstra.to(self.device)))

    @property
    def _dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    @torch.no_grad()
    def _run(self, compute) -> Tensor:
        lower = self.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16) if lower else nullcontext():
            return compute().float().cpu()


def _over_pictures(layer: FlatConv3d) -> nn.Conv2d:
    """The same convolution as a plain one, which norms can be folded into."""
    frames, *kernel = layer.kernel_size
    plain = nn.Conv2d(frames * layer.in_channels, layer.out_channels, tuple(kernel), layer.stride[1:], layer.padding[1:])
    plain.weight.data = layer.weight.data.transpose(1, 2).flatten(1, 2)
    plain.bias.data = layer.bias.data
    return plain.requires_grad_(False).eval()


class TrackDistances:
    """How far every mouth of one track is from the sounds about it, in memory for AT_ONCE windows and the reach.

    The arithmetic is the authors': one window less than there are, and zeros for sounds beyond the track's ends.

    Args:
        wave: (S,) the sound of the film.
        first: the number of the track's first frame, at 25 a second.
        reach: frames by which the sound is tried early and late.
    """

    def __init__(self, towers: QuickTowers, wave: np.ndarray, first: int, reach: int):
        self.towers, self.reach = towers, reach
        self._wave = torch.from_numpy(wave[first * SAMPLES:])[None]
        self._most = self._wave.shape[1] // SAMPLES - WINDOW  # windows that the sound is long enough for
        self._faces: list[np.ndarray] = []
        self._mouths, self._sounds = torch.empty(0), torch.empty(0)  # what is still to be compared, and what with
        self._heard = self._compared = 0
        self.found: list[np.ndarray] = []
        """(n, 2 reach + 1) arrays, as `fctfg_plugins.syncnet.distances` has them."""

    def see(self, face: np.ndarray) -> None:
        """The next face (224, 224, 3) uint8 RGB."""
        self._faces.append(face)
        if len(self._faces) == AT_ONCE + WINDOW:
            self._watch()

    def finish(self) -> np.ndarray:
        """The distances (W, 2 reach + 1) of all windows; of a track under six frames there are none."""
        if len(self._faces) > WINDOW:
            self._watch()
        self._compare(len(self._mouths))
        return np.concatenate(self.found) if self.found else np.empty((0, 2 * self.reach + 1), np.float32)

    def _watch(self) -> None:
        count = min(len(self._faces) - WINDOW, self._most - self._heard)
        if count > 0:
            faces = np.stack(self._faces[:count + WINDOW - 1])
            times = (self._heard + torch.arange(count, dtype=torch.float64)) / FRAME_RATE
            self._mouths = torch.cat([self._mouths, self.towers.watch(faces)])
            self._sounds = torch.cat([self._sounds, self.towers.listen(self._listened(times))])
            self._heard += count
            self._compare(len(self._mouths) - self.reach)
        del self._faces[:-WINDOW]

    def _listened(self, times: Tensor) -> Tensor:
        """MFCC windows, cut out of the stretch of sound that they need."""
        start = max(0, round(float(times[0]) * SAMPLE_RATE) - 1)
        end = round(float(times[-1]) * SAMPLE_RATE) + (WINDOW + 1) * SAMPLES
        return mfcc_windows(self._wave[:, start:end], times - start / SAMPLE_RATE)[0]

    def _compare(self, count: int) -> None:
        """Take the distances of the first `count` mouths that are still to be compared."""
        if count <= 0:
            return
        # `distances` puts zeros beyond both ends: before the first sound, and after the last where there are no more.
        before = min(self.reach, self._compared)
        mouths = torch.cat([torch.zeros(before, self._mouths.shape[1]), self._mouths])
        held = distances(mouths, self._sounds, self.reach)[before:before + count]
        self.found.append(held.numpy())
        self._compared += count
        self._mouths = self._mouths[count:]
        self._sounds = self._sounds[before + count - min(self.reach, self._compared):]


