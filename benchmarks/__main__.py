"""`python -m benchmarks`: measure, write `results.tsv` and `docs/performance.md`."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch

from benchmarks import decoding, preparation, training, workflow
from benchmarks.contest import BENCHMARKS, PEERS, WORKERS, Row

PAIR = Path("results/libreoffice/de-en")
RESULTS = BENCHMARKS / "results.tsv"
PAGE = BENCHMARKS.parent / "docs/performance.md"
MARKS = "<!-- measured -->", "<!-- /measured -->"
"""Between them stands what the benchmark writes; the rest of the page is written."""


def machine() -> str:
    """What was measured, on what, and when."""
    with open("/proc/cpuinfo") as file:
        (cpu, *_) = (
            line.split(":")[1].strip() for line in file if "model name" in line
        )
    packages = ("torch", "ctranslate2", "sentencepiece", "snakemake")
    ours = ", ".join(f"{name} {version(name)}" for name in packages)
    pinned = [
        line
        for name in PEERS
        for path in sorted(WORKERS.glob(f"{name}*.txt"))
        for line in path.read_text().split()
        if line.startswith(("pymarian", name))
    ]
    return (
        f"{datetime.date.today()}, {cpu}, {os.cpu_count()} cores, no GPU, "
        f"Python {platform.python_version()}, {ours}; "
        f"peers {', '.join(pinned).replace('==', ' ')}. Command: `python -m benchmarks "
        "--groups GROUP`, one group of rows after the other. Seed 1."
    )


def table(rows: pd.DataFrame) -> str:
    """Rows as Markdown."""
    lines = ["| row | contestant | median | spread | unit | ratio | target | met |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for row in rows.itertuples():
        ratio = "" if pd.isna(row.ratio) else f"{row.ratio:.2f}"
        shown = [f"{row.median:,.4g}" if row.median < 1e5 else f"{row.median:.3g}"]
        shown += [f"{100 * row.spread:.0f} %", row.unit, ratio, row.target, row.met]
        lines.append(f"| {row.row} | {row.contestant} | {' | '.join(shown)} |")
    return "\n".join(lines)


def write(rows: list[Row]) -> None:
    """Replace the measured rows, keep those of other groups."""
    new = pd.DataFrame(rows)
    if RESULTS.exists():
        old = pd.read_csv(
            RESULTS, sep="\t", keep_default_na=False, na_values={"ratio": ""}
        )
        new = pd.concat([old[~old["row"].isin(new["row"])], new])
    new.to_csv(RESULTS, sep="\t", index=False, float_format="%.4g")
    stored = pd.read_csv(
        RESULTS, sep="\t", keep_default_na=False, na_values={"ratio": [""]}
    )
    begin, end = MARKS
    page = PAGE.read_text()
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    PAGE.write_text(f"{before}{begin}\n{machine()}\n\n{table(stored)}\n{end}{after}")


def main() -> None:
    """Measure the groups that were asked for."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--groups", nargs="+", help="all by default")
    parser.add_argument("--peers", nargs="*", default=PEERS, choices=PEERS)
    arguments = parser.parse_args()
    src, tgt = (PAIR / f"corpus/train.{lang}" for lang in PAIR.name.split("-"))
    text, peers = (src.absolute(), tgt.absolute()), arguments.peers
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        groups: dict[str, Callable[[], list[Row]]] = {
            "training": lambda: training.measure(text, folder / "training", peers),
            "memory": training.memory_of_a_step,
            "decoding": lambda: decoding.measure(PAIR, folder / "decoding", peers),
            "preparation": lambda: preparation.measure(text, folder / "text", peers),
            "workflow": lambda: workflow.measure(PAIR.absolute(), folder / "workflow"),
        }
        cores = os.sched_getaffinity(0)
        for group in arguments.groups or groups:
            print(group, file=sys.stderr)
            alone = group in ("decoding", "training")  # one core, so that nothing helps
            os.sched_setaffinity(0, {max(cores)} if alone else cores)
            torch.set_num_threads(1)
            write(groups[group]())


if __name__ == "__main__":
    main()
