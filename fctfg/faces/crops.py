"""Cutting faces out of frames, and pasting drawn ones back."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

GRID = 32
"""Cells a side on which colours are compared; fine detail, which drawn faces lack, does not count."""
FAR = 12.0
"""Grey levels by which two cells may differ and still, about, show the same thing."""
CONTRAST = 1.1
"""The most that contrast is raised or, inverted, lowered."""


def crop(frame: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """What `frame` (H, W, 3) uint8 shows where `matrix` (2, 3) lays the unit square: (size, size, 3) uint8.

    Antialiased where it shrinks. Outside the frame its edge goes on.
    """
    if _is_upright(matrix):
        left, top, right, bottom = _edges(matrix)
        reach = max(3.0 * max(right - left, bottom - top) / size, 3.0)
        region, x, y = _region(frame, left - reach, top - reach, right + reach, bottom + reach)
        box = left - x, top - y, right - x, bottom - y
        return np.array(region.resize((size, size), Image.Resampling.LANCZOS, box, reducing_gap=2.0))
    corners = matrix @ np.array([[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])
    pixel = math.sqrt(abs(np.linalg.det(matrix[:, :2]))) / size  # how many of the frame's one of the crop's covers
    reach = 3.0 * max(pixel, 1.0)
    region, x, y = _region(frame, *(corners.min(1) - reach), *(corners.max(1) + reach))
    region, across, down = _shrunk(region, pixel)
    way = np.diag([across, down, 1]) @ _shift(-x, -y) @ _square(matrix) @ np.diag([1 / size, 1 / size, 1])
    return np.array(_sampled(region, way, size, size, "border"))


def paste(frame: np.ndarray, drawn: np.ndarray, matrix: np.ndarray, mask: np.ndarray,
          match_colour: bool = True) -> np.ndarray:
    """A copy of `frame` (H, W, 3) uint8 with `drawn` blended in where `matrix` (2, 3) lays the unit square.

    `drawn` (h, w, 3) is uint8, or float from 0 to 255; `mask` (m, n) in [0, 1] says how much of it counts. Where the
    mask is 0 the frame keeps every bit. With `match_colour`, `drawn` first takes the frame's colours, by what both show
    where the mask is not 1.
    """
    if match_colour:
        drawn = _matched(drawn, crop(frame, matrix, GRID), mask)
    pasted = frame.copy()
    picture, soft = Image.fromarray(_to_bytes(drawn)), Image.fromarray(_to_bytes(255.0 * mask))
    used = soft.getbbox()
    if used is None:
        return pasted
    used = np.array(used).reshape(2, 2) + [[-1], [1]]  # a cell's effect reaches into the next one
    (left, top), (right, bottom) = used / soft.size
    corners = matrix @ np.array([[left, right, left, right], [top, top, bottom, bottom], [1, 1, 1, 1]])
    first = np.floor(corners.min(1)).clip(0).astype(int)
    last = np.minimum(np.ceil(corners.max(1)).astype(int), (frame.shape[1], frame.shape[0]))
    place = _inside if _is_upright(matrix) else _turned
    placed = place(picture, soft, matrix, first, last) if (first < last).all() else None
    if placed:
        picture, soft, (left, top) = placed
        part = pasted[top:top + picture.height, left:left + picture.width]
        under = Image.fromarray(part)
        under.paste(picture, (0, 0), soft)
        part[:] = np.asarray(under)
    return pasted


def _matched(drawn: np.ndarray, shown: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`drawn` with the mean and contrast of each channel as in `shown` (GRID, GRID, 3), the frame's own pixels there.

    Both are compared where the mask lets the frame through, and the less, the more they differ. That rests on a hundred
    cells and more, so that it does not flicker.
    """
    ours, drawn_there, theirs = _cells(drawn), _cells(255.0 * mask), _cells(shown)
    seen = 1 - drawn_there[:, 0] / 255
    if seen.sum() < GRID:
        return drawn
    weight, away = seen, theirs - ours
    for _ in range(3):
        bias = weight @ away / weight.sum()
        weight = seen / (1 + np.square((away - bias) / FAR).mean(1))
    weight = weight / weight.sum()
    middle, wanted = weight @ ours, weight @ theirs
    spread = np.sqrt((weight @ np.square(theirs - wanted) + 1) / (weight @ np.square(ours - middle) + 1))
    return (drawn - middle) * np.clip(spread, 1 / CONTRAST, CONTRAST) + wanted


