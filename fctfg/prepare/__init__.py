"""Raw videos to a prepared folder. Importing this is quick; what is heavy comes with the worker processes."""

from .folder import Summary, prepare
from .progress import Progress, ProgressBar
from .sources import parse_shard

__all__ = ["Progress", "ProgressBar", "Summary", "parse_shard", "prepare"]
