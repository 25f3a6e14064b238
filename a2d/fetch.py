"""Getting text: from every kind of source to rows of (document, src, tgt)."""

from __future__ import annotations

import contextlib
import hashlib
import html
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from debian.debfile import DebFile
from filelock import FileLock

from a2d import extract
from a2d.corpus import decode_lines, pair_lines, unzipped
from a2d.download import Downloads
from a2d.extract import Row
from a2d.files import atomic_write, sha256_of
from a2d.progress import tell
from a2d.section import UserError
from a2d.sources import (
    AnySource,
    DebianPackages,
    LocalFiles,
    Mtdata,
    SacrebleuTestset,
    Url,
)


class Text(NamedTuple):
    """What a source yields: records of its files, and its rows."""

    files: list[dict[str, Any]]
    rows: Iterable[Row]


def fetch(
    sources: Sequence[AnySource],
    src: str,
    tgt: str,
    out: str | Path,
    downloads: str | Path,
    lock: str | Path,
) -> None:
    """Write the raw text of one split, and its provenance beside it.

    Args:
        sources: all kinds but `HoldOut`.
        out: `{split}.tsv.gz`, rows of (document, src, tgt); the provenance is
            `{split}.json`, a record a source.
        downloads: folder where downloaded files are kept and found again.
        lock: file of the SHA-256 of downloads for which a source names none.

    Raises:
        UserError: if a source cannot be had or its sides do not match.
    """
    store = Downloads(Path(downloads), Path(lock))
    records = []
    with atomic_write(out) as file:
        for source in sources:
            kind, value = next(iter(source.model_dump().items()))
            tell(str(out), f"reads {kind} {value}")
            text = _text(source, src, tgt, store)
            digest, num_rows = hashlib.sha256(), 0
            for row in text.rows:
                fields = [re.sub(r"[\t\n]", " ", field) for field in row]
                file.write("\t".join(fields) + "\n")
                digest.update(("\t".join(fields[1:]) + "\n").encode())
                num_rows += 1
            if not num_rows:
                raise UserError(f"there is no {src}-{tgt} text in {source!r}")
            records.append(
                {
                    "source": source.model_dump(mode="json"),
                    "files": text.files,
                    "rows": num_rows,
                    "text_sha256": digest.hexdigest(),
                }
            )
            tell(str(out), f"{num_rows:,} pairs")
            _warn_of_other_text(source, digest.hexdigest())
    with atomic_write(str(out).removesuffix(".tsv.gz") + ".json") as file:
        json.dump(records, file, indent=2, ensure_ascii=False)
        file.write("\n")


def _text(source: AnySource, src: str, tgt: str, store: Downloads) -> Text:
    match source:
        case LocalFiles():
            return _local_files(source, src, tgt)
        case Url():
            return _url(source, src, tgt, store)
        case Mtdata():
            return _mtdata(source, src, tgt, store.folder)
        case SacrebleuTestset():
            return _sacrebleu(source, src, tgt, store.folder)
        case DebianPackages():
            return _debian_packages(source, src, tgt, store)
    raise AssertionError(f"{source} is held out of another source")


def _warn_of_other_text(source: AnySource, text_sha256: str) -> None:
    expected = getattr(source, "text_sha256", None)
    if expected not in (None, text_sha256):
        print(
            f"warning: the text extracted has SHA-256 {text_sha256}, the documented "
            f"figures were measured on {expected}; scores will differ",
            file=sys.stderr,
        )


def _file_record(path: Path, **names: str) -> dict[str, Any]:
    return {**names, "sha256": sha256_of(path), "bytes": path.stat().st_size}


# Files and URLs -------------------------------------------------------------------


def _local_files(source: LocalFiles, src: str, tgt: str) -> Text:
    paths = [
        Path(source.files.replace("{lang}", language))
        for language in _languages(source.files, src, tgt)
    ]
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path}: there is no such file; mend the row of `files`")
    records = [_file_record(path, name=str(path)) for path in paths]
    return Text(records, _aligned([(path, "") for path in paths], source.columns))


def _url(source: Url, src: str, tgt: str, store: Downloads) -> Text:
    sides, records = [], []
    member = source.member or ""
    for language in _languages(f"{source.url}{member}", src, tgt):
        urls = [url.replace("{lang}", language) for url in source.url]
        hashes = source.sha256
        path = store.get(
            urls, hashes.get(language) if isinstance(hashes, dict) else hashes
        )
        sides.append((path, member.replace("{lang}", language)))
        record = _file_record(path, url=urls[0])
        if record not in records:
            records.append(record)
    return Text(records, _aligned(sides, source.columns))


