"""A worker's side of the benchmark: it measures in rounds that the parent starts.

A worker prints READY, then answers every line on its stdin with one line ROUND and ends
at the end of stdin.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any


def read_settings() -> dict[str, Any]:
    """Settings of the benchmark, from the JSON file named on the command line."""
    return json.loads(Path(sys.argv[1]).read_text())


def read_pieces(settings: dict[str, Any]) -> list[str]:
    """The joint vocabulary, without special tokens."""
    return Path(settings["vocab"]).read_text(encoding="utf-8").strip("\n").split("\n")


def wait_for_parent() -> None:
    """Block until the parent asks for the next round; end if there is none."""
    if not sys.stdin.readline():
        sys.exit()


def ready() -> None:
    """Tell the parent that rounds can start."""
    print("READY", flush=True)


def report(**measured: Any) -> None:
    """Answer the parent with what a round measured."""
    print("ROUND", json.dumps(measured), flush=True)


class Rounds:
    """Cuts an endless training loop into rounds; the loop blocks between them."""

    def __init__(self, updates: int) -> None:
        self.updates = updates
        self.left = 1  # the warm-up update
        self.tokens = 0
        self.start: float | None = None

    def update_done(self, tokens: int) -> None:
        """Call after every update, with its target tokens: EOS counts, padding not."""
        self.tokens += tokens
        self.left -= 1
        if self.left:
            return
        if self.start is None:
            ready()
        else:
            report(tokens=self.tokens, seconds=perf_counter() - self.start)
        wait_for_parent()
        self.left = self.updates
        self.tokens = 0
        self.start = perf_counter()


def serve(work: Callable[[], dict[str, Any]]) -> None:
    """Do the work once to warm up, then once for every round; print what it returns."""
    work()
    ready()
    while True:
        wait_for_parent()
        report(**work())
