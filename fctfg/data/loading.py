"""From a dataset to batches: which samples, in which process, on which device."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import count
from multiprocessing import resource_tracker

import torch
from torch.utils.data import DataLoader, Dataset

from ..errors import BadData
from ..interfaces import Clip
from .windows import ClipWindows, Sample, stack

log = logging.getLogger(__name__)


def clip_loader(dataset: ClipWindows, batch: int, first: int = 0, workers: int | None = None, rank: int = 0,
                processes: int = 1, batches: int | None = None,
                device: torch.device | str | None = None) -> Iterator[Clip]:
    """Batches from sample `first` on, the same ones for any number of workers; without end, or as many as `batches`.

    Of several processes, each with its `rank`, one takes samples first + rank, first + rank + processes, ..., so a step
    of all advances `first` by batch * processes. `workers` loader processes read ahead; 0 for none, None for as many as
    the machine's cores leave. With `device` the pictures travel there as bytes. What cannot be read is logged once, by
    name.
    """
    batches = _load(dataset, _Numbers(batch, first, rank, processes, batches), processes, workers, device)
    _running.add(batches)
    return batches


_running: weakref.WeakSet[Iterator[Clip]] = weakref.WeakSet()


@atexit.register
def _end_workers() -> None:
    """Else Python would wait at its end for workers, who wait for it."""
    for batches in list(_running):
        batches.close()


def _load(dataset: ClipWindows, numbers: _Numbers, processes: int, workers: int | None,
          device: torch.device | str | None) -> Iterator[Clip]:
    workers = sensible_workers(processes) if workers is None else workers
    on_gpu = device is not None and torch.device(device).type == "cuda"
    # Forking a process that has threads, as torch's do, may hang; a fork server outlives a parent that is killed.
    options = dict(multiprocessing_context="spawn", worker_init_fn=_begin_worker) if workers else {}
    # With a generator of its own, beginning to load does not change what the training draws next: a run may resume here.
    loader = DataLoader(_Batches(dataset), batch_size=None, sampler=numbers, num_workers=workers, pin_memory=on_gpu,
                        generator=torch.Generator(), **options)
    noted: set[str] = set()
    with _out_of_hearing() if workers else nullcontext():
        loaded = iter(loader)
    for stacked, skipped, failure in loaded:
        for name, reason in skipped.items():
            dataset.skipped[name] = reason
            if name not in noted:
                noted.add(name)
                log.warning("left out: %s", reason)
        if failure:
            raise failure
        yield dataset.to_clip(stacked, device)


def sensible_workers(processes: int = 1) -> int:
    """Loader processes for each of `processes`: the cores that are left, at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(0, min(8, cores // processes - 1))


class _Batches(Dataset):
    """Whole batches by their sample numbers, so that a worker hands over few large tensors."""

    def __init__(self, clips: ClipWindows):
        self.clips = clips

    def __getitem__(self, numbers: list[int]) -> tuple[Sample, dict[str, str], BadData | None]:
        try:
            return stack([self.clips[number] for number in numbers]), dict(self.clips.skipped), None
        except BadData as failure:  # raised over there, it would come with the worker's traceback in its message
            return {}, dict(self.clips.skipped), failure


class _Numbers:
    """The sample numbers of each batch."""

    def __init__(self, batch: int, first: int, rank: int, processes: int, batches: int | None):
        self.batch, self.first, self.rank, self.processes, self.batches = batch, first, rank, processes, batches

    def __iter__(self) -> Iterator[list[int]]:
        for step in count() if self.batches is None else range(self.batches):
            start = self.first + step * self.batch * self.processes + self.rank
            yield list(range(start, start + self.batch * self.processes, self.processes))


@contextmanager
def _out_of_hearing():
    """A process begun in this block hears no SIGINT or SIGTERM while it imports; what comes here waits for the end."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # begun later, it would unblock them again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker(_number: int) -> None:
    # The trainer saves on SIGINT and SIGTERM, which may reach the whole group, and may need a batch for that.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # The thread that sends batches may be inside torch at the end, where Python's winding up would abort the process.
    atexit.register(os._exit, 0)
