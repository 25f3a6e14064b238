"""What a study will cost, from its settings and the size of its text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from a2d.checks import validate
from a2d.config import Model, Run, System
from a2d.study import directions, resolve_pair, resolve_run

TERAFLOPS = 20.0
"""Assumed of a GPU that trains, before a training was measured."""
BYTES_PER_TOKEN = 4
"""Of text in a vocabulary of thousands of pieces; also of an encoded token."""
BYTES_PER_WEIGHT = 4 * 6
"""The trained, the best and the exported weights, and a state of three numbers each."""

Number = TypeVar("Number", float, Any)


@dataclass(frozen=True)
class Text:
    """Size of clean training text."""

    sentences: int = 0
    src_tokens: float = 25
    """Of a sentence, on average, EOS included."""
    tgt_tokens: float = 25

    @classmethod
    def measure(cls, folder: Path, direction: str) -> Text:
        """Of a folder's text; if it is not there, no sentences of 25 tokens."""
        paths = [folder / f"train.{language}" for language in direction.split("-")]
        if not all(path.is_file() for path in paths):
            return cls()
        with paths[0].open("rb") as file:
            sentences = sum(1 for _ in file)
        src, tgt = (
            1 + path.stat().st_size / BYTES_PER_TOKEN / sentences for path in paths
        )
        return cls(sentences, src, tgt)

    def __add__(self, other: Text) -> Text:
        """Both, one after the other."""
        sentences = self.sentences + other.sentences
        share = self.sentences / sentences if sentences else 0.5
        return Text(
            sentences,
            share * self.src_tokens + (1 - share) * other.src_tokens,
            share * self.tgt_tokens + (1 - share) * other.tgt_tokens,
        )


@dataclass(frozen=True)
class Job:
    """One training, or the translation of one training text."""

    pair: str
    """As `dataset/pair`."""
    what: str
    """The system, or corpus and teacher."""
    operations: float
    """Floating-point operations of matrix products."""
    disk: float
    """Bytes that it leaves."""
    done: bool
    seconds: float = 0
    """That a finished training took, of all its devices."""


def parameters(model: Model, src_vocab: int, tgt_vocab: int) -> int:
    """Trainable numbers of a Transformer, tied ones counted once."""
    d, linear = model.d_model, model.d_model**2 + model.d_model
    feed_forward = 2 * d * model.d_ff + model.d_ff + d
    encoder = 4 * linear + feed_forward + 2 * 2 * d
    decoder = 8 * linear + feed_forward + 3 * 2 * d
    tables = {
        "none": src_vocab + 2 * tgt_vocab,
        "decoder": src_vocab + tgt_vocab,
        "all": src_vocab,
    }
    return (
        model.num_encoder_layers * encoder
        + model.num_decoder_layers * decoder
        + tables[model.tie_embeddings] * d
        + (2 * 2 * d if model.norm == "pre" else 0)
    )


def training_memory(run: Run, teachers: Sequence[Model]) -> float:
    """Bytes of weights, the optimizer's numbers, and the activations of a batch."""
    batch, vocab = run.train.max_tokens / run.train.accumulate, run.vocab.size
    weights = activations = 0.0
    for model, numbers in ((run.model, 6), *((teacher, 1) for teacher in teachers)):
        layers = model.num_encoder_layers + model.num_decoder_layers
        weights += numbers * parameters(model, vocab, vocab)
        activations += batch * (
            layers * (20 * model.d_model + 4 * model.d_ff) + 4 * vocab
        )
    return 4 * (weights + activations)


def forward_operations(
    model: Model, vocab: int, src: Number, tgt: Number, beams: int = 1
) -> Number:
    """Operations of a forward pass: two for each multiplication and addition.

    Only matrix products count, and attention to what may be seen.

    Args:
        vocab: pieces of the target vocabulary.
        src, tgt: tokens of a sentence and its translation, EOS included.
        beams: of a search, whose decoder computes every beam.
    """
    d, d_ff = model.d_model, model.d_ff
    encoder = src * (4 * d**2 + 2 * d * d_ff) + 2 * d * src**2
    memory = src * 2 * d**2
    decoder = tgt * (6 * d**2 + 2 * d * d_ff) + 2 * d * (
        tgt * (tgt + 1) / 2 + tgt * src
    )
    return 2 * (
        model.num_encoder_layers * encoder
        + model.num_decoder_layers * (memory + beams * decoder)
        + beams * tgt * d * vocab
    )


def update_operations(run: Run, teachers: Iterable[Model], text: Text) -> float:
    """Operations of one update: forward, twice as many backward, teachers forward."""
    student, *beside = (
        forward_operations(model, run.vocab.size, text.src_tokens, text.tgt_tokens)
        for model in (run.model, *teachers)
    )
    sentences = run.train.max_tokens / max(text.src_tokens, text.tgt_tokens)
    return sentences * (3 * student + sum(beside))


