"""Weight files that others publish: where they lie. Imports neither torch nor any plugin; fetches nothing unasked."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = "FCTFG_WEIGHTS"
"""The environment variable that names another folder."""


def folder() -> Path:
    """Where fetched and imported weight files are kept; it may not exist yet."""
    if named := os.environ.get(FOLDER):
        return Path(named).expanduser()
    from pooch import os_cache

    return Path(os_cache("fctfg"))


def find(name: str) -> Path | None:
    """The weight file `name` where it has been fetched or imported, else None."""
    path = folder() / name
    return path if path.is_file() else None
