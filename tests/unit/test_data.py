"""Batches: their content, their size and their order."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from a2d.config import BOS, EOS, PAD, UserError
from a2d.data import ParallelData, TokenSequences, cut, pad
from a2d.vocab import Vocab


def make_data(lengths: list[tuple[int, int]]) -> ParallelData:
    """Sentences of these lengths; all tokens of sentence i are 10 + i."""
    sides = zip(*lengths, strict=True)
    return ParallelData(
        *(TokenSequences([[[10 + i] * n for i, n in enumerate(s)]]) for s in sides)
    )


def random_data(num_sentences: int = 200) -> ParallelData:
    rng = np.random.default_rng(1)
    return make_data(rng.integers(1, 20, (num_sentences, 2)).tolist())


def test_sequences_come_in_chunks_and_may_be_empty() -> None:
    sequences = TokenSequences([[[1, 2], []], [[3]], [[4, 5, 6], []]])
    assert len(sequences) == 5
    assert [sequences[i].tolist() for i in range(5)] == [
        [1, 2],
        [],
        [3],
        [4, 5, 6],
        [],
    ]


def test_batch_is_shifted_and_padded() -> None:
    batch = make_data([(2, 3), (4, 1)]).batch(np.array([1, 0]))
    assert batch.src.tolist() == [[11] * 4 + [EOS], [10, 10, EOS, PAD, PAD]]
    assert batch.tgt_input.tolist() == [[BOS, 11, PAD, PAD], [BOS, 10, 10, 10]]
    assert batch.tgt.tolist() == [[11, EOS, PAD, PAD], [10, 10, 10, EOS]]
    assert (batch.src_tokens, batch.tgt_tokens) == (5 + 3, 2 + 4)
    assert batch.src.dtype == torch.int64
    moved = batch.to(torch.device("meta"))
    assert moved.tgt.device.type == "meta"


def test_pad() -> None:
    assert pad([[5], [6, 7, 8]]).tolist() == [[5, PAD, PAD], [6, 7, 8]]


@pytest.mark.parametrize(
    ("max_tokens", "expected"),
    [
        # 3 * 3 fit into 9, 4 * 5 do not; 2 * 5 do not; 30 is alone
        (9, [[0, 1, 2], [3], [4], [5]]),
        (10, [[0, 1, 2], [3, 4], [5]]),
        (60, [[0, 1, 2, 3, 4], [5]]),
        (1, [[0], [1], [2], [3], [4], [5]]),
    ],
)
def test_cut(max_tokens: int, expected: list[list[int]]) -> None:
    widths = np.array([3, 2, 3, 5, 1, 30])
    found = [b.tolist() for b in cut(np.arange(6), widths, max_tokens)]
    assert found == expected


def test_cut_follows_the_order() -> None:
    widths = np.array([1, 2, 3, 4])
    found = [b.tolist() for b in cut(np.array([3, 1, 0, 2]), widths, 8)]
    assert found == [[3, 1], [0, 2]]
    assert list(cut(np.array([], dtype=int), widths, 8)) == []


def test_epoch_has_every_sentence_once_within_the_budget() -> None:
    data = random_data()
    groups = data.epoch(seed=1, epoch=1, max_tokens=60, group_size=1)
    assert all(len(group) == 1 for group in groups)
    batches = [batch for (batch,) in groups]
    assert sorted(np.concatenate(batches).tolist()) == list(range(200))
    sizes = []
    for indices in batches:
        batch = data.batch(indices)
        sizes.append(max(batch.src.numel(), batch.tgt.numel()))
    assert max(sizes) <= 60
    assert np.mean(sizes) > 40


def test_sentences_of_like_length_share_a_batch() -> None:
    data = random_data(2000)
    groups = data.epoch(seed=1, epoch=1, max_tokens=500, group_size=1)
    batches = [data.batch(indices) for (indices,) in groups]
    assert (
        sum(b.tgt_tokens for b in batches) / sum(b.tgt.numel() for b in batches) > 0.9
    )


def test_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        np.random.seed(epoch)
        groups = random_data().epoch(seed, epoch, max_tokens=60, group_size=1)
        return [int(i) for (batch,) in groups for i in batch]

    assert order(1, 1) == order(1, 1)
    orders = {tuple(order(s, e)) for s, e in ((1, 1), (1, 2), (2, 1), (2, 2), (12, 1))}
    assert len(orders) == 5
    # long and short sentences are mixed in time, not sorted
    first = order(1, 1)
    assert first != sorted(first)


@pytest.mark.parametrize("group_size", [2, 3, 7])
def test_groups_are_full(group_size: int) -> None:
    data = random_data()
    groups = data.epoch(seed=1, epoch=1, max_tokens=60, group_size=group_size)
    assert {len(group) for group in groups} == {group_size}
    counts = Counter(int(i) for group in groups for batch in group for i in batch)
    assert set(counts) == set(range(200))
    num_batches = len(data.epoch(seed=1, epoch=1, max_tokens=60, group_size=1))
    assert len(groups) == -(-num_batches // group_size)
    repeated = {i for i, n in counts.items() if n > 1}
    assert max(counts.values()) <= 2
    batches = [set(b.tolist()) for group in groups for b in group]
    assert sum(b <= repeated for b in batches) == 2 * (-num_batches % group_size)


def test_groups_are_full_even_of_one_batch() -> None:
    ((first, *others),) = make_data([(1, 1)]).epoch(1, 1, 100, 3)
    assert [first.tolist(), *(o.tolist() for o in others)] == [[0]] * 3


def test_in_order_is_longest_first_and_complete() -> None:
    data = random_data()
    batches = list(data.in_order(max_tokens=80))
    widths = [max(b.src.shape[1], b.tgt.shape[1]) for b in batches]
    assert widths == sorted(widths, reverse=True)
    assert sum(len(b.src) for b in batches) == 200
    assert sum(b.src_tokens for b in batches) == int((data.src.lengths + 1).sum())


def test_read_joins_files_in_order(
    pair: Path, vocabs: tuple[Vocab, Vocab], tmp_path: Path
) -> None:
    texts = {"a.de": "eins\nzwei\n", "a.en": "one\ntwo\n", "b.de": "drei\n"}
    texts["b.en"] = "three\n"
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    files = [(tmp_path / f"{n}.de", tmp_path / f"{n}.en") for n in "ab"]
    data = ParallelData.read(files, *vocabs)
    src_vocab, tgt_vocab = vocabs
    read = [
        (
            src_vocab.decode([data.src[i].tolist()])[0],
            tgt_vocab.decode([data.tgt[i].tolist()])[0],
        )
        for i in range(len(data))
    ]
    assert read == [("eins", "one"), ("zwei", "two"), ("drei", "three")]


def test_read_refuses_unequal_and_empty_files(
    vocabs: tuple[Vocab, Vocab], tmp_path: Path
) -> None:
    long, short, none = (tmp_path / name for name in ("long", "short", "none"))
    long.write_text("eins\nzwei\n")
    short.write_text("one\n")
    none.write_text("")
    with pytest.raises(ValueError, match=r"long has 2 lines and .*short has 1") as told:
        ParallelData.read([(long, short)], *vocabs)
    assert isinstance(told.value, UserError)  # so that the command line tells it
    with pytest.raises(UserError, match="none: no sentences"):
        ParallelData.read([(none, none)], *vocabs)
