"""Threads joined by bounded queues: order, bounds, errors, and that nothing hangs whoever stops first."""

from __future__ import annotations

import gc
import itertools
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator

import pytest

from trackmatte.io.prefetch import Worker, prefetch

PROMPT = 2.0  # seconds; far above what stopping takes, far below a hang


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("trackmatte-")]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    gc.collect()
    deadline = time.monotonic() + PROMPT
    while threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threads() == []


def test_items_come_in_order_and_end() -> None:
    with prefetch(range(100), depth=3) as items:
        assert list(items) == list(range(100))
        assert list(items) == []


def test_runs_at_most_depth_ahead() -> None:
    made: list[int] = []

    def produce() -> Iterator[int]:
        for i in range(50):
            made.append(i)
            yield i

    with prefetch(produce(), depth=3) as items:
        assert next(items) == 0
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline and len(made) < 10:
            time.sleep(0.01)
        assert len(made) == 5  # one taken, three waiting, one in hand


def test_error_comes_after_the_items_before_it_with_its_cause() -> None:
    def produce() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("torn") from KeyError("cause")

    with prefetch(produce()) as items:
        assert [next(items), next(items)] == [1, 2]
        with pytest.raises(ValueError, match="torn") as caught:
            next(items)
    assert isinstance(caught.value.__cause__, KeyError)


def test_error_of_making_the_iterator_reaches_the_consumer() -> None:
    class Broken:
        def __iter__(self) -> Iterator[int]:
            raise OSError("no iterator")

    with prefetch(Broken()) as items, pytest.raises(OSError, match="no iterator"):
        next(items)


def test_consumer_leaves_while_the_producer_waits_on_a_full_queue() -> None:
    closed = threading.Event()

    def produce() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            closed.set()

    start = time.monotonic()
    with prefetch(produce(), depth=2) as items:
        assert next(items) == 0
        time.sleep(0.05)
    assert closed.is_set()
    assert time.monotonic() - start < PROMPT


def test_consumer_error_stops_the_producer() -> None:
    with pytest.raises(RuntimeError, match="consumer"), prefetch(itertools.count()) as items:  # noqa: PT012
        next(items)
        raise RuntimeError("consumer")


def test_dropped_without_closing_stops() -> None:
    for item in prefetch(itertools.count()):
        if item == 3:
            break


def test_close_twice_and_before_the_first_item() -> None:
    items = prefetch(itertools.count())
    items.close()
    items.close()
    assert list(items) == []


def test_interpreter_exits_with_producer_and_worker_in_the_middle() -> None:
    code = (
        "import itertools, time\n"
        "from trackmatte.io.prefetch import Worker, prefetch\n"
        "items = prefetch(itertools.count()); next(items)\n"
        "worker = Worker(lambda item: time.sleep(60)); worker.put(1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=20, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_worker_does_all_items_in_order() -> None:
    done: list[int] = []
    with Worker(done.append, depth=2) as worker:
        for i in range(50):
            worker.put(i)
        worker.finish()
    assert done == list(range(50))


def test_worker_error_reaches_put_even_when_the_queue_is_full() -> None:
    def work(item: int) -> None:
        time.sleep(0.02)
        raise OSError("disk full")

    start = time.monotonic()
    with Worker(work, depth=1) as worker, pytest.raises(OSError, match="disk full"):
        deque(map(worker.put, range(1000)))
    assert time.monotonic() - start < PROMPT


def test_worker_error_reaches_finish() -> None:
    def work(item: int) -> None:
        time.sleep(0.02)
        raise OSError("disk full")

    with Worker(work, depth=5) as worker:
        worker.put(1)
        with pytest.raises(OSError, match="disk full"):
            worker.finish()


def test_abort_drops_what_waits() -> None:
    started, release, done = threading.Event(), threading.Event(), []

    def work(item: int) -> None:
        started.set()
        release.wait(PROMPT)
        done.append(item)

    worker = Worker(work, depth=4)
    for i in range(4):
        worker.put(i)
    assert started.wait(PROMPT)
    threading.Timer(0.05, release.set).start()
    worker.abort()
    worker.abort()
    assert done == [0]


def test_stopping_at_any_moment_never_hangs() -> None:
    for taken in range(8):
        for pause in (0.0, 0.001):
            with prefetch(iter(range(6)), depth=2) as items:
                for _ in zip(range(taken), items, strict=False):
                    time.sleep(pause)
