"""Training text made by a teacher."""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TextIO

import pytest

from a2d import distill as distill_module
from a2d.config import Decode, DistillJob
from a2d.distill import choose, distill
from a2d.files import atomic_write
from a2d.hypothesis import Hypothesis
from a2d.translate import Translation
from a2d.vocab import Vocab

DECODE = Decode(
    beam_size=5, length_penalty=1.0, max_tokens=999, max_length=50, backend="torch"
)
SOURCES = ["eins zwei", "drei", "vier fünf sechs"]
REFERENCES = ["one two", "three", "four five six"]
NBEST = {
    "eins zwei": [("one", -1.0), ("one two", -2.0)],
    "drei": [("three", -0.5), ("tree", -0.6)],
    "vier fünf sechs": [("four five nine", -1.5), ("four", -2.5)],
}


class Canned:
    """Knows three sentences."""

    workers = 1

    def __init__(self, vocabs: tuple[Vocab, Vocab]) -> None:
        self.vocabs = vocabs
        self.asked: list[tuple[int, int]] = []

    def search(
        self, sources: Sequence[Sequence[int]], decode: Decode, num_hypotheses: int
    ) -> list[list[Hypothesis]]:
        self.asked.append((decode.beam_size, num_hypotheses))
        src_vocab, tgt_vocab = self.vocabs
        return [
            [
                Hypothesis(tgt_vocab.encode([text])[0], log_prob / 2, log_prob)
                for text, log_prob in NBEST[line][:num_hypotheses]
            ]
            for line in src_vocab.decode(sources)
        ]


def run_distill(
    how: str, vocabs: tuple[Vocab, Vocab], folder: Path
) -> tuple[Canned, dict[str, object]]:
    (folder / "src").write_text("".join(f"{line}\n" for line in SOURCES))
    (folder / "tgt").write_text("".join(f"{line}\n" for line in REFERENCES))
    job = DistillJob.model_validate({"beam_size": 8, "choose": how, "decode": DECODE})
    backend = Canned(vocabs)
    out = folder / "out/src", folder / "out/tgt"
    record = folder / "out/record.json"
    (folder / "model.safetensors").write_text("weights")
    gold = folder / "src", folder / "tgt"
    distill(job, backend, vocabs, [folder], gold, out, record)
    assert not (folder / "out/shards").exists()
    assert out[0].read_text().splitlines() == SOURCES
    return backend, json.loads(record.read_text())


def test_seq_kd_takes_the_most_probable(
    vocabs: tuple[Vocab, Vocab], tmp_path: Path
) -> None:
    backend, record = run_distill("best", vocabs, tmp_path)
    text = (tmp_path / "out/tgt").read_text()
    assert text == "one\nthree\nfour five nine\n"
    assert set(backend.asked) == {(8, 1)}
    assert record["sentences"] == 3
    assert record["mean_log_prob"] == pytest.approx((-1 - 0.5 - 1.5) / 3)
    assert record["equal_to_reference"] == pytest.approx(1 / 3)
    assert record["settings"]["beam_size"] == 8  # type: ignore[index]
    assert record["settings"]["choose"] == "best"  # type: ignore[index]


def test_seq_inter_takes_the_closest(
    vocabs: tuple[Vocab, Vocab], tmp_path: Path
) -> None:
    backend, record = run_distill("closest", vocabs, tmp_path)
    text = (tmp_path / "out/tgt").read_text()
    assert text == "one two\nthree\nfour five nine\n"
    assert set(backend.asked) == {(8, 8)}
    assert record["mean_log_prob"] == pytest.approx((-2 - 0.5 - 1.5) / 3)
    assert record["equal_to_reference"] == pytest.approx(2 / 3)


def test_shards_change_nothing(
    vocabs: tuple[Vocab, Vocab], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = run_distill("best", vocabs, tmp_path)
    monkeypatch.setattr(distill_module, "SHARD_HYPOTHESES", 16)  # two lines
    backend, record = run_distill("best", vocabs, tmp_path)
    assert (tmp_path / "out/tgt").read_text() == "one\nthree\nfour five nine\n"
    assert len(backend.asked) == 2
    assert record == whole


def test_goes_on_at_the_first_missing_shard(
    vocabs: tuple[Vocab, Vocab],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(distill_module, "SHARD_HYPOTHESES", 8)  # one line
    search, searches = Canned.search, 0

    def fail_third(self: Canned, *arguments: Any) -> list[list[Hypothesis]]:
        nonlocal searches
        searches += 1
        if searches == 3:
            raise RuntimeError("killed")
        return search(self, *arguments)

    monkeypatch.setattr(Canned, "search", fail_third)
    with pytest.raises(RuntimeError, match="killed"):
        run_distill("best", vocabs, tmp_path)
    assert not (tmp_path / "out/tgt").exists()
    assert "2 of 3 sentences  0:00 left" in capsys.readouterr().err
    backend, record = run_distill("best", vocabs, tmp_path)
    assert len(backend.asked) == 1
    assert (tmp_path / "out/tgt").read_text() == "one\nthree\nfour five nine\n"
    assert record["mean_log_prob"] == pytest.approx((-1 - 0.5 - 1.5) / 3)


def test_shards_of_other_settings_are_not_taken(
    vocabs: tuple[Vocab, Vocab], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as interrupted:
        interrupted.setattr(distill_module, "atomic_write", fail_after(1))
        with pytest.raises(OSError, match="disk full"):
            run_distill("best", vocabs, tmp_path)
    assert len(list(tmp_path.glob("out/shards/*/000000.tsv"))) == 1
    backend, _ = run_distill("closest", vocabs, tmp_path)
    assert len(backend.asked) == 1
    assert (tmp_path / "out/tgt").read_text() == "one two\nthree\nfour five nine\n"


def fail_after(times: int) -> Callable[[Path], AbstractContextManager[TextIO]]:
    """`atomic_write` that works a few times."""
    left = times

    def write(path: Path) -> AbstractContextManager[TextIO]:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError("disk full")
        return atomic_write(path)

    return write


def test_choice() -> None:
    nbest = [Translation(text, 0, 0) for text in ("a b", "a b c", "a")]
    assert choose(nbest, "a b c", "best") is nbest[0]
    assert choose(nbest, "a b c", "closest") is nbest[1]
