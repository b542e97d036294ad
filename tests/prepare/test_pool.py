"""Work spread over processes, some of which do not live to finish it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from fctfg.errors import FctfgError
from fctfg.prepare.pool import Died, RemoteTraceback, work_through

CHORES = '''
import os, sys, time
from pathlib import Path

def setup(folder, fault=None):
    if fault == "setup":
        raise LookupError("no such detector")
    if fault == "exit":
        os._exit(7)
    return lambda task: work(Path(folder), task)

def work(folder, task):
    yield f"begin {task}"
    tries = folder / f"{task}.tries"
    tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
    if task == "always dies" or task == "dies once" and tries.read_text() == "x":
        os._exit(9)
    if task == "raises":
        raise ValueError("of the task")
    if task == "talks":
        (folder / "talker").write_text(str(os.getpid()))
        while True:
            time.sleep(0.02)
            yield "still here"
    if task == "lasts":
        try:
            (folder / "lasting").touch()
            time.sleep(60)
        finally:
            (folder / "left in order").touch()
    yield f"end {task}"
'''


@pytest.fixture
def setup(tmp_path, monkeypatch):
    """The picklable set-up of chores that note in `tmp_path` how often they were tried."""
    (tmp_path / "chores_of_the_pool_test.py").write_text(CHORES)
    monkeypatch.syspath_prepend(tmp_path)  # new processes are given sys.path
    import chores_of_the_pool_test as chores

    yield partial(chores.setup, str(tmp_path))
    del sys.modules["chores_of_the_pool_test"]


@pytest.mark.parametrize("workers", [0, 2])
def test_everything_is_told(setup, workers):
    told = list(work_through("abcd", setup, workers))
    assert sorted(told) == sorted((task, f"{moment} {task}") for task in "abcd" for moment in ("begin", "end"))


def test_a_death_costs_only_its_own_task(setup, tmp_path):
    told = list(work_through(["always dies", "a", "dies once", "b"], setup, 2))
    ended = {task for task, what in told if str(what).startswith("end")}
    assert ended == {"a", "b", "dies once"}
    (task, death), = [(task, what) for task, what in told if isinstance(what, Died)]
    assert task == "always dies" and "exit code 9" in str(death)
    assert (tmp_path / "always dies.tries").read_text() == "xx"
    assert (tmp_path / "a.tries").read_text() == "x"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals")
def test_a_kill_is_told_by_name():
    assert "SIGKILL" in str(Died(-9)) and "memory" in str(Died(-9))
    assert "SIGSEGV" in str(Died(-11)) and "memory" not in str(Died(-11))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_ends_everything(setup, workers):
    with pytest.raises(ValueError, match="of the task") as caught:
        list(work_through(["raises", "a"], setup, workers))
    if workers:
        assert isinstance(caught.value.__cause__, RemoteTraceback) and "in work" in str(caught.value.__cause__)
    with pytest.raises(LookupError, match="no such detector"):
        list(work_through(["a"], partial(setup, fault="setup"), workers))


def test_a_worker_that_cannot_start_is_not_tried_forever(setup):
    with pytest.raises(FctfgError, match="could not start.*exit code 7"):
        list(work_through(["a"], partial(setup, fault="exit"), 1))


def test_stopping_is_prompt_and_orderly(setup, tmp_path):
    with closing(work_through(["lasts", "a"], setup, 1)) as told:
        assert next(told) == ("lasts", "begin lasts")
        wait_until((tmp_path / "lasting").exists)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    if os.name == "posix":  # elsewhere a process is ended without a word
        assert (tmp_path / "left in order").exists()
    assert not (tmp_path / "a.tries").exists()


@pytest.mark.skipif(os.name != "posix", reason="there is no kill -9")
def test_a_worker_does_not_outlive_a_killed_parent(setup, tmp_path):
    script = ("import chores_of_the_pool_test as chores\nfrom functools import partial\n"
              "from fctfg.prepare.pool import work_through\nif __name__ == '__main__':\n"
              f"    list(work_through(['talks'], partial(chores.setup, {str(tmp_path)!r}), 1))")
    (tmp_path / "run.py").write_text(script)
    parent = subprocess.Popen([sys.executable, tmp_path / "run.py"],
                              env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    talker = tmp_path / "talker"
    wait_until(lambda: talker.exists() and talker.read_text())
    parent.kill()
    parent.wait()
    wait_until(lambda: not alive(int(talker.read_text())))


def wait_until(holds, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")  # where nobody reaps orphans, as in many containers, the dead stay listed
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")
