"""Errors a user can act on. The command line prints them on one line, without a traceback.

Anything else that escapes is a bug of ours and keeps its traceback.
"""

from __future__ import annotations


class FctfgError(Exception):
    """Base of every error raised on purpose. Its message says what was asked, what is wrong and what would work."""


class UnknownPlugin(FctfgError, LookupError):
    """No installed package offers a plugin of that name."""


class AmbiguousPlugin(FctfgError, LookupError):
    """Two installed packages offer the same name; say `package:name`."""


class BrokenPlugin(FctfgError, ImportError):
    """The plugin was found but could not be imported, or is of the wrong type."""


class MissingExtra(BrokenPlugin):
    """The plugin needs a package that is not installed; the message has the pip line that brings it."""


class BadOption(FctfgError, TypeError):
    """The component does not take that option."""


class BadRecipe(FctfgError, ValueError):
    """The recipe does not describe something that can be built or trained."""


class BadMedia(FctfgError, ValueError):
    """A picture, sound or video that cannot be used as it was asked to be."""


class BadJobs(FctfgError, ValueError):
    """A table of jobs that cannot be used, or jobs of it that failed."""


class BadWeights(FctfgError, ValueError):
    """A weight file that cannot be read safely, or holds something else than was asked for."""


class BadData(FctfgError, ValueError):
    """A prepared folder that cannot be trained on."""


class BadRun(FctfgError, ValueError):
    """A run folder that cannot be resumed or generated from."""


class TrainingFailed(FctfgError, RuntimeError):
    """Training stopped because going on would be of no use; the message says what to try."""


class CannotMeasure(FctfgError, ValueError):
    """Nothing can be said of a film by this metric; the message says why, and heads its row in the report."""


class MeasuringFailed(FctfgError, RuntimeError):
    """Metrics or processes failed while the others went on; the message says where the tracebacks are."""
