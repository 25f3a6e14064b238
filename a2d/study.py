"""From `config.yaml` to the settings of one job: merged and checked."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from a2d.config import (
    NUMERICS,
    CleanJob,
    Config,
    DistillJob,
    EvaluateJob,
    FetchJob,
    Run,
    Train,
    VocabJob,
    target_tag,
)
from a2d.section import ConfigError, Section, parse

LAYERS = ("num_encoder_layers", "num_decoder_layers")
HEADS = ("d_model", "num_heads")
WIDTHS = (*HEADS, "d_ff")
TYING = ("none", "decoder", "all")
"""Each ties what the one before does, and more."""
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
    config = parse(Config, expand(values))
    mistakes = _broken_references(config)
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
                mistakes += _bad_systems(resolved, f"{dataset_name}/{pair_name}")
                mistakes += _bad_directions(resolved, dataset_name, pair_name)
    if mistakes:
        raise ConfigError("\n".join(_together(mistakes)))
    return config


def expand(values: dict[str, Any]) -> dict[str, Any]:
    """The configuration with each list of sparsities written out.

    A row `pruned` with the sparsities 0.5 and 0.9 becomes the rows `pruned_50` and
    `pruned_90`, and so does its name in the studies; a row that has the name of one
    of them, as in an override, changes its values. What has a wrong shape stays as it
    is, for `parse` to tell.

    Raises:
        ConfigError: if two sparsities of a list give one name.
    """
    systems: dict[str, Any] = {}
    members: dict[str, list[str]] = {}
    for name, row in _table(values, "systems").items():
        prune = row.get("prune") if isinstance(row, dict) else None
        settings = prune if isinstance(prune, dict) else {"sparsity": prune}
        found = settings.get("sparsity")
        if isinstance(found, list) and found and all(map(_is_fraction, found)):
            for sparsity in found:
                member = name + _percent(sparsity)
                if member in members.setdefault(name, []):
                    raise ConfigError(
                        f"systems.{name}.prune: two sparsities are called {member}"
                    )
                members[name].append(member)
                systems[member] = row | {"prune": settings | {"sparsity": sparsity}}
        elif isinstance(row, dict):
            systems[name] = _merge(systems.get(name, {}), row)
        else:
            systems[name] = row
    if not members:
        return values
    studies = {
        name: row
        | {
            "systems": [
                member
                for system in row["systems"]
                for member in members.get(str(system), [system])
            ]
        }
        for name, row in _table(values, "studies").items()
        if isinstance(row, dict) and isinstance(row.get("systems"), list)
    }
    return _merge(values, {"studies": studies}) | {"systems": systems}


def curve_name(system: str, sparsity: float) -> str:
    """Name of the row that a pruned system was written out from, or its own."""
    return system.removesuffix(_percent(sparsity))


def resolve_pair(values: dict[str, Any], dataset: str, pair: str) -> Config:
    """The configuration as one language pair sees it: overrides merged in.

    Raises:
        ConfigError: if the dataset's or the pair's override does not fit.
    """
    rows = values["datasets"][dataset]
    merged = values
    row = (rows["pairs"] | rows.get("multilingual", {}))[pair] or {}
    for override in (rows.get("override", {}), row.get("override", {})):
        wrong = set(override) - set(OVERRIDABLE)
        if wrong:
            raise ConfigError(
                f"{', '.join(sorted(wrong))}: an override may hold only "
                f"{', '.join(OVERRIDABLE)}"
            )
        merged = _merge(merged, override)
    return parse(Config, expand(merged))


def directions(config: Config, dataset: str, pair: str) -> list[str]:
    """Translation directions of a pair: itself, or all of a multilingual one."""
    row = config.datasets[dataset]
    if pair in row.pairs:
        return [pair]
    sources, targets = (side.split("+") for side in pair.split("-"))
    named = [f"{src}-{tgt}" for src in sources for tgt in targets]
    return [direction for direction in named if direction in row.pairs]


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
        directions=row.directions or directions(config, dataset, pair),
        losses=row.losses,
        init=row.init,
        prune=row.prune,
        numerics=NUMERICS,
    )


def job_settings(config: Config, dataset: str, pair: str, job: str) -> Section:
    """What one job before or after the trainings needs to know.

    Args:
        config: as returned by `resolve_pair` for this dataset and pair.
        job: `clean` (of one direction of a multilingual pair `clean_{direction}`),
            `vocab`, `decode`, `evaluate`, `fetch_{split}` or `distill_{corpus}`.
    """
    rows = config.datasets[dataset].pairs
    kind, _, what = job.partition("_")
    if kind == "fetch":
        src, tgt = pair.split("-")
        return FetchJob(src=src, tgt=tgt, sources=rows[pair].splits[what])
    if kind == "clean":
        shares = rows[what or pair].hold_out
        tag = target_tag(what) if what else None
        return CleanJob(filters=config.clean, hold_out=shares, tag=tag)
    if kind == "vocab":
        found = directions(config, dataset, pair)
        tags = (
            {target_tag(direction) for direction in found} if pair not in rows else ()
        )
        return VocabJob(**config.vocab.model_dump(), tags=sorted(tags))
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


def _table(values: dict[str, Any], key: str) -> dict[str, Any]:
    """The mapping under a key; empty where there is none."""
    found = values.get(key)
    return found if isinstance(found, dict) else {}


def _is_fraction(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 1


def _percent(sparsity: float) -> str:
    """End of a pruned system's name: `_80` of 0.8, `_92_5` of 0.925."""
    return f"_{100 * sparsity:g}".replace(".", "_")


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"


