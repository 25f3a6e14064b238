"""Whether the rows of `config.yaml` fit together: names, models, losses, directions."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from a2d.config import Config
from a2d.section import ConfigError, parse
from a2d.study import (
    curve_name,
    directions,
    expand,
    resolve_pair,
    sparse_systems,
    train_settings,
)

LAYERS = ("num_encoder_layers", "num_decoder_layers")
HEADS = ("d_model", "num_heads")
WIDTHS = (*HEADS, "d_ff")
TYING = ("none", "decoder", "all")
"""Each ties what the one before does, and more."""


def validate(values: dict[str, Any]) -> Config:
    """Check a whole configuration.

    Raises:
        ConfigError: with every mistake found, one a line.
    """
    config = parse(Config, expand(values))
    mistakes = _broken_references(config) + _named_twice(values)
    for dataset_name, dataset in config.datasets.items():
        for table, pair_name in (
            *(("pairs", name) for name in dataset.pairs),
            *(("multilingual", name) for name in dataset.multilingual),
        ):
            place = f"datasets.{dataset_name}.{table}.{pair_name}.override"
            try:
                resolved = resolve_pair(values, dataset_name, pair_name)
            except ConfigError as error:
                mistakes += [f"{place}: {line}" for line in str(error).splitlines()]
            else:
                mistakes += [
                    f"{place}: {name} would not have its sparsity; a list of them "
                    "cannot be changed here, because systems are named after them"
                    for name in _misnamed(config, resolved)
                ]
                mistakes += _bad_systems(resolved)
                mistakes += _bad_directions(resolved, dataset_name, pair_name)
                for name in _asked(resolved, f"{dataset_name}/{pair_name}"):
                    mistakes += misfits(resolved, dataset_name, pair_name, name)
    if mistakes:
        raise ConfigError("\n".join(_together(mistakes)))
    return config


def _named_twice(values: dict[str, Any]) -> list[str]:
    """Rows that have the name of one that a list of sparsities makes."""
    rows = values["systems"]
    return [
        f"systems.{member}: systems.{name} makes a system of this name too; rename one"
        for name, row in rows.items()
        for member in sparse_systems(name, row)
        if member in rows
    ]


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"


def _misnamed(config: Config, resolved: Config) -> list[str]:
    """Systems named after a sparsity that an override takes from them."""
    named = {
        name: system.prune
        for name, system in config.systems.items()
        if system.prune and curve_name(name, system.prune.sparsity) != name
    }
    found = {name: system.prune for name, system in resolved.systems.items()}
    return [
        name
        for name, prune in named.items()
        if (left := found.get(name)) is None or left.sparsity != prune.sparsity
    ]


def _together(mistakes: Iterable[str]) -> list[str]:
    """Mistakes that differ only in their pair, `(on dataset/pair)`, told once."""
    places: dict[str, list[str]] = {}
    for mistake in mistakes:
        message, _, place = mistake.partition(" (on ")
        found = places.setdefault(message, [])
        if place not in found:
            found.append(place)
    lines = []
    for message, (first, *others) in places.items():
        more = f" and {len(others)} more" if others else ""
        place = f" (on {first.removesuffix(')')}{more})" if first else ""
        lines.append(message + place)
    return lines


def _broken_references(config: Config) -> list[str]:
    """Names that `studies:` uses and nobody defines."""
    mistakes = []
    if config.study not in config.studies:
        mistakes.append(
            f"study: there is no study {config.study}; "
            f"{_nearest(config.study, config.studies)}"
        )
    pairs = [
        f"{name}/{pair}"
        for name, row in config.datasets.items()
        for pair in (*row.pairs, *row.multilingual)
    ]
    for study_name, study in config.studies.items():
        for pair in study.pairs:
            if pair not in pairs:
                mistakes.append(
                    f"studies.{study_name}.pairs: there is no pair {pair}; "
                    f"{_nearest(pair, pairs)}"
                )
        for system in study.systems:
            if system not in config.systems:
                mistakes.append(
                    f"studies.{study_name}.systems: there is no system {system}; "
                    f"{_nearest(system, config.systems)}"
                )
    return mistakes


def _bad_systems(config: Config) -> list[str]:
    """What is wrong with the rows of `systems:` wherever they are trained."""
    mistakes = []
    for key in ("baseline", "speed_reference"):
        system_name = getattr(config.evaluate, key)
        if system_name not in config.systems:
            mistakes.append(
                f"evaluate.{key}: there is no system {system_name}; "
                f"{_nearest(system_name, config.systems)}"
            )
    if "gold" in config.corpora:
        mistakes.append("corpora.gold: gold is the clean text; choose another name")
    for name in config.systems:
        mistakes += _broken_names(config, name) or _bad_combination(config, name)
    return mistakes


def _broken_names(config: Config, name: str) -> list[str]:
    """Names that a row uses and nobody defines."""
    system = config.systems[name]
    references: list[tuple[str, str, Mapping[str, Any]]] = [
        ("model", system.model, config.models)
    ]
    references += [("teacher", t, config.systems) for t, _ in system.teachers]
    references += [("corpus", c, config.corpora) for c in system.distilled_corpora]
    how = "copy" if system.init.copy_ else "continue"
    if system.baseline:
        references.append(("baseline", system.baseline, config.systems))
    if system.init.parent:
        references.append((f"init.{how}", system.init.parent, config.systems))
    return [
        f"systems.{name}.{key}: there is no {used}; {_nearest(used, known)}"
        for key, used, known in references
        if used not in known
    ]


def _bad_combination(config: Config, name: str) -> list[str]:
    """Why a row whose names are all known cannot be trained; empty if it can."""
    place, system = f"systems.{name}", config.systems[name]
    mistakes = []
    for asks, what in (
        (system.needs_teacher_output, "losses"),
        (bool(system.distilled_corpora), "corpus"),
    ):
        if asks and not system.teacher:
            mistakes.append(
                f"{place}.{what}: it needs a teacher, and the row names none"
            )
    if len(set(system.teachers)) < len(system.teachers):
        mistakes.append(
            f"{place}.teacher: an ensemble needs different teachers, and the row names "
            "one twice"
        )
    if system.losses.a2d and len(system.teacher) > 1:
        mistakes.append(
            f"{place}.losses.a2d: attention maps are aligned with one teacher, "
            f"the row names {len(system.teacher)}"
        )
    word_kd = system.losses.word_kd
    if word_kd and word_kd.divergence == "mse" and len(system.teacher) > 1:
        mistakes.append(
            f"{place}.losses.word_kd: mse compares logits with those of one teacher, "
            f"the row names {len(system.teacher)}"
        )
    if name in _ancestors(config, name):
        mistakes.append(
            f"{place}: it is its own teacher or start, directly or through others"
        )
    try:
        train_settings(config, name)
    except ConfigError as error:
        mistakes += [f"{place}.train.{line}" for line in str(error).splitlines()]
    return mistakes


def _bad_directions(config: Config, dataset: str, pair: str) -> list[str]:
    """What the directions of a multilingual pair lack."""
    if pair in config.datasets[dataset].pairs:
        return []
    place = f"datasets.{dataset}.multilingual.{pair}"
    known = directions(config, dataset, pair)
    ways = ("from", "into")
    mistakes = []
    for number, (way, side) in enumerate(zip(ways, pair.split("-"), strict=True)):
        languages = side.split("+")
        spoken = {direction.split("-")[number] for direction in known}
        mistakes += [
            f"{place}: the dataset has no pair {way} {language} among its languages"
            for language in languages
            if language not in spoken
        ]
        if len(set(languages)) < len(languages):
            mistakes.append(f"{place}: a language stands there twice")
    if not config.vocab.joint:
        mistakes.append(f"{place}: its languages need a joint vocabulary")
    return mistakes


def _asked(config: Config, where: str) -> list[str]:
    """Systems that studies train on a pair, with teachers and first weights."""
    asked = {
        system: None
        for study in config.studies.values()
        for system in study.systems
        if where in study.pairs and system in config.systems
    }
    for name in list(asked):
        asked |= dict.fromkeys(_ancestors(config, name) & set(config.systems))
    return list(asked)


def misfits(config: Config, dataset: str, pair: str, name: str) -> list[str]:
    """Why a system cannot be trained on this pair, though it may on another.

    Its vocabulary, the shapes of its models and its directions depend on the pair.

    Args:
        config: as returned by `resolve_pair` for this dataset and pair.
    """
    if _broken_names(config, name):
        return []
    where, system = f"{dataset}/{pair}", config.systems[name]
    known = directions(config, dataset, pair)
    wanted = system.directions or known
    mistakes = []
    if config.models[system.model].tie_embeddings == "all" and not config.vocab.joint:
        mistakes.append(
            f"models.{system.model}.tie_embeddings: all needs a joint vocabulary "
            f"(on {where})"
        )
    mistakes += [
        f"systems.{name}.init.{why} (on {where})" for why in _bad_start(config, name)
    ]
    mistakes += [
        f"systems.{name}.directions: {where} has no direction {direction}; "
        f"{_nearest(direction, known)}"
        for direction in wanted
        if direction not in known
    ]
    learned = [
        config.systems[teacher].directions or known for teacher, _ in system.teachers
    ]
    mistakes += [
        f"systems.{name}.teacher: none of its teachers learns {direction} (on {where})"
        for direction in wanted
        if learned and not any(direction in found for found in learned)
    ]
    return mistakes


def _bad_start(config: Config, name: str) -> list[str]:
    """Why a row's model cannot take the weights that it is to start from."""
    system = config.systems[name]
    parent, model = system.init.parent, config.models[system.model]
    source = parent and config.models.get(config.systems[parent].model)
    if not source:
        return []
    if not system.init.copy_:
        # dropout has no weights
        other = model != source.model_copy(update={"dropout": model.dropout})
        return [f"continue: {parent} has another architecture"] if other else []

    def sizes(keys: Iterable[str]) -> str:
        ours, theirs = (
            ", ".join(f"{key} {getattr(side, key)}" for key in keys)
            for side in (model, source)
        )
        return f"{parent} has {theirs} and the model {system.model} {ours}"

    deeper = [key for key in LAYERS if getattr(model, key) > getattr(source, key)]
    widths = [key for key in WIDTHS if getattr(model, key) != getattr(source, key)]
    wider = [key for key in widths if getattr(model, key) > getattr(source, key)]
    mistakes = []
    if deeper:
        mistakes.append(f"copy: {sizes(deeper)}; layers can only be left out")
    if model.norm != source.norm:
        mistakes.append(f"copy: {sizes(['norm'])}; they must be equal")
    if TYING.index(model.tie_embeddings) > TYING.index(source.tie_embeddings):
        mistakes.append(
            f"copy: {sizes(['tie_embeddings'])}; different tables cannot become one"
        )
    if wider and system.init.reduce:
        mistakes.append(f"reduce: {sizes(wider)}; a copy can only be smaller")
    elif model.head_size > source.head_size and system.init.reduce:
        mistakes.append(f"reduce: {sizes(HEADS)}; a head can only be smaller")
    elif widths and not system.init.reduce:
        mistakes.append(
            f"copy: {sizes(widths)}; choose a model as wide, or `reduce: truncate`"
        )
    return mistakes


def _ancestors(config: Config, name: str) -> set[str]:
    """Systems that must be trained before this one."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        parents = {parent for parent, _ in config.systems[waiting.pop()].parents(1)}
        waiting += [p for p in parents - found if p in config.systems]
        found |= parents
    return found
