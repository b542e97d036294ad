"""What several tests share: installing a package that is only metadata, and the folder of real footage."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors: threads would only wait for each other
os.environ.setdefault("FCTFG_WEIGHTS", os.path.join(tempfile.gettempdir(), "fctfg-no-weights"))  # whatever lies on this machine
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as pytest-xdist has it; a process begun here would inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a package: a real dist-info folder on sys.path, with entry points and no code of its own."""

    def install(package: str, group: str, **points: str) -> None:
        site = tmp_path / f"site-{package}"
        info = site / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "".join(f"{name.replace('_', '-')} = {target}\n" for name, target in points.items())
        (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")
        monkeypatch.syspath_prepend(str(site))

    return install


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real clips named by FCTFG_DATA, for tests marked `shared`."""
    folder = os.environ.get("FCTFG_DATA")
    if not folder:
        pytest.fail("tests marked `shared` need FCTFG_DATA to name the folder of real clips")
    return Path(folder)


@pytest.fixture
def fctfg(tmp_path):
    """Run the real command in a process and a folder of its own: `fctfg("train", "--help").stdout`."""

    def run(*arguments, env=None, timeout=120) -> subprocess.CompletedProcess:
        environment = {**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1", **(env or {})}
        return subprocess.run([sys.executable, "-m", "fctfg", *map(str, arguments)], capture_output=True, text=True,
                              env=environment, timeout=timeout, cwd=tmp_path)

    return run


@pytest.fixture
def refused(fctfg):
    """Run a command that must fail on one line, with exit code 1 and no traceback; that line."""

    def run(*arguments) -> str:
        done = fctfg(*arguments)
        assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
        lines = done.stderr.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("Error: "), done.stderr
        return lines[0]

    return run
