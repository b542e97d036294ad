"""Stages that work at the same time, one thread each, with bounded queues between them.

What a stage does is a generator function: it takes the items of the stage before and yields its own. Threads are
enough, since decoding, detecting, drawing and encoding all happen outside the interpreter lock.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import closing
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Callable, Generator, Iterator

Work = Callable[[Iterator], Generator]


@dataclass(frozen=True)
class Stage:
    """One step of the flow."""

    name: str
    work: Work
    ahead: int = 4
    """How many finished items may wait for the next stage."""


class _Stopped(BaseException):
    """Unwinds a stage when the flow ends; not an Exception, so that no stage takes it for a failure of its own."""


def flow(stages: list[Stage], arrived: Callable[[Any], None] = lambda item: None) -> dict[str, float]:
    """Run `stages` until the last one ends; the seconds that each was busy, not counting its waits for the others.

    `arrived` is called in the caller's thread with every item that leaves the last stage. The first stage is given
    nothing. An error in any stage, in `arrived`, or an interrupt stops all of them, closes their generators, and is
    raised here; no thread outlives the call.
    """
    queues = [_Queue(stage.ahead) for stage in stages]
    sources = [None, *queues[:-1]]
    failures: list[BaseException] = []
    busy: dict[str, float] = {}

    def stop() -> None:
        for queue in queues:
            queue.stop()

    def run(stage: Stage, source: _Queue | None, target: _Queue) -> None:
        began = perf_counter()
        try:
            with closing(stage.work(source.items() if source else iter(()))) as made:
                for item in made:
                    target.put(item)
        except _Stopped:
            pass
        except BaseException as error:  # whatever it is, the caller must hear of it
            failures.append(error)
            stop()
        finally:
            target.end()
            if source:
                source.stop()  # a stage may end before its input does
            waited = target.waited_to_put + (source.waited_to_get if source else 0)
            busy[stage.name] = perf_counter() - began - waited

    threads = [threading.Thread(target=run, args=parts, name=parts[0].name, daemon=True)
               for parts in zip(stages, sources, queues)]
    try:
        for thread in threads:
            thread.start()
        for item in queues[-1].items():
            arrived(item)
    except _Stopped:
        pass  # a stage failed; its error is raised below
    finally:
        stop()
        for thread in threads:
            if thread.ident:
                thread.join()
    if failures:
        raise failures[0]
    return {stage.name: busy[stage.name] for stage in stages}


class _Queue:
    """A bounded queue with an end, which can also be stopped from either side."""

    def __init__(self, capacity: int):
        self.capacity = capacity
        self.content: deque = deque()
        self.ended = self.stopped = False
        self.changed = threading.Condition()
        self.waited_to_put = self.waited_to_get = 0.0

    def put(self, item) -> None:
        with self.changed:
            self.waited_to_put += self._wait(lambda: len(self.content) < self.capacity)
            self.content.append(item)
            self.changed.notify_all()

    def end(self) -> None:
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def stop(self) -> None:
        with self.changed:
            self.stopped = True
            self.content.clear()
            self.changed.notify_all()

    def items(self) -> Iterator:
        while True:
            with self.changed:
                self.waited_to_get += self._wait(lambda: self.content or self.ended)
                if not self.content:
                    return
                item = self.content.popleft()
                self.changed.notify_all()
            yield item
            del item  # a frame is megabytes: let it go before waiting for the next

    def _wait(self, ready: Callable[[], Any]) -> float:
        """Seconds waited until `ready`.

        Raises:
            _Stopped: the flow ended first.
        """
        began = perf_counter()
        while not (self.stopped or ready()):
            self.changed.wait(0.1)  # with a limit, since a wait without one holds Ctrl-C back on Windows
        if self.stopped:
            raise _Stopped
        return perf_counter() - began
