"""Parallel text on disk: reading, writing, splitting and cleaning.

Text is UTF-8 with one sentence a line, and only a line feed ends a line. Raw text is a
gzipped TSV of (document, src, tgt); clean text is one file a language.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import re
import sqlite3
import tempfile
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import IO, cast

from a2d.chunks import chunks, map_chunks
from a2d.config import Clean
from a2d.files import atomic_write
from a2d.section import UserError

# Files ----------------------------------------------------------------------------


def unzipped(stream: IO[bytes]) -> IO[bytes]:
    """The stream itself, or its content if it is gzipped; it must be seekable."""
    magic = stream.read(2)
    stream.seek(0)
    return cast(IO[bytes], gzip.open(stream)) if magic == b"\x1f\x8b" else stream


def decode_lines(stream: IO[bytes], name: str) -> Iterator[str]:
    """Lines of a stream of bytes, without their line feeds.

    Raises:
        UserError: naming `name` and the line, where a line is no UTF-8 or the
            compressed data are damaged.
    """
    number = 0
    try:
        for line in stream:
            number += 1
            yield line.decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise UserError(
            f"{name}: line {number} is not UTF-8; convert the file, for example with "
            "iconv"
        ) from None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise UserError(
            f"{name}: the compressed data are damaged after line {number}; get the "
            "file again"
        ) from None


def read_lines(path: str | Path) -> Iterator[str]:
    """Lines of a plain or gzipped UTF-8 file.

    Raises:
        UserError: if the file is missing, damaged or not UTF-8.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: there is no such file")
    with open(path, "rb") as stream:
        yield from decode_lines(unzipped(stream), str(path))


def count_lines(path: str | Path) -> int:
    """Number of lines of a plain or gzipped UTF-8 file."""
    return sum(1 for _ in read_lines(path))


def pair_lines(
    src: Iterable[str], tgt: Iterable[str], src_name: str, tgt_name: str
) -> Iterator[tuple[str, str]]:
    """Pairs of corresponding lines.

    Raises:
        UserError: at the end, with both counts, if they are unequal.
    """
    counts = [0, 0]
    for pair in zip_longest(src, tgt):
        for side, line in enumerate(pair):
            counts[side] += line is not None
        if counts[0] == counts[1]:
            yield cast(tuple[str, str], pair)
    if counts[0] != counts[1]:
        raise UserError(
            f"{src_name} has {counts[0]} lines and {tgt_name} has {counts[1]}; "
            "parallel text needs equal numbers"
        )


def read_parallel(src: str | Path, tgt: str | Path) -> Iterator[tuple[str, str]]:
    """Pairs of corresponding lines of two files.

    Raises:
        UserError: as `pair_lines` and `read_lines`.
    """
    return pair_lines(read_lines(src), read_lines(tgt), str(src), str(tgt))


# Splits ---------------------------------------------------------------------------


def split_of(document: str, shares: Mapping[str, float]) -> str:
    """The split that a document belongs to: a key of `shares`, else `train`.

    It depends on the document's name alone, so a page stays in its split when the
    text of its source changes.
    """
    place = _hash(document) / 2**64 + 0.5
    for split, share in shares.items():
        place -= share
        if place < 0:
            return split
    return "train"


# Cleaning -------------------------------------------------------------------------

INVISIBLE = re.compile(
    "[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"
)
"""Soft hyphens, zero-width spaces, marks of direction and byte order. Joiners stay,
because Persian and Indic scripts spell with them."""
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


TAG = re.compile("^<2[A-Za-z_]+> ")
"""Of the target language, before the source sentences of a multilingual model."""


def normalise(text: str) -> str:
    """NFC without control and invisible characters, white space folded."""
    if not text.isprintable():
        text = CONTROL.sub(" ", INVISIBLE.sub("", text))
    return " ".join(unicodedata.normalize("NFC", text).split())


CHUNK_LINES = 10_000
"""Lines that a process cleans at a time."""


def clean(
    raw: str | Path,
    out_src: str | Path,
    out_tgt: str | Path,
    counts: str | Path,
    clean: Clean | None,
    split: str,
    shares: Mapping[str, float],
    protected: Sequence[tuple[str | Path, str | Path]] = (),
    processes: int = 1,
    tag: str | None = None,
) -> None:
    """Write the clean text of one split of a raw file.

    Args:
        raw: gzipped TSV of (document, src, tgt).
        counts: written as a TSV of the pairs that each step kept and dropped.
        clean: the filters; None for published text, of which no line may be lost.
        shares: by split, the share of documents that is held out of `raw`; empty if
            all of `raw` belongs to `split`.
        protected: (src, tgt) files of which no sentence may stand in the output; the
            suffixes of all files are their languages.
        tag: put before each source sentence.

    Raises:
        UserError: if nothing is left, or published text has an empty line.
    """
    dropped = dict.fromkeys(_steps(clean, protected), 0)
    num_read = 0
    Path(out_src).parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if clean and clean.deduplicate:
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix=".clean", dir=Path(out_src).parent)
            )
            seen = stack.enter_context(contextlib.closing(_HashSet(Path(folder))))
        src_file = stack.enter_context(atomic_write(out_src))
        tgt_file = stack.enter_context(atomic_write(out_tgt))
        for pairs in map_chunks(
            partial(_Judge, (out_src, out_tgt), clean, split, shares, protected),
            chunks(read_lines(raw), CHUNK_LINES),
            processes,
        ):
            for src, tgt, number, step in pairs:
                num_read += 1
                if clean is None and not (src and tgt):
                    raise UserError(
                        f"{raw}: pair {num_read} of {split} has an empty side; "
                        "published text is never filtered, so mend its source"
                    )
                # what is dropped before the duplicates has no number
                if number is not None and not seen.add(number):
                    step = "duplicate"
                if step:
                    dropped[step] += 1
                else:
                    src_file.write(f"{tag} {src}\n" if tag else f"{src}\n")
                    tgt_file.write(f"{tgt}\n")
        if num_read == sum(dropped.values()):
            raise UserError(_nothing_left(raw, split, num_read, dropped))
    kept = num_read
    with atomic_write(counts) as table:
        table.write(f"step\tkept\tdropped\nread\t{kept}\t0\n")
        for step, number in dropped.items():
            kept -= number
            table.write(f"{step}\t{kept}\t{number}\n")


