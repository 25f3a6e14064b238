"""From `config.yaml` to the settings of one job: merged and checked."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from a2d.config import (
    NUMERICS,
    CleanJob,
    Config,
    ConfigError,
    DistillJob,
    EvaluateJob,
    FetchJob,
    Run,
    Section,
    Train,
    parse,
)

OVERRIDABLE = (
    "clean",
    "vocab",
    "models",
    "train",
    "decode",
    "evaluate",
    "corpora",
    "systems",
)


def validate(values: dict[str, Any]) -> Config:
    """Check a whole configuration.

    Raises:
        ConfigError: with every mistake found, one a line.
    """
    config = parse(Config, values)
    mistakes = _broken_references(config)
    for dataset_name, dataset in config.datasets.items():
        for pair_name in dataset.pairs:
            try:
                resolved = resolve_pair(values, dataset_name, pair_name)
            except ConfigError as error:
                mistakes += [
                    f"datasets.{dataset_name}.pairs.{pair_name}.override: {line}"
                    for line in str(error).splitlines()
                ]
            else:
                mistakes += _bad_systems(resolved, f"{dataset_name}/{pair_name}")
    if mistakes:
        raise ConfigError("\n".join(dict.fromkeys(mistakes)))
    return config


def resolve_pair(values: dict[str, Any], dataset: str, pair: str) -> Config:
    """The configuration as one language pair sees it: overrides merged in.

    Raises:
        ConfigError: if the dataset's or the pair's override does not fit.
    """
    rows = values["datasets"][dataset]
    merged = dict(values)
    for override in (rows.get("override", {}), rows["pairs"][pair].get("override", {})):
        wrong = set(override) - set(OVERRIDABLE)
        if wrong:
            raise ConfigError(
                f"{', '.join(sorted(wrong))}: an override may hold only "
                f"{', '.join(OVERRIDABLE)}"
            )
        merged = _merge(merged, override)
    return parse(Config, merged)


def resolve_run(config: Config, dataset: str, pair: str, system: str, seed: int) -> Run:
    """The resolved row of one training.

    Args:
        config: as returned by `resolve_pair` for this dataset and pair.
    """
    row = config.systems[system]
    return Run(
        dataset=dataset,
        pair=pair,
        system=system,
        seed=seed,
        vocab=config.vocab,
        model=config.models[row.model],
        train=parse(Train, _merge(config.train.model_dump(), row.train)),
        teacher=[f"{name}-seed{seed}" for name, seed in row.teachers],
        corpus=row.corpus,
        losses=row.losses,
        init=row.init,
        numerics=NUMERICS,
    )


def job_settings(config: Config, dataset: str, pair: str, job: str) -> Section:
    """What one job before or after the trainings needs to know.

    Args:
        config: as returned by `resolve_pair` for this dataset and pair.
        job: `clean`, `vocab`, `decode`, `evaluate`, `fetch_{split}` or
            `distill_{corpus}`.
    """
    row = config.datasets[dataset].pairs[pair]
    kind, _, what = job.partition("_")
    if kind == "fetch":
        src, tgt = pair.split("-")
        return FetchJob(src=src, tgt=tgt, sources=row.splits[what])
    if kind == "clean":
        return CleanJob(filters=config.clean, hold_out=row.hold_out)
    if kind == "vocab":
        return config.vocab
    if kind == "decode":
        return config.decode
    if kind == "distill":
        made = config.corpora[what].model_dump()
        return DistillJob(**made, decode=config.decode)
    return EvaluateJob(evaluate=config.evaluate, decode=config.decode)


def _merge(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in override.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            value = _merge(merged[key], value)
        merged[key] = value
    return merged


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"


def _broken_references(config: Config) -> list[str]:
    """Names that `studies:` uses and nobody defines."""
    mistakes = []
    if config.study not in config.studies:
        mistakes.append(
            f"study: there is no study {config.study}; "
            f"{_nearest(config.study, config.studies)}"
        )
    pairs = [
        f"{name}/{pair}" for name, row in config.datasets.items() for pair in row.pairs
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


def _bad_systems(config: Config, where: str) -> list[str]:
    """What is wrong with the rows of `systems:` as one pair sees them."""
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
    for name, system in config.systems.items():
        place = f"systems.{name}"
        references: list[tuple[str, str, Mapping[str, Any]]] = [
            ("model", system.model, config.models)
        ]
        references += [("teacher", t, config.systems) for t, _ in system.teachers]
        references += [("corpus", c, config.corpora) for c in system.distilled_corpora]
        if system.init.continue_:
            references.append(("init.continue", system.init.continue_, config.systems))
        broken = [
            f"{place}.{key}: there is no {used}; {_nearest(used, known)}"
            for key, used, known in references
            if used not in known
        ]
        mistakes += broken or _bad_combination(config, name, where)
    return mistakes


def _bad_combination(config: Config, name: str, where: str) -> list[str]:
    """Why a row whose names are all known cannot be trained; empty if it can."""
    place, system = f"systems.{name}", config.systems[name]
    mistakes = []
    if config.models[system.model].tie_embeddings == "all" and not config.vocab.joint:
        mistakes.append(
            f"models.{system.model}.tie_embeddings: all needs a joint vocabulary "
            f"(on {where})"
        )
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
    parent = system.init.continue_
    if parent and config.models[system.model] != config.models.get(
        config.systems[parent].model, config.models[system.model]
    ):
        mistakes.append(
            f"{place}.init.continue: {parent} has another architecture (on {where})"
        )
    if name in _ancestors(config, name):
        mistakes.append(
            f"{place}: it is its own teacher or start, directly or through others"
        )
    try:
        parse(Train, _merge(config.train.model_dump(), system.train))
    except ConfigError as error:
        mistakes += [f"{place}.train.{line}" for line in str(error).splitlines()]
    return mistakes


def _ancestors(config: Config, name: str) -> set[str]:
    """Systems that must be trained before this one."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        system = config.systems[waiting.pop()]
        parents = {teacher for teacher, _ in system.teachers}
        if system.init.continue_:
            parents.add(system.init.continue_)
        waiting += [p for p in parents - found if p in config.systems]
        found |= parents
    return found
