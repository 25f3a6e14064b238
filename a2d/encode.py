"""Segmented text on disk, in arrays that trainings map into memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from a2d.chunks import chunks
from a2d.corpus import read_lines, read_parallel
from a2d.files import replacing_folder, sha256_of
from a2d.section import UserError
from a2d.vocab import Vocab

ENCODE_LINES = 10_000
"""Lines that are segmented at a time."""
SIDES = ("src", "tgt")

Side = tuple[NDArray[np.int32], NDArray[np.int64]]
"""Token ids of sentences, and their lengths."""


def encoded_chunks(
    text: tuple[str | Path, str | Path], vocabs: tuple[Vocab, Vocab], threads: int
) -> Iterator[tuple[Side, Side]]:
    """Segment a pair of files, a chunk at a time.

    Raises:
        UserError: if the files have unequal line counts or no line.
    """
    empty = True
    for rows in chunks(read_parallel(*text), ENCODE_LINES):
        src, tgt = (
            vocab.encode(lines, threads)
            for vocab, lines in zip(vocabs, zip(*rows, strict=True), strict=True)
        )
        yield flat(src), flat(tgt)
        empty = False
    if empty:
        raise UserError(f"{text[0]}: no sentences")


def flat(sentences: list[list[int]]) -> Side:
    """Sentences in one array, and their lengths."""
    tokens = np.fromiter((t for s in sentences for t in s), dtype=np.int32)
    return tokens, np.fromiter(map(len, sentences), dtype=np.int64)


def starts_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where sentences of these lengths start, the end of the last included."""
    return np.concatenate([[0], np.cumsum(lengths)])


def encode(
    text: tuple[Path, Path],
    vocabs: tuple[Path, Path],
    out: Path,
    threads: int,
    weights: Path | None = None,
) -> None:
    """Write a segmented parallel text, which trainings map into memory.

    Args:
        out: folder of arrays (.npy) and `encoding.json`, replaced if it exists.
        weights: of the lines in the loss; without it all are 1.

    Raises:
        UserError: as `encoded_chunks`, or if there are not as many weights as lines.
    """
    opened = Vocab(vocabs[0]), Vocab(vocabs[1])
    with replacing_folder(out) as folder:
        with ExitStack() as stack:
            sides = [
                (
                    stack.enter_context(GrowingArray(folder / f"{name}.npy", np.int32)),
                    stack.enter_context(
                        GrowingArray(folder / f"{name}.starts.npy", np.int64)
                    ),
                )
                for name in SIDES
            ]
            for _, starts in sides:
                starts.append(np.array([0]))
            for chunk in encoded_chunks(text, opened, threads):
                for (tokens, starts), (ids, lengths) in zip(sides, chunk, strict=True):
                    starts.append(tokens.size + np.cumsum(lengths))
                    tokens.append(ids)
        read = list(text)
        if weights:
            read.append(weights)
            write_weights(weights, folder / "weights.npy", sides[0][1].size - 1)
        facts = {
            "text_sha256": [sha256_of(path) for path in read],
            "vocab_sha256": [sha256_of(path) for path in vocabs],
        }
        (folder / "encoding.json").write_text(json.dumps(facts, indent=1) + "\n")


def write_weights(path: Path, out: Path, num_lines: int) -> None:
    """Turn a file of one number a line into a float32 array.

    Raises:
        UserError: if it has not as many lines as the text, or a line is no finite
            number of 0 or more.
    """
    weights = np.fromiter(map(_number, read_lines(path)), dtype=np.float32)
    if len(weights) != num_lines:
        raise UserError(
            f"{path} has {len(weights)} lines and the text has {num_lines}; each line "
            "needs a weight"
        )
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any():
        raise UserError(
            f"{path}: line {wrong.argmax() + 1} is no weight; it must be a number of 0 "
            "or more"
        )
    np.save(out, weights)


def _number(line: str) -> float:
    try:
        return float(line)
    except ValueError:
        return float("nan")


def weights_of(folder: Path) -> NDArray[np.float32]:
    """Weights of the sentences of an encoded text, 1 where it has none."""
    path = folder / "weights.npy"
    if path.is_file():
        return mapped(path)
    return np.ones(len(mapped(folder / "src.starts.npy")) - 1, np.float32)


def encoding(folder: Path) -> dict[str, list[str]]:
    """Which text, weights and vocabularies `encode` read.

    Raises:
        UserError: if the folder does not hold an encoded text.
    """
    path = folder / "encoding.json"
    if not path.is_file():
        raise UserError(f"{folder}: there is no encoded text")
    return json.loads(path.read_text())


class GrowingArray:
    """A one-dimensional array on disk (.npy) that is written in pieces."""

    def __init__(self, path: Path, dtype: DTypeLike) -> None:
        self.file = path.open("wb")
        self.dtype = np.dtype(dtype)
        self.size = 0
        self._write_header()

    def __enter__(self) -> Self:
        return self

    def append(self, values: NDArray[np.integer]) -> None:
        """Add values at the end."""
        values.astype(self.dtype).tofile(self.file)
        self.size += len(values)

    def __exit__(self, *_: object) -> None:
        self.file.seek(0)
        self._write_header()  # as long as before: numpy leaves room for growth
        self.file.close()

    def _write_header(self) -> None:
        header = {"descr": self.dtype.str, "fortran_order": False}
        np.lib.format.write_array_header_1_0(
            self.file, header | {"shape": (self.size,)}
        )


def mapped(path: Path) -> NDArray[Any]:
    """An array on disk, of which only what is used is read."""
    return np.asarray(np.load(path, mmap_mode="r"))