def _languages(template: str, src: str, tgt: str) -> tuple[str, ...]:
    return (src, tgt) if "{lang}" in template else ("",)


def _aligned(sides: list[tuple[Path, str]], columns: tuple[int, int]) -> Iterator[Row]:
    """Rows of two files of one language each, or of one TSV, without documents."""
    lines = [_lines(path, member) for path, member in sides]
    names = [f"{path}: {member}" if member else str(path) for path, member in sides]
    if len(sides) == 2:
        pairs = pair_lines(lines[0], lines[1], names[0], names[1])
    else:
        pairs = _columns(lines[0], columns, names[0])
    for src, tgt in pairs:
        yield Row("", src, tgt)


def _columns(
    lines: Iterable[str], columns: tuple[int, int], name: str
) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines, 1):
        fields = line.split("\t")
        if len(fields) <= max(columns):
            raise UserError(
                f"{name}: line {number} has {len(fields)} columns, column "
                f"{max(columns)} (counted from 0) is wanted"
            )
        yield fields[columns[0]], fields[columns[1]]


def _lines(path: Path, member: str) -> Iterator[str]:
    """Lines of a file or of an archive's member, plain or gzipped, metadata left out.

    Args:
        member: `outer.tgz::inner` is a member of an archive inside the archive.
    """
    with contextlib.ExitStack() as stack:
        stream: IO[bytes] = stack.enter_context(path.open("rb"))
        name = str(path)
        for inner in member.split("::") if member else []:
            stream = stack.enter_context(_open_member(stream, name, inner))
            name = inner
        lines = decode_lines(unzipped(stream), name)
        if name.endswith((".xml", ".sgm")):
            for line in lines:
                if segment := re.search(r"<seg[^>]*>(.*)</seg>", line):
                    yield html.unescape(segment[1].strip())
        elif ".tags." in name:  # of IWSLT: lines of metadata among the text
            yield from (line for line in lines if not re.match(r"</?[a-z]", line))
        else:
            yield from lines


@contextlib.contextmanager
def _open_member(stream: IO[bytes], name: str, member: str) -> Iterator[IO[bytes]]:
    if zipfile.is_zipfile(stream):
        with zipfile.ZipFile(stream) as archive:
            _require_member(member, archive.namelist(), name)
            yield archive.open(member)
        return
    stream.seek(0)
    if not tarfile.is_tarfile(stream):
        raise UserError(f"{name}: this is neither a tar nor a zip archive")
    with tarfile.open(fileobj=stream) as tar:
        _require_member(member, tar.getnames(), name)
        yield cast(IO[bytes], tar.extractfile(member))


def _require_member(member: str, members: list[str], name: str) -> None:
    if member not in members:
        raise UserError(
            f"{name}: the archive holds no {member}, but {', '.join(members[:8])} ..."
        )


# Tools that know corpora ----------------------------------------------------------


def _mtdata(source: Mtdata, src: str, tgt: str, downloads: Path) -> Text:
    # imported here because the package lists thousands of corpora when it is loaded
    from mtdata.entry import DatasetId
    from mtdata.iso.bcp47 import BCP47Tag, bcp47

    try:
        languages = DatasetId.parse(source.mtdata).langs
        _, swapped = BCP47Tag.check_compat_swap(
            [bcp47(src), bcp47(tgt)], languages, fail_on_incompat=True
        )
    except Exception as error:  # the library raises nothing narrower
        raise UserError(f"mtdata: {source.mtdata}: {error}") from None
    lines = _output_lines(
        ["mtdata", "-no-pb", "-ll", "ERROR", "echo", source.mtdata],
        {"MTDATA": str(downloads / "mtdata")},
    )
    pairs = _columns(lines, (1, 0) if swapped else (0, 1), source.mtdata)
    return _tool_text(pairs, source.mtdata, "mtdata")


def _sacrebleu(source: SacrebleuTestset, src: str, tgt: str, downloads: Path) -> Text:
    # imported here because few studies need it
    from sacrebleu.dataset import DATASETS

    name, pair = source.sacrebleu, f"{src}-{tgt}"
    known = DATASETS[name].langpairs if name in DATASETS else {}
    if pair not in known:
        raise UserError(
            f"sacrebleu: {name} has no {pair}, but {', '.join(known) or 'nothing'}; "
            "`sacrebleu --list` names the test sets"
        )
    lines = _output_lines(
        ["sacrebleu", "-t", name, "-l", pair, "--echo", "src", "ref"],
        {"SACREBLEU": str(downloads / "sacrebleu")},
    )
    return _tool_text(_columns(lines, (0, 1), name), name, "sacrebleu")


