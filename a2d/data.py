"""Batches of a parallel text, in an order that depends on seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from a2d.config import BOS, EOS, PAD, UserError
from a2d.corpus import read_parallel
from a2d.vocab import Vocab

ENCODE_LINES = 10_000
"""Lines that are segmented at a time."""


@dataclass
class Batch:
    """Sentences side by side, padded with PAD."""

    src: Tensor  # (B, S), ends in EOS
    tgt_input: Tensor  # (B, T), starts with BOS
    tgt: Tensor  # (B, T), the same shifted, ends in EOS

    @property
    def src_tokens(self) -> int:
        """Real source tokens, EOS included."""
        return int((self.src != PAD).sum())

    @property
    def tgt_tokens(self) -> int:
        """Real target tokens, EOS included."""
        return int((self.tgt != PAD).sum())

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return Batch(*(t.to(device) for t in (self.src, self.tgt_input, self.tgt)))


class TokenSequences:
    """Sentences of token ids in one flat array."""

    def __init__(self, sentences: Iterable[list[list[int]]]) -> None:
        """Collect sentences that come in chunks."""
        flat: list[NDArray[np.int32]] = []
        lengths: list[NDArray[np.int64]] = []
        for chunk in sentences:
            flat.append(np.fromiter((t for s in chunk for t in s), dtype=np.int32))
            lengths.append(np.fromiter((len(s) for s in chunk), dtype=np.int64))
        self.tokens = np.concatenate(flat)
        self.lengths = np.concatenate(lengths)
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)[:-1]])

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> NDArray[np.int32]:
        start = self.starts[index]
        return self.tokens[start : start + self.lengths[index]]


class ParallelData:
    """A segmented parallel text."""

    def __init__(self, src: TokenSequences, tgt: TokenSequences) -> None:
        self.src, self.tgt = src, tgt
        # each side grows by one token: EOS on the source, BOS or EOS on the target
        self.widths = np.maximum(src.lengths, tgt.lengths) + 1

    @classmethod
    def read(
        cls,
        files: Iterable[tuple[str | Path, str | Path]],
        src_vocab: Vocab,
        tgt_vocab: Vocab,
    ) -> ParallelData:
        """Read and segment pairs of files, one after the other.

        Raises:
            UserError: if two files of a pair have unequal line counts.
        """
        rows = (row for src, tgt in files for row in read_parallel(src, tgt))
        sides: tuple[list[list[list[int]]], list[list[list[int]]]] = ([], [])
        while chunk := list(islice(rows, ENCODE_LINES)):
            for side, vocab, lines in zip(
                sides, (src_vocab, tgt_vocab), zip(*chunk, strict=True), strict=True
            ):
                side.append(vocab.encode(lines))
        if not sides[0]:
            raise UserError(f"{', '.join(str(f[0]) for f in files)}: no sentences")
        return cls(TokenSequences(sides[0]), TokenSequences(sides[1]))

    def __len__(self) -> int:
        return len(self.src)

    def batch(self, indices: NDArray[np.int64]) -> Batch:
        """The sentences with these indices."""
        src = [[*self.src[i], EOS] for i in indices]
        tgt_input = [[BOS, *self.tgt[i]] for i in indices]
        tgt = [[*self.tgt[i], EOS] for i in indices]
        return Batch(pad(src), pad(tgt_input), pad(tgt))

    def epoch(
        self, seed: int, epoch: int, max_tokens: int, group_size: int
    ) -> list[list[NDArray[np.int64]]]:
        """Sentence indices of one epoch: updates of `group_size` batches each.

        Sentences of like length share a batch; which ones, and the order of the
        batches, depends on seed and epoch. Batches are repeated to fill the last group.

        Args:
            max_tokens: of the longer side of one batch, padding included.
        """
        rng = np.random.default_rng((seed, epoch))
        shuffled = rng.permutation(len(self))
        by_length = np.lexsort((self.src.lengths[shuffled], self.tgt.lengths[shuffled]))
        batches = list(cut(shuffled[by_length], self.widths, max_tokens))
        order = rng.permutation(len(batches))
        num_groups = -(-len(batches) // group_size)
        filled = np.resize(order, num_groups * group_size).reshape(-1, group_size)
        return [[batches[i] for i in group] for group in filled]

    def in_order(self, max_tokens: int) -> Iterator[Batch]:
        """All sentences, longest first."""
        for indices in cut(
            np.argsort(-self.widths, kind="stable"), self.widths, max_tokens
        ):
            yield self.batch(indices)


def cut(
    order: NDArray[np.int64], widths: NDArray[np.int64], max_tokens: int
) -> Iterator[NDArray[np.int64]]:
    """Cut `order` into batches of at most `max_tokens`, padding included.

    A sentence longer than that is a batch of its own.
    """
    start, widest = 0, 0
    for end, width in enumerate(widths[order].tolist()):
        widest = max(widest, width)
        if widest * (end - start + 1) > max_tokens and end > start:
            yield order[start:end]
            start, widest = end, width
    if start < len(order):
        yield order[start:]


def pad(sentences: list[list[int]]) -> Tensor:
    """Token ids (B, longest), filled up with PAD."""
    longest = max(map(len, sentences))
    return torch.tensor([s + [PAD] * (longest - len(s)) for s in sentences])
