"""Face and sound to video."""

from .expression import Expression
from .generate import generate

__all__ = ["Expression", "generate"]
