"""Reading, splitting and cleaning parallel text."""

import gzip
import itertools
import os
from pathlib import Path

import pytest

from a2d.config import Clean
from a2d.corpus import (
    clean,
    count_lines,
    normalise,
    read_lines,
    read_parallel,
    split_of,
)
from a2d.files import atomic_write

LOOSE = Clean(
    min_words=1, max_words=200, max_ratio=100, deduplicate=True, decontaminate=True
)


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes("a\u2028b\x0bc\r\n\x85d\n\nlast".encode())
    assert list(read_lines(path)) == ["a\u2028b\x0bc\r", "\x85d", "", "last"]
    assert count_lines(path) == 4


def test_gzip_is_known_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(gzip.compress("grün\n".encode()))
    assert list(read_lines(path)) == ["grün"]


def test_undecodable_bytes_are_told_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "latin1.de"
    path.write_bytes("gut\ngrün\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin1\.de: line 2 is not UTF-8"):
        list(read_lines(path))


def test_damaged_gzip_and_missing_file_are_told(tmp_path: Path) -> None:
    path = tmp_path / "text.gz"
    path.write_bytes(gzip.compress(os.urandom(9999).hex().encode())[:-100])
    with pytest.raises(ValueError, match=r"text\.gz: the compressed data are damaged"):
        count_lines(path)
    with pytest.raises(ValueError, match="none: there is no such file"):
        count_lines(tmp_path / "none")


def test_unequal_counts_are_told_with_both_files(tmp_path: Path) -> None:
    src, tgt = tmp_path / "a.de", tmp_path / "a.en"
    src.write_text("1\n2\n3\n")
    tgt.write_text("1\n2\n")
    with pytest.raises(ValueError, match=r"a\.de has 3 lines and .*a\.en has 2;"):
        list(read_parallel(src, tgt))
    tgt.write_text("x\ny\nz\n")
    assert list(read_parallel(src, tgt)) == [("1", "x"), ("2", "y"), ("3", "z")]


def test_a_file_appears_only_when_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "text"
    with pytest.raises(TypeError), atomic_write(path) as file:
        file.writelines(["half", None])
    assert list(path.parent.iterdir()) == []
    with atomic_write(path) as file:
        file.write("whole\u2028\n")
        assert not path.exists()
    assert path.read_bytes() == "whole\u2028\n".encode()


def test_equal_text_gives_equal_gzip(tmp_path: Path) -> None:
    for name in ("a.gz", "b.gz"):
        with atomic_write(tmp_path / name) as file:
            file.write("text\n")
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == b"text\n"


def test_splits_are_disjoint_stable_shares() -> None:
    shares = {"test": 0.05, "valid": 0.03}
    splits = [split_of(f"page{n}", shares) for n in range(10000)]
    assert splits.count("test") == pytest.approx(500, abs=70)
    assert splits.count("valid") == pytest.approx(300, abs=60)
    assert splits.count("train") == 10000 - splits.count("test") - splits.count("valid")
    assert [n for n in range(100) if splits[n] == "test"] == [33, 35, 43, 53, 97]
    assert split_of("anything", {}) == "train"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("u\u0308ber", "über"),  # NFC
        ("soft\u00adhyphen \ufeffmark\u200b", "softhyphen mark"),
        ("a\u2028b\u00a0 c\td\r", "a b c d"),
        ("bell\x07rings\x9f", "bell rings"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # a joiner is spelling
        ("ﬁ ½ Ⅷ", "ﬁ ½ Ⅷ"),  # compatibility characters stay
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text) == expected