def _output_lines(command: list[str], environment: dict[str, str]) -> Iterator[str]:
    """Lines that a Python tool prints.

    Raises:
        UserError: at the end, with the tool's last words, if it failed.
    """
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(
            [sys.executable, "-m", *command],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=errors,
        ) as process:
            assert process.stdout
            yield from decode_lines(process.stdout, command[0])
        if process.returncode:
            errors.seek(0)
            raise UserError(
                f"{' '.join(command)} failed: {_last_line(errors.read())}; run it by "
                "hand to see more"
            )


def _last_line(output: bytes) -> str:
    return (output.decode(errors="replace").strip().splitlines() or ["no message"])[-1]


def _tool_text(pairs: Iterable[tuple[str, str]], name: str, tool: str) -> Text:
    rows = (Row("", *pair) for pair in pairs)
    return Text([{"name": name, "version": f"{tool} {version(tool)}"}], rows)


# Debian packages ------------------------------------------------------------------

EXTRACT = {"libreoffice": extract.libreoffice, "mozilla": extract.mozilla}


def _debian_packages(
    source: DebianPackages, src: str, tgt: str, store: Downloads
) -> Text:
    for language in (src, tgt):
        if language not in source.debian:
            raise UserError(f"debian: the row names no packages for {language}")
    folder = store.folder / "debian"
    try:
        packs = [_apt_download(source.debian[side], folder) for side in (src, tgt)]
    except ValueError as error:
        if not {src, tgt} <= source.archive.keys():
            raise
        print(f"{error}; using the archive instead", file=sys.stderr)
        packs = [
            [store.get([url]) for url in source.archive[side]] for side in (src, tgt)
        ]
    if len(packs[0]) != len(packs[1]):
        raise UserError(
            f"debian: {len(packs[0])} packages for {src} and {len(packs[1])} for "
            f"{tgt}; they are paired in order"
        )
    rows = itertools.chain.from_iterable(
        EXTRACT[source.extract](_unpack(src_pack), _unpack(tgt_pack))
        for src_pack, tgt_pack in zip(*packs, strict=True)
    )
    return Text([_pack_record(path) for side in packs for path in side], rows)


def _apt_download(packages: list[str], folder: Path) -> list[Path]:
    """Download packages with apt-get in folders of its own; nothing is installed.

    Raises:
        UserError: if apt-get is missing or does not find a package.
    """
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    command = ["apt-get", "-qq", "-o", f"Dir::State={folder.resolve() / 'state'}"]
    command += ["-o", f"Dir::Cache={folder.resolve() / 'cache'}"]
    command += ["-o", "APT::Sandbox::User=", "-o", "Acquire::Retries=3"]
    with FileLock(folder / ".lock"):
        missing = [name for name in packages if not list(folder.glob(f"{name}_*.deb"))]
        if missing:
            if not shutil.which("apt-get"):
                raise UserError("there is no apt-get on this machine")
            with tempfile.TemporaryDirectory(dir=folder) as unfinished:
                for action in (["update"], ["download", *missing]):
                    done = subprocess.run(
                        [*command, *action], cwd=unfinished, capture_output=True
                    )
                if done.returncode:
                    raise UserError(
                        f"apt-get download {' '.join(missing)} failed: "
                        f"{_last_line(done.stderr)}"
                    )
                for path in Path(unfinished).iterdir():
                    path.replace(folder / path.name)
    return [max(folder.glob(f"{name}_*.deb")) for name in packages]


def _pack_record(path: Path) -> dict[str, Any]:
    names = {"name": path.name}
    if path.suffix == ".deb":
        with DebFile(path) as package:
            names["version"] = package.debcontrol()["Version"]
    return _file_record(path, **names)


def _unpack(path: Path) -> dict[str, bytes]:
    """Files inside a package, those of packs inside packs too, by their path."""
    return dict(_unpacked(path.name, path.read_bytes()))


def _unpacked(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    stream = io.BytesIO(content)
    if name.endswith((".xpi", ".zip")):
        with zipfile.ZipFile(stream) as archive:
            for inner in archive.namelist():
                yield from _unpacked(inner, archive.read(inner))
    elif name.endswith(".deb"):
        with DebFile(fileobj=stream) as package:
            yield from _untarred(package.data.tgz())
    elif name.endswith(".tar.gz"):
        with tarfile.open(fileobj=stream) as tar:
            yield from _untarred(tar)
    else:
        yield name, content


def _untarred(tar: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    for entry in tar:
        if file := tar.extractfile(entry):
            yield from _unpacked(str(entry.name), file.read())
