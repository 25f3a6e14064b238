"""Training text made by a teacher: Seq-KD and Seq-Inter (Kim and Rush, 2016)."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from a2d.chunks import chunks
from a2d.config import DistillJob
from a2d.corpus import count_lines, read_lines, read_parallel
from a2d.files import atomic_write, sha256_of
from a2d.metrics import closest
from a2d.progress import clock_time, tell
from a2d.translate import Backend, Translation, translate
from a2d.vocab import Vocab

SHARD_HYPOTHESES = 70_000
"""Lines times beam size of a shard: it bounds memory and what an interruption costs."""


def distill(
    job: DistillJob,
    backend: Backend,
    vocabs: tuple[Vocab, Vocab],
    teachers: Sequence[Path],
    gold: tuple[Path, Path],
    out: tuple[Path, Path],
    record: Path,
) -> None:
    """Write the source text and the teacher's translation of it.

    The translations are kept in shards beside `record` until all are there, so a
    second call goes on at the first shard that is missing.

    Args:
        teachers: run folders, for whether existing shards are theirs.
        gold: clean source and target text.
        record: JSON file for the settings of the search and what came out.
    """
    total = count_lines(gold[0])
    shards = record.parent / "shards"
    identity = [job.fingerprint(), *(sha256_of(path) for path in gold)]
    identity += [sha256_of(folder / "model.safetensors") for folder in teachers]
    name = hashlib.sha256("\n".join(identity).encode()).hexdigest()[:16]
    paths = list(write_shards(job, backend, vocabs, gold, total, shards / name))
    log_probs, unchanged = [], 0
    with ExitStack() as stack:
        src_file, tgt_file = (stack.enter_context(atomic_write(path)) for path in out)
        lines = (line for path in paths for line in read_lines(path))
        for (src, reference), line in zip(read_parallel(*gold), lines, strict=True):
            log_prob, _, text = line.partition("\t")
            src_file.write(f"{src}\n")
            tgt_file.write(f"{text}\n")
            log_probs.append(float(log_prob))
            unchanged += text == reference
    facts = {
        "settings": job.model_dump(mode="json"),
        "sentences": total,
        "mean_log_prob": math.fsum(log_probs) / total,
        "equal_to_reference": unchanged / total,
    }
    with atomic_write(record) as file:
        file.write(json.dumps(facts, indent=1) + "\n")
    shutil.rmtree(shards)


def write_shards(
    job: DistillJob,
    backend: Backend,
    vocabs: tuple[Vocab, Vocab],
    gold: tuple[Path, Path],
    total: int,
    folder: Path,
) -> Iterator[Path]:
    """Translate what is missing; files of log-probability and chosen translation."""
    decode = job.decode.model_copy(update={"beam_size": job.beam_size})
    num_hypotheses = 1 if job.choose == "best" else job.beam_size
    size = max(1, SHARD_HYPOTHESES // job.beam_size)
    job_name = str(folder.parent.parent)
    started, translated = time.monotonic(), 0
    for number, rows in enumerate(chunks(read_parallel(*gold), size)):
        path = folder / f"{number:06}.tsv"
        done = number * size + len(rows)
        if not path.exists():
            sources, references = zip(*rows, strict=True)
            here = f"{job_name}: sentences {done - len(rows) + 1:,} to {done:,}"
            found = translate(backend, vocabs, sources, decode, num_hypotheses, here)
            with atomic_write(path) as file:
                for nbest, reference in zip(found, references, strict=True):
                    chosen = choose(nbest, reference, job.choose)
                    file.write(f"{chosen.log_prob}\t{chosen.text}\n")
            translated += len(rows)
            left = (time.monotonic() - started) / translated * (total - done)
            tell(job_name, f"{done:,} of {total:,} sentences  {clock_time(left)} left")
        yield path


def choose(nbest: Sequence[Translation], reference: str, how: str) -> Translation:
    """The most probable translation (`best`) or the one `closest` to the reference."""
    if how == "best":
        return nbest[0]
    return nbest[closest([translation.text for translation in nbest], reference)]
