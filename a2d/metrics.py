"""Scores of translations, all of them sacreBLEU's (Post 2018), on detokenised text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest, Result
from sacremoses import MosesTokenizer

from a2d.section import UserError


def scores(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """BLEU and chrF of a corpus (0 to 100) with their signatures.

    Raises:
        UserError: if there are not as many hypotheses as references.
    """
    if len(hypotheses) != len(references):
        raise UserError(
            f"{len(hypotheses)} translations cannot be scored against "
            f"{len(references)} references"
        )
    found: dict[str, Any] = {}
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF())):
        found[name] = metric.corpus_score(list(hypotheses), [list(references)]).score
        found[f"{name}_signature"] = str(metric.get_signature())
    return found


def legacy_bleu(
    hypotheses: Sequence[str], references: Sequence[str], language: str
) -> float:
    """BLEU (0 to 100) of lower-cased text in Moses' tokens.

    For comparison with figures of toolkits that published it, among them the authors
    of Align-to-Distill; never with detokenised BLEU.
    """
    moses = MosesTokenizer(language)
    hypotheses, references = (
        [moses.tokenize(line.lower(), return_str=True, escape=False) for line in lines]
        for lines in (hypotheses, references)
    )
    metric = BLEU(tokenize="none", force=True)
    return metric.corpus_score(hypotheses, [references]).score


def bleu(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Corpus BLEU (0 to 100)."""
    return BLEU().corpus_score(list(hypotheses), [list(references)]).score


def closest(hypotheses: Sequence[str], reference: str) -> int:
    """Index of the hypothesis with the highest smoothed sentence-BLEU, first of equals.

    The choice of Seq-Inter (Kim and Rush 2016, section 3.3).
    """
    metric = BLEU(smooth_method="exp", effective_order=True)
    found = [metric.sentence_score(h, [reference]).score for h in hypotheses]
    return found.index(max(found))


def paired_bootstrap(
    references: Sequence[str],
    baseline: Sequence[str],
    system: Sequence[str],
    samples: int,
) -> dict[str, dict[str, float]]:
    """Paired bootstrap resampling (Koehn 2004) of a system against a baseline.

    Returns:
        For `bleu` and `chrf` the difference `delta` and its two-sided `p_value`.
    """
    _, found = PairedTest(
        [("baseline", list(baseline)), ("system", list(system))],
        {"bleu": BLEU(), "chrf": CHRF()},
        [list(references)],
        test_type="bs",
        n_samples=samples,
    )()
    table: dict[str, dict[str, float]] = {}
    for name, column in (("bleu", "BLEU"), ("chrf", "chrF2")):
        first, second = (cell for cell in found[column] if isinstance(cell, Result))
        assert second.p_value is not None
        delta = second.score - first.score
        # sacreBLEU calls equal scores a significant difference
        p_value = second.p_value if delta else 1.0
        table[name] = {"delta": delta, "p_value": p_value}
    return table
