"""What every section of the configuration is: strict, frozen, and one with its YAML."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError


class UserError(ValueError):
    """A user's mistake: what is wrong, where, and what to do, in a sentence."""


class Interrupted(Exception):
    """A signal asked a job to stop; its state is saved, and it can go on later."""


class ConfigError(UserError):
    """Mistakes in the configuration, one a line."""


class Section(BaseModel):
    """Base of every section: unknown keys are errors, values never change."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    def fingerprint(self) -> str:
        """Hash of the resolved values; equal sections have equal fingerprints."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()


S = TypeVar("S", bound=Section)

ONE_OR_MORE = BeforeValidator(
    lambda v: [v] if isinstance(v, str) else v, json_schema_input_type=str | list[str]
)
"""A list of strings, of which a single one may stand alone."""


def read(path: str | Path) -> Any:
    """Values of a YAML file.

    Raises:
        ConfigError: if it is not there or no YAML.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file")
    try:
        return yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {error}") from None


def load(section: type[S], path: str | Path) -> S:
    """Read one section from a YAML file.

    Raises:
        ConfigError: naming the file and every mistake in it.
    """
    values = read(path)
    try:
        return parse(section, values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def dump(section: Section) -> str:
    """A section as YAML, readable again by `load`."""
    values = section.model_dump(mode="json", by_alias=True)
    # libyaml's, where it is built in: a study has a file for every training
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return yaml.dump(values, Dumper=dumper, sort_keys=False, allow_unicode=True)


def parse(section: type[S], values: Any) -> S:
    """Build a section from plain values.

    Raises:
        ConfigError: with every mistake found, one a line.
    """
    try:
        return section.model_validate(values)
    except ValidationError as error:
        lines = [_sentence(section, mistake) for mistake in error.errors()]
        raise ConfigError("\n".join(lines)) from None


def _sentence(section: type[Section], mistake: Any) -> str:
    """One mistake that pydantic found in a section, with its place and what to do."""
    # pydantic names the validator that ran (`function-before[...]`) in the path
    place = ".".join(
        str(part) for part in mistake["loc"] if not str(part).endswith("]")
    )
    key = str(mistake["loc"][-1]) if mistake["loc"] else ""
    if mistake["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, _known_keys(section, mistake["loc"]), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{place}: there is no such key{hint}"
    if mistake["type"] == "missing":
        return f"{place}: this key is missing"
    message = mistake["msg"].removeprefix("Value error, ")
    if mistake["type"] != "value_error":
        message += f", not {mistake['input']!r}"
    return f"{place}: {message[0].lower()}{message[1:]}" if place else message


def _known_keys(section: type[Section], place: Sequence[str | int]) -> set[str]:
    """Keys that may stand where a wrong one does, the last of its place."""
    sections = [section]
    for part in place[:-1]:
        inner = [
            kind
            for outer in sections
            for name, field in outer.model_fields.items()
            if part == (field.alias or name)
            for kind in _sections(field.annotation)
        ]
        # names of rows and numbers in lists are no keys of a section
        sections = inner or sections
    return {
        field.alias or name
        for kind in sections
        for name, field in kind.model_fields.items()
    }


def _sections(annotation: Any) -> Iterator[type[Section]]:
    """All sections in a type, such as that of `dict[str, Model]`."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for argument in get_args(annotation):
        yield from _sections(argument)
