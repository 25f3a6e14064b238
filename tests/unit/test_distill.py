"""Training text made by a teacher."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from a2d import distill as distill_module
from a2d.config import Decode, DistillJob
from a2d.distill import choose, distill
from a2d.search import Hypothesis
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
    distill(job, backend, vocabs, (folder / "src", folder / "tgt"), out, record)
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


def test_chunks_change_nothing(
    vocabs: tuple[Vocab, Vocab], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distill_module, "CHUNK_LINES", 2)
    backend, record = run_distill("best", vocabs, tmp_path)
    assert (tmp_path / "out/tgt").read_text() == "one\nthree\nfour five nine\n"
    assert len(backend.asked) == 2
    assert record["sentences"] == 3


def test_choice() -> None:
    nbest = [Translation(text, 0, 0) for text in ("a b", "a b c", "a")]
    assert choose(nbest, "a b c", "best") is nbest[0]
    assert choose(nbest, "a b c", "closest") is nbest[1]
