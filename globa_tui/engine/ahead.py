"""An iterator that is one item ahead of whoever takes from it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")

_END = object()


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items in the same order; a thread makes the next one while this one is worked on.

    An error of `items` comes where its item would have come. Memory: one item more than without.
    """
    made: queue.SimpleQueue[Any] = queue.SimpleQueue()
    wanted = threading.Semaphore(1)
    left = threading.Event()

    def make() -> None:
        try:
            while wanted.acquire() and not left.is_set():
                made.put(next(items, _END))
        except BaseException as error:
            made.put(_Failed(error))

    maker = threading.Thread(target=make, name="ahead", daemon=True)
    maker.start()
    try:
        while (item := made.get()) is not _END:
            if isinstance(item, _Failed):
                raise item.error
            wanted.release()
            yield item
            del item
    finally:
        left.set()
        wanted.release()
        maker.join()
