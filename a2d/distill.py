"""Training text made by a teacher: Seq-KD and Seq-Inter (Kim and Rush, 2016)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from a2d.config import DistillJob
from a2d.corpus import count_lines, read_parallel
from a2d.files import atomic_write
from a2d.metrics import closest
from a2d.translate import Backend, Translation, translate
from a2d.vocab import Vocab

CHUNK_LINES = 20_000
"""Lines that are translated, chosen from and written at a time."""


def distill(
    job: DistillJob,
    backend: Backend,
    vocabs: tuple[Vocab, Vocab],
    gold: tuple[Path, Path],
    out: tuple[Path, Path],
    record: Path,
) -> None:
    """Write the source text and the teacher's translation of it.

    Args:
        gold: clean source and target text.
        record: JSON file for the settings of the search and what came out.
    """
    total, done, log_probs, unchanged = count_lines(gold[0]), 0, 0.0, 0
    decode = job.decode.model_copy(update={"beam_size": job.beam_size})
    num_hypotheses = 1 if job.choose == "best" else job.beam_size
    rows = read_parallel(*gold)
    with ExitStack() as stack:
        src_file, tgt_file = (stack.enter_context(atomic_write(path)) for path in out)
        while chunk := list(islice(rows, CHUNK_LINES)):
            sources, references = zip(*chunk, strict=True)
            progress = (
                f"{record.parent}: sentences {done + 1:,} to {done + len(chunk):,} "
                f"of {total:,}"
            )
            found = translate(
                backend, vocabs, sources, decode, num_hypotheses, progress
            )
            for source, reference, nbest in zip(
                sources, references, found, strict=True
            ):
                chosen = choose(nbest, reference, job.choose)
                src_file.write(f"{source}\n")
                tgt_file.write(f"{chosen.text}\n")
                log_probs += chosen.log_prob
                unchanged += chosen.text == reference
            done += len(chunk)
    facts = {
        "settings": job.model_dump(mode="json"),
        "sentences": total,
        "mean_log_prob": log_probs / total,
        "equal_to_reference": unchanged / total,
    }
    with atomic_write(record) as file:
        file.write(json.dumps(facts, indent=1) + "\n")


def choose(nbest: Sequence[Translation], reference: str, how: str) -> Translation:
    """The most probable translation (`best`) or the one `closest` to the reference."""
    if how == "best":
        return nbest[0]
    return nbest[closest([translation.text for translation in nbest], reference)]
