"""Where text comes from: the kinds of sources that `config.yaml` may name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from a2d.section import ONE_OR_MORE, Section


class LocalFiles(Section):
    """Files of the user: one a side (`{lang}` in the path) or one TSV; gz or plain."""

    files: str
    columns: tuple[int, int] = (0, 1)


class Url(Section):
    """A download: one file a side (`{lang}` in `url` or `member`) or one TSV."""

    url: Annotated[list[str], ONE_OR_MORE]
    """Mirrors, tried in turn; a local path may stand among them."""
    member: str | None = None
    """The file inside a tar or zip archive; `outer.tgz::inner` for one in another. Of
    `.xml` and `.sgm` the segments are read, of `.tags.` files not the metadata."""
    sha256: dict[str, str] | str | None = None
    """Of the downloaded file, by language where the URL has `{lang}`; without it the
    first download is recorded in `downloads.lock` and later ones must match."""
    columns: tuple[int, int] = (0, 1)


class Mtdata(Section):
    """A corpus known to the `mtdata` tool."""

    mtdata: str


class SacrebleuTestset(Section):
    """A test set that sacreBLEU downloads, such as `wmt14/full`."""

    sacrebleu: str


class DebianPackages(Section):
    """Text inside Debian packages, unpacked without root and without installing."""

    debian: dict[str, list[str]]
    """Packages by language; several are paired in order."""
    extract: Literal["libreoffice", "mozilla"]
    archive: dict[str, list[str]] = {}
    """By language, URLs of the same packs where Debian's tools are missing."""
    text_sha256: str | None = None
    """Of the extracted text that the documented figures were measured on; a different
    text is used with a warning."""


class HoldOut(Section):
    """A share of the training source's documents, chosen by a hash of their names."""

    hold_out: Annotated[float, Field(gt=0, lt=0.5)]


def _source_shorthand(value: Any) -> Any:
    return {"files": value} if isinstance(value, str) else value


SOURCES: dict[str, type[Section]] = {
    "files": LocalFiles,
    "url": Url,
    "mtdata": Mtdata,
    "sacrebleu": SacrebleuTestset,
    "debian": DebianPackages,
    "hold_out": HoldOut,
}


def _source(value: Any) -> Section:
    """Build a source from its row; the key it holds says which kind it is."""
    value = _source_shorthand(value)
    if isinstance(value, Section):
        return value
    kinds = [key for key in SOURCES if isinstance(value, dict) and key in value]
    if len(kinds) != 1:
        raise ValueError(
            f"a source names exactly one of {', '.join(SOURCES)}, or is a path"
        )
    return SOURCES[kinds[0]].model_validate(value)


def _sources(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


AnySource = LocalFiles | Url | Mtdata | SacrebleuTestset | DebianPackages | HoldOut
Source = Annotated[
    AnySource, BeforeValidator(_source, json_schema_input_type=AnySource | str)
]
Sources = Annotated[
    list[Source],
    BeforeValidator(
        _sources, json_schema_input_type=AnySource | str | list[AnySource | str]
    ),
]
"""One source or a list of them, read one after the other."""
