"""What the jobs before and after a training read beside their files."""

from __future__ import annotations

from a2d.config import Clean, Decode, Distilled, Evaluate, Vocab
from a2d.section import Section
from a2d.sources import Sources


class FetchJob(Section):
    """Sources of one split of one language pair."""

    src: str
    tgt: str
    sources: Sources


class CleanJob(Section):
    """How the text of one language pair is cleaned and split."""

    filters: Clean
    hold_out: dict[str, float]
    """Shares of the training source's documents, by split."""
    tag: str | None = None
    """Put before each source sentence."""


class VocabJob(Vocab):
    """How the vocabularies of one language pair are learned."""

    tags: list[str]
    """Of target languages, each a piece of its own."""


class DistillJob(Distilled):
    """How a teacher makes a training text."""

    decode: Decode


class EvaluateJob(Section):
    """How the decoding speed of one language pair's systems is measured."""

    evaluate: Evaluate
    decode: Decode
