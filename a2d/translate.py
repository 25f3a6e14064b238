"""Translating text with trained models, by CTranslate2 or by the reference search."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import ctranslate2
import numpy as np

from a2d.chunks import cut
from a2d.config import Decode, Run
from a2d.corpus import normalise
from a2d.hypothesis import Hypothesis
from a2d.progress import PROGRESS_SECONDS, clock_time, tell
from a2d.section import UserError, load
from a2d.vocab import Vocab

MAX_INPUT = 1023
"""Tokens of a line that CTranslate2 reads; what comes after them is not translated."""


@dataclass(frozen=True)
class Translation:
    """One translation of a sentence."""

    text: str
    score: float
    """Log-probability / length ** length_penalty."""
    log_prob: float


class Backend(Protocol):
    """Something that finds translations of token ids."""

    workers: int
    """Batches that it translates at once."""

    def search(
        self, sources: Sequence[Sequence[int]], decode: Decode, num_hypotheses: int
    ) -> list[list[Hypothesis]]:
        """The best hypotheses of each source (ids without EOS), best first."""


class CTranslate2Backend:
    """CTranslate2 on an exported model (`a2d export`)."""

    def __init__(
        self,
        folder: str | Path,
        vocabs: tuple[Vocab, Vocab],
        threads: int,
        compute_type: str = "default",
    ) -> None:
        """
        Args:
            compute_type: of CTranslate2, such as `int8`; the model's own by default.

        Raises:
            UserError: if the folder holds no exported model.
        """
        if not (Path(folder) / "model.bin").is_file():
            raise UserError(f"{folder}: there is no exported model")
        device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
        # workers of one thread each translate more than one worker of many threads
        self.translator = ctranslate2.Translator(
            str(folder),
            device=device,
            compute_type=compute_type,
            inter_threads=threads,
            intra_threads=1,
        )
        self.workers = threads
        src_vocab, tgt_vocab = vocabs
        self.src_pieces = src_vocab.pieces
        self.tgt_ids = {piece: i for i, piece in enumerate(tgt_vocab.pieces)}

    def search(
        self, sources: Sequence[Sequence[int]], decode: Decode, num_hypotheses: int
    ) -> list[list[Hypothesis]]:
        """As `Backend.search`."""
        results = self.translator.translate_batch(
            [[self.src_pieces[token] for token in source] for source in sources],
            max_batch_size=max(1, decode.max_tokens // decode.beam_size),
            batch_type="tokens",
            beam_size=decode.beam_size,
            num_hypotheses=num_hypotheses,
            length_penalty=decode.length_penalty,
            max_decoding_length=decode.max_length,
            return_scores=True,
            max_input_length=MAX_INPUT,
        )
        return [
            [
                self._hypothesis(pieces, score, decode)
                for pieces, score in zip(result.hypotheses, result.scores, strict=True)
            ]
            for result in results
        ]

    def _hypothesis(
        self, pieces: list[str], score: float, decode: Decode
    ) -> Hypothesis:
        length = min(len(pieces) + 1, decode.max_length)
        log_prob = score * length**decode.length_penalty
        return Hypothesis([self.tgt_ids[piece] for piece in pieces], score, log_prob)


def open_models(
    folders: Sequence[Path], backend: str, threads: int, compute_type: str = "default"
) -> tuple[Backend, tuple[Vocab, Vocab]]:
    """A backend and the vocabularies of trained models.

    Args:
        folders: run folders, several for an ensemble, or one exported model.
        backend: `ctranslate2`, which needs one model that is exported, or `torch`.
        compute_type: of CTranslate2, as `CTranslate2Backend`.

    Raises:
        UserError: if a folder holds neither, or a compute type is asked of PyTorch.
    """
    first = folders[0]
    if (first / "model.bin").is_file():
        vocabs = Vocab(first / "source.spm"), Vocab(first / "target.spm")
        return CTranslate2Backend(first, vocabs, threads, compute_type), vocabs
    if not (first / "config.yaml").is_file():
        raise UserError(f"{first}: neither an exported model nor a run folder")
    run = load(Run, first / "config.yaml")
    vocab_folder = first.parent.parent / "vocab"
    src, tgt = run.languages
    vocabs = Vocab(vocab_folder / f"{src}.spm"), Vocab(vocab_folder / f"{tgt}.spm")
    if backend == "ctranslate2" and len(folders) == 1:
        exported = first / "ctranslate2"
        return CTranslate2Backend(exported, vocabs, threads, compute_type), vocabs
    if compute_type != "default":
        raise UserError(f"compute type {compute_type} needs one exported model")
    # only here, because torch takes longer to import than CTranslate2 to translate
    from a2d.reference import TorchBackend

    return TorchBackend.load(folders), vocabs


def translate(
    backend: Backend,
    vocabs: tuple[Vocab, Vocab],
    lines: Sequence[str],
    decode: Decode,
    num_hypotheses: int = 1,
    name: str | None = None,
) -> list[list[Translation]]:
    """Translate lines; an empty line stays empty.

    Sentences of like length share a batch, whatever their order. With a name, progress
    and the time left are shown on standard error.

    Returns:
        For each line its translations, best first.
    """
    src_vocab, tgt_vocab = vocabs
    sources = src_vocab.encode(lines)
    widths = np.array([len(source) + 1 for source in sources])
    found: list[list[Translation]] = [[Translation("", 0.0, 0.0)] for _ in lines]
    order = np.array([i for i in np.argsort(-widths, kind="stable") if sources[i]], int)
    started = shown = time.monotonic()
    done, total = 0, int(widths[order].sum())
    budget = backend.workers * decode.max_tokens // decode.beam_size
    for indices in cut(order, widths, budget):
        batch = [sources[i] for i in indices]
        hypotheses = backend.search(batch, decode, num_hypotheses)
        texts = iter(
            tgt_vocab.decode([h.tokens for nbest in hypotheses for h in nbest])
        )
        for index, nbest in zip(indices, hypotheses, strict=True):
            found[index] = [
                Translation(normalise(next(texts)), h.score, h.log_prob) for h in nbest
            ]
        done += int(widths[indices].sum())
        now = time.monotonic()
        if name and now - shown > PROGRESS_SECONDS:
            shown, left = now, (now - started) * (total - done) / done
            percent = f"{100 * done / total:.0f} % translated"
            tell(name, f"{percent}  {clock_time(left)} left")
    return found
