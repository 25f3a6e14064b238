"""Files that are whole or not there at all."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TextIO, cast


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `path` when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as around:
        complete = Path(around) / path.name
        complete.mkdir()
        yield complete
        shutil.rmtree(path, ignore_errors=True)
        complete.rename(path)


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[TextIO]:
    """Open a text file that appears under its name only once it is complete.

    A name in `.gz` is compressed; equal text gives equal bytes.
    """
    with replacing(path) as unfinished, contextlib.ExitStack() as stack:
        stream: IO[bytes] = stack.enter_context(unfinished.open("wb"))
        if Path(path).suffix == ".gz":
            packed = gzip.GzipFile("", "wb", 1, stream, mtime=0)
            stream = cast(IO[bytes], stack.enter_context(packed))
        yield stack.enter_context(
            io.TextIOWrapper(stream, encoding="utf-8", newline="\n")
        )


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
