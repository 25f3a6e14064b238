"""How long Snakemake thinks, and how fast commands answer."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import yaml

from benchmarks.contest import (
    BENCHMARKS,
    Row,
    rows_of,
    rows_within,
    seconds,
    take_turns,
)

SEEDS = (24, 12, 3)
"""Of the paper study; three are what it asks for."""


def environment() -> dict[str, str]:
    """Where this Python's programs are found first."""
    programs = Path(sys.executable).parent
    return os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}


def dry_run(config: Path) -> int:
    """Number of jobs that `snakemake -n` plans."""
    done = subprocess.run(
        [
            "snakemake",
            "-n",
            "--quiet",
            "rules",
            "--cores",
            "2",
            "--configfile",
            config,
        ],
        cwd=BENCHMARKS.parent,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"^total +(\d+)$", done.stdout + done.stderr, re.MULTILINE)
    assert found, done.stdout + done.stderr
    return int(found[1])


def planning(folder: Path) -> list[Row]:
    """Seconds of a dry run of the paper study with more and more seeds."""
    study = yaml.safe_load((BENCHMARKS.parent / "config.yaml").read_text())
    paper = study["studies"]["paper"]
    contestants, sizes = {}, []
    folder.mkdir()
    for seeds in SEEDS:
        config = folder / f"{seeds}.yaml"
        wide = {
            "study": "wide",
            "studies": {"wide": paper | {"seeds": [*range(1, seeds + 1)]}},
        }
        config.write_text(yaml.safe_dump(wide))
        sizes.append(dry_run(config))
        work = partial(seconds, partial(dry_run, config))
        contestants[f"{seeds} seeds, {sizes[-1]} jobs"] = work
    found = take_turns(contestants)
    *_, paper_study = found
    linear = {paper_study: f"<= {sizes[0] / sizes[-1]:.2f}"}
    rows = rows_of("snakemake -n", found, "s", linear)
    asked_for = {paper_study: found[paper_study]}
    return rows + rows_within("snakemake -n, paper study", asked_for, "s", 15)


def answers(pair: Path) -> list[Row]:
    """Seconds of `a2d --help`, and of `a2d translate` on one sentence."""
    a2d = [sys.executable, "-m", "a2d"]
    model = pair / "seq_kd/seed1/ctranslate2"

    def command(arguments: Sequence[object], text: str) -> float:
        call = partial(
            subprocess.run,
            [*a2d, *map(str, arguments)],
            input=text,
            text=True,
            cwd=BENCHMARKS.parent,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        return seconds(call)

    rows = []
    for name, arguments, limit in (
        ("a2d --help", ["--help"], 0.3),
        ("a2d translate, one sentence", ["translate", model, "--threads", 1], 2.0),
    ):
        times = take_turns({"a2d": partial(command, arguments, "Ein Satz.\n")})
        rows += rows_within(name, times, "s", limit)
    return rows


def measure(pair: Path, folder: Path) -> list[Row]:
    """All rows about waiting."""
    return [*answers(pair), *planning(folder)]
