"""Fetching a weight file: through pooch, in pieces if need be, and only when told to."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ..errors import BadWeights
from ..files import write_text
from . import contents, sums
from .cards import Weights
from .keeping import unpack
from .shelf import FOLDER, folder

Progress = Callable[[int, "int | None"], None]
"""Told how many bytes are there, and of how many, where that is known."""

CONNECT, READ = 15, 60
"""Seconds to wait for a server to answer, and for the next bytes."""
TRIES = 5
"""How often in a row a connection may break off without bringing anything."""
PATIENCE = 0.5
"""Seconds before asking again, twice that from the second time on."""
BLOCK = 1 << 14


def fetch(weights: Weights, *, url: str | None = None, progress: Progress = lambda done, total: None) -> Path:
    """Fetch a weight file into the folder, from `url` or where it is published; what was broken off goes on.

    `url` may begin with http, https or file. The file is there whole, or not at all; where a SHA-256 is published it
    has that one.

    Raises:
        BadWeights: no place is published, there is no way to it, no room, or what comes is not the file.
    """
    import pooch

    url = url or weights.url
    if not url:
        raise BadWeights(f"{weights.name} cannot be fetched: no link to the file itself is known. Get it from "
                         f"{weights.source}, then `fctfg weights import {weights.name}`; or name a link with --url.")
    place = folder()
    _make(place)
    _mind_the_room(weights, place)
    pooch.get_logger().setLevel(logging.WARNING)
    came = Path(pooch.retrieve(url, known_hash=None, fname=f".{weights.name}.whole", path=place,
                               downloader=Resuming(weights, place / f".{weights.name}.part", progress)))
    path = place / weights.name
    if weights.form == "ONNX folder":
        unpack(came, path)
        came.unlink()
    else:
        os.replace(came, path)
        sums.record(place, weights.name, sums.sha256(path))
    return path


def pending(weights: Weights) -> int:
    """Bytes of it that an earlier, broken off fetch has left."""
    part = folder() / f".{weights.name}.part"
    return part.stat().st_size if part.is_file() else 0


class Resuming:
    """A downloader for pooch that keeps what it has in `part` when it is stopped, and goes on from there.

    The server's ETag or date is kept beside it, so that two versions of a file are never joined.
    """

    def __init__(self, weights: Weights, part: Path, progress: Progress):
        self.weights = weights
        self.part = part
        self.version = part.with_suffix(".version")
        self.progress = progress

    def __call__(self, url: str, output_file: str, pooch) -> None:
        kind = urlsplit(url).scheme
        if kind not in ("http", "https", "file"):
            raise BadWeights(f"{url} cannot be fetched: a link begins with https://, http:// or file://.")
        try:
            self._copy(url) if kind == "file" else self._download(url)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise BadWeights(f"{self.part.parent} is full; {self._so_far()} are there. Make room and fetch "
                                 f"{self.weights.name} again, which goes on from there; or name another folder with "
                                 f"{FOLDER}.") from None
            raise
        self._verify(url)
        os.replace(self.part, output_file)
        self.version.unlink(missing_ok=True)

    def _copy(self, url: str) -> None:
        source = Path(url2pathname(urlsplit(url).path))
        try:
            total = source.stat().st_size
            with open(source, "rb") as file, open(self.part, "wb") as part:
                while block := file.read(BLOCK):
                    part.write(block)
                    self.progress(part.tell(), total)
        except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
            raise BadWeights(f"{url} cannot be read: {error.strerror}.") from None

    def _download(self, url: str) -> None:
        """Take what the server sends, again and again until all is there or nothing more comes."""
        import requests

        failures = 0
        while failures < TRIES:
            before = self._size()
            try:
                if self._take(requests, url):
                    return
                reason = "the connection was closed"
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                reason = _reason(error)
                if not self._size():
                    raise BadWeights(f"No way to {urlsplit(url).netloc}: {reason}. Fetch {url} where you are online, "
                                     f"then `fctfg weights import {self.weights.name}`.") from None
            except requests.RequestException as error:
                raise BadWeights(f"{url} cannot be fetched: {_reason(error)}.") from None
            failures = failures + 1 if self._size() <= before else 0
            time.sleep(min(failures, 2) * PATIENCE)
        raise BadWeights(f"{self.weights.name} broke off: {reason}. {self._so_far()} are there; fetch it again to go "
                         "on from there.")

    def _take(self, requests, url: str) -> bool:
        """One answer of the server's; whether the file is whole after it."""
        have, headers = self._size(), {"Accept-Encoding": "identity"}
        if have and (version := self._version(url)):
            headers |= {"Range": f"bytes={have}-", "If-Range": version}
        elif have and self.weights.sha256:  # which will tell whether the pieces belong together
            headers |= {"Range": f"bytes={have}-"}
        with requests.get(url, headers=headers, stream=True, timeout=(CONNECT, READ)) as answer:
            if answer.status_code == 416:  # nothing lies beyond what is there
                total = _number(answer.headers.get("Content-Range", "").rpartition("/")[2])
                if total == have:
                    return True
                self.part.unlink()
                return False
            if answer.status_code >= 400:
                raise BadWeights(f"{url} answers {answer.status_code} {answer.reason}. Get it from "
                                 f"{self.weights.source}, then `fctfg weights import {self.weights.name}`.")
            if answer.headers.get("Content-Type", "").startswith("text/html"):
                raise BadWeights(f"{url} answers with a web page, not the file. Open it in a browser, then `fctfg "
                                 f"weights import {self.weights.name}`.")
            goes_on = answer.status_code == 206
            length = _number(answer.headers.get("Content-Length"))
            total = None if length is None else length + (have if goes_on else 0)
            self._remember(url, answer.headers)
            with open(self.part, "ab" if goes_on else "wb") as part:
                for block in answer.iter_content(BLOCK):
                    part.write(block)
                    self.progress(part.tell(), total)
        return total is None or self._size() == total

    def _remember(self, url: str, headers) -> None:
        """What the server calls this version of the file; a weak ETag does not promise the same bytes."""
        tag = headers.get("ETag", "")
        version = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")
        write_text(self.version, f"{url}\n{version}")

    def _version(self, url: str) -> str:
        """What `_remember` has kept of this `url`; empty where nothing."""
        kept = self.version.read_text(encoding="utf-8") if self.version.is_file() else ""
        return kept.removeprefix(f"{url}\n") if kept.startswith(f"{url}\n") else ""

    def _verify(self, url: str) -> None:
        """Let through what has the published SHA-256, or, where there is none, what is a weight file at all."""
        digest, wanted = sums.sha256(self.part), self.weights.sha256
        try:
            if not wanted:
                contents.read(self.part)
            elif not digest.startswith(wanted):
                raise BadWeights(f"its SHA-256 is {digest[:len(wanted)]}, not {wanted}.")
        except BadWeights as error:
            self.part.unlink()
            self.version.unlink(missing_ok=True)
            reason = str(error).replace(f"{self.part} ", "it ")
            raise BadWeights(f"What came from {url} is not {self.weights.name}: {reason} It was not kept; fetch it "
                             "again, or from another place with --url.") from None

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def _so_far(self) -> str:
        return f"{self._size() / 1e6:.1f} MB"


