"""Scores and speeds of systems."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import sacrebleu
import torch

from a2d import evaluate as evaluate_module
from a2d.checkpoint import count_parameters
from a2d.config import Run
from a2d.evaluate import evaluate, greedily, measure_speed
from a2d.export import export
from a2d.initialize import load_model
from a2d.jobs import EvaluateJob
from a2d.reference import TorchBackend
from a2d.section import parse
from a2d.translate import translate
from a2d.vocab import Vocab

SOURCES = ["eins zwei drei", "vier fünf", "sechs sieben acht neun"]
REFERENCES = ["one two three", "four five", "six seven eight nine"]


@pytest.fixture
def job() -> EvaluateJob:
    values = {
        "evaluate": {
            "baseline": "student",
            "bootstrap_samples": 10,
            "speed_sentences": 2,
            "speed_repetitions": 3,
            "speed_reference": "slow",
        },
        "decode": {
            "beam_size": 3,
            "length_penalty": 1,
            "max_tokens": 1000,
            "max_length": 8,
            "backend": "torch",
        },
    }
    return parse(EvaluateJob, values)


@pytest.fixture
def trained(
    pair: Path, make_run: Callable[..., Run], make_trained: Callable[..., Path]
) -> Path:
    return make_trained(make_run("slow"), pair / "slow/seed1")


def test_facts_of_a_system(
    job: EvaluateJob, trained: Path, vocabs: tuple[Vocab, Vocab]
) -> None:
    facts, beam, greedy = evaluate(job.decode, trained, SOURCES, REFERENCES, "test", 1)
    backend = TorchBackend([load_model(trained)], torch.device("cpu"))
    expected = [n[0] for n in translate(backend, vocabs, SOURCES, job.decode)]
    one_beam = greedily(job.decode)
    assert (one_beam.beam_size, one_beam.length_penalty) == (1, 1)
    assert beam == [found.text for found in expected]
    assert greedy == [n[0].text for n in translate(backend, vocabs, SOURCES, one_beam)]
    named = ("dataset", "pair", "system", "seed", "testset", "sentences", "beam_size")
    assert [facts[key] for key in named] == [
        "toy",
        "de-en",
        "slow",
        1,
        "test",
        3,
        3,
    ]
    assert facts["beam"]["bleu"] == sacrebleu.corpus_bleu(beam, [REFERENCES]).score
    assert facts["greedy"]["chrf"] == sacrebleu.corpus_chrf(greedy, [REFERENCES]).score
    probabilities = [math.exp(found.log_prob) for found in expected]
    assert facts["argmax_probability"] == pytest.approx(sum(probabilities) / 3)
    model = load_model(trained)
    assert facts["parameters"] == count_parameters(model)
    counted = sum(int((parameter != 0).sum()) for parameter in model.parameters())
    assert facts["nonzero_parameters"] == counted
    size = (trained / "model.safetensors").stat().st_size
    assert facts["megabytes"] == pytest.approx(size / 1e6)
    assert 0.8 * size < 1e6 * facts["compressed_megabytes"] < size  # it is all noise


def test_legacy_score_is_in_the_language_of_the_test_set(
    job: EvaluateJob, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    languages = []
    monkeypatch.setattr(
        evaluate_module,
        "legacy_bleu",
        lambda hypotheses, references, language: languages.append(language),
    )
    for testset in ("test", "test.de-fr"):
        evaluate(job.decode, trained, SOURCES, REFERENCES, testset, 1)
    assert languages == ["en", "fr"]


def test_speed_is_relative_to_the_reference_s_beam(
    job: EvaluateJob,
    pair: Path,
    trained: Path,
    make_run: Callable[..., Run],
    make_trained: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A clock that counts the search: greedy takes 1 s, beam 4 s, a fast model half."""
    other = make_trained(make_run("fast"), pair / "fast/seed1")
    for folder in (trained, other):
        export(
            folder,
            (pair / "vocab/de.spm", pair / "vocab/en.spm"),
            folder / "ctranslate2",
        )
    now = [0.0]
    order = []
    folders = {}

    def open_models(paths: list[Path], backend: str, threads: int) -> tuple[str, str]:
        assert (backend, threads) == ("ctranslate2", 2)
        folders[paths[0]] = paths[0].parent.name
        return folders[paths[0]], "vocabs"

    def translate(name: str, vocabs: str, sources: list[str], decode: object) -> None:
        beam = getattr(decode, "beam_size")  # noqa: B009
        order.append((name, beam, len(sources)))
        now[0] += (1 if beam == 1 else 4) * (1 if name == "slow" else 0.5)

    monkeypatch.setattr("a2d.evaluate.open_models", open_models)
    monkeypatch.setattr("a2d.evaluate.translate", translate)
    monkeypatch.setattr("a2d.evaluate.time.perf_counter", lambda: now[0])
    rows = measure_speed(job, [other, trained], SOURCES, 2)
    one_round = [("fast", 1, 2), ("fast", 3, 2), ("slow", 1, 2), ("slow", 3, 2)]
    assert order == one_round * 4  # the first warms up
    found = [
        (r["system"], r["seed"], r["search"], r["sentences_per_second"], r["speedup"])
        for r in rows
    ]
    assert found == [
        ("fast", 1, "greedy", 4.0, 8.0),
        ("fast", 1, "beam", 1.0, 2.0),
        ("slow", 1, "greedy", 2.0, 4.0),
        ("slow", 1, "beam", 0.5, 1.0),
    ]
    assert all(
        (r["lowest"], r["highest"]) == (r["sentences_per_second"],) * 2 for r in rows
    )
    assert {(r["backend"], r["threads"]) for r in rows} == {("ctranslate2 on cpu", 2)}
