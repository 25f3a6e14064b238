"""Contestants that take turns on the same machine, and the table of what came out."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

BENCHMARKS = Path(__file__).parent
WORKERS = BENCHMARKS / "workers"
ENVIRONMENTS = BENCHMARKS / ".environments"
"""Of the peers, one each."""
PEERS = ("joeynmt", "eole", "sockeye", "marian")
ROUNDS = 5


@dataclass
class Row:
    """A line of `results.tsv`."""

    row: str
    contestant: str
    median: float
    spread: float
    """Largest minus smallest, divided by the median."""
    unit: str
    ratio: float | None = None
    """Of a2d to this contestant, the median over the rounds."""
    target: str = ""
    """What the ratio must be, such as `>= 2.5`."""
    met: str = ""


def take_turns(
    contestants: Mapping[str, Callable[[], float]], rounds: int = ROUNDS
) -> dict[str, list[float]]:
    """What each contestant measures in each round, after one round to warm up."""
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, measure in contestants.items():
            value = measure()
            print(f"  round {number} of {rounds}  {name}: {value:.4g}", file=sys.stderr)
            if number:
                found[name].append(value)
    return found


def rows_of(
    row: str,
    found: Mapping[str, list[float]],
    unit: str,
    targets: Mapping[str, str] | None = None,
) -> list[Row]:
    """Lines of the table; ratios are of the first contestant to the others."""
    ours, *_ = found.values()
    rows = []
    for name, values in found.items():
        median = statistics.median(values)
        line = Row(row, name, median, (max(values) - min(values)) / median, unit)
        if values is not ours:
            pairs = zip(ours, values, strict=True)
            line.ratio = statistics.median(own / other for own, other in pairs)
            judge(line, (targets or {}).get(name, ""))
        rows.append(line)
    return rows


def rows_within(
    row: str, found: Mapping[str, list[float]], unit: str, limit: float
) -> list[Row]:
    """Lines of the table where the first contestant may take so much at most."""
    bound = f"{limit:g} {unit}"
    number = max(map(len, found.values()))
    return rows_of(row, {**found, bound: [limit] * number}, unit, {bound: "<= 1"})


def judge(line: Row, target: str) -> None:
    """Compare a ratio with a target such as `>= 2.5`."""
    if not target:
        return
    sign, _, bound = target.partition(" ")
    assert line.ratio is not None
    met = line.ratio >= float(bound) if sign == ">=" else line.ratio <= float(bound)
    line.target, line.met = target, "yes" if met else "no"


def environment(peer: str) -> Path:
    """The Python of a peer's own environment, installed if it is not there."""
    folder = ENVIRONMENTS / peer
    python = folder / "bin/python"
    if not (folder / "installed").exists():
        print(f"installing {peer}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [python, "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "-r", WORKERS / f"{peer}.txt"], check=True)
        alone = WORKERS / f"{peer}.no-deps.txt"
        if alone.exists():
            subprocess.run([*pip, "--no-deps", "-r", alone], check=True)
        (folder / "installed").touch()
    return python


class Worker:
    """A contestant in a process of its own: see `workers/rounds.py`."""

    def __init__(
        self, script: str, settings: Mapping[str, Any], folder: Path, peer: str = ""
    ) -> None:
        """
        Args:
            folder: empty, for what the worker writes.
            peer: whose environment the script runs in; a2d's own by default.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "settings.json"
        path.write_text(json.dumps({**settings, "folder": str(folder)}))
        self.log = (folder / "stderr.txt").open("w")
        self.process = subprocess.Popen(
            [environment(peer) if peer else sys.executable, WORKERS / script, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=os.environ
            | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
            | ({} if peer else {"PYTHONPATH": str(BENCHMARKS.parent)}),
        )
        self.answer("READY")

    def answer(self, word: str) -> str:
        """What follows a word at the start of a line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(word):
                return line.removeprefix(word)
        raise RuntimeError(f"the worker died; see {self.log.name}")

    def round(self) -> dict[str, Any]:
        """Let it work and get what it measured."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return json.loads(self.answer("ROUND"))

    def rate(self, amount: str) -> float:
        """Work a second of one round."""
        measured = self.round()
        return measured[amount] / measured["seconds"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.log.close()


def seconds(work: Callable[[], object]) -> float:
    """How long something takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
