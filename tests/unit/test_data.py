"""Batches: their content, their size and their order."""

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pytest
import torch

from a2d import data as data_module
from a2d.chunks import cut
from a2d.config import BOS, EOS, PAD
from a2d.data import ParallelData, TokenSequences, pad
from a2d.encode import flat, starts_of


def make_data(lengths: list[tuple[int, int]]) -> ParallelData:
    """Sentences of these lengths; all tokens of sentence i are 10 + i."""
    sides = zip(*lengths, strict=True)
    return ParallelData(
        *(sequences([[10 + i] * n for i, n in enumerate(side)]) for side in sides)
    )


def sequences(*parts: list[list[int]]) -> TokenSequences:
    sides = [flat(part) for part in parts]
    return TokenSequences([(tokens, starts_of(lengths)) for tokens, lengths in sides])


def random_data(num_sentences: int = 200) -> ParallelData:
    rng = np.random.default_rng(1)
    return make_data(rng.integers(1, 20, (num_sentences, 2)).tolist())


def test_sequences_come_in_parts_and_may_be_empty() -> None:
    found = sequences([[1, 2], []], [[3]], [[4, 5, 6], []])
    assert [found[i].tolist() for i in range(5)] == [[1, 2], [], [3], [4, 5, 6], []]
    assert found.lengths.tolist() == [2, 0, 1, 3, 0]
    assert len(found) == 5


def test_batch_is_shifted_and_padded() -> None:
    batch = make_data([(2, 3), (4, 1)]).batch(np.array([1, 0]))
    assert batch.src.tolist() == [[11] * 4 + [EOS], [10, 10, EOS, PAD, PAD]]
    assert batch.tgt_input.tolist() == [[BOS, 11, PAD, PAD], [BOS, 10, 10, 10]]
    assert batch.tgt.tolist() == [[11, EOS, PAD, PAD], [10, 10, 10, EOS]]
    assert (batch.src_tokens, batch.tgt_tokens) == (5 + 3, 2 + 4)
    assert (batch.src_weight, batch.tgt_weight) == (5 + 3, 2 + 4)
    assert batch.weights.tolist() == [1, 1]
    assert batch.src.dtype == torch.int64
    moved = batch.to(torch.device("meta"))
    assert moved.tgt.device.type == moved.weights.device.type == "meta"


def test_tokens_count_with_the_weight_of_their_sentence() -> None:
    data = make_data([(2, 3), (4, 1), (1, 1)])
    data.weights[:] = [0.25, 0.5, 3]
    batch = data.batch(np.array([1, 0]))
    assert batch.weights.tolist() == [0.5, 0.25]
    assert (batch.src_tokens, batch.tgt_tokens) == (5 + 3, 2 + 4)
    assert (batch.src_weight, batch.tgt_weight) == (2.5 + 0.75, 1 + 1)


def test_pad() -> None:
    assert pad([[5], [6, 7, 8]]).tolist() == [[5, PAD, PAD], [6, 7, 8]]
    assert pad([[5], []], end=9).tolist() == [[5, 9], [9, PAD]]
    assert pad([[5], []], start=1, end=9).tolist() == [[1, 5, 9], [1, 9, PAD]]


def test_epoch_has_every_sentence_once_within_the_budget() -> None:
    data = random_data()
    groups = list(data.epoch(seed=1, epoch=1, max_tokens=60, group_size=1))
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
    rng = np.random.default_rng(1)
    tgt = rng.integers(4, 30, 2000)
    data = make_data(np.stack([tgt + rng.integers(-3, 4, 2000), tgt], axis=1).tolist())

    def real_share(batches: Iterable[np.ndarray]) -> float:
        made = [data.batch(indices) for indices in batches]
        real = sum(b.src_tokens + b.tgt_tokens for b in made)
        return real / sum(b.src.numel() + b.tgt.numel() for b in made)

    found = real_share(batch for (batch,) in data.epoch(1, 1, 500, 1))
    by_target = np.lexsort((data.src.lengths, data.tgt.lengths))
    assert found > 0.96
    assert found > real_share(cut(by_target, data.widths, 500)) + 0.01


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
    groups = list(data.epoch(seed=1, epoch=1, max_tokens=60, group_size=group_size))
    assert {len(group) for group in groups} == {group_size}
    counts = Counter(int(i) for group in groups for batch in group for i in batch)
    assert set(counts) == set(range(200))
    num_batches = len(list(data.epoch(seed=1, epoch=1, max_tokens=60, group_size=1)))
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


