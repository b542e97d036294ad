"""Metrics that compare sets of films: FID and FVD."""

from .frechet import frechet_distance
from .sets import FIDMetric, FVDMetric

__all__ = ["FIDMetric", "FVDMetric", "frechet_distance"]
