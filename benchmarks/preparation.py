"""Text preparation: speed and memory at one and at five million lines."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import psutil
import yaml

from a2d.data import ParallelData
from a2d.files import atomic_write
from a2d.vocab import Vocab
from benchmarks.contest import (
    BENCHMARKS,
    Row,
    Worker,
    rows_of,
    rows_within,
    seconds,
    take_turns,
)

MILLION = 1_000_000
SIZES = {"1 million lines": MILLION, "5 million lines": 5 * MILLION}
SHORT = 200_000
JOEYNMT_LINES = 10_000
"""Lines where rounds are repeated: joeynmt takes minutes for more."""
CLEAN = {
    "min_words": 1,
    "max_words": 200,
    "max_ratio": 4,
    "deduplicate": True,
    "decontaminate": True,
}


def write_raw(text: tuple[Path, Path], out: Path, size: int) -> None:
    """Raw text by repetition with variations; each 20th line is a duplicate."""
    src, tgt = (path.read_text().splitlines() for path in text)
    with atomic_write(out) as file:
        for number in range(size):
            line, turn = number % len(src), number // len(src)
            mark = f" {turn}" if turn and number % 20 else ""
            file.write(f"page{number % 999}\t{src[line]}{mark}\t{tgt[line]}{mark}\n")


def run(arguments: Sequence[object]) -> tuple[float, float]:
    """Seconds of an a2d command, and the peak memory of its processes in MB."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "a2d", *map(str, arguments)], cwd=BENCHMARKS.parent
    )
    peak, ended = [0.0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.5):
            peak[0] = max(peak[0], memory(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    took = time.perf_counter() - started
    ended.set()
    watcher.join()
    if code:
        raise RuntimeError(f"a2d {arguments[0]} failed")
    return took, peak[0]


def memory(process: int) -> float:
    """Memory of a process and its children in MB, shared pages counted once."""
    try:
        family = psutil.Process(process)
        members = [family, *family.children(recursive=True)]
        return sum(member.memory_full_info().pss for member in members) / 1e6
    except psutil.NoSuchProcess:
        return 0.0


class Preparation:
    """The commands of a text, from raw to tokens."""

    def __init__(self, text: tuple[Path, Path], folder: Path, size: int) -> None:
        folder.mkdir(parents=True)
        self.folder, self.size = folder, size
        self.raw = folder / "raw.tsv.gz"
        write_raw(text, self.raw, size)
        self.text = folder / "train.src", folder / "train.tgt"
        self.models = folder / "joint.spm", folder / "joint.spm"
        settings = {
            "clean": {"filters": CLEAN, "hold_out": {}},
            "vocab": {"size": 8000, "joint": True, "kind": "bpe"},
        }
        for name, values in settings.items():
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))
        # stands for validation and test sets
        for side, path in zip(("src", "tgt"), text, strict=True):
            lines = path.read_text().splitlines()[:1000]
            (folder / f"test.{side}").write_text(
                "".join(f"{line} 1\n" for line in lines)
            )
        self.memory: dict[str, float] = {}

    def measure(self, name: str, arguments: Sequence[object]) -> float:
        """Lines a second of a command; its memory is noted."""
        took, self.memory[name] = run(arguments)
        return self.size / took

    def clean(self) -> float:
        """Lines a second of `a2d clean`, two processes."""
        protect = [self.folder / f"test.{side}" for side in ("src", "tgt")]
        return self.measure(
            "clean",
            [
                "clean",
                "--settings",
                self.folder / "clean.yaml",
                "--split",
                "train",
                "--raw",
                self.raw,
                "--protect",
                *protect,
                "--out",
                *self.text,
                "--counts",
                self.folder / "counts.tsv",
                "--threads",
                2,
            ],
        )

    def vocab(self) -> float:
        """Lines a second of `a2d vocab`."""
        return self.measure(
            "vocab",
            [
                "vocab",
                "--settings",
                self.folder / "vocab.yaml",
                "--text",
                *self.text,
                "--out",
                *self.models,
            ],
        )

    def encode(self) -> float:
        """Lines a second of `a2d encode`, two threads."""
        return self.measure(
            "encode",
            [
                "encode",
                "--text",
                *self.text,
                "--vocab",
                *self.models,
                "--out",
                self.folder / "train.tokens",
                "--threads",
                2,
            ],
        )

    def clean_and_encode(self) -> float:
        """Lines a second of both."""
        return 1 / (1 / self.clean() + 1 / self.encode())

    def start(self) -> float:
        """Seconds until a training has its first batch."""
        vocab = Vocab(self.models[0])

        def first_batch() -> None:
            data = ParallelData.open([self.folder / "train.tokens"], (vocab, vocab))
            data.batch(next(data.epoch(1, 1, 4096, 1))[0])

        return seconds(first_batch)


def measure(text: tuple[Path, Path], folder: Path, peers: Sequence[str]) -> list[Row]:
    """All rows about text."""
    cores = os.sched_getaffinity(0)
    sizes = {
        name: Preparation(text, folder / name.split()[0], size)
        for name, size in SIZES.items()
    }
    rows, steps = [], ("clean", "vocab", "encode")
    small = sizes["1 million lines"]
    for step in steps:
        rates = {name: [getattr(sizes[name], step)()] for name in reversed(SIZES)}
        rows += rows_of(f"{step}, one round", rates, "lines/s")
        peaks = {n: [sizes[n].memory[step]] for n in reversed(SIZES)}
        least = {"1 million lines": "<= 1.1"}
        rows += rows_of(f"{step}: peak memory", peaks, "MB", least)
    starts = take_turns({name: sizes[name].start for name in reversed(SIZES)})
    rows += rows_within("start of training: first batch", starts, "s", 2)
    if "joeynmt" in peers:
        short = Preparation(text, folder / "short", SHORT)
        short.models = small.models
        settings = {
            "src": str(text[0]),
            "tgt": str(text[1]),
            "spm": str(small.models[0]),
            "lines": JOEYNMT_LINES,
        }
        with ExitStack() as stack:
            worker = stack.enter_context(
                Worker("prepare_joeynmt.py", settings, folder / "joeynmt", "joeynmt")
            )
            found = take_turns(
                {
                    f"a2d, {len(cores)} cores": short.clean_and_encode,
                    "joeynmt, 1 core": partial(worker.rate, "lines"),
                }
            )
        row = f"clean and encode, {SHORT:,} lines (joeynmt {JOEYNMT_LINES:,})"
        rows += rows_of(row, found, "lines/s", {"joeynmt, 1 core": ">= 5"})
    return rows
