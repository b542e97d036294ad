"""Face and sound to video."""

from .generate import generate

__all__ = ["generate"]
