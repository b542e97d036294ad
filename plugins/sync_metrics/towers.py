"""SyncNet's towers made quick, and the distances between mouths and sounds as a track of faces comes in."""

from __future__ import annotations

import copy

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
        network.netcnnlip, network.netcnnaud = (
            nn.Sequential(*(_over_pictures(layer) if isinstance(layer, FlatConv3d) else layer for layer in tower))
            for tower in (network.netcnnlip, network.netcnnaud))
        fold_norms(network)
        network.netcnnlip = nn.Sequential(*_pools_first(network.netcnnlip))
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        for tower in (network.netcnnlip, network.netcnnaud):  # what makes vectors of their features stays exact
            tower.to(self._dtype, memory_format=torch.channels_last)
        self.network = network.to(device)
        self.device = device

    @torch.no_grad()
    def watch(self, faces: np.ndarray) -> Tensor:
        """Mouths (T - 4, A) of every five consecutive of `faces` (T, 224, 224, 3) uint8 RGB."""
        shown = torch.from_numpy(faces).to(self.device).flip(-1).to(self._dtype)  # it knows BGR from 0 to 255
        # Five frames side by side as channels, which are last in memory.
        pictures = torch.cat([shown[k:len(shown) - WINDOW + 1 + k] for k in range(WINDOW)], -1).permute(0, 3, 1, 2)
        return self.network.netfclip(self.network.netcnnlip(pictures).flatten(1).float()).cpu()

    @torch.no_grad()
    def listen(self, cepstra: Tensor) -> Tensor:
        """Sounds (M, A) of `cepstra` (M, 13, 20)."""
        features = self.network.netcnnaud(cepstra.to(self.device, self._dtype)[:, None])
        return self.network.netfcaud(features.flatten(1).float()).cpu()


def _over_pictures(layer: FlatConv3d) -> nn.Conv2d:
    """The same convolution as a plain one, which norms can be folded into."""
    frames, *kernel = layer.kernel_size
    plain = nn.Conv2d(frames * layer.in_channels, layer.out_channels, tuple(kernel), layer.stride[1:],
                      layer.padding[1:])
    plain.weight.data = layer.weight.data.transpose(1, 2).flatten(1, 2)
    plain.bias.data = layer.bias.data
    return plain.requires_grad_(False).eval()


class Greatest(nn.Module):
    """What MaxPool2d(3, 2, padding) gives of numbers from 0 on, and of others after a ReLU: five times as fast in bf16
    on a CPU, as three maxima of rows and three of columns."""

    def __init__(self, padding: int):
        super().__init__()
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        for dim in (2, 3):
            if self.padding:
                shape = list(x.shape)
                shape[dim] = self.padding
                zeros = x.new_zeros(shape)
                x = torch.cat([zeros, x, zeros], dim)
            count = (x.shape[dim] - 3) // 2 + 1
            first, second, third = (x.narrow(dim, k, 2 * count - 1).unfold(dim, 1, 2)[..., 0] for k in range(3))
            x = torch.maximum(torch.maximum(first, second), third)
        return x


def _pools_first(layers: nn.Sequential) -> list[nn.Module]:
    """`layers` without what does nothing, and with each pooling before its ReLU, which then has a quarter to do."""
    ordered = [layer for layer in layers if not isinstance(layer, nn.Identity)]
    for place, layer in enumerate(ordered):
        if isinstance(layer, nn.MaxPool2d):
            ordered[place - 1:place + 1] = [Greatest(layer.padding), ordered[place - 1]]
    return ordered


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


