"""Translating lines of text."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from a2d.config import Decode, Run
from a2d.hypothesis import Hypothesis
from a2d.initialize import load_model
from a2d.reference import TorchBackend
from a2d.section import UserError
from a2d.translate import Translation, open_models, translate
from a2d.vocab import Vocab

BEAM = Decode(
    beam_size=3, length_penalty=1.0, max_tokens=90, max_length=12, backend="torch"
)
LINES = ["eins zwei drei", "", "vier", "elf zwölf elf zwölf elf", "   ", "null null"]


class Echo:
    """Says each source backwards, and once more as it is; remembers the batches."""

    workers = 1

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def search(
        self, sources: Sequence[Sequence[int]], decode: Decode, num_hypotheses: int
    ) -> list[list[Hypothesis]]:
        self.batches.append([len(source) for source in sources])
        return [
            [
                Hypothesis(list(source)[::-1], -0.5, -2.0),
                Hypothesis(list(source), -1.0, -4.0),
            ][:num_hypotheses]
            for source in sources
        ]


def test_lines_keep_their_order_and_empty_ones_stay_empty(
    vocabs: tuple[Vocab, Vocab],
) -> None:
    backend = Echo()
    found = translate(backend, vocabs, LINES, BEAM, num_hypotheses=2)
    assert [nbest[-1].text for nbest in found] == [line.strip() for line in LINES]
    assert found[0][1] == Translation("eins zwei drei", -1.0, -4.0)
    assert (found[0][0].score, found[0][0].log_prob) == (-0.5, -2.0)
    assert found[1] == found[4] == [Translation("", 0.0, 0.0)]


def test_batches_hold_like_lengths_within_the_budget(
    vocabs: tuple[Vocab, Vocab],
) -> None:
    backend = Echo()
    lines = [" ".join(["eins"] * (1 + i * 7 % 20)) for i in range(40)]
    translate(backend, vocabs, lines, BEAM)
    lengths = [length for batch in backend.batches for length in batch]
    assert lengths == sorted(lengths, reverse=True)
    assert len(lengths) == 40
    # 90 tokens for three beams are 30 source tokens, EOS and padding included
    for batch in backend.batches:
        assert len(batch) == 1 or len(batch) * (max(batch) + 1) <= 30
    assert len(backend.batches) < 40


def test_nothing_to_translate(vocabs: tuple[Vocab, Vocab]) -> None:
    assert translate(Echo(), vocabs, [], BEAM) == []
    assert translate(Echo(), vocabs, [""], BEAM) == [[Translation("", 0.0, 0.0)]]


def test_batches_do_not_change_the_translation(
    teacher: Path, vocabs: tuple[Vocab, Vocab]
) -> None:
    backend = TorchBackend([load_model(teacher)], torch.device("cpu"))
    together = translate(backend, vocabs, LINES, BEAM, num_hypotheses=3)
    for line, nbest in zip(LINES, together, strict=True):
        (alone,) = translate(backend, vocabs, [line], BEAM, num_hypotheses=3)
        assert [t.text for t in alone] == [t.text for t in nbest]
        for ours, theirs in zip(alone, nbest, strict=True):
            assert ours.log_prob == pytest.approx(theirs.log_prob, abs=1e-4)


def test_log_probability_is_that_of_the_model(
    teacher: Path, vocabs: tuple[Vocab, Vocab]
) -> None:
    """Score each hypothesis by a teacher-forced pass over what was found."""
    model = load_model(teacher)
    backend = TorchBackend([model], torch.device("cpu"))
    sources = vocabs[0].encode(["eins zwei drei", "vier"])
    for source, nbest in zip(sources, backend.search(sources, BEAM, 3), strict=True):
        for found in nbest:
            words = [*found.tokens, 3][:12]
            hidden = model(
                torch.tensor([[*source, 3]]), torch.tensor([[2, *words[:-1]]])
            ).hidden
            logits = model.projection(hidden)[0]
            logits[0, 3] = -torch.inf  # no translation is empty
            log_probs = logits.log_softmax(-1)
            total = float(log_probs[range(len(words)), words].sum())
            assert found.log_prob == pytest.approx(total, abs=1e-3)
            assert found.score == pytest.approx(total / len(words), abs=1e-3)


def test_ensemble_of_one_model_twice_is_that_model(
    teacher: Path, vocabs: tuple[Vocab, Vocab]
) -> None:
    one, _ = open_models([teacher], "torch", threads=1)
    two, _ = open_models([teacher, teacher], "torch", threads=1)
    single, double = (translate(b, vocabs, LINES, BEAM) for b in (one, two))
    assert [n[0].text for n in single] == [n[0].text for n in double]
    for (ours,), (theirs,) in zip(single, double, strict=True):
        assert ours.log_prob == pytest.approx(theirs.log_prob, abs=1e-4)


def test_ensembles_are_decoded_by_torch(teacher: Path) -> None:
    backend, (src_vocab, tgt_vocab) = open_models([teacher] * 2, "ctranslate2", 1)
    assert isinstance(backend, TorchBackend)
    assert len(backend.models) == 2
    assert (src_vocab.path.name, tgt_vocab.path.name) == ("de.spm", "en.spm")


def test_folders_without_a_model_are_told(
    pair: Path,
    make_run: Callable[..., Run],
    make_trained: Callable[..., Path],
    tmp_path: Path,
) -> None:
    with pytest.raises(
        UserError, match=r"nothing: neither an exported model nor a run folder"
    ):
        open_models([tmp_path / "nothing"], "torch", 1)
    trained = make_trained(make_run("untold"), pair / "untold/seed1")
    with pytest.raises(UserError, match="ctranslate2: there is no exported model"):
        open_models([trained], "ctranslate2", 1)
    (trained / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors: there are no weights"):
        open_models([trained], "torch", 1)


def test_progress_is_shown_with_the_time_left(
    vocabs: tuple[Vocab, Vocab],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = iter(range(0, 1000, 5))
    monkeypatch.setattr("a2d.translate.time.monotonic", lambda: float(next(now)))
    lines = ["eins"] * 4
    decode = BEAM.model_copy(update={"max_tokens": 1})
    translate(Echo(), vocabs, lines, decode, name="toy")
    assert capsys.readouterr().err.splitlines() == [
        "[toy] 25 % translated  0:15 left",
        "[toy] 50 % translated  0:10 left",
        "[toy] 75 % translated  0:05 left",
        "[toy] 100 % translated  0:00 left",
    ]
    translate(Echo(), vocabs, lines, decode)
    assert capsys.readouterr().err == ""
