"""How good, how sure and how fast: scores of one system, decoding speed of many."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ctranslate2

from a2d.checkpoint import (
    compressed_size,
    count_nonzero_parameters,
    count_parameters,
)
from a2d.config import Decode, Run, parse_testset
from a2d.initialize import load_model
from a2d.jobs import EvaluateJob
from a2d.metrics import legacy_bleu, scores
from a2d.progress import tell
from a2d.section import load
from a2d.translate import open_models, translate


def evaluate(
    decode: Decode,
    run_folder: Path,
    sources: Sequence[str],
    references: Sequence[str],
    testset: str,
    threads: int,
) -> tuple[dict[str, Any], list[str], list[str]]:
    """Translate a test set by beam and by greedy search and score both.

    Returns:
        The facts for `scores/{testset}.json`, the beam's and the greedy translations.
    """
    run = load(Run, run_folder / "config.yaml")
    _, direction = parse_testset(testset, run.pair)
    name = f"{run.dataset}/{run.pair}/{run.system}/seed{run.seed} {testset}"
    backend, vocabs = open_models([run_folder], decode.backend, threads)
    beam = [best for best, *_ in translate(backend, vocabs, sources, decode, name=name)]
    greedy = [
        best.text for best, *_ in translate(backend, vocabs, sources, greedily(decode))
    ]
    model, weights = load_model(run_folder), run_folder / "model.safetensors"
    facts = {
        "dataset": run.dataset,
        "pair": run.pair,
        "system": run.system,
        "seed": run.seed,
        "testset": testset,
        "sentences": len(sources),
        "beam_size": decode.beam_size,
        "beam": scores([best.text for best in beam], references),
        "greedy": scores(greedy, references),
        "legacy_bleu": legacy_bleu(
            [best.text for best in beam], references, direction.partition("-")[2]
        ),
        # Kim and Rush (2016), table 1: p(t = argmax)
        "argmax_probability": statistics.fmean(math.exp(b.log_prob) for b in beam),
        "parameters": count_parameters(model),
        "nonzero_parameters": count_nonzero_parameters(model),
        "megabytes": weights.stat().st_size / 1e6,
        "compressed_megabytes": compressed_size(weights) / 1e6,
    }
    return facts, [best.text for best in beam], greedy


def greedily(decode: Decode) -> Decode:
    """The same search with a beam of one."""
    return decode.model_copy(update={"beam_size": 1})


def measure_speed(
    job: EvaluateJob,
    run_folders: Sequence[Path],
    sources: Sequence[str],
    threads: int,
) -> list[dict[str, Any]]:
    """Sentences a second of exported models, greedy and beam, side by side.

    The systems take turns, after one round to warm up, so that all see the same
    machine.

    Args:
        run_folders: of trained and exported systems.

    Returns:
        Rows of `speed.tsv`; `speedup` is relative to the beam search of the
        reference's seed 1, if that is among them.
    """
    sources = sources[: job.evaluate.speed_sentences]
    contestants = {}
    for folder in run_folders:
        run = load(Run, folder / "config.yaml")
        name = f"{run.system}-seed{run.seed}"
        backend, vocabs = open_models([folder], "ctranslate2", threads)
        for search, decode in (("greedy", greedily(job.decode)), ("beam", job.decode)):
            contestants[name, search] = (backend, vocabs, decode)
    rates: dict[tuple[str, str], list[float]] = {key: [] for key in contestants}
    device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
    rounds = job.evaluate.speed_repetitions
    for repetition in range(rounds + 1):
        for key, (backend, vocabs, decode) in contestants.items():
            tell("speed", f"round {repetition} of {rounds}: {' '.join(key)}")
            started = time.perf_counter()
            translate(backend, vocabs, sources, decode)
            if repetition > 0:
                rates[key].append(len(sources) / (time.perf_counter() - started))
    unit = rates.get((f"{job.evaluate.speed_reference}-seed1", "beam"))
    return [
        {
            "system": name.rpartition("-seed")[0],
            "seed": int(name.rpartition("-seed")[2]),
            "search": search,
            "sentences_per_second": round(statistics.median(found), 1),
            "lowest": round(min(found), 1),
            "highest": round(max(found), 1),
            "speedup": round(statistics.median(found) / statistics.median(unit), 2)
            if unit
            else None,
            "backend": f"ctranslate2 on {device}",
            "threads": threads,
        }
        for (name, search), found in rates.items()
    ]
