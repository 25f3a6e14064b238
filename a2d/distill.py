"""Training text made by a teacher: Seq-KD, Seq-Inter and n-best lists."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from a2d.chunks import chunks
from a2d.corpus import count_lines, read_lines, read_parallel
from a2d.files import atomic_write
from a2d.jobs import DistillJob
from a2d.metrics import closest
from a2d.progress import clock_time, tell
from a2d.section import UserError
from a2d.translate import Backend, Translation, translate
from a2d.vocab import Vocab

CHUNK_HYPOTHESES = 70_000
"""Lines times beam size that are translated at a time: it bounds memory."""


def distill_shard(
    job: DistillJob,
    backend: Backend,
    vocabs: tuple[Vocab, Vocab],
    gold: tuple[Path, Path],
    shard: int,
    shards: int,
    out: Path,
) -> None:
    """Let a teacher translate one of several equal parts of the source text.

    Args:
        gold: clean source and target text.
        shard: counts from 1; part i of n is lines [(i - 1) * total // n,
            i * total // n).
        out: TSV, for each line log-probability and text of every chosen translation,
            one after the other.

    Raises:
        UserError: if there is no such shard.
    """
    if not 1 <= shard <= shards:
        raise UserError(f"there is no shard {shard} of {shards}")
    total = count_lines(gold[0])
    first, end = (i * total // shards for i in (shard - 1, shard))
    decode = job.decode.model_copy(update={"beam_size": job.beam_size})
    num_hypotheses = 1 if job.choose == "best" else job.beam_size
    started, done = time.monotonic(), 0
    with atomic_write(out) as file:
        rows = islice(read_parallel(*gold), first, end)
        for chunk in chunks(rows, max(1, CHUNK_HYPOTHESES // job.beam_size)):
            sources, references = zip(*chunk, strict=True)
            here = f"{out}: sentences {done + 1:,} to {done + len(chunk):,}"
            found = translate(backend, vocabs, sources, decode, num_hypotheses, here)
            for nbest, reference in zip(found, references, strict=True):
                chosen = choose(nbest, reference, job.choose).items()
                fields = [f"{log_prob}\t{text}" for text, log_prob in chosen]
                file.write("\t".join(fields) + "\n")
            done += len(chunk)
            left = (time.monotonic() - started) / done * (end - first - done)
            news = f"{done:,} of {end - first:,} sentences  {clock_time(left)} left"
            tell(str(out), news)


def choose(nbest: Sequence[Translation], reference: str, how: str) -> dict[str, float]:
    """Translations that become training text, with their log-probabilities.

    The most probable one (`best`), the `closest` to the reference, or all (`nbest`); of
    a text that was found in several segmentations the probabilities are added.
    """
    if how == "best":
        nbest = nbest[:1]
    elif how == "closest":
        nbest = [nbest[closest([translation.text for translation in nbest], reference)]]
    found: dict[str, float] = {}
    for translation in nbest:
        before = found.get(translation.text, -np.inf)
        found[translation.text] = float(np.logaddexp(before, translation.log_prob))
    return found


def renormalised(log_probs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of the translations in one list, as shares of their sum."""
    shares = np.exp(log_probs - log_probs.max())
    return shares / shares.sum()


def distill(
    job: DistillJob,
    teachers: Sequence[Path],
    gold: tuple[Path, Path],
    shards: Sequence[Path],
    out: tuple[Path, Path],
    weights: Path,
    record: Path,
) -> None:
    """Gather the shards of a teacher's translations as training text.

    Args:
        teachers: run folders of those that translated, for the record.
        gold: clean source and target text.
        shards: what `distill_shard` wrote, in order.
        out: source and target text, a line for every chosen translation.
        weights: a number for each line: the translation's probability, renormalised
            over those that were chosen for the same source.
        record: JSON file for the settings of the search and what came out; its means
            over translations are weighted.

    Raises:
        UserError: if the shards are not those of the whole text.
    """
    total, translated = count_lines(gold[0]), sum(map(count_lines, shards))
    if translated != total:
        raise UserError(
            f"the shards have {translated} lines and {gold[0]} has {total}; translate "
            "the parts that are missing"
        )
    lines = (line for path in shards for line in read_lines(path))
    sentences, log_prob_sum, unchanged = 0, 0.0, 0.0
    with ExitStack() as stack:
        src_file, tgt_file, weights_file = (
            stack.enter_context(atomic_write(path)) for path in (*out, weights)
        )
        for (src, reference), line in zip(read_parallel(*gold), lines, strict=True):
            fields = line.split("\t")
            log_probs = np.array(fields[::2], dtype=np.float64)
            shares = renormalised(log_probs)
            for text, share in zip(fields[1::2], shares.tolist(), strict=True):
                src_file.write(f"{src}\n")
                tgt_file.write(f"{text}\n")
                weights_file.write(f"{share:.8g}\n")
                unchanged += share * (text == reference)
            log_prob_sum += float(shares @ log_probs)
            sentences += 1
    settings = job.model_dump(mode="json")
    if len(teachers) > 1:
        settings["decode"]["backend"] = "torch"  # as of every ensemble
    facts = {
        "teachers": [str(folder) for folder in teachers],
        "settings": settings,
        "sentences": sentences,
        "mean_log_prob": log_prob_sum / sentences,
        "equal_to_reference": unchanged / sentences,
    }
    with atomic_write(record) as file:
        file.write(json.dumps(facts, indent=1) + "\n")
