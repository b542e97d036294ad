"""HyperStyle: a person's picture bends the weights of the generator until it draws that very face."""

from .encoder import HyperStyleEncoder

__all__ = ["HyperStyleEncoder"]
