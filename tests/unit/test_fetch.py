"""Every kind of source, from files, archives and a server made here."""

import functools
import gzip
import hashlib
import http.server
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from a2d import fetch as fetch_module
from a2d.corpus import read_lines
from a2d.download import Downloads
from a2d.fetch import fetch
from a2d.sources import (
    AnySource,
    DebianPackages,
    LocalFiles,
    Mtdata,
    SacrebleuTestset,
    Url,
)


class Fetched:
    """Runs `fetch` for de-en and reads what it wrote."""

    def __init__(self, folder: Path) -> None:
        self.out = folder / "raw" / "train.tsv.gz"
        self.downloads = folder / "downloads"
        self.lock = folder / "downloads.lock"

    def __call__(self, *sources: AnySource) -> list[tuple[str, str]]:
        fetch(sources, "de", "en", self.out, self.downloads, self.lock)
        rows = [line.split("\t") for line in read_lines(self.out)]
        return [(src, tgt) for _, src, tgt in rows]

    @property
    def records(self) -> list[dict]:
        return json.loads((self.out.parent / "train.json").read_text())


@pytest.fixture
def fetched(tmp_path: Path) -> Fetched:
    return Fetched(tmp_path)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Address of a server, and the folder that it serves."""
    folder = tmp_path / "site"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def tar(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def deb(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    """A Debian package: an `ar` archive of three members (deb(5))."""
    control = f"Package: {name}\nVersion: 1:2.3-4\nArchitecture: all\n"
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": tar({"./control": control.encode()}),
        "data.tar.gz": tar({f"./{path}": content for path, content in files.items()}),
    }
    path = folder / f"{name}_1%3a2.3-4_all.deb"
    with path.open("wb") as archive:
        archive.write(b"!<arch>\n")
        for member, content in members.items():
            header = f"{member:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n"
            archive.write(header.encode() + content + b"\n" * (len(content) % 2))
    return path


# Local files ----------------------------------------------------------------------


def test_local_files_one_a_side(fetched: Fetched, tmp_path: Path) -> None:
    (tmp_path / "x.de").write_text("ein\tTab\nzwei\u2028Zeilen?\n")
    (tmp_path / "x.en").write_bytes(gzip.compress(b"one\ntwo\n"))
    source = LocalFiles(files=f"{tmp_path}/x.{{lang}}")
    pairs = [("ein Tab", "one"), ("zwei\u2028Zeilen?", "two")]
    assert fetched(source) == pairs
    assert next(read_lines(fetched.out)) == "\tein Tab\tone"
    assert fetched.records == [
        {
            "source": {"files": f"{tmp_path}/x.{{lang}}", "columns": [0, 1]},
            "files": [
                {
                    "name": f"{tmp_path}/x.{language}",
                    "sha256": sha256(content),
                    "bytes": len(content),
                }
                for language in ("de", "en")
                for content in [(tmp_path / f"x.{language}").read_bytes()]
            ],
            "rows": 2,
            "text_sha256": sha256("ein Tab\tone\nzwei\u2028Zeilen?\ttwo\n".encode()),
        }
    ]


def test_tsv_columns_and_several_sources(fetched: Fetched, tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text("id1\tone\teins\nid2\ttwo\tzwei\n")
    source = LocalFiles(files=str(path), columns=(2, 1))
    assert fetched(source, source) == 2 * [("eins", "one"), ("zwei", "two")]
    assert [record["rows"] for record in fetched.records] == [2, 2]
    path.write_text("id1\tone\teins\nid2\ttwo\n")
    with pytest.raises(ValueError, match=r"x\.tsv: line 2 has 2 columns, column 2"):
        fetched(source)


def test_mistakes_in_local_files(fetched: Fetched, tmp_path: Path) -> None:
    source = LocalFiles(files=f"{tmp_path}/x.{{lang}}")
    (tmp_path / "x.de").write_text("1\n2\n3\n")
    with pytest.raises(ValueError, match=r"x\.en: there is no such file"):
        fetched(source)
    (tmp_path / "x.en").write_text("1\n2\n")
    with pytest.raises(ValueError, match=r"x\.de has 3 lines and .*x\.en has 2;"):
        fetched(source)
    assert not fetched.out.exists()
    (tmp_path / "x.de").write_text("")
    (tmp_path / "x.en").write_text("")
    with pytest.raises(ValueError, match="there is no de-en text in LocalFiles"):
        fetched(source)


# Downloads ------------------------------------------------------------------------


def test_a_download_is_kept_and_recorded(
    fetched: Fetched, site: tuple[str, Path]
) -> None:
    url, folder = site
    for language, text in (("de", b"eins\n"), ("en", b"one\n")):
        (folder / f"x.{language}.gz").write_bytes(gzip.compress(text))
    files = {f"{url}/x.{name}.gz": folder / f"x.{name}.gz" for name in ("de", "en")}
    recorded = {name: sha256(path.read_bytes()) for name, path in files.items()}
    source = Url(url=[f"{url}/x.{{lang}}.gz"])
    assert fetched(source) == [("eins", "one")]
    assert json.loads(fetched.lock.read_text()) == recorded
    assert [file["url"] for file in fetched.records[0]["files"]] == list(files)
    for path in files.values():
        path.unlink()
    assert fetched(source) == [("eins", "one")]  # the server no longer has it


def test_a_later_download_must_match_the_record(
    tmp_path: Path, site: tuple[str, Path]
) -> None:
    url, folder = site
    (folder / "x").write_bytes(b"first")
    store = Downloads(tmp_path / "downloads", tmp_path / "lock")
    kept = store.get([f"{url}/x"])
    assert kept.read_bytes() == b"first"
    kept.unlink()
    (folder / "x").write_bytes(b"other")
    with pytest.raises(ValueError, match=sha256(b"other") + ".*" + sha256(b"first")):
        store.get([f"{url}/x"])
    assert not kept.exists()


def test_a_wrong_hash_is_told_and_the_file_removed(
    tmp_path: Path, site: tuple[str, Path]
) -> None:
    url, folder = site
    (folder / "x").write_bytes(b"text")
    store = Downloads(tmp_path / "downloads", tmp_path / "lock")
    with pytest.raises(ValueError, match=f"{sha256(b'text')}, expected {'0' * 64}"):
        store.get([f"{url}/x"], "0" * 64)
    left = [path for path in store.folder.iterdir() if path.suffix != ".lock"]
    assert left == []
    assert store.get([f"{url}/x"], sha256(b"text")).read_bytes() == b"text"
    assert not store.lock.exists()  # the row names the hash, nothing to record


def test_a_damaged_kept_file_is_fetched_again(
    tmp_path: Path, site: tuple[str, Path]
) -> None:
    url, folder = site
    (folder / "x").write_bytes(b"text")
    store = Downloads(tmp_path / "downloads", tmp_path / "lock")
    store.get([f"{url}/x"]).write_bytes(b"damaged")
    assert store.get([f"{url}/x"]).read_bytes() == b"text"


def test_mirrors_are_tried_in_turn(tmp_path: Path, site: tuple[str, Path]) -> None:
    url, folder = site
    (folder / "bad").write_bytes(b"bad")
    local = tmp_path / "copy"
    local.write_bytes(b"text")
    store = Downloads(tmp_path / "downloads", tmp_path / "lock")
    mirrors = [f"{url}/missing", f"{url}/bad", str(local)]
    assert store.get(mirrors, sha256(b"text")) == local
    local.write_bytes(b"other")
    with pytest.raises(ValueError, match=r"404.*/bad: its SHA.*copy: its.*by hand"):
        store.get(mirrors, sha256(b"text"))
    assert local.read_bytes() == b"other"  # the user's own file is never removed


def test_parallel_downloads_lose_no_record(
    tmp_path: Path, site: tuple[str, Path]
) -> None:
    url, folder = site
    names = [f"file{number}" for number in range(12)]
    for name in names:
        (folder / name).write_text(name)

    def get(name: str) -> None:
        Downloads(tmp_path / "downloads", tmp_path / "lock").get([f"{url}/{name}"])

    threads = [threading.Thread(target=get, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorded = json.loads((tmp_path / "lock").read_text())
    assert recorded == {f"{url}/{name}": sha256(name.encode()) for name in names}


# Archives -------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [tar, zipped])
def test_members_of_archives(fetched: Fetched, tmp_path: Path, pack) -> None:
    path = tmp_path / "archive"
    members = {"d/x.de": b"eins\n", "d/x.en": gzip.compress(b"one\n")}
    path.write_bytes(pack(members))
    assert fetched(Url(url=[str(path)], member="d/x.{lang}")) == [("eins", "one")]
    path.write_bytes(pack({"x.tsv": b"one\teins\n"}))
    source = Url(url=[str(path)], member="x.tsv", columns=(1, 0))
    assert fetched(source) == [("eins", "one")]
    assert len(fetched.records[0]["files"]) == 1
    with pytest.raises(ValueError, match=r"archive holds no d/x.de, but x\.tsv"):
        fetched(Url(url=[str(path)], member="d/x.{lang}"))


def test_iwslt_text_inside_an_inner_archive(fetched: Fetched, tmp_path: Path) -> None:
    members = {
        "de-en/train.tags.de": "<url>u</url>\n<title>T</title>\n eins < zwei\n",
        "de-en/train.tags.en": "<url>u</url>\n<title>T</title>\n one < two\n",
        "de-en/dev.de.xml": '<doc id="1">\n<seg id="1"> A &amp; B </seg>\n</doc>\n',
        "de-en/dev.en.xml": '<doc id="1">\n<seg id="1"> a &lt; b </seg>\n</doc>\n',
    }
    inner = tar({name: text.encode() for name, text in members.items()})
    path = tmp_path / "2014-01.tgz"
    path.write_bytes(tar({"2014-01/de-en.tgz": inner}))
    train = Url(url=[str(path)], member="2014-01/de-en.tgz::de-en/train.tags.{lang}")
    assert fetched(train) == [(" eins < zwei", " one < two")]
    dev = Url(url=[str(path)], member="2014-01/de-en.tgz::de-en/dev.{lang}.xml")
    assert fetched(dev) == [("A & B", "a < b")]


# Tools ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("corpus", "pair"),
    [
        ("Statmt-news_commentary-16-deu-eng", ("eins", "one")),
        ("Statmt-news_commentary-16-eng-deu", ("one", "eins")),
    ],
)
def test_mtdata_is_turned_to_the_direction_of_the_pair(
    fetched: Fetched, monkeypatch: pytest.MonkeyPatch, corpus: str, pair
) -> None:
    calls = []

    def output_lines(command: list[str], environment: dict[str, str]) -> Iterator[str]:
        calls.append((command[0], command[-2:], environment))
        yield "eins\tone\tmetadata"

    monkeypatch.setattr(fetch_module, "_output_lines", output_lines)
    assert fetched(Mtdata(mtdata=corpus)) == [pair]
    cache = {"MTDATA": str(fetched.downloads / "mtdata")}
    assert calls == [("mtdata", ["echo", corpus], cache)]


def test_mtdata_of_other_languages(fetched: Fetched) -> None:
    with pytest.raises(ValueError, match="mtdata: Statmt-x-1-deu-fra: Unable to match"):
        fetched(Mtdata(mtdata="Statmt-x-1-deu-fra"))


def test_sacrebleu_test_set_in_its_cache(fetched: Fetched) -> None:
    folder = fetched.downloads / "sacrebleu" / "wmt14" / "full"
    folder.mkdir(parents=True)
    for field in ("src", "ref", "docid", "origlang", "genre"):
        (folder / f"wmt14_full.de-en.{field}").write_text(f"a {field}\nb {field}\n")
    source = SacrebleuTestset(sacrebleu="wmt14/full")
    assert fetched(source) == [("a src", "a ref"), ("b src", "b ref")]
    with pytest.raises(ValueError, match="wmt14/ful has no de-en, but nothing"):
        fetched(SacrebleuTestset(sacrebleu="wmt14/ful"))


def test_a_tool_that_fails_is_told_in_its_last_words() -> None:
    lines = fetch_module._output_lines(["json.tool", "/nowhere"], {})
    with pytest.raises(ValueError, match=r"json\.tool /nowhere failed: .*No such file"):
        list(lines)


# Packages -------------------------------------------------------------------------


def help_page(text: str) -> bytes:
    return f'<html><body><p id="par_1">{text}</p></body></html>'.encode()


HELP = DebianPackages(
    debian={"de": ["help-de"], "en": ["help-en"]}, extract="libreoffice"
)


def test_debian_packages_kept_from_before(
    fetched: Fetched, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = fetched.downloads / "debian"
    kept.mkdir(parents=True)
    share = "usr/share/libreoffice/help"
    deb(kept, "help-de", {f"{share}/de/text/a/b.html": help_page("ein Absatz")})
    deb(kept, "help-en", {f"{share}/en-US/text/a/b.html": help_page("a paragraph")})
    assert fetched(HELP) == [("ein Absatz", "a paragraph")]
    assert next(read_lines(fetched.out)).startswith("a/b\t")
    files = fetched.records[0]["files"]
    assert [(file["name"], file["version"]) for file in files] == [
        ("help-de_1%3a2.3-4_all.deb", "1:2.3-4"),
        ("help-en_1%3a2.3-4_all.deb", "1:2.3-4"),
    ]
    digest = sha256(b"ein Absatz\ta paragraph\n")
    assert fetched.records[0]["text_sha256"] == digest
    fetched(HELP.model_copy(update={"text_sha256": digest}))
    assert "warning" not in capsys.readouterr().err
    fetched(HELP.model_copy(update={"text_sha256": "0" * 64}))
    assert (
        f"warning: the text extracted has SHA-256 {digest}" in capsys.readouterr().err
    )


def test_help_packs_of_the_archive_where_apt_get_is_missing(
    fetched: Fetched,
    tmp_path: Path,
    site: tuple[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url, folder = site
    archive = {}
    for language, locale, text in (("de", "de", "ein Absatz"), ("en", "en-US", "one")):
        pages = {f"opt/libreoffice7.4/help/{locale}/text/b.html": help_page(text)}
        package = deb(tmp_path, f"pack-{locale}", pages).read_bytes()
        pack = f"LibreOffice_helppack_{locale}.tar.gz"
        (folder / pack).write_bytes(tar({f"x/DEBS/pack-{locale}.deb": package}))
        archive[language] = [f"{url}/{pack}"]
    monkeypatch.setattr(fetch_module.shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match="there is no apt-get on this machine"):
        fetched(HELP)
    assert fetched(HELP.model_copy(update={"archive": archive})) == [
        ("ein Absatz", "one")
    ]
    assert "using the archive instead" in capsys.readouterr().err
    assert len(json.loads(fetched.lock.read_text())) == 2


def test_language_packs_are_paired_in_order(
    fetched: Fetched, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    packs: dict[str, list[str]] = {"de": [], "en": []}
    for product, key in (("browser", "first"), ("mail", "second")):
        for language, texts in packs.items():
            path = tmp_path / f"{product}-{language}.xpi"
            name = f"localization/{language}/a.ftl"
            path.write_bytes(
                zipped({name: f"{key} = {product} in {language}".encode()})
            )
            texts.append(str(path))
    monkeypatch.setattr(fetch_module.shutil, "which", lambda name: None)
    source = DebianPackages(
        debian={"de": ["b-de", "m-de"], "en": ["b-en", "m-en"]},
        extract="mozilla",
        archive=packs,
    )
    assert fetched(source) == [
        ("browser in de", "browser in en"),
        ("mail in de", "mail in en"),
    ]
    uneven = source.model_copy(update={"archive": {**packs, "de": packs["de"][:1]}})
    with pytest.raises(ValueError, match="1 packages for de and 2 for en"):
        fetched(uneven)
    missing = source.model_copy(update={"debian": {"de": ["b-de"]}})
    with pytest.raises(ValueError, match="names no packages for en"):
        fetched(missing)


def test_apt_get_runs_in_folders_of_its_own_and_installs_nothing(
    fetched: Fetched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for apt-get writes down how it is called and serves a folder."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    share = "usr/share/libreoffice/help"
    deb(shelf, "help-de", {f"{share}/de/text/b.html": help_page("zwei Wörter")})
    deb(shelf, "help-en", {f"{share}/en-US/text/b.html": help_page("two words")})
    stand_in = tmp_path / "bin" / "apt-get"
    stand_in.parent.mkdir()
    stand_in.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n'
        'while [ "$1" != download ] && [ $# -gt 0 ]; do shift; done\n'
        "[ $# -gt 0 ] || exit 0\nshift\n"
        f'for name in "$@"; do cp {shelf}/${{name}}_* . '
        '|| { echo "E: Unable to locate package $name" >&2; exit 100; }; done\n'
    )
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in.parent}:/usr/bin:/bin")
    assert fetched(HELP) == [("zwei Wörter", "two words")]
    calls = (tmp_path / "calls").read_text()
    assert [line.split()[-1] for line in calls.splitlines()] == [
        "update", "help-de", "update", "help-en"
    ]  # fmt: skip
    folder = fetched.downloads / "debian"
    assert f"Dir::State={folder}/state" in calls
    assert f"Dir::Cache={folder}/cache" in calls
    assert "install" not in calls
    fetched(HELP)
    assert (tmp_path / "calls").read_text() == calls  # the packages are kept
    unknown = HELP.model_copy(update={"debian": {"de": ["none"], "en": ["help-en"]}})
    with pytest.raises(ValueError, match="none failed: E: Unable to locate package"):
        fetched(unknown)
