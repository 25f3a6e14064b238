"""The process of a training: its memory, its signals, and that it is the only one."""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from a2d.progress import tell

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt (malloc.h)."""


def keep_freed_memory() -> None:
    """Let glibc reuse the memory of large tensors.

    It would return it to the system, and each update would pay for fresh pages.
    """
    with suppress(AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def alone(name: str, folder: Path) -> Iterator[None]:
    """Wait while another process trains the run of this name and folder.

    A workflow that is killed on a cluster leaves its trainings behind, and the next one
    starts them again; that then finds what the first has made.
    """
    lock = FileLock(folder / ".lock", poll_interval=1)
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        tell(name, "waits for another process that trains it")
        held = lock.acquire()
    with held:
        yield


@contextmanager
def interruptions() -> Iterator[list[int]]:
    """A list of the signals to stop that this process got, instead of dying."""
    received: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = [
        signal.signal(s, lambda number, _: received.append(number)) for s in signals
    ]
    try:
        yield received
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
