"""Segmented text on disk equals the one read, and faults of its files are told."""

from pathlib import Path

import numpy as np
import pytest

from a2d import encode as encode_module
from a2d.data import ParallelData
from a2d.encode import encode, encoding, write_weights
from a2d.files import sha256_of
from a2d.section import UserError
from a2d.vocab import Vocab, train_vocab


def test_encoded_text_equals_the_one_read(
    pair: Path, vocabs: tuple[Vocab, Vocab], tmp_path: Path
) -> None:
    text = pair / "corpus/valid.de", pair / "corpus/valid.en"
    models = vocabs[0].path, vocabs[1].path
    encode(text, models, tmp_path / "tokens", threads=2)
    both = [pair / "corpus/train.tokens", tmp_path / "tokens"]
    read, opened = ParallelData.read([text], vocabs), ParallelData.open(both, vocabs)
    assert len(opened) == 300 + 20
    for side in ("src", "tgt"):
        before, after = getattr(read, side), getattr(opened, side)
        assert [after[300 + i].tolist() for i in range(20)] == [
            before[i].tolist() for i in range(20)
        ]
        assert after.lengths[300:].tolist() == before.lengths.tolist()
    lines = (pair / "corpus/train.de").read_text().splitlines()
    assert vocabs[0].decode([opened.src[i].tolist() for i in (0, 299)]) == [
        lines[0],
        lines[299],
    ]
    size = (tmp_path / "tokens/src.npy").stat().st_size
    assert size == 128 + 4 * read.src.lengths.sum()


def test_encoding_in_chunks_gives_the_same_files(
    pair: Path,
    vocabs: tuple[Vocab, Vocab],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = pair / "corpus/train.de", pair / "corpus/train.en"
    monkeypatch.setattr(encode_module, "ENCODE_LINES", 7)
    encode(text, (vocabs[0].path, vocabs[1].path), tmp_path / "tokens", threads=1)
    whole = {p.name: p.read_bytes() for p in (pair / "corpus/train.tokens").iterdir()}
    assert {p.name: p.read_bytes() for p in (tmp_path / "tokens").iterdir()} == whole
    assert len(whole) == 5


def test_encoded_text_has_weights(
    pair: Path, vocabs: tuple[Vocab, Vocab], tmp_path: Path
) -> None:
    text = pair / "corpus/valid.de", pair / "corpus/valid.en"
    models = vocabs[0].path, vocabs[1].path
    gold, weighted, weights = (tmp_path / n for n in ("gold", "weighted", "weights"))
    weights.write_text("".join(f"{i / 8}\n" for i in range(20)))
    encode(text, models, gold, threads=1)
    encode(text, models, weighted, 1, weights)
    data = ParallelData.open([gold, weighted], vocabs)
    assert data.weights.dtype == np.float32
    assert data.weights.tolist() == [1] * 20 + [i / 8 for i in range(20)]
    assert data.batch(np.array([39, 21, 3])).weights.tolist() == [19 / 8, 1 / 8, 1]
    # trainings tell texts by these hashes
    hashes = [encoding(folder)["text_sha256"] for folder in (gold, weighted)]
    assert hashes[1] == [*hashes[0], sha256_of(weights)]

    weights.write_text("1\n2\n")
    with pytest.raises(UserError, match="weights has 2 lines and the text has 20"):
        encode(text, models, tmp_path / "short", 1, weights)
    assert not (tmp_path / "short").exists()


@pytest.mark.parametrize("wrong", ["many", "", "nan", "inf", "-0.5"])
def test_line_that_is_no_weight_is_told(wrong: str, tmp_path: Path) -> None:
    path = tmp_path / "train.weights"
    path.write_text(f"1\n0\n{wrong}\n0.5\n")
    with pytest.raises(UserError, match=r"train\.weights: line 3 is no weight"):
        write_weights(path, tmp_path / "weights.npy", 4)
    assert not (tmp_path / "weights.npy").exists()


def test_open_refuses_another_vocabulary_and_an_empty_folder(
    pair: Path, vocabs: tuple[Vocab, Vocab], tmp_path: Path
) -> None:
    train_vocab([pair / "corpus/train.de"], tmp_path / "other.spm", 320, "bpe")
    other = Vocab(tmp_path / "other.spm")
    with pytest.raises(UserError, match="encoded with another vocabulary"):
        ParallelData.open([pair / "corpus/train.tokens"], (vocabs[0], other))
    with pytest.raises(UserError, match="there is no encoded text"):
        ParallelData.open([tmp_path], vocabs)


def test_read_and_encode_refuse_unequal_and_empty_files(
    vocabs: tuple[Vocab, Vocab], tmp_path: Path
) -> None:
    long, short, none = (tmp_path / name for name in ("long", "short", "none"))
    long.write_text("eins\nzwei\n")
    short.write_text("one\n")
    none.write_text("")
    with pytest.raises(ValueError, match=r"long has 2 lines and .*short has 1") as told:
        ParallelData.read([(long, short)], vocabs)
    assert isinstance(told.value, UserError)  # so that the command line tells it
    models = vocabs[0].path, vocabs[1].path
    with pytest.raises(UserError, match="none: no sentences"):
        encode((none, none), models, tmp_path / "tokens", threads=1)
    assert not (tmp_path / "tokens").exists()
