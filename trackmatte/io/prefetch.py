"""Threads that work ahead: a producer before the consumer, or a worker behind it, joined by bounded queues.

Nothing here can hang: every wait ends when the other side stops, whoever stops first and however.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class Cancelled(Exception):
    """The other side of a channel has stopped."""


class Channel(Generic[T]):
    """A bounded queue between two threads that either side can end at any moment.

    Attributes:
        error: what ended the thread on one side, for the other to raise.
    """

    def __init__(self, depth: int) -> None:
        """An open channel that holds `depth` items at most (at least 1)."""
        self._items: deque[T] = deque()
        self._depth = max(1, depth)
        self._changed = threading.Condition()
        self._ended = False
        self._cancelled = False
        self.error: BaseException | None = None

    def put(self, item: T) -> None:
        """Adds an item, waiting while the channel is full. Raises Cancelled once `cancel` was called."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._items) < self._depth or self._cancelled)
            if self._cancelled:
                raise Cancelled
            self._items.append(item)
            self._changed.notify_all()

    def get(self) -> T:
        """Takes the oldest item, waiting for one. Raises Cancelled when none will come any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended or self._cancelled)
            if self._cancelled or not self._items:
                raise Cancelled
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def end(self) -> None:
        """No more items will be put; those that wait can still be taken."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def cancel(self) -> None:
        """Wakes both sides and drops what waits."""
        with self._changed:
            self._cancelled = True
            self._items.clear()
            self._changed.notify_all()


class prefetch(Generic[T]):
    """Iterates over `iterable` in a thread of its own, `depth` items ahead at most.

    Used as `with prefetch(clip) as frames: for frame in frames: ...`. An exception of the producer is raised in the
    consumer, after the items that came before it. Leaving the block stops the thread and waits for the item that it
    is working on; the iterator is then closed in that thread. One that is dropped without being closed stops too.
    """

    def __init__(self, iterable: Iterable[T], *, depth: int = 4) -> None:
        """Starts the thread."""
        self._channel: Channel[T] = Channel(depth)
        self._thread = threading.Thread(
            target=_produce, args=(iterable, self._channel), name="trackmatte-prefetch", daemon=True
        )
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        try:
            return self._channel.get()
        except Cancelled:
            pass
        error, self._channel.error = self._channel.error, None
        raise StopIteration if error is None else error

    def close(self) -> None:
        """Stops the producer and waits for it. Safe to call again."""
        self._channel.cancel()
        self._channel.error = None
        if self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> prefetch[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self._channel.cancel()


def _produce(iterable: Iterable[T], channel: Channel[T]) -> None:
    try:
        iterator = iter(iterable)
        try:
            for item in iterator:
                channel.put(item)
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()
    except Cancelled:
        pass
    except BaseException as error:  # raised again in the consumer
        channel.error = error
    finally:
        channel.end()


class Worker(Generic[T]):
    """Calls `function` for each item in a thread of its own, in order; `depth` items wait at most.

    As a context manager it aborts at the end of the block unless `finish` was called.
    """

    def __init__(self, function: Callable[[T], object], *, depth: int = 4) -> None:
        """Starts the thread."""
        self._function = function
        self._channel: Channel[T] = Channel(depth)
        self._thread = threading.Thread(target=self._consume, name="trackmatte-worker", daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Hands over an item, waiting while the queue is full. Raises what the function raised, as soon as known."""
        try:
            self._channel.put(item)
        except Cancelled:
            self._raise()
            raise

    def finish(self) -> None:
        """Waits until all items are done. Raises what the function raised."""
        self._channel.end()
        self._thread.join()
        self._raise()

    def abort(self) -> None:
        """Drops the items that wait and waits for the one in work. Safe to call again, and after `finish`."""
        self._channel.cancel()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Worker[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def _raise(self) -> None:
        if self._channel.error is not None:
            self._thread.join()
            raise self._channel.error

    def _consume(self) -> None:
        try:
            while True:
                self._function(self._channel.get())
        except Cancelled:
            pass
        except BaseException as error:  # raised again by put or finish
            self._channel.error = error
            self._channel.cancel()