def test_large_text_is_sorted_a_window_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(data_module, "WINDOW", 64)
    monkeypatch.setattr(data_module, "BLOCK", 8)
    data = random_data(205)
    windows = list(data.windows(np.random.default_rng(1)))
    # the last block has 205 % 8 = 5 sentences
    assert [len(w) + 3 * (204 in w) for w in windows] == [64, 64, 64, 16]
    assert sorted(np.concatenate(windows).tolist()) == list(range(205))
    # neighbours stay together, but not in their order
    first = windows[0]
    assert len({i // 8 for i in first.tolist()}) == 8
    assert first.tolist() != sorted(first)
    groups = list(data.epoch(seed=1, epoch=1, max_tokens=60, group_size=2))
    counts = Counter(int(i) for group in groups for batch in group for i in batch)
    assert set(counts) == set(range(205))
    assert {len(group) for group in groups} == {2}
    # batches that were left of one window are not repeated, but filled by the next
    last_repeats = {i for i, n in counts.items() if n > 1}
    assert last_repeats <= {int(i) for batch in groups[-1] for i in batch}


def directions_data(*sizes: int, temperature: float = 1.0) -> ParallelData:
    """Two corpora in two directions, parts of these sizes in turn."""
    sides = [sequences(*([[5 + i % 3]] * n for i, n in enumerate(sizes)))] * 2
    return ParallelData(*sides, None, 2, temperature)


def test_parts_belong_to_the_directions_in_turn() -> None:
    data = directions_data(3, 1, 2, 2)
    batch = data.batch(np.array([0, 3, 4, 6, 7, 2]))
    assert batch.directions.tolist() == [0, 1, 0, 1, 1, 0]
    assert batch.rows(batch.directions == 1).src.tolist() == [
        batch.src.tolist()[i] for i in (1, 3, 4)
    ]
    assert make_data([(1, 1)]).batch(np.array([0])).directions.tolist() == [0]


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0, 1e9])
def test_directions_are_sampled_by_temperature(temperature: float) -> None:
    data = directions_data(600, 20, 300, 80, temperature=temperature)
    groups = data.epoch(seed=1, epoch=1, max_tokens=100, group_size=1)
    counts = Counter(int(i) for (batch,) in groups for i in batch)
    second = {*range(600, 620), *range(920, 1000)}
    small = sum(counts[i] for i in second)
    share = 100 ** (1 / temperature) / (
        100 ** (1 / temperature) + 900 ** (1 / temperature)
    )
    assert small == round(1000 * share)
    assert counts.total() == 1000
    # no sentence is read again before all of its direction are
    assert max(counts[i] for i in second) - min(counts[i] for i in second) <= 1
    assert max(counts[i] for i in set(range(1000)) - second) == 1


def test_sampled_sentences_depend_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        data = directions_data(40, 7, temperature=3)
        return [int(i) for (b,) in data.epoch(seed, epoch, 10, 1) for i in b]

    assert order(1, 1) == order(1, 1)
    assert len({tuple(order(s, e)) for s in (1, 2) for e in (1, 2)}) == 4


def test_neighbours_in_length_order_are_alike_on_both_sides() -> None:
    data = make_data([(3, 5), (5, 1), (1, 1), (5, 5), (2, 4), (4, 4), (1, 5), (4, 1)])
    lengths = [
        (int(data.src.lengths[i]), int(data.tgt.lengths[i]))
        for i in data.by_length(np.arange(8))
    ]
    assert lengths == [
        # by the longer side; within it the source grows against the target, or shrinks
        (1, 1),
        (2, 4),
        (4, 4),
        (4, 1),
        (5, 1),
        (5, 5),
        (3, 5),
        (1, 5),
    ]
