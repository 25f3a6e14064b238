"""Training text made by a teacher."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sacrebleu
import torch

from a2d import distill as distill_module
from a2d.config import Decode
from a2d.distill import choose, distill, distill_shard, renormalised
from a2d.hypothesis import Hypothesis
from a2d.initialize import load_model
from a2d.jobs import DistillJob
from a2d.reference import TorchBackend
from a2d.section import UserError
from a2d.translate import Translation, translate
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
        self.asked: list[tuple[int, int, int]] = []

    def search(
        self, sources: Sequence[Sequence[int]], decode: Decode, num_hypotheses: int
    ) -> list[list[Hypothesis]]:
        self.asked.append((len(sources), decode.beam_size, num_hypotheses))
        src_vocab, tgt_vocab = self.vocabs
        return [
            [
                Hypothesis(tgt_vocab.encode([text])[0], log_prob / 2, log_prob)
                for text, log_prob in NBEST[line][:num_hypotheses]
            ]
            for line in src_vocab.decode(sources)
        ]


class Made:
    """What one teacher made of the three sentences."""

    def __init__(
        self, how: str, vocabs: tuple[Vocab, Vocab], folder: Path, shards: int = 1
    ) -> None:
        gold = folder / "src", folder / "tgt"
        for path, lines in zip(gold, (SOURCES, REFERENCES), strict=True):
            path.write_text("".join(f"{line}\n" for line in lines))
        job = DistillJob.model_validate(
            {"beam_size": 8, "choose": how, "shards": shards, "decode": DECODE}
        )
        self.backend = Canned(vocabs)
        paths = [folder / f"{i}.tsv" for i in range(1, shards + 1)]
        for i, path in enumerate(paths, 1):
            distill_shard(job, self.backend, vocabs, gold, i, shards, path)
        out = folder / "out/src", folder / "out/tgt"
        weights, record = folder / "out/weights", folder / "out/record.json"
        distill(job, [folder / "teacher"], gold, paths, out, weights, record)
        self.src, self.tgt = (path.read_text().splitlines() for path in out)
        self.weights = [float(line) for line in weights.read_text().splitlines()]
        self.record: dict[str, Any] = json.loads(record.read_text())
        self.shards = [path.read_text() for path in paths]


def test_seq_kd_takes_the_most_probable(
    vocabs: tuple[Vocab, Vocab], tmp_path: Path
) -> None:
    made = Made("best", vocabs, tmp_path)
    assert made.src == SOURCES
    assert made.tgt == ["one", "three", "four five nine"]
    assert made.weights == [1, 1, 1]
    assert {asked[1:] for asked in made.backend.asked} == {(8, 1)}
    assert made.record["sentences"] == 3
    assert made.record["mean_log_prob"] == pytest.approx((-1 - 0.5 - 1.5) / 3)
    assert made.record["equal_to_reference"] == pytest.approx(1 / 3)
    assert made.record["settings"]["beam_size"] == 8
    assert made.record["settings"]["choose"] == "best"
    assert made.record["settings"]["decode"] == DECODE.model_dump()


def test_seq_inter_takes_the_closest(
    vocabs: tuple[Vocab, Vocab], tmp_path: Path
) -> None:
    made = Made("closest", vocabs, tmp_path)
    assert made.src == SOURCES
    assert made.tgt == ["one two", "three", "four five nine"]
    assert made.weights == [1, 1, 1]
    assert {asked[1:] for asked in made.backend.asked} == {(8, 8)}
    assert made.record["mean_log_prob"] == pytest.approx((-2 - 0.5 - 1.5) / 3)
    assert made.record["equal_to_reference"] == pytest.approx(2 / 3)


def test_n_best_takes_all_weighted_by_probability(
    vocabs: tuple[Vocab, Vocab], tmp_path: Path
) -> None:
    made = Made("nbest", vocabs, tmp_path)
    assert made.src == [source for source in SOURCES for _ in range(2)]
    assert made.tgt == [text for source in SOURCES for text, _ in NBEST[source]]
    # e^-1 / (e^-1 + e^-2) = 1 / (1 + 1/e), and so on
    lead = [1 / (1 + math.exp(-gap)) for gap in (1, 0.1, 1)]
    assert made.weights == pytest.approx([w for p in lead for w in (p, 1 - p)])
    assert {asked[1:] for asked in made.backend.asked} == {(8, 8)}
    means = [
        lead[0] * -1.0 + (1 - lead[0]) * -2.0,
        lead[1] * -0.5 + (1 - lead[1]) * -0.6,
        lead[2] * -1.5 + (1 - lead[2]) * -2.5,
    ]
    assert made.record["sentences"] == 3
    assert made.record["mean_log_prob"] == pytest.approx(sum(means) / 3)
    # `one two` has what `one` leaves, `three` leads its list
    equal = (1 - lead[0] + lead[1]) / 3
    assert made.record["equal_to_reference"] == pytest.approx(equal)


@pytest.mark.parametrize("how", ["best", "closest", "nbest"])
@pytest.mark.parametrize("shards", [2, 3, 5])
def test_shards_change_nothing(
    how: str, shards: int, vocabs: tuple[Vocab, Vocab], tmp_path: Path
) -> None:
    whole = Made(how, vocabs, tmp_path)
    made = Made(how, vocabs, tmp_path, shards)
    assert (made.src, made.tgt, made.weights) == (whole.src, whole.tgt, whole.weights)
    assert made.record["settings"].pop("shards") == shards
    whole.record["settings"].pop("shards")
    assert made.record == whole.record
    # lines are shared out evenly; of five parts of three lines two are empty
    sizes = [shard.count("\n") for shard in made.shards]
    assert sizes == {2: [1, 2], 3: [1, 1, 1], 5: [0, 1, 0, 1, 1]}[shards]


def test_shard_is_translated_in_pieces(
    vocabs: tuple[Vocab, Vocab],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = Made("best", vocabs, tmp_path)
    monkeypatch.setattr(distill_module, "CHUNK_HYPOTHESES", 16)  # two lines
    made = Made("best", vocabs, tmp_path)
    assert [asked[0] for asked in made.backend.asked] == [2, 1]
    assert made.tgt == whole.tgt
    assert made.record == whole.record
    assert "2 of 3 sentences  0:00 left" in capsys.readouterr().err


def test_interrupted_shard_leaves_nothing(
    vocabs: tuple[Vocab, Vocab], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distill_module, "CHUNK_HYPOTHESES", 8)  # one line
    search = Canned.search

    def fail_third(self: Canned, *arguments: Any) -> list[list[Hypothesis]]:
        if len(self.asked) == 2:
            raise RuntimeError("killed")
        return search(self, *arguments)

    monkeypatch.setattr(Canned, "search", fail_third)
    with pytest.raises(RuntimeError, match="killed"):
        Made("best", vocabs, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"src", "tgt"}


def test_gathering_refuses_shards_of_another_text(
    vocabs: tuple[Vocab, Vocab], tmp_path: Path
) -> None:
    Made("best", vocabs, tmp_path, shards=3)
    job = DistillJob.model_validate(
        {"beam_size": 8, "choose": "best", "shards": 3, "decode": DECODE}
    )
    gold, out = (tmp_path / "src", tmp_path / "tgt"), (tmp_path / "a", tmp_path / "b")
    shards = [tmp_path / "1.tsv", tmp_path / "2.tsv"]
    with pytest.raises(UserError, match=r"the shards have 2 lines and .*src has 3"):
        distill(job, [], gold, shards, out, tmp_path / "c", tmp_path / "d")
    assert not any((tmp_path / name).exists() for name in "abcd")


@pytest.mark.parametrize(("shard", "shards"), [(0, 3), (4, 3), (1, 0)])
def test_shard_that_is_none_is_told(
    shard: int, shards: int, vocabs: tuple[Vocab, Vocab], tmp_path: Path
) -> None:
    Made("best", vocabs, tmp_path)
    job = DistillJob.model_validate(
        {"beam_size": 8, "choose": "best", "shards": 3, "decode": DECODE}
    )
    gold, out = (tmp_path / "src", tmp_path / "tgt"), tmp_path / "x.tsv"
    with pytest.raises(UserError, match=f"there is no shard {shard} of {shards}"):
        distill_shard(job, Canned(vocabs), vocabs, gold, shard, shards, out)
    assert not out.exists()


def test_choice() -> None:
    nbest = [Translation(text, 0, -i) for i, text in enumerate(("a b", "a b c", "a"))]
    assert choose(nbest, "a b c", "best") == {"a b": 0}
    assert choose(nbest, "a b c", "closest") == {"a b c": -1}
    assert choose(nbest, "a b c", "nbest") == {"a b": 0, "a b c": -1, "a": -2}


def test_probabilities_of_equal_texts_are_added() -> None:
    probabilities = [("a b", 0.3), ("c", 0.2), ("a b", 0.1), ("c", 0.05)]
    nbest = [Translation(text, 0, math.log(p)) for text, p in probabilities]
    found = choose(nbest, "c", "nbest")
    assert list(found) == ["a b", "c"]
    assert [math.exp(log_prob) for log_prob in found.values()] == pytest.approx(
        [0.4, 0.25]
    )
    shares = renormalised(np.array(list(found.values())))
    assert shares.tolist() == pytest.approx([0.4 / 0.65, 0.25 / 0.65])


def test_weights_of_long_sentences_do_not_vanish() -> None:
    shares = renormalised(np.array([-2000.0, -2001.0]))
    expected = torch.tensor([-2000.0, -2001.0], dtype=torch.float64).softmax(0)
    assert shares.tolist() == pytest.approx(expected.tolist())
    assert renormalised(np.array([-1e9])).tolist() == [1.0]


def test_closest_is_the_brute_force_choice_on_real_n_best_lists(
    teacher: Path, pair: Path, vocabs: tuple[Vocab, Vocab]
) -> None:
    """By sacreBLEU's own sentence BLEU of every hypothesis."""
    lines = (pair / "corpus/train.de").read_text().splitlines()[:60]
    backend = TorchBackend([load_model(teacher)], torch.device("cpu"))
    decode = DECODE.model_copy(update={"beam_size": 8, "max_length": 16})
    found = translate(backend, vocabs, lines, decode, 8)
    others = 0
    for i, nbest in enumerate(found):
        # a reference like the i-th hypothesis, so that scores are neither 0 nor equal
        reference = " ".join([*nbest[i % 8].text.split()[:-1], "zero"])
        scores = [
            sacrebleu.sentence_bleu(
                translation.text,
                [reference],
                smooth_method="exp",
                use_effective_order=True,
            ).score
            for translation in nbest
        ]
        best = max(range(8), key=scores.__getitem__)
        assert choose(nbest, reference, "closest") == {
            nbest[best].text: nbest[best].log_prob
        }
        others += best > 0
    assert others > 10
