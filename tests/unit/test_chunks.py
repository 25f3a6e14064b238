"""Chunks by number, by tokens and over processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

import a2d
from a2d.chunks import chunks, cut, map_chunks


def square_and_process() -> Callable[[int], tuple[int, int]]:
    return lambda number: (number * number, os.getpid())


def test_chunks() -> None:
    assert list(chunks("abcde", 2)) == [["a", "b"], ["c", "d"], ["e"]]
    assert list(chunks([], 2)) == []


@pytest.mark.parametrize(
    ("max_tokens", "expected"),
    [
        # 3 * 3 fit into 9, 4 * 5 do not; 2 * 5 do not; 30 is alone
        (9, [[0, 1, 2], [3], [4], [5]]),
        (10, [[0, 1, 2], [3, 4], [5]]),
        (60, [[0, 1, 2, 3, 4], [5]]),
        (1, [[0], [1], [2], [3], [4], [5]]),
    ],
)
def test_cut(max_tokens: int, expected: list[list[int]]) -> None:
    widths = np.array([3, 2, 3, 5, 1, 30])
    found = [b.tolist() for b in cut(np.arange(6), widths, max_tokens)]
    assert found == expected


def test_cut_follows_the_order() -> None:
    widths = np.array([1, 2, 3, 4])
    found = [b.tolist() for b in cut(np.array([3, 1, 0, 2]), widths, 8)]
    assert found == [[3, 1], [0, 2]]
    assert list(cut(np.array([], dtype=int), widths, 8)) == []


@pytest.mark.parametrize("processes", [1, 3])
def test_results_come_in_order(processes: int) -> None:
    found = list(map_chunks(square_and_process, range(50), processes))
    assert [square for square, _ in found] == [n * n for n in range(50)]
    workers = {process for _, process in found}
    assert (workers == {os.getpid()}) == (processes == 1)
    assert len(workers) <= processes


def test_little_is_read_ahead() -> None:
    read = []

    def numbers() -> Iterator[int]:
        for number in range(100):
            read.append(number)
            yield number

    results = map_chunks(square_and_process, numbers(), 2)
    next(results)
    assert len(read) == 5
    results.close()  # type: ignore[attr-defined]


PROGRAM = """
import time
from a2d.chunks import map_chunks

def prepare():
    return lambda number: time.sleep(60)

print(list(map_chunks(prepare, range(9), 2)))
"""


def test_no_process_outlives_a_killed_parent(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    folder = str(Path(a2d.__path__[0]).parent)
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "program.py"],
        env=os.environ | {"PYTHONPATH": folder},
    )
    children: list[psutil.Process] = []
    while len(children) < 2:
        time.sleep(0.05)
        children = psutil.Process(parent.pid).children()
    time.sleep(0.5)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