class Cleaned:
    """Runs `clean` on rows and reads what it wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = (folder / "out.de", folder / "out.en")
        self.counts: dict[str, tuple[int, int]] = {}

    def __call__(
        self,
        rows,
        config,
        split="train",
        shares=None,
        protected=(),
        processes=1,
        tag=None,
    ):
        raw = self.folder / "raw.tsv.gz"
        with atomic_write(raw) as file:
            file.writelines("\t".join(row) + "\n" for row in rows)
        counts = self.folder / "counts.tsv"
        shares = shares or {}
        arguments = (counts, config, split, shares, protected, processes, tag)
        clean(raw, *self.files, *arguments)
        header, *lines = (line.split("\t") for line in read_lines(counts))
        assert header == ["step", "kept", "dropped"]
        self.counts = {step: (int(kept), int(drop)) for step, kept, drop in lines}
        return list(read_parallel(*self.files))


@pytest.fixture
def cleaned(tmp_path: Path) -> Cleaned:
    return Cleaned(tmp_path)


def test_every_step_drops_its_own(cleaned: Cleaned, tmp_path: Path) -> None:
    (tmp_path / "test.de").write_text("Guten Tag, Welt!\n...\n")
    (tmp_path / "test.en").write_text("Good day\n...\n")
    config = Clean(
        min_words=2, max_words=4, max_ratio=2, deduplicate=True, decontaminate=True
    )
    rows = [
        ("p", "ein Satz", "a sentence"),
        ("p", "\u200b", "a sentence"),  # empty once invisible characters are gone
        ("p", "Wort", "one word"),
        ("p", "eins zwei drei vier fünf", "one two three"),
        ("p", "ei n", "a sentence"),
        ("p", "ein  Satz", "a sentence\r"),  # a duplicate once normalised
        ("p", "ein Satz", "one sentence"),
        ("p", "guten tag welt", "hello world"),
        ("p", "schönen Tag", "GOOD DAY!"),
        ("p", "! ?", "? !"),  # without letters: never contaminated
    ]
    pairs = cleaned(
        rows, config, protected=[(tmp_path / "test.de", tmp_path / "test.en")]
    )
    assert pairs == [
        ("ein Satz", "a sentence"),
        ("ein Satz", "one sentence"),
        ("! ?", "? !"),
    ]
    assert cleaned.counts == {
        "read": (10, 0),
        "empty": (9, 1),
        "length": (7, 2),
        "ratio": (6, 1),
        "duplicate": (5, 1),
        "contaminated": (3, 2),
    }


def test_a_sentence_is_contaminated_on_its_own_side_only(
    cleaned: Cleaned, tmp_path: Path
) -> None:
    (tmp_path / "test.de").write_text("Hotel\n")
    (tmp_path / "test.en").write_text("inn\n")
    paths = [(tmp_path / "test.de", tmp_path / "test.en")]
    rows = [("p", "Gasthaus", "hotel"), ("p", "hotel", "hotel"), ("p", "Haus", "Inn.")]
    assert cleaned(rows, LOOSE, protected=paths) == [("Gasthaus", "hotel")]
    loose = LOOSE.model_copy(update={"decontaminate": False})
    assert len(cleaned(rows, loose, protected=paths)) == 3


def test_splits_of_one_raw_file_hold_every_row_once(cleaned: Cleaned) -> None:
    shares = {"test": 0.2, "valid": 0.2}
    rows = [(f"page{n // 3}", f"satz {n}", f"sentence {n}") for n in range(90)]
    found = {
        split: cleaned(rows, LOOSE, split=split, shares=shares)
        for split in ("train", "valid", "test")
    }
    assert sorted(itertools.chain(*found.values())) == sorted(row[1:] for row in rows)
    for split, pairs in found.items():
        numbers = [int(src.split()[1]) for src, _ in pairs]
        assert {split_of(f"page{n // 3}", shares) for n in numbers} == {split}
        assert len(numbers) % 3 == 0


def rows_of(rows: list[tuple[str, str, str]]) -> list[tuple[str, str]]:
    return [(src, tgt) for _, src, tgt in rows]


def test_tag_is_put_before_the_source_and_hides_no_test_sentence(
    cleaned: Cleaned, tmp_path: Path
) -> None:
    rows = [("1", "ein Haus", "a house"), ("2", "ein Hund", "a dog")]
    tagged = [("<2en> ein Haus", "a house"), ("<2en> ein Hund", "a dog")]
    assert cleaned(rows, LOOSE, tag="<2en>") == tagged
    assert cleaned(rows, None, split="test", tag="<2en>") == tagged
    # what stands in a test set, there with the tag of another language, is dropped
    test = tmp_path / "test.de", tmp_path / "test.fr"
    test[0].write_text("<2fr> ein Haus\n")
    test[1].write_text("une maison\n")
    assert cleaned(rows, LOOSE, protected=[test], tag="<2en>") == tagged[1:]
    assert cleaned.counts["contaminated"] == (1, 1)


def test_a_sentence_is_contaminated_in_every_direction(
    cleaned: Cleaned, tmp_path: Path
) -> None:
    """A German sentence of a test set from English is none of a German source text."""
    rows = [("1", "ein Haus", "a house"), ("2", "ein Hund", "a dog")]
    test = tmp_path / "test.en", tmp_path / "test.de"
    test[0].write_text("<2de> nothing\n")
    test[1].write_text("ein Haus!\n")
    assert cleaned(rows, LOOSE, protected=[test]) == rows_of(rows[1:])


def test_published_text_keeps_every_line(cleaned: Cleaned) -> None:
    rows = [("1", "A\u00a0b", "x"), ("2", "A b", "x"), ("3", "a" * 99, "y")]
    pairs = [("A b", "x"), ("A b", "x"), ("a" * 99, "y")]
    assert cleaned(rows, None, split="valid") == pairs
    assert cleaned.counts == {"read": (3, 0)}
    with pytest.raises(ValueError, match="pair 2 of valid has an empty side"):
        cleaned([*rows[:1], ("2", "\u200b", "x")], None, split="valid")


def test_nothing_left_is_an_error_with_the_worst_step(
    cleaned: Cleaned, tmp_path: Path
) -> None:
    short = LOOSE.model_copy(update={"min_words": 2})
    rows = [("1", "ein", "one"), ("2", "", "x y"), ("3", "zwei", "two")]
    with pytest.raises(ValueError, match="of the 3 pairs of train; the step `length`"):
        cleaned(rows, short)
    with pytest.raises(ValueError, match="no text belongs to test"):
        cleaned(rows, LOOSE, split="test", shares={"test": 1e-9})
    assert [path.name for path in tmp_path.iterdir()] == ["raw.tsv.gz"]


def test_processes_change_nothing(
    cleaned: Cleaned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("a2d.corpus.CHUNK_LINES", 7)
    rows = [(f"page{n}", f"satz {n % 61}", f"sentence {n % 61}") for n in range(200)]
    one = cleaned(rows, LOOSE), cleaned.counts
    two = cleaned(rows, LOOSE, processes=2), cleaned.counts
    assert one == two
    assert one[1]["duplicate"] == (61, 139)
    with pytest.raises(ValueError, match="pair 9 of test has an empty side"):
        cleaned([*rows[:8], ("", "", "x")], None, split="test", processes=2)
