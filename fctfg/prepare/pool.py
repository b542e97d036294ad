"""Working through tasks in several processes, none of which can take the others with it.

Imports nothing heavy, so that a new process is quick to listen.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..errors import FctfgError

Work = Callable[[Any], Iterator[Any]]
"""Does one task, yielding whatever it has to tell on the way."""

READY, SAID, FINISHED, RAISED, DIED = range(5)


class Died:
    """What is told of a task whose process ended under it: a crash in a codec, or no memory left."""

    def __init__(self, exit_code: int | None):
        self.exit_code = exit_code

    def __str__(self) -> str:
        code = self.exit_code or 0
        if code >= 0:
            return f"its process ended with exit code {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return f"its process was ended by {name}{', perhaps for want of memory' if name == 'SIGKILL' else ''}"


def work_through(tasks: Iterable[Any], setup: Callable[[], Work], workers: int) -> Iterator[tuple[Any, Any]]:
    """Everything that the work on each of `tasks` tells, as (task, what), in whatever order it comes.

    `setup` is called once in each process (so it must be picklable) and returns the function that does the work. A task
    whose process dies is tried a second time at the end, alone, when there is all the memory there is; if its process
    dies again, it tells `Died`. What `setup` or the work raises ends everything and is raised here. With 0 workers
    all happens in this process, where a crash is not survived.
    """
    tasks = list(tasks)
    if workers == 0:
        work = setup() if tasks else None
        for task in tasks:
            for what in work(task):
                yield task, what
        return
    died = []
    for task, what in _work_once(tasks, setup, workers):
        if isinstance(what, Died):
            died.append(task)
        else:
            yield task, what
    yield from _work_once(died, setup, 1)


def _work_once(tasks: Iterable[Any], setup: Callable[[], Work], workers: int) -> Iterator[tuple[Any, Any]]:
    waiting = deque(tasks)
    team = [_Worker(setup) for _ in range(min(workers, len(waiting)))]
    try:
        while team:
            for connection in multiprocessing.connection.wait([worker.connection for worker in team]):
                worker = next(worker for worker in team if worker.connection is connection)
                kind, what = worker.listen()
                if kind == RAISED:
                    error, told = what
                    raise error from RemoteTraceback(told)
                if kind == SAID:
                    yield worker.task, what
                elif kind != DIED and waiting:
                    worker.give(waiting.popleft())
                else:
                    team.remove(worker)
                    worker.dismiss()
                    if kind == DIED:
                        yield worker.task, what
                        team += [_Worker(setup)] if waiting else []
    finally:
        for worker in team:
            worker.process.terminate()
        for worker in team:
            worker.dismiss()



class _Worker:
    """A process that does one task at a time, and the line to it."""

    def __init__(self, setup: Callable[[], Work]):
        context = multiprocessing.get_context("spawn")  # the same everywhere; a fork copies locks of running threads
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, setup), daemon=True)
        self.process.start()
        theirs.close()
        self.started = False
        self.task: Any = None

    def give(self, task: Any) -> None:
        self.task = task
        try:
            self.connection.send(task)
        except OSError:
            pass  # it died while idle; listening will say so

    def listen(self) -> tuple[int, Any]:
        """The next message; (DIED, Died) if there will be none."""
        try:
            kind, what = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            died = Died(self.process.exitcode)
            if not self.started:
                raise FctfgError(f"A worker could not start: {died}. In a script of your own, call prepare below "
                                 "`if __name__ == '__main__':`, or give workers=0.") from None
            return DIED, died
        self.started = True
        return kind, what

    def dismiss(self) -> None:
        """See the process out: it leaves when its line is closed, or when told twice."""
        self.connection.close()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()


def _serve(connection: multiprocessing.connection.Connection, setup: Callable[[], Work]) -> None:
    """The life of a worker. It ends when the other end of the line does, be it by kill -9."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that files half-written are removed on the way out
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        os.environ[name] = "1"  # there is a process for each core already
    try:
        for message in _live(connection, setup):
            connection.send(message)
    except OSError:
        pass  # nobody is listening any more


def _live(connection: multiprocessing.connection.Connection, setup: Callable[[], Work]) -> Iterator[tuple[int, Any]]:
    try:
        work = setup()
        yield READY, None
        while True:
            for what in work(connection.recv()):
                yield SAID, what
            yield FINISHED, None
    except EOFError:
        pass  # dismissed
    except Exception as error:
        yield RAISED, _portable(error)


class RemoteTraceback(Exception):
    """Where in the worker an error came from; shown as the cause of that error."""

    def __str__(self) -> str:
        return "\n" + "".join(self.args)


def _portable(error: Exception) -> tuple[Exception, str]:
    """The error as it can be sent, and its traceback."""
    told = traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}"), told
    return error, told
