"""Parallel text inside software packages: from unpacked files to aligned rows.

Files are mappings from a name to its bytes; where they come from is `fetch`'s matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from lxml import html
from moz.l10n.model import Entry, PatternMessage
from moz.l10n.resource import parse_resource

Files = Mapping[str, bytes]


class Row(NamedTuple):
    """A sentence or a short text, its translation, and where they stand, if known."""

    document: str
    src: str
    tgt: str


# LibreOffice ----------------------------------------------------------------------

PAGE = re.compile(r"/help/[^/]+/text/(.+)\.html$")
PARAGRAPHS = (
    "//*[self::p or self::h1 or self::h2 or self::h3 or self::h4 or self::h5 or "
    "self::h6][starts-with(@id, 'par_') or starts-with(@id, 'hd_')]"
    "[not(contains(@class, 'code'))][not(.//*[starts-with(@class, 'switch')])]"
)


def libreoffice(src_files: Files, tgt_files: Files) -> Iterator[Row]:
    """Sentences of LibreOffice's help, aligned by page and paragraph id.

    Paragraphs that read differently by operating system or module are left out.
    """
    src_pages, tgt_pages = _help_pages(src_files), _help_pages(tgt_files)
    for page in sorted(src_pages.keys() & tgt_pages.keys()):
        translations = _paragraphs(tgt_pages[page])
        for key, src in _paragraphs(src_pages[page]).items():
            if key in translations:
                yield from _rows(page, src, translations[key])


def _help_pages(files: Files) -> dict[str, bytes]:
    pages = ((PAGE.search(f"/{name}"), text) for name, text in files.items())
    return {match[1]: text for match, text in pages if match}


def _paragraphs(page: bytes) -> dict[str, str]:
    """Text by id, in the order of the page."""
    tree = html.document_fromstring(page, parser=html.HTMLParser(encoding="utf-8"))
    for line_break in tree.iter("br"):
        line_break.tail = f" {line_break.tail or ''}"
    paragraphs: dict[str, str] = {}
    for paragraph in tree.xpath(PARAGRAPHS):
        paragraphs.setdefault(paragraph.get("id"), paragraph.text_content())
    return paragraphs


# Mozilla --------------------------------------------------------------------------

LANGUAGE = re.compile(r"(?:^|/)(?:chrome|localization)/([^/]+)/")
ACCESS_KEY = re.compile(r"(access|command|short)_?-?key|\.key$", re.IGNORECASE)
MARKUP = re.compile(r"</?[a-z][^<>]*>", re.IGNORECASE)


def mozilla(src_files: Files, tgt_files: Files) -> Iterator[Row]:
    """Strings of one of Mozilla's language packs, aligned by file and key.

    Strings with placeables, plural forms and access keys are left out.
    """
    src_resources, tgt_resources = _resources(src_files), _resources(tgt_files)
    for name in sorted(src_resources.keys() & tgt_resources.keys()):
        translations = _strings(name, tgt_resources[name])
        for key, src in _strings(name, src_resources[name]).items():
            if key in translations:
                yield from _rows(name, src, translations[key])


def _resources(files: Files) -> dict[str, bytes]:
    """Files of strings by their path below the language's folder."""
    resources = {}
    for name, text in files.items():
        language = LANGUAGE.search(name)
        if language and name.endswith((".ftl", ".properties", ".dtd")):
            resources[name.rpartition(f"/{language[1]}/")[2]] = text
    return resources


def _strings(name: str, text: bytes) -> dict[tuple[str, ...], str]:
    """Plain strings by key, without markup."""
    strings = {}
    for section in parse_resource(name, text).sections:
        for entry in section.entries:
            if not isinstance(entry, Entry):
                continue
            messages = {"": entry.value, **entry.properties}
            for attribute, message in messages.items():
                key = (*entry.id, attribute)
                if (
                    isinstance(message, PatternMessage)
                    and all(isinstance(part, str) for part in message.pattern)
                    and not any(ACCESS_KEY.search(part) for part in key)
                ):
                    strings[key] = MARKUP.sub("", "".join(map(str, message.pattern)))
    return strings


# Rows -----------------------------------------------------------------------------

ABBREVIATIONS = (
    "bzgl|bzw|ca|cf|engl|etc|evtl|ggf|inkl|max|min|no|nr|resp|sog|usw|vgl|vs"
)
SENTENCE_END = re.compile(
    r"([.!?…][\"”“»)]*) +(?=[\"“„«(]*[^\W\d_a-zß-ÿ])",
)


CODE = re.compile(r"[=|\\{}<>^$#_]|&\w|%[\dA-Z]|://|www\.|,[^\s\d]\S*,")


def _rows(document: str, src: str, tgt: str) -> Iterator[Row]:
    """Sentence pairs of two aligned texts; one pair where their numbers differ."""
    src, tgt = " ".join(src.split()), " ".join(tgt.split())
    src_sentences, tgt_sentences = _sentences(src), _sentences(tgt)
    if len(src_sentences) != len(tgt_sentences):
        src_sentences, tgt_sentences = [src], [tgt]
    for src, tgt in zip(src_sentences, tgt_sentences, strict=True):
        if src != tgt and _is_prose(src) and _is_prose(tgt):
            yield Row(document, src, tgt)


def _sentences(text: str) -> list[str]:
    """Split where a sentence ends; dots of abbreviations and numbers do not end one."""
    sentences, start = [], 0
    for end in SENTENCE_END.finditer(text):
        word = text[start : end.start()].rpartition(" ")[2].lstrip('(„“"')
        is_dot = text[end.start()] == "."
        if is_dot and re.fullmatch(rf"\w|\d+|\w\.\w|{ABBREVIATIONS}", word, re.I):
            continue
        sentences.append(text[start : end.end()].strip())
        start = end.end()
    return [*sentences, text[start:]]


def _is_prose(text: str) -> bool:
    """Whether a text is language rather than code, a formula or a fragment."""
    letters = sum(character.isalpha() or character == " " for character in text)
    return (
        letters > 0.7 * len(text)
        and bool(re.search(r"[^\W\d_A-Z]{2}", text))
        and bool(re.match(r"[\w\"'“„‚«(\[…]", text))
        and not CODE.search(text)
    )
