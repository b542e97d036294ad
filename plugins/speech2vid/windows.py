"""How a network that sees and draws several frames at once goes over a clip of any length."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Windows(NamedTuple):
    """The windows of a clip: one behind the other from its first frame, the last one moved back so that it is full.

    Every frame is drawn once, in the first window that shows it. A clip shorter than a window is one window, which goes
    on beyond the clip's end.
    """

    shows: Tensor
    """(W, F): the frames of each window; those beyond the end of a short clip count on."""
    drawn_in: Tensor
    """(T,): the window that draws each frame."""
    place: Tensor
    """(T,): of the frame in that window, from 0."""

    @classmethod
    def over(cls, frames: int, length: int, device: torch.device | str | None = None) -> Windows:
        """Windows of `length` frames over a clip of so many."""
        frame = torch.arange(frames, device=device)
        drawn_in = frame // length
        starts = (torch.arange(-(-frames // length), device=device) * length).clamp(max=max(0, frames - length))
        return cls(starts[:, None] + torch.arange(length, device=device), drawn_in, frame - starts[drawn_in])

    def cut(self, frames: Tensor) -> Tensor:
        """The windows (B, W, F, ...) of `frames` (B, T, ...). Beyond the end of a short clip its last frame stays."""
        return frames[:, self.shows.clamp(max=frames.shape[1] - 1)]

    def each_frame(self, windows: Tensor) -> Tensor:
        """What belongs to windows (B, W, ...), for each of their frames: (B, T, ...)."""
        return windows[:, self.drawn_in]

    def mean(self, frames: Tensor) -> Tensor:
        """The mean over the frames that each window draws, of `frames` (B, T, ...): (B, W, ...)."""
        if self.shows.shape[1] == 1:
            return frames
        draws = (self.drawn_in == torch.arange(len(self.shows), device=frames.device)[:, None]).to(frames.dtype)
        return torch.einsum("wt,bt...->bw...", draws / draws.sum(1, keepdim=True), frames)

    def put_together(self, windows: Tensor) -> Tensor:
        """The frames (B, T, ...) of what was drawn in windows (B, W, F, ...)."""
        return windows[:, self.drawn_in, self.place]
