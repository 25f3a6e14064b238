"""Beam search, against trying all sequences."""

from collections.abc import Sequence
from itertools import product

import pytest
import torch
from torch import Tensor

from a2d.config import BOS, EOS
from a2d.hypothesis import Hypothesis
from a2d.search import Ensemble, beam_search
from a2d.section import UserError

SIZE = 5
WORDS = [word for word in range(SIZE) if word != EOS]


class Table:
    """Random log-probabilities that depend on the sentence and on all words before."""

    def __init__(self, sentences: Sequence[int], beam_size: int, seed: int = 0) -> None:
        self.seed, self.beam_size = seed, beam_size
        self.rows = [s for s in sentences for _ in range(beam_size)]
        self.prefixes: list[tuple[int, ...]] = [() for _ in self.rows]

    def log_probs(self, sentence: int, prefix: tuple[int, ...]) -> Tensor:
        seed = hash((self.seed, sentence, *prefix)) % 2**31
        logits = 2 * torch.randn(SIZE, generator=torch.Generator().manual_seed(seed))
        return logits.log_softmax(-1)

    def step(self, tokens: Tensor) -> Tensor:
        assert len(tokens) == len(self.rows)
        if self.prefixes[0] == ():
            assert tokens.tolist() == [BOS] * len(tokens)
        self.prefixes = [
            (*prefix, token)
            for prefix, token in zip(self.prefixes, tokens.tolist(), strict=True)
        ]
        rows = zip(self.rows, self.prefixes, strict=True)
        return torch.stack([self.log_probs(row, prefix[1:]) for row, prefix in rows])

    def select(self, sentences: Tensor | None, beams: Tensor) -> None:
        kept = [self.rows[beam] for beam in beams.tolist()]
        if sentences is not None:
            before = self.rows[:: self.beam_size]
            expected = [before[row] for row in sentences.tolist()]
            assert kept[:: self.beam_size] == expected
        self.rows = kept
        self.prefixes = [self.prefixes[beam] for beam in beams.tolist()]


def allowed(table: Table, sentence: int, prefix: tuple[int, ...]) -> Tensor:
    """Log-probabilities among what may be said: at first, everything but EOS."""
    log_probs = table.log_probs(sentence, prefix)
    if not prefix:
        log_probs[EOS] = -torch.inf
    return log_probs.log_softmax(-1)


def all_sequences(
    sentence: int, max_length: int, length_penalty: float
) -> list[Hypothesis]:
    """Every translation, best first: not empty, ended by EOS or cut at the limit."""
    table, found = Table([sentence], 1), []
    for length in range(1, max_length + 1):
        for words in product(WORDS, repeat=length):
            steps = [allowed(table, sentence, words[:i]) for i in range(length)]
            log_prob = sum(float(s[w]) for s, w in zip(steps, words, strict=True))
            num_tokens = length
            if length < max_length:
                log_prob += float(allowed(table, sentence, words)[EOS])
                num_tokens += 1
            score = log_prob / num_tokens**length_penalty
            found.append(Hypothesis(list(words), score, log_prob))
    return sorted(found, key=lambda h: h.score, reverse=True)


def search(
    sentences: Sequence[int],
    beam_size: int,
    length_penalty: float = 1.0,
    max_length: int = 4,
    num_hypotheses: int = 1,
) -> list[list[Hypothesis]]:
    return beam_search(
        Table(sentences, beam_size),
        len(sentences),
        beam_size,
        length_penalty,
        max_length,
        num_hypotheses,
    )