def _misnamed(config: Config, resolved: Config) -> list[str]:
    """Systems named after a sparsity that an override takes from them."""
    named = {
        name: system.prune
        for name, system in config.systems.items()
        if system.prune and name.endswith(_percent(system.prune.sparsity))
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
        how = "copy" if system.init.copy_ else "continue"
        if system.baseline:
            references.append(("baseline", system.baseline, config.systems))
        if system.init.parent:
            references.append((f"init.{how}", system.init.parent, config.systems))
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
    mistakes += [f"{place}.init.{why} (on {where})" for why in _bad_start(config, name)]
    if name in _ancestors(config, name):
        mistakes.append(
            f"{place}: it is its own teacher or start, directly or through others"
        )
    try:
        parse(Train, _merge(config.train.model_dump(), system.train))
    except ConfigError as error:
        mistakes += [f"{place}.train.{line}" for line in str(error).splitlines()]
    return mistakes


def _bad_directions(config: Config, dataset: str, pair: str) -> list[str]:
    """What the directions of a pair lack, and what systems of studies lack of them."""
    where = f"{dataset}/{pair}"
    known = directions(config, dataset, pair)
    mistakes = []
    if pair not in config.datasets[dataset].pairs:
        place = f"datasets.{dataset}.multilingual.{pair}"
        ways = ("from", "into")
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
    asked = {
        system: None
        for study in config.studies.values()
        for system in study.systems
        if where in study.pairs and system in config.systems
    }
    for name in list(asked):
        asked |= dict.fromkeys(_ancestors(config, name) & set(config.systems))
    for name in asked:
        system = config.systems[name]
        wanted = system.directions or known
        mistakes += [
            f"systems.{name}.directions: {where} has no direction {direction}; "
            f"{_nearest(direction, known)}"
            for direction in wanted
            if direction not in known
        ]
        learned = [
            config.systems[teacher].directions or known
            for teacher, _ in system.teachers
            if teacher in config.systems
        ]
        mistakes += [
            f"systems.{name}.teacher: none of its teachers learns {direction} "
            f"(on {where})"
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
        system = config.systems[waiting.pop()]
        parents = {teacher for teacher, _ in system.teachers}
        if system.init.parent:
            parents.add(system.init.parent)
        waiting += [p for p in parents - found if p in config.systems]
        found |= parents
    return found
