"""Scores, against sums by hand and sacreBLEU's own interface."""

import random

import pytest
import sacrebleu

from a2d import metrics
from a2d.section import UserError

REFERENCES = [
    "The cat sat on the mat, didn't it?",
    "There is no reason to wait any longer.",
    "He sold 1,500 copies of the book in Berlin.",
]
HYPOTHESES = [
    "The cat sits on the mat, didn't it?",
    "There's no reason to wait for long.",
    "He sold 1500 copies of his book in Berlin.",
]


def corrupted(lines: list[str], rate: float, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [
        " ".join("x" if rng.random() < rate else word for word in line.split())
        for line in lines
    ]


def long_references() -> list[str]:
    rng = random.Random(1)
    words = [
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
    ]
    return [" ".join(rng.choices(words, k=12)) for _ in range(80)]


def test_bleu_by_hand() -> None:
    # precisions 4/5, 3/4, 2/3, 1/2: their geometric mean is 0.2 ** (1/4)
    found = metrics.bleu(["a b c d e"], ["a b c d f"])
    assert found == pytest.approx(100 * 0.2**0.25, abs=1e-9)
    assert metrics.bleu(["a b c d"], ["a b c d"]) == pytest.approx(100)
    # all n-grams match; brevity penalty exp(1 - 5/4)
    assert metrics.bleu(["a b c d"], ["a b c d e"]) == pytest.approx(77.8800783)


def test_scores_are_sacrebleu_s() -> None:
    found = metrics.scores(HYPOTHESES, REFERENCES)
    bleu = sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES])
    chrf = sacrebleu.corpus_chrf(HYPOTHESES, [REFERENCES])
    assert found == {
        "bleu": bleu.score,
        "chrf": chrf.score,
        "bleu_signature": "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:"
        + sacrebleu.__version__,
        "chrf_signature": "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:"
        + sacrebleu.__version__,
    }
    assert found["bleu"] == metrics.bleu(HYPOTHESES, REFERENCES)
    assert 20 < found["bleu"] < found["chrf"] < 90


def test_unequal_numbers_are_told() -> None:
    message = "2 translations cannot be scored against 3 references"
    with pytest.raises(UserError, match=message):
        metrics.scores(HYPOTHESES[:2], REFERENCES)


def test_legacy_bleu_ignores_case_and_splits_like_moses() -> None:
    upper = [line.upper() for line in REFERENCES]
    assert metrics.legacy_bleu(upper, REFERENCES, "en") == pytest.approx(100)
    # "didn 't" in English, by Moses; nothing is split after that
    found = metrics.legacy_bleu(["he didn't go ."], ["he didn't go."], "en")
    assert found == pytest.approx(100)
    by_hand = sacrebleu.corpus_bleu(
        ["he didn 't go & stay ."], [["he didn 't go & sleep ."]], tokenize="none"
    )
    found = metrics.legacy_bleu(
        ["He didn't go & stay."], ["he didn't go & sleep."], "en"
    )
    assert found == pytest.approx(by_hand.score)


def test_closest_is_the_best_by_sentence_bleu() -> None:
    for seed, reference in enumerate(REFERENCES + long_references()[:10]):
        nbest = [
            *corrupted([reference] * 6, 0.4, seed),
            *HYPOTHESES,
        ]
        scores = [
            sacrebleu.sentence_bleu(hypothesis, [reference]).score
            for hypothesis in nbest
        ]
        chosen = metrics.closest(nbest, reference)
        assert scores[chosen] == max(scores)
        assert chosen == scores.index(max(scores))


def test_closest_handles_short_and_equal_translations() -> None:
    assert metrics.closest(["nothing", "good", "good"], "good") == 1
    assert metrics.closest(["", "x", "y"], "a b") == 0


def test_bootstrap_of_equal_systems_shows_no_difference() -> None:
    references = long_references()
    system = corrupted(references, 0.3, 1)
    found = metrics.paired_bootstrap(references, system, list(system), 200)
    assert {name: row["delta"] for name, row in found.items()} == {"bleu": 0, "chrf": 0}
    assert all(row["p_value"] > 0.05 for row in found.values())


def test_bootstrap_of_a_better_system() -> None:
    references = long_references()
    bad, good = (corrupted(references, rate, 1) for rate in (0.5, 0.2))
    better = metrics.paired_bootstrap(references, bad, good, 200)
    worse = metrics.paired_bootstrap(references, good, bad, 200)
    for name, score in (
        ("bleu", sacrebleu.corpus_bleu),
        ("chrf", sacrebleu.corpus_chrf),
    ):
        delta = score(good, [references]).score - score(bad, [references]).score
        assert better[name]["delta"] == pytest.approx(delta)
        assert worse[name]["delta"] == pytest.approx(-delta)
        assert better[name]["p_value"] < 0.01
        assert worse[name]["p_value"] < 0.01