def assert_equal(found: Sequence[Hypothesis], expected: Sequence[Hypothesis]) -> None:
    assert [h.tokens for h in found] == [h.tokens for h in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.score == pytest.approx(theirs.score, abs=1e-5)
        assert ours.log_prob == pytest.approx(theirs.log_prob, abs=1e-5)


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("beam_size", [100, 150])
def test_wide_beam_finds_the_best_of_all_sequences(
    beam_size: int, length_penalty: float
) -> None:
    """Of three words there are 4 + 16 + 64 translations: none is left out."""
    for sentence in range(3):
        (found,) = search([sentence], beam_size, length_penalty, 3, num_hypotheses=84)
        assert_equal(found, all_sequences(sentence, 3, length_penalty))


def test_beam_of_one_takes_the_best_word_each_time() -> None:
    for sentence in range(20):
        table, log_prob = Table([sentence], 1), 0.0
        words: list[int] = []
        for _ in range(8):
            log_probs = allowed(table, sentence, tuple(words))
            word = int(log_probs.argmax())
            log_prob += float(log_probs[word])
            if word == EOS:
                break
            words.append(word)
        length = min(len(words) + 1, 8)
        expected = Hypothesis(words, log_prob / length, log_prob)
        assert_equal(search([sentence], 1, max_length=8)[0], [expected])


def test_wider_beams_are_never_worse_when_scores_are_not_normalised() -> None:
    """And strictly better somewhere: otherwise the beam would be of no use."""
    found = {
        beam: [h[0].log_prob for h in search(range(15), beam, 0, 4)]
        for beam in (1, 100)
    }
    gains = [b - a for a, b in zip(found[1], found[100], strict=True)]
    assert min(gains) > -1e-5
    assert max(gains) > 0.1


@pytest.mark.parametrize("beam_size", [1, 2, 4, 7])
def test_sentences_do_not_see_each_other(beam_size: int) -> None:
    together = search(range(12), beam_size, max_length=9, num_hypotheses=beam_size)
    for sentence, found in enumerate(together):
        alone = search([sentence], beam_size, max_length=9, num_hypotheses=beam_size)
        assert_equal(found, alone[0])


@pytest.mark.parametrize("beam_size", [2, 5])
def test_n_best_lists_are_sorted_and_distinct(beam_size: int) -> None:
    for found in search(range(12), beam_size, 0.6, 7, num_hypotheses=beam_size):
        assert len(found) == beam_size
        assert [h.score for h in found] == sorted(h.score for h in found)[::-1]
        assert len({tuple(h.tokens) for h in found}) == beam_size
        for hypothesis in found:
            assert 0 < len(hypothesis.tokens) <= 7
            assert EOS not in hypothesis.tokens
            length = min(len(hypothesis.tokens) + 1, 7)
            expected = hypothesis.log_prob / length**0.6
            assert hypothesis.score == pytest.approx(expected)


def test_empty_translation_is_not_allowed() -> None:
    class Silent(Table):
        def log_probs(self, sentence: int, prefix: tuple[int, ...]) -> Tensor:
            logits = torch.arange(SIZE, dtype=torch.float)
            logits[EOS] = 20
            return logits.log_softmax(-1)

    for beam_size in (1, 3):
        ((best, *_),) = beam_search(Silent([0], beam_size), 1, beam_size, 1.0, 5)
        assert best.tokens == [SIZE - 1]


def test_longest_translation_counts_eos() -> None:
    class Talkative(Table):
        def log_probs(self, sentence: int, prefix: tuple[int, ...]) -> Tensor:
            logits = torch.tensor([3.0, 2, 1, -50, 0])
            return logits.log_softmax(-1)

    (found,) = beam_search(Talkative([0], 2), 1, 2, 1.0, 6, 2)
    assert found[0].tokens == [0] * 6
    # which of the six equal second-best places is left open
    assert sorted(found[1].tokens) == [0] * 5 + [1]


def test_more_hypotheses_than_beams_is_an_error() -> None:
    with pytest.raises(UserError, match="3 hypotheses need a beam of at least that"):
        search([0], beam_size=2, num_hypotheses=3)


def test_ensemble_is_the_mean_of_probabilities() -> None:
    tokens = torch.full((6,), BOS)
    decoders = [Table(range(3), 2, seed) for seed in (1, 2, 3)]
    singles = [Table(range(3), 2, seed).step(tokens).exp() for seed in (1, 2, 3)]
    found = Ensemble(decoders).step(tokens).exp()
    torch.testing.assert_close(found, sum(singles) / 3)
    torch.testing.assert_close(found.sum(-1), torch.ones(6))


def test_ensemble_of_equal_models_is_one() -> None:
    decoders = [Table(range(6), 3), Table(range(6), 3)]
    found = beam_search(Ensemble(decoders), 6, 3, 1.0, 8, 3)
    for ours, expected in zip(found, search(range(6), 3, 1.0, 8, 3), strict=True):
        assert_equal(ours, expected)
