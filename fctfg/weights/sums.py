"""What each kept file was when it came, as SHA-256: `SHA256SUMS` in the folder, which `sha256sum -c` reads too."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..files import write_text

FILE = "SHA256SUMS"


def sha256(path: Path) -> str:
    """Of a file's bytes, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def recorded(folder: Path) -> dict[str, str]:
    """The sums by file name, `/` between folder and file; none where nothing was recorded."""
    try:
        lines = (folder / FILE).read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.split(maxsplit=1) for line in lines)
    return {pair[1].removeprefix("*"): pair[0] for pair in pairs if len(pair) == 2}


def record(folder: Path, name: str, digest: str) -> None:
    """Keep the sum of the file `name`, in place of an earlier one."""
    sums = {**recorded(folder), name: digest}
    write_text(folder / FILE, "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())))
