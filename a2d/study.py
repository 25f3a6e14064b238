"""From `config.yaml` to the settings of one job."""

from __future__ import annotations

from typing import Any

from a2d.config import NUMERICS, Config, Run, Train, target_tag
from a2d.jobs import CleanJob, DistillJob, EvaluateJob, FetchJob, VocabJob
from a2d.section import ConfigError, Section, parse

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


def expand(values: dict[str, Any]) -> dict[str, Any]:
    """The configuration with each list of sparsities written out.

    A row `pruned` with the sparsities 0.5 and 0.9 becomes the rows `pruned_50` and
    `pruned_90`, and so does its name in the studies; a row of an override that has the
    name of one of them changes its values. What has a wrong shape stays as it is, for
    `parse` to tell.

    Raises:
        ConfigError: if two sparsities of a list give one name.
    """
    systems: dict[str, Any] = {}
    members: dict[str, list[str]] = {}
    for name, row in _table(values, "systems").items():
        if made := sparse_systems(name, row):
            members[name] = list(made)
            systems |= made
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


def sparse_systems(name: str, row: Any) -> dict[str, Any]:
    """Rows that one with a list of sparsities stands for; none of any other row.

    Raises:
        ConfigError: if two sparsities give one name.
    """
    prune = row.get("prune") if isinstance(row, dict) else None
    settings = prune if isinstance(prune, dict) else {"sparsity": prune}
    found = settings.get("sparsity")
    if not isinstance(found, list) or not all(map(_is_fraction, found)):
        return {}
    made: dict[str, Any] = {}
    for sparsity in found:
        member = name + _percent(sparsity)
        if member in made:
            raise ConfigError(
                f"systems.{name}.prune: two sparsities are called {member}"
            )
        made[member] = row | {"prune": settings | {"sparsity": sparsity}}
    return made


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


def train_settings(config: Config, system: str) -> Train:
    """`train:` as one system sees it.

    Raises:
        ConfigError: if the values of its row do not fit.
    """
    own = config.systems[system].train
    return parse(Train, _merge(config.train.model_dump(), own))


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
        train=train_settings(config, system),
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
