"""The flow keeps order and bounds, overlaps its stages, and ends as one."""

from __future__ import annotations

import _thread
import itertools
import threading
import time

import pytest

from fctfg.pipeline.stages import Stage, flow


def counting(limit):
    return lambda _: iter_as_generator(range(limit))


def iter_as_generator(items):
    yield from items


def collect(stages):
    arrived = []
    return arrived, flow(stages, arrived.append)


def test_items_arrive_in_order_through_stages_that_make_more_and_fewer():
    def in_pairs(items):
        while pair := list(itertools.islice(items, 2)):
            yield pair

    def flat(items):
        for pair in items:
            yield from pair

    arrived, busy = collect([Stage("count", counting(101)), Stage("pair", in_pairs, 1), Stage("flat", flat, 1)])
    assert arrived == list(range(101))
    assert list(busy) == ["count", "pair", "flat"]


def test_stages_overlap_and_waiting_is_not_being_busy():
    def slow(items):
        for item in items:
            time.sleep(0.02)
            yield item

    def quick(items):
        yield from items

    began = time.perf_counter()
    _, busy = collect([Stage("count", counting(10)), Stage("a", slow), Stage("quick", quick), Stage("b", slow)])
    wall = time.perf_counter() - began
    assert busy["a"] >= 0.2 and busy["b"] >= 0.2
    assert wall < 0.8 * (busy["a"] + busy["b"])
    assert busy["quick"] < 0.1 and busy["count"] < 0.1


def test_a_stage_runs_no_further_ahead_than_it_may():
    ahead = 0
    furthest = 0
    lock = threading.Lock()

    def make(_):
        nonlocal ahead, furthest
        for item in range(40):
            with lock:
                ahead += 1
                furthest = max(furthest, ahead)
            yield item

    def take(items):
        nonlocal ahead
        for item in items:
            time.sleep(0.002)
            with lock:
                ahead -= 1
            yield item

    collect([Stage("make", make, 3), Stage("take", take)])
    assert furthest == 5  # three in the queue, one being made, one being taken


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_error_in_any_stage_stops_the_others_and_is_raised(failing):
    closed = []

    def work(number):
        def run(items):
            try:
                for item in itertools.count() if number == 0 else items:
                    if number == failing and item == 7:
                        raise ValueError(f"stage {failing}")
                    yield item
            finally:
                closed.append(number)
        return run

    before = threading.active_count()
    began = time.perf_counter()
    with pytest.raises(ValueError, match=f"stage {failing}"):
        flow([Stage(str(number), work(number)) for number in range(3)])
    assert time.perf_counter() - began < 2
    assert sorted(closed) == [0, 1, 2]
    assert threading.active_count() == before


def test_a_stage_sees_the_stop_as_a_failure_and_never_as_the_end():
    seen = []

    def fails(items):
        yield from range(3)
        raise RuntimeError("broken")

    def last(items):
        try:
            yield from items
            seen.append("end")
        except BaseException as error:
            seen.append(type(error).__name__)
            raise

    with pytest.raises(RuntimeError, match="broken"):
        flow([Stage("fails", fails), Stage("last", last)])
    assert seen == ["_Stopped"]


def test_a_stage_that_ends_early_ends_the_flow():
    def first_three(items):
        yield from itertools.islice(items, 3)

    arrived, _ = collect([Stage("count", lambda _: iter_as_generator(itertools.count())), Stage("three", first_three)])
    assert arrived == [0, 1, 2]


def test_an_error_where_items_arrive_stops_all():
    before = threading.active_count()

    def refuse(item):
        raise KeyError(item)

    with pytest.raises(KeyError):
        flow([Stage("count", lambda _: iter_as_generator(itertools.count()))], refuse)
    assert threading.active_count() == before


def test_an_interrupt_stops_at_once():
    before = threading.active_count()
    closed = threading.Event()

    def endless(_):
        try:
            yield 0
            time.sleep(0.05)
            _thread.interrupt_main()
            while True:
                time.sleep(0.01)
                yield 1
        finally:
            closed.set()

    def idle(items):
        for _ in items:
            pass
        yield

    began = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        flow([Stage("endless", endless), Stage("idle", idle)])
    assert time.perf_counter() - began < 2
    assert closed.is_set() and threading.active_count() == before
