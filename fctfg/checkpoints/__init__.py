"""Weight files that others publish: read without running them, recognised by content, filled into a model.

`load_public(path)` is all that generating from a public file needs; `fill` warms up a training run.
"""

from .families import Match, fill, load_public, looks_like, recognise
from .public import PublicWeights, read_weights

__all__ = ["Match", "PublicWeights", "fill", "load_public", "looks_like", "read_weights", "recognise"]
