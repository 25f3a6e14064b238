"""SentencePiece vocabularies."""

from pathlib import Path

import pytest

from a2d import vocab as vocab_module
from a2d.config import BOS, EOS, PAD, UNK
from a2d.section import UserError
from a2d.vocab import Vocab, train_vocab


def test_text_survives_segmentation(vocabs: tuple[Vocab, Vocab]) -> None:
    lines = [
        "eins zwei drei",
        "fünf",
        "",
        "nie gesehen: Žluťoučký kůň, ภาษาไทย",
        "🦄 👩‍🚀",
        "<s> </s> <unk> <pad> <0x41> ▁ sind Text",
    ]
    for vocab in vocabs:
        tokens = vocab.encode(lines)
        assert vocab.decode(tokens)[:5] == lines[:5]
        assert not {PAD, UNK, BOS, EOS} & {t for line in tokens for t in line}


def test_rare_characters_are_spelled_in_bytes(vocabs: tuple[Vocab, Vocab]) -> None:
    vocab, _ = vocabs
    (tokens,) = vocab.encode(["🦄"])
    pieces = [vocab.pieces[t] for t in tokens]
    assert pieces == ["▁", "<0xF0>", "<0x9F>", "<0xA6>", "<0x84>"]


def test_known_words_are_short(vocabs: tuple[Vocab, Vocab]) -> None:
    vocab, _ = vocabs
    (tokens,) = vocab.encode(["sieben sieben"])
    assert tokens[: len(tokens) // 2] * 2 == tokens
    assert len(tokens) <= 4


def test_tags_are_pieces_of_their_own(pair: Path, tmp_path: Path) -> None:
    path = tmp_path / "tags.spm"
    tags = ["<2de>", "<2hsb>"]
    train_vocab([pair / "corpus/train.de"], path, 300, "bpe", tags)
    vocab = Vocab(path)
    assert [vocab.pieces[i] for i in range(4, 6)] == tags
    (plain,), (tagged,) = (
        vocab.encode(["eins zwei"]),
        vocab.encode(["<2hsb> eins zwei"]),
    )
    assert tagged[-len(plain) :] == plain
    assert [vocab.pieces[t] for t in tagged[: -len(plain)]] == ["▁", "<2hsb>"]


def test_special_tokens(vocabs: tuple[Vocab, Vocab]) -> None:
    vocab, _ = vocabs
    assert len(vocab) == len(vocab.pieces) == 320
    assert len(set(vocab.pieces)) == 320
    assert (PAD, UNK, BOS, EOS) == (0, 1, 2, 3)
    assert vocab.pieces[:4] == ["<pad>", "<unk>", "<s>", "</s>"]
    (one,) = vocab.encode(["eins"])
    assert vocab.decode([[BOS, *one, EOS, PAD, PAD], [PAD], []]) == ["eins", "", ""]


def test_text_is_not_normalised(vocabs: tuple[Vocab, Vocab]) -> None:
    vocab, _ = vocabs
    line = "ﬁ ½ Å ＡＢ"
    assert vocab.decode(vocab.encode([line])) == [line]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_same_text_gives_the_same_bytes(pair: Path, tmp_path: Path, kind: str) -> None:
    texts = [pair / "corpus/train.de", pair / "corpus/train.en"]
    for name in ("a", "b"):
        train_vocab(texts, tmp_path / name, 300, kind)
    assert Vocab(tmp_path / "a").pieces == Vocab(tmp_path / "b").pieces
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_a_sample_of_a_large_text_is_the_same_every_time(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocab_module, "MAX_TRAINING_SENTENCES", 120)
    found = set()
    for name in "abc":
        train_vocab([pair / "corpus/train.de"], tmp_path / name, 310, "bpe")
        found.add(tuple(Vocab(tmp_path / name).pieces))
    assert len(found) == 1


@pytest.mark.parametrize("size", [5000, 100])
@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_impossible_size_is_told(
    pair: Path, tmp_path: Path, kind: str, size: int
) -> None:
    with pytest.raises(UserError, match=rf"vocab.size {size} does not fit .*train\.de"):
        train_vocab([pair / "corpus/train.de"], tmp_path / "vocab", size, kind)
    assert list(tmp_path.iterdir()) == []


def test_missing_vocabulary_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none: there is no such vocabulary"):
        Vocab(tmp_path / "none")
