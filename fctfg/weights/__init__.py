"""Weight files that others publish: which there are, where they lie, fetching them when asked to, telling what one is.

Finding and listing import neither torch nor any plugin. Nothing is fetched unasked.
"""

from .shelf import find, folder, how_to_get, located, need

__all__ = ["find", "folder", "how_to_get", "located", "need"]
