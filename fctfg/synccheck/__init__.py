"""Whether picture and sound of a video agree, and by how much the sound must be moved: what `fctfg sync-check` does."""

from __future__ import annotations

from .batch import sync_check
from .checking import SyncChecker
from .evidence import Verdict, weigh
from .judges import SyncJudge, open_judge
from .plots import plot

__all__ = ["SyncChecker", "SyncJudge", "Verdict", "open_judge", "plot", "sync_check",
           "weigh"]
