"""Weight files that others publish."""

from .shelf import find, folder
