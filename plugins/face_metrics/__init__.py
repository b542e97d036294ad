"""Metrics of faces: who it is, where its points are, how it moves, what it expresses."""

from .blinks import BlinkMetric
from .expression import ActionUnitMetric
from .identity import CSIMMetric
from .points import LandmarkMetric
from .pose import HeadPoseMetric

__all__ = ["ActionUnitMetric", "BlinkMetric", "CSIMMetric", "HeadPoseMetric", "LandmarkMetric"]
