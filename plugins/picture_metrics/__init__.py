"""Metrics of pictures: beside a reference SSIM, MS-SSIM, PSNR and LPIPS; alone sharpness and jitter."""

from .jitter import JitterMetric
from .lpips import LPIPSMetric
from .pictures import MSSSIMMetric, PSNRMetric, SharpnessMetric, SSIMMetric

__all__ = ["JitterMetric", "LPIPSMetric", "MSSSIMMetric", "PSNRMetric", "SSIMMetric", "SharpnessMetric"]