def _steps(
    clean: Clean | None, protected: Sequence[tuple[str | Path, str | Path]]
) -> list[str]:
    """Names of the filters, in the order in which they are applied."""
    if clean is None:
        return []
    steps = ["empty", "length", "ratio"]
    steps += ["duplicate"] if clean.deduplicate else []
    return steps + (["contaminated"] if clean.decontaminate and protected else [])


Judgement = tuple[str, str, int | None, str | None]
"""A pair, its hash if duplicates matter, and the step that drops it, if one does."""


class _Judge:
    """Normalises and filters lines of a raw file, each on its own."""

    def __init__(
        self,
        out: tuple[str | Path, str | Path],
        clean: Clean | None,
        split: str,
        shares: Mapping[str, float],
        protected: Sequence[tuple[str | Path, str | Path]],
    ) -> None:
        self.out, self.clean, self.split, self.shares = out, clean, split, shares
        self.known = {
            key
            for paths in (protected if clean and clean.decontaminate else ())
            for src, tgt in read_parallel(*paths)
            for key in _fuzzy_keys(paths, TAG.sub("", src), tgt)
        }

    def __call__(self, lines: Sequence[str]) -> list[Judgement]:
        """What to do with the pairs that belong to the split."""
        judged = []
        for line in lines:
            document, src, tgt = line.split("\t")
            # a sentence without a document is one of its own
            if self.shares and split_of(document or src, self.shares) != self.split:
                continue
            src, tgt = normalise(src), normalise(tgt)
            step = self.filter(src, tgt, self.clean) if self.clean else None
            number = None
            if self.clean and self.clean.deduplicate and not step:
                number = _hash(f"{src}\t{tgt}")
            if (
                self.known
                and not step
                and not self.known.isdisjoint(_fuzzy_keys(self.out, src, tgt))
            ):
                step = "contaminated"
            judged.append((src, tgt, number, step))
        return judged

    def filter(self, src: str, tgt: str, clean: Clean) -> str | None:
        """The step that drops a pair, of those before the duplicates."""
        if not (src and tgt):
            return "empty"
        for text in (src, tgt):
            if not clean.min_words <= text.count(" ") + 1 <= clean.max_words:
                return "length"
        if max(len(src), len(tgt)) > clean.max_ratio * min(len(src), len(tgt)):
            return "ratio"
        return None


def _fuzzy_keys(paths: tuple[str | Path, str | Path], src: str, tgt: str) -> list[str]:
    """Each side by its letters and digits alone; sides without any have no key.

    Args:
        paths: whose suffixes tell the languages, in which alone sentences are alike.
    """
    sides = ("".join(filter(str.isalnum, text.casefold())) for text in (src, tgt))
    return [
        f"{Path(path).suffix} {side}"
        for path, side in zip(paths, sides, strict=True)
        if side
    ]


def _nothing_left(
    raw: str | Path, split: str, num_read: int, dropped: Mapping[str, int]
) -> str:
    if not num_read:
        return f"{raw}: no text belongs to {split}; choose another source or share"
    worst = max(dropped, key=lambda step: dropped[step])
    return (
        f"{raw}: cleaning leaves nothing of the {num_read} pairs of {split}; the step "
        f"`{worst}` dropped {dropped[worst]}, so check `clean:` in the configuration"
    )


class _HashSet:
    """A set of texts by their 64-bit hashes, on disk: its memory does not grow."""

    def __init__(self, folder: Path) -> None:
        self._database = sqlite3.connect(folder / "seen", isolation_level=None)
        for setting in ("journal_mode=off", "synchronous=off", "cache_size=-16384"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.execute("CREATE TABLE hashes (hash INTEGER PRIMARY KEY)")
        self._database.execute("BEGIN")

    def add(self, number: int) -> bool:
        """Add a hash; whether it is new."""
        sql = "INSERT OR IGNORE INTO hashes VALUES (?)"
        return self._database.execute(sql, (number,)).rowcount == 1

    def close(self) -> None:
        self._database.close()


def _hash(text: str) -> int:
    """Signed 64-bit hash, the same on every machine."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