class Pair:
    """One language pair of a study, `dataset/pair`, and what is made for it."""

    def __init__(self, values: dict[str, Any], name: str, results: Path) -> None:
        """
        Args:
            values: `config.yaml` as read.
            results: where text is measured and what is done is found.
        """
        self.name, self.folder = name, results / name
        self.dataset, self.pair = name.split("/")
        self.config = resolve_pair(values, self.dataset, self.pair)
        self.directions = directions(self.config, self.dataset, self.pair)
        self.texts = {
            direction: Text.measure(self.place("corpus", direction), direction)
            for direction in self.directions
        }

    def place(self, folder: str, direction: str) -> Path:
        """Where a direction has its files."""
        part = "" if direction == self.pair else direction
        return self.folder / folder / part

    def jobs(self, systems: Iterable[str], seeds: Sequence[int]) -> Iterator[Job]:
        """Trainings and the texts that they learn from, with all before them.

        A training is counted with `max_steps`, though patience may end it sooner.
        """
        made = set()
        for system, seed in self.runs(systems, seeds):
            yield self.training(system, seed)
            row = self.config.systems[system]
            for direction in row.directions or self.directions:
                for corpus in row.distilled_corpora:
                    key = corpus, row.teacher_key, direction
                    if key not in made:
                        made.add(key)
                        yield self.distillation(row, corpus, direction)

    def runs(
        self, systems: Iterable[str], seeds: Sequence[int]
    ) -> Iterator[tuple[str, int]]:
        """(system, seed) of the trainings, with those of teachers and first weights."""
        waiting = [(system, seed) for system in systems for seed in seeds]
        found = set()
        while waiting:
            system, seed = waiting.pop(0)
            if (system, seed) not in found:
                found.add((system, seed))
                yield system, seed
                waiting += self.config.systems[system].parents(seed)

    def training(self, system: str, seed: int) -> Job:
        """The training of a system."""
        row = self.config.systems[system]
        run = resolve_run(self.config, self.dataset, self.pair, system, seed)
        beside = self.teachers(row) if row.needs_teacher_output else []
        text = sum((self.texts[d] for d in run.directions), Text())
        size = parameters(run.model, run.vocab.size, run.vocab.size)
        update = update_operations(run, beside, text)
        summary = self.folder / system / f"seed{seed}" / "training.json"
        if summary.exists():
            did = json.loads(summary.read_text())
            seconds = did["seconds"] * did["machine"]["workers"]
            operations = did["steps"] * update
        else:
            seconds, operations = 0.0, run.train.max_steps * update
        return Job(
            self.name,
            system,
            operations,
            BYTES_PER_WEIGHT * size,
            summary.exists(),
            seconds,
        )

    def distillation(self, row: System, corpus: str, direction: str) -> Job:
        """The translation of a training text by all shards together."""
        text, beams = self.texts[direction], self.config.corpora[corpus].beam_size
        lengths = text.src_tokens, text.tgt_tokens
        vocab = self.config.vocab.size
        searches = [
            forward_operations(model, vocab, *lengths, beams)
            for model in self.teachers(row, direction)
        ]
        done = self.place(f"distilled/{corpus}/{row.teacher_key}", direction)
        return Job(
            self.name,
            f"{corpus} by {row.teacher_key}",
            text.sentences * sum(searches),
            text.sentences * beams * sum(lengths) * BYTES_PER_TOKEN,
            (done / "decode.json").exists(),
        )

    def teachers(self, row: System, direction: str | None = None) -> list[Model]:
        """Models of a row's teachers, or of those that learn a direction."""
        systems = [self.config.systems[name] for name, _ in row.teachers]
        return [
            self.config.models[teacher.model]
            for teacher in systems
            if direction is None or direction in (teacher.directions or [direction])
        ]


def plan(
    values: dict[str, Any],
    study: str | None,
    results: Path,
    teraflops: float | None,
) -> str:
    """A table of what is to be trained and translated, and what it takes.

    Args:
        values: `config.yaml` as read.
        study: its name; None for the one that is chosen there.
        results: where text is measured and what is done is found.
        teraflops: 10**12 operations a second that a device sustains in training;
            without it that of the trainings that are done, or else `TERAFLOPS`.

    Raises:
        ConfigError: if the configuration does not fit, or has no such study.
    """
    config = validate(values if study is None else values | {"study": study})
    row = config.studies[config.study]
    pairs = [Pair(values, name, results) for name in row.pairs]
    jobs = [job for pair in pairs for job in pair.jobs(row.systems, row.seeds)]
    spent = sum(job.seconds for job in jobs)
    if teraflops:
        rate, why = teraflops, "as given"
    elif spent:
        rate = sum(job.operations for job in jobs if job.seconds) / spent / 1e12
        why = f"measured over {spent / 3600:.1f} hours of trainings"
    else:
        rate, why = TERAFLOPS, "assumed; trainings that are done tell better"
    groups: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        groups.setdefault((job.pair, job.what), []).append(job)
    lines = [("", "jobs", "done", "hours left", "GB")]
    for (pair, what), same in [*groups.items(), (("all", ""), jobs)]:
        left = sum(job.operations for job in same if not job.done)
        lines.append(
            (
                f"{pair} {what}",
                f"{len(same)}",
                f"{sum(job.done for job in same)}",
                f"{left / rate / 1e12 / 3600:.1f}",
                f"{sum(job.disk for job in same) / 1e9:.1f}",
            )
        )
    width = max(len(name) for name, *_ in lines)
    table = [
        name.ljust(width) + "".join(cell.rjust(12) for cell in cells)
        for name, *cells in lines
    ]
    unknown = [
        f"{pair.name}: its text is not there, so its translation is not counted; "
        "make corpus/train.* of it first"
        for pair in pairs
        if not all(text.sentences for text in pair.texts.values())
    ]
    told = f"hours of one device at {rate:.3g} TFLOP/s ({why})"
    return "\n".join([*table, told, *unknown])
