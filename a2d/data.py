"""Batches of a parallel text, in an order that depends on seed and epoch alone."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, cycle, islice, pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from a2d.chunks import cut
from a2d.config import BOS, EOS, PAD
from a2d.encode import SIDES, encoded_chunks, encoding, mapped, starts_of, weights_of
from a2d.files import sha256_of
from a2d.section import UserError
from a2d.vocab import Vocab

WINDOW = 500_000
"""Sentences among which those of like length are put together."""
BLOCK = 64
"""Neighbouring sentences that share a window."""


@dataclass
class Batch:
    """Sentences side by side, padded with PAD."""

    src: Tensor  # (B, S), ends in EOS
    tgt_input: Tensor  # (B, T), starts with BOS
    tgt: Tensor  # (B, T), the same shifted, ends in EOS
    weights: Tensor  # (B,), float32, of the sentences in the loss
    directions: Tensor  # (B,), numbers of the sentences' directions

    @property
    def src_tokens(self) -> int:
        """Real source tokens, EOS included."""
        return int((self.src != PAD).sum())

    @property
    def tgt_tokens(self) -> int:
        """Real target tokens, EOS included."""
        return int((self.tgt != PAD).sum())

    @property
    def src_weight(self) -> float:
        """Sum of the real source tokens' weights, each its sentence's."""
        return float(((self.src != PAD).sum(1) * self.weights).sum())

    @property
    def tgt_weight(self) -> float:
        """Sum of the real target tokens' weights, each its sentence's."""
        return float(((self.tgt != PAD).sum(1) * self.weights).sum())

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return self._each(lambda part: part.to(device))

    def rows(self, chosen: Tensor) -> Batch:
        """Some of the sentences, by a mask (B,)."""
        return self._each(lambda part: part[chosen])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(
            change(self.src),
            change(self.tgt_input),
            change(self.tgt),
            change(self.weights),
            change(self.directions),
        )


class TokenSequences:
    """Sentences of token ids, one after the other in flat arrays."""

    def __init__(self, parts: Sequence[tuple[NDArray[np.int32], NDArray[np.int64]]]):
        """
        Args:
            parts: tokens, and where each sentence starts, the end of the last included.
        """
        self.parts = parts
        self.lengths = np.concatenate([np.diff(starts) for _, starts in parts])
        self.firsts = np.cumsum([0, *(len(starts) - 1 for _, starts in parts)]).tolist()

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> NDArray[np.int32]:
        part = bisect_right(self.firsts, index) - 1
        tokens, starts = self.parts[part]
        sentence = index - self.firsts[part]
        return tokens[starts[sentence] : starts[sentence + 1]]


class ParallelData:
    """A segmented parallel text."""

    def __init__(
        self,
        src: TokenSequences,
        tgt: TokenSequences,
        weights: NDArray[np.float32] | None = None,
        num_directions: int = 1,
        sampling_temperature: float = 1.0,
    ) -> None:
        """
        Args:
            weights: of the sentences in the loss; without them all are 1.
            num_directions: the parts of the text belong to them in turn.
            sampling_temperature: above 1, an epoch reads the directions more evenly:
                as many sentences as there are, shared in proportion to n ** (1 /
                temperature) of a direction with n of them (Arivazhagan et al. 2019,
                section 4.2).
        """
        self.src, self.tgt = src, tgt
        ones = np.ones(len(src), np.float32)
        self.weights = ones if weights is None else weights
        self.num_directions = num_directions
        self.sampling_temperature = sampling_temperature
        # each side grows by one token: EOS on the source, BOS or EOS on the target
        self.widths = np.maximum(src.lengths, tgt.lengths) + 1

    @classmethod
    def read(
        cls,
        texts: Sequence[tuple[str | Path, str | Path]],
        vocabs: tuple[Vocab, Vocab],
    ) -> ParallelData:
        """Read and segment pairs of files, one after the other.

        Raises:
            UserError: as `encoded_chunks`.
        """
        found = (encoded_chunks(text, vocabs, threads=1) for text in texts)
        sides = zip(*chain.from_iterable(found), strict=True)
        src, tgt = (
            TokenSequences(
                [(np.concatenate(tokens), starts_of(np.concatenate(lengths)))]
            )
            for tokens, lengths in (zip(*side, strict=True) for side in sides)
        )
        return cls(src, tgt)

    @classmethod
    def open(
        cls,
        folders: Sequence[Path],
        vocabs: tuple[Vocab, Vocab],
        num_directions: int = 1,
        sampling_temperature: float = 1.0,
    ) -> ParallelData:
        """Map texts that `encode` wrote into memory, one after the other.

        Args:
            num_directions, sampling_temperature: as of `ParallelData`.

        Raises:
            UserError: if there is none, or it was made with another vocabulary.
        """
        hashes = [sha256_of(vocab.path) for vocab in vocabs]
        for folder in folders:
            if encoding(folder)["vocab_sha256"] != hashes:
                raise UserError(
                    f"{folder}: encoded with another vocabulary; encode the text again"
                )
        src, tgt = (
            TokenSequences(
                [
                    (
                        mapped(folder / f"{side}.npy"),
                        mapped(folder / f"{side}.starts.npy"),
                    )
                    for folder in folders
                ]
            )
            for side in SIDES
        )
        weights = np.concatenate([weights_of(folder) for folder in folders])
        return cls(src, tgt, weights, num_directions, sampling_temperature)

    def __len__(self) -> int:
        return len(self.src)

    def batch(self, indices: NDArray[np.int64]) -> Batch:
        """The sentences with these indices."""
        src, tgt = (
            [side[i] for i in indices.tolist()] for side in (self.src, self.tgt)
        )
        parts = np.searchsorted(self.src.firsts, indices, side="right") - 1
        return Batch(
            pad(src, end=EOS),
            pad(tgt, start=BOS),
            pad(tgt, end=EOS),
            torch.from_numpy(self.weights[indices]),
            torch.from_numpy(parts % self.num_directions),
        )

    def epoch(
        self, seed: int, epoch: int, max_tokens: int, group_size: int
    ) -> Iterator[list[NDArray[np.int64]]]:
        """Sentence indices of one epoch: updates of `group_size` batches each.

        Sentences of like length share a batch; which ones, and the order of the
        batches, depends on seed and epoch. Batches are repeated to fill the last group.

        Args:
            max_tokens: of the longer side of one batch, padding included.
        """
        rng = np.random.default_rng((seed, epoch))
        waiting: list[NDArray[np.int64]] = []
        mixed = waiting
        for window in self.windows(rng):
            order = window[self.by_length(window)]
            batches = list(cut(order, self.widths, max_tokens))
            mixed = [batches[i] for i in rng.permutation(len(batches))]
            waiting += mixed
            full = len(waiting) - len(waiting) % group_size
            for first in range(0, full, group_size):
                yield waiting[first : first + group_size]
            waiting = waiting[full:]
        if waiting:
            yield waiting + list(islice(cycle(mixed), group_size - len(waiting)))

    def windows(self, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        """All sentences in random order, as many at a time as are sorted at once."""
        if self.num_directions > 1 and self.sampling_temperature > 1:
            order = self.sampled(rng)
            for first in range(0, len(order), WINDOW):
                yield order[first : first + WINDOW]
            return
        blocks = rng.permutation(-(-len(self) // BLOCK))
        for first in range(0, len(blocks), WINDOW // BLOCK):
            starts = blocks[first : first + WINDOW // BLOCK, None] * BLOCK
            window = (starts + np.arange(BLOCK)).flatten()
            yield rng.permutation(window[window < len(self)])

    def sampled(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Sentences of an epoch, in random order, by the sampling temperature.

        A direction is read whole as often as its share allows, then in part.
        """
        parts = [np.arange(*ends) for ends in pairwise(self.src.firsts)]
        members = [
            np.concatenate(parts[direction :: self.num_directions])
            for direction in range(self.num_directions)
        ]
        sizes = np.array([len(sentences) for sentences in members])
        shares = sizes ** (1 / self.sampling_temperature)
        wanted = np.rint(len(self) * shares / shares.sum()).astype(int)
        drawn = [
            np.concatenate(
                [
                    *[mine] * (number // len(mine)),
                    rng.permutation(mine)[: number % len(mine)],
                ]
            )
            for mine, number in zip(members, wanted.tolist(), strict=True)
        ]
        return rng.permutation(np.concatenate(drawn))

    def by_length(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """An order in which neighbours are alike in both lengths.

        By the longer side, and within one width by the difference of the sides, up and
        down in turn, so that nothing jumps where the width changes.
        """
        widths = self.widths[indices]
        differences = self.src.lengths[indices] - self.tgt.lengths[indices]
        return np.lexsort((np.where(widths % 2, differences, -differences), widths))

    def in_order(self, max_tokens: int) -> Iterator[Batch]:
        """All sentences, longest first."""
        for indices in cut(
            np.argsort(-self.widths, kind="stable"), self.widths, max_tokens
        ):
            yield self.batch(indices)


def pad(
    sentences: Sequence[Sequence[int] | NDArray[np.int32]],
    start: int | None = None,
    end: int | None = None,
) -> Tensor:
    """Token ids (B, longest) between `start` and `end`, filled up with PAD."""
    before, after = int(start is not None), int(end is not None)
    longest = max(map(len, sentences)) + before + after
    rows = np.full((len(sentences), longest), PAD, dtype=np.int64)
    if start is not None:
        rows[:, 0] = start
    for row, sentence in zip(rows, sentences, strict=True):
        row[before : before + len(sentence)] = sentence
        if end is not None:
            row[before + len(sentence)] = end
    return torch.from_numpy(rows)
