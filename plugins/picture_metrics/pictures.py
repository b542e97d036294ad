"""Metrics of pictures, frame by frame: beside a reference SSIM, MS-SSIM and PSNR; alone sharpness."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from fctfg.errors import BadOption, CannotMeasure
from fctfg.interfaces import Film, Measurement, Metric, Moments, Quantity, Score
from fctfg.metrics import NO_FACE, FrameMeans, Region, Shown, demand, unknown

from .similarity import LEAST, LEAST_SCALES, ms_ssim, ssim

NOTHING = "no frame shows what is to be compared: the reference's face is never seen"
MISPLACED = ("A picture that is right but moved by a pixel is punished as if it were wrong, and one that is blurred is "
             "hardly punished at all.")


class RegionMetric(Metric):
    """What metrics share that look at a region of every frame.

    Args:
        region: `face` and other crop profiles, `mouth`, or `frame` for all of it; of films of which only the mouth is
            redrawn, whole frames are alike whatever was drawn.
        size: pixels a side of the crop; None for the region's own.
    """

    pair = True
    """Whether there is a reference beside it."""
    test_options = {"size": 32}

    def __init__(self, *, region: str = "face", size: int | None = None):
        self.region = Region(region, size)
        self.needs = self.region.needs | ({"reference"} if self.pair else frozenset())

    needs = frozenset({"face", "reference"})

    def shown(self, moments: Moments) -> Iterator[Shown]:
        return self.region.show(moments)

    def refuse_small(self, film: Film, least: int) -> None:
        """Refuse pictures of less than `least` pixels a side."""
        side = self.region.size or min(film.width, film.height)
        if side < least:
            raise CannotMeasure(f"its pictures are {side} px a side, and this takes {least} or more; a crop can be "
                                "enlarged by option size")


class SSIMMetric(RegionMetric):
    """How alike the structure of drawn and true pictures is.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004: Gaussian windows of
    11 pixels, constants 0.01 and 0.03, in RGB on 255 grey levels.

    Args:
        region: `face`, another crop profile, `mouth`, or `frame`.
        size: pixels a side of the crop; None for the region's own.
    """

    paper = "Wang et al., Image quality assessment: from error visibility to structural similarity, 2004"
    quantities = (Quantity("ssim", "higher", -1, 1, about="1 for equal pictures; on 96 px faces good systems have 0.8 "
                                                          "to 0.95."),)
    blindness = MISPLACED + " It does not know faces: an eye counts as much as the wall behind it."
    name, compare, least = "ssim", staticmethod(ssim), LEAST

    @property
    def protocol(self) -> str:
        return f"{self.region}, RGB, Gaussian window 11 px sigma 1.5, K 0.01 0.03, L 255, mean over channels and frames"

    def begin(self, film: Film) -> Measurement:
        demand(self, film)
        self.refuse_small(film, self.least)
        return FrameMeans([self.name], self._look, NOTHING)

    def _look(self, moments: Moments) -> dict[str, np.ndarray]:
        found = unknown(moments, self.name)
        for place, picture, reference in self.shown(moments):
            found[self.name][place] = float(type(self).compare(_pixels(picture), _pixels(reference)))
        return found


class MSSSIMMetric(SSIMMetric):
    """SSIM at five scales, each half of the one before.

    Wang, Simoncelli and Bovik, "Multi-scale structural similarity for image quality assessment", 2003: contrast and
    structure of all scales, luminance of the coarsest, raised to their weights. Pictures have 176 px or more.

    Args:
        region: `face`, another crop profile, `mouth`, or `frame`.
        size: pixels a side of the crop; None for the region's own.
    """

    paper = "Wang, Simoncelli and Bovik, Multi-scale structural similarity for image quality assessment, 2003"
    quantities = (Quantity("ms-ssim", "higher", 0, 1, about="1 for equal pictures."),)
    test_options = {"size": LEAST_SCALES}
    name, compare, least = "ms-ssim", staticmethod(ms_ssim), LEAST_SCALES

    @property
    def protocol(self) -> str:
        return super().protocol + ", 5 scales by 2 x 2 means"


class PSNRMetric(RegionMetric):
    """How small the squared error of drawn pictures is, in decibels.

    Args:
        region: `face`, another crop profile, `mouth`, or `frame`.
        size: pixels a side of the crop; None for the region's own.
        mean: over `frames`, of each frame's decibels, as papers do; or `film`, the decibels of the mean error of all.
    """

    quantities = (Quantity("psnr", "higher", 0, float("inf"), "dB", "10 log10 of 255 squared over the mean squared "
                           "error; infinite for equal pictures."),)
    blindness = (MISPLACED + " One frame that equals the reference's to the bit, passed through, makes the mean over "
                 "frames infinite: take mean=film then.")

    def __init__(self, *, region: str = "face", size: int | None = None, mean: str = "frames"):
        super().__init__(region=region, size=size)
        if mean not in ("frames", "film"):
            raise BadOption(f"metric 'psnr': mean '{mean}' is unknown; give frames or film.")
        self.mean = mean

    @property
    def protocol(self) -> str:
        over = "mean of the frames' decibels" if self.mean == "frames" else "decibels of the film's mean squared error"
        return f"{self.region}, RGB, peak 255, {over}"

    def begin(self, film: Film) -> Measurement:
        demand(self, film)
        return _PSNRMeasurement(self)


class _PSNRMeasurement(FrameMeans):

    def __init__(self, metric: PSNRMetric):
        super().__init__(["error"], self._look, NOTHING)
        self.metric = metric

    def _look(self, moments: Moments) -> dict[str, np.ndarray]:
        found = unknown(moments, "error")
        for place, picture, reference in self.metric.shown(moments):
            found["error"][place] = np.square(picture.astype(np.float32) - reference).mean(dtype=np.float64)
        return found

    def score(self) -> Score:
        measured = super().score()
        errors = measured.curves["error"]
        curve = decibels(errors)
        mean = decibels(measured.values["error"]) if self.metric.mean == "film" else np.nanmean(curve)
        return Score({"psnr": float(mean)}, {"psnr": curve})


def decibels(error: np.ndarray | float) -> np.ndarray:
    """PSNR of mean squared errors on 255 grey levels; infinite for 0."""
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255.0**2 / np.asarray(error))


class SharpnessMetric(RegionMetric):
    """How much fine detail there is: the variance of the Laplacian of the grey picture.

    Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy: a comparative study", 2000. Beside a reference
    also the ratio of both.

    Args:
        region: `face`, another crop profile, `mouth`, or `frame`.
        size: pixels a side of the crop; None for the region's own.
    """

    paper = "Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy: a comparative study, 2000"
    quantities = (
        Quantity("sharpness", "near the reference", 0, float("inf"), about="The variance of the Laplacian."),
        Quantity("sharpness-ratio", "neither", 0, float("inf"), about="Of the reference's, frame by frame, averaged as "
                 "logarithms; 1 is as sharp, under 0.5 is blurred to the eye. Only beside a reference."))
    blindness = ("Noise, ringing, blocks of a codec and the seam of a pasted crop count as detail. Pictures of another "
                 "size, light or contrast cannot be compared: it grows with the square of contrast.")
    pair = False
    needs = frozenset({"face"})

    @property
    def protocol(self) -> str:
        return f"{self.region}, grey by ITU-R 601, Laplacian of 4 neighbours, variance, mean over frames"

    def begin(self, film: Film) -> Measurement:
        demand(self, film)
        self.refuse_small(film, 8)
        return _SharpnessMeasurement(self)


class _SharpnessMeasurement(FrameMeans):

    def __init__(self, metric: SharpnessMetric):
        super().__init__(["sharpness", "reference"], self._look, NO_FACE)
        self.metric = metric

    def _look(self, moments: Moments) -> dict[str, np.ndarray]:
        found = unknown(moments, "sharpness", "reference")
        for place, picture, reference in self.metric.shown(moments):
            found["sharpness"][place] = detail(picture)
            if reference is not None:
                found["reference"][place] = detail(reference)
        return found

    def score(self) -> Score:
        measured = super().score()
        if "reference" in measured.values:
            own, true = measured.curves["sharpness"], measured.curves["reference"]
            ratio = np.log(np.maximum(own, 1e-6) / np.maximum(true, 1e-6))
            measured.values["sharpness-ratio"] = float(np.exp(np.nanmean(ratio)))
            del measured.values["reference"]
        return measured


GREY = np.array([0.299, 0.587, 0.114], np.float32)


def detail(picture: np.ndarray) -> float:
    """The variance of the Laplacian of `picture` (H, W, 3) uint8, over the pixels that have four neighbours."""
    grey = picture @ GREY
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    return float(laplacian.var(dtype=np.float64))


def _pixels(picture: np.ndarray) -> torch.Tensor:
    """(1, 3, H, W) float32 in [0, 255]."""
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float()
