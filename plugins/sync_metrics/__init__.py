"""Metrics of lip sync: by SyncNet, by an expert that was trained here, and by the opening of the mouth alone."""

from .expert import SyncExpertMetric
from .openness import OpennessMetric
from .silence import SilentLipsMetric
from .syncnet import SyncNetMetric

__all__ = ["OpennessMetric", "SilentLipsMetric", "SyncExpertMetric", "SyncNetMetric"]