def _reason(error: Exception) -> str:
    """An error of requests in words; it wraps what it catches several times over."""
    import requests

    proxy = "the proxy that HTTP_PROXY or HTTPS_PROXY names does not let it through"
    for kind, words in ((requests.exceptions.ProxyError, proxy),
                        (requests.exceptions.SSLError, "its certificate is not trusted here"),
                        (requests.exceptions.ConnectTimeout, f"no answer in {CONNECT} s"),
                        (requests.Timeout, f"nothing came for {READ} s")):
        if isinstance(error, kind):
            return words
    inner, nested = error, error
    while isinstance(nested, Exception):
        inner = nested
        nested = getattr(inner, "reason", None) or next((a for a in inner.args if isinstance(a, Exception)), None)
    of_urllib3 = {"NameResolutionError": "its name is not known here, so this machine is offline or the name is wrong",
                  "IncompleteRead": "the connection was closed", "ReadTimeoutError": f"nothing came for {READ} s"}
    if words := of_urllib3.get(type(inner).__name__):  # by name: not every version has each
        return words
    words = getattr(inner, "strerror", None) or re.split(r"\[Errno -?\d+\] |: ", str(inner))[-1]
    return words.strip(" .") or type(inner).__name__


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _make(place: Path) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadWeights(f"{place} cannot be made: {error.strerror}; name another folder with {FOLDER}.") from None


def _mind_the_room(weights: Weights, place: Path) -> None:
    free, wanted = shutil.disk_usage(place).free, (weights.size or 0) - pending(weights)
    if wanted > free:
        raise BadWeights(f"{weights.name} takes {wanted / 1e6:,.0f} MB, and {place} has room for {free / 1e6:,.0f} MB. "
                         f"Make room, or name another folder with {FOLDER}.")
