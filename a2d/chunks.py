"""Cutting work into chunks: by number, by tokens, and over processes."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
R = TypeVar("R")

_work: Callable[[Any], Any]
"""What a worker process does; made once in each, because it may hold much."""


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items, the last one shorter."""
    remaining = iter(items)
    while chunk := list(islice(remaining, size)):
        yield chunk


def cut(
    order: NDArray[np.int64], widths: NDArray[np.int64], max_tokens: int
) -> Iterator[NDArray[np.int64]]:
    """Cut `order` into batches of at most `max_tokens`, padding included.

    A sentence longer than that is a batch of its own.
    """
    start, widest = 0, 0
    for end, width in enumerate(widths[order].tolist()):
        widest = max(widest, width)
        if widest * (end - start + 1) > max_tokens and end > start:
            yield order[start:end]
            start, widest = end, width
    if start < len(order):
        yield order[start:]


def map_chunks(
    prepare: Callable[[], Callable[[T], R]], items: Iterable[T], processes: int
) -> Iterator[R]:
    """The results of the function that `prepare` makes, in the order of the items.

    A few items for each process are read ahead. One process is this one.

    Args:
        prepare: called in each process; it can be pickled, what it makes need not.
    """
    if processes == 1:
        yield from map(prepare(), items)
        return
    with ProcessPoolExecutor(processes, None, _start, (prepare,)) as pool:
        waiting: deque[Future[R]] = deque()
        for item in items:
            waiting.append(pool.submit(_do, item))
            if len(waiting) > 2 * processes:
                yield waiting.popleft().result()
        for future in waiting:
            yield future.result()


def _start(prepare: Callable[[], Callable[[Any], Any]]) -> None:
    global _work
    _work = prepare()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Leave no process behind when the parent is killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _do(item: Any) -> Any:
    return _work(item)