def _cells(picture: np.ndarray) -> np.ndarray:
    """The mean colours of `picture` (h, w, 3) or (h, w) in GRID x GRID cells: (GRID * GRID, 3 or 1)."""
    small = Image.fromarray(_to_bytes(picture)).resize((GRID, GRID), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return np.asarray(small, np.float32).reshape(GRID * GRID, -1)


def _inside(picture: Image.Image, soft: Image.Image, matrix: np.ndarray, first: np.ndarray, last: np.ndarray):
    """`picture` and mask `soft` as the pixels from `first` to `last` show them that lie wholly in an upright crop."""
    low, high = np.array(_edges(matrix)).reshape(2, 2)
    first, last = np.maximum(first, np.ceil(low).astype(int)), np.minimum(last, np.floor(high).astype(int))
    if (last <= first).any():
        return None
    part = (np.array([first, last]) - low) / (high - low)
    size = tuple((last - first).tolist())
    return *(image.resize(size, method, tuple((part * image.size).clip(0, image.size).ravel()))
             for image, method in ((picture, Image.Resampling.LANCZOS), (soft, Image.Resampling.BILINEAR))), first


def _turned(picture: Image.Image, soft: Image.Image, matrix: np.ndarray, first: np.ndarray, last: np.ndarray):
    """`picture` and mask `soft` as the pixels from `first` to `last` show them in any crop."""
    back = np.linalg.inv(_square(matrix)) @ _shift(*first)
    pixel = math.sqrt(abs(np.linalg.det(back[:2, :2])))
    turned = []
    for image, outside in ((picture, "border"), (soft, "zeros")):
        image, _, _ = _shrunk(image, pixel * math.sqrt(image.width * image.height))
        turned.append(_sampled(image, np.diag([*image.size, 1]) @ back, *(last - first).tolist(), outside))
    return *turned, first


def _sampled(image: Image.Image, way: np.ndarray, width: int, height: int, outside: str) -> Image.Image:
    """A picture of `width` x `height` whose pixels are what `image` shows where `way` (3, 3) leads, interpolated.

    Pillow could do it, but rounds down, which darkens.
    """
    pixels = torch.from_numpy(np.array(image)).float()
    pixels = pixels.permute(2, 0, 1)[None] if pixels.ndim == 3 else pixels[None, None]
    middled = [_shift(-1, -1) @ np.diag([2 / w, 2 / h, 1]) for w, h in (image.size, (width, height))]  # from -1 to 1
    theta = torch.from_numpy((middled[0] @ way @ np.linalg.inv(middled[1]))[None, :2]).float()
    grid = F.affine_grid(theta, [1, pixels.shape[1], height, width], align_corners=False)
    found = F.grid_sample(pixels, grid, mode="bicubic", padding_mode=outside, align_corners=False)[0]
    return Image.fromarray(_to_bytes(found.permute(1, 2, 0).squeeze(-1).numpy()))


def _square(matrix: np.ndarray) -> np.ndarray:
    return np.vstack([matrix, [0, 0, 1]])


def _shift(x: float, y: float) -> np.ndarray:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], float)


def _is_upright(matrix: np.ndarray) -> bool:
    return matrix[0, 1] == matrix[1, 0] == 0 and matrix[0, 0] > 0 and matrix[1, 1] > 0


def _edges(matrix: np.ndarray) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of an upright crop."""
    left, top = matrix[:, 2]
    return left, top, left + matrix[0, 0], top + matrix[1, 1]


def _region(frame: np.ndarray, left: float, top: float, right: float, bottom: float) -> tuple[Image.Image, int, int]:
    """The part of `frame` about a box, its edges going on outside; and the column and row that it starts with."""
    x, y, end, foot = math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)
    height, width = frame.shape[:2]
    if 0 <= x and 0 <= y and end <= width and foot <= height:
        return Image.fromarray(frame[y:foot, x:end]), x, y
    rows, columns = np.arange(y, foot).clip(0, height - 1), np.arange(x, end).clip(0, width - 1)
    return Image.fromarray(frame[rows[:, None], columns]), x, y


def _shrunk(image: Image.Image, pixel: float) -> tuple[Image.Image, float, float]:
    """`image` made small enough to be sampled every `pixel` pixels, if that is over 1; its scale across and down."""
    if pixel <= 1:
        return image, 1.0, 1.0
    size = tuple(max(1, round(side / pixel)) for side in image.size)
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0), size[0] / image.width, size[1] / image.height


def _to_bytes(picture: np.ndarray) -> np.ndarray:
    return picture if picture.dtype == np.uint8 else np.rint(np.clip(picture, 0, 255)).astype(np.uint8)
