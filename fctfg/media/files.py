"""Files before anyone looks inside: is there something to read, and is there room to write."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path

from ..errors import BadMedia
from ..files import unfinished


def existing_file(path: str | os.PathLike) -> Path:
    """The path of a file that holds something.

    Raises:
        BadMedia: it is missing, a folder, empty, or may not be read.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise BadMedia(f"{path} is a folder; name a file in it.")
        with path.open("rb") as file:
            if not file.read(1):
                raise BadMedia(f"{path} is empty; copy or download it again.")
    except FileNotFoundError:
        raise BadMedia(f"There is no file {path}; check the name and the folder.") from None
    except OSError as error:
        raise BadMedia(f"{path} cannot be read: {error.strerror}.") from None
    return path


class NewFile:
    """A file that appears under its name only when it is whole. The block writes to `temporary`, in the same folder.

    An exception, KeyboardInterrupt included, removes what was written and keeps an older file of that name.

    Raises:
        BadMedia: the folder is missing or cannot be written to.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.temporary = unfinished(self.path)
        if not self.path.parent.is_dir():
            raise BadMedia(f"{self.path} cannot be written: there is no folder {self.path.parent}; make it first.")
        if self.path.is_dir():
            raise BadMedia(f"{self.path} cannot be written: it is a folder; name a file in it.")
        with self.refusing():
            self.temporary.touch()

    @contextmanager
    def refusing(self):
        """Failures of the disk inside this block become one line.

        Raises:
            BadMedia: no room, no permission.
        """
        try:
            yield
        except OSError as error:
            reason = f"{error.strerror}. Choose another folder or make room."
            raise BadMedia(f"{self.path} cannot be written: {reason}") from None

    def keep(self) -> None:
        """Give the file its name."""
        try:
            with self.refusing():
                os.replace(self.temporary, self.path)
        except BadMedia:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove what was written."""
        self.temporary.unlink(missing_ok=True)

    def __enter__(self) -> Path:
        return self.temporary

    def __exit__(self, kind, error, traceback) -> None:
        if error is None:
            self.keep()
            return
        self.discard()
        if isinstance(error, OSError):
            with self.refusing():
                raise error
