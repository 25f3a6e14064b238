"""The report page of a study: one HTML file that needs nothing beside it."""

import base64
import datetime
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from a2d.corpus import read_lines
from a2d.files import atomic_write
from cost import cost_table

snakemake: Any

PACKAGES = ("torch", "ctranslate2", "sentencepiece", "sacrebleu", "snakemake")
NUM_EXAMPLES = 5
MISSING = "–"

DIGITS = {
    "bleu": 1,
    "chrf": 1,
    "greedy_bleu": 1,
    "argmax_percent": 1,
    "million_parameters": 2,
    "million_nonzero": 2,
    "megabytes": 1,
    "compressed_megabytes": 1,
    "beam_sentences_per_second": 0,
    "greedy_sentences_per_second": 0,
    "beam_speedup": 1,
    "greedy_speedup": 1,
}
HIGHEST_IS_BEST = ["bleu", "chrf", "greedy_bleu"]
LOWEST_IS_BEST = [
    "million_parameters",
    "million_nonzero",
    "megabytes",
    "compressed_megabytes",
]


def main(
    template: str,
    scores: str,
    speeds: Sequence[str],
    trainings: Sequence[str],
    counts: Sequence[str],
    provenance: Sequence[str],
    sources: Sequence[str],
    references: Sequence[str],
    translations: Sequence[str],
    figures: Sequence[str],
    study: str,
    pairs: Sequence[str],
    directions: Mapping[str, Sequence[str]],
    evaluations: Mapping[str, Mapping[str, str]],
    teachers: Sequence[str],
    benchmarks: str,
    output: str,
) -> None:
    """Render the page.

    Args:
        scores: the study's table.
        speeds: one table a pair.
        trainings: as `.../{dataset}/{pair}/{system}/seed{seed}/training.json`.
        counts: as `.../{dataset}/{pair}/corpus/{split}.counts.tsv`; of multilingual
            pairs in a folder for each direction.
        provenance: as `.../{dataset}/{direction}/raw/{split}.json`.
        sources: one test set a pair, for the examples; likewise `references`, and
            `translations`, one a system.
        figures: as `.../{dataset}/{pair}/{name}.svg`.
        pairs: as `dataset/pair`.
        directions: by pair, its directions as `dataset/direction`.
        evaluations: by pair, the system that is the `baseline` of scores, and the one
            that is the `speed_reference`.
        teachers: the systems that teach others; they take no part in "best".
        benchmarks: the folder of Snakemake's benchmarks.
    """
    table = in_readable_units(pd.read_csv(scores, sep="\t"))
    sections = []
    for name in pairs:
        dataset, pair = name.split("/")
        rows = table[(table.dataset == dataset) & (table.pair == pair)]
        testsets = dict(list(rows.groupby("testset", sort=False)))
        speed = pd.read_csv(*of_pair(name, speeds), sep="\t")
        shown_paths = of_pair(name, translations)
        translated = {
            Path(path).parts[-4]: list(read_lines(path)) for path in shown_paths
        }
        example_testset = Path(shown_paths[0]).stem
        baseline = evaluations[name]["baseline"]
        shown = example_systems(testsets[example_testset], baseline, teachers)
        section = {
            "name": name,
            "languages": Path(directions[name][0]).name.split("-"),
            "baseline": baseline,
            "speed_reference": evaluations[name]["speed_reference"],
            "scores": [score_table(rows, teachers) for rows in testsets.values()],
            "backends": ", ".join(speed.backend.unique()),
            "threads": ", ".join(map(str, speed.threads.unique())),
            "figures": {
                Path(path).stem: data_uri(path) for path in of_pair(name, figures)
            },
            "trainings": training_table(of_pair(name, trainings)),
            "costs": cost_table(
                Path(of_pair(name, trainings)[0]).parents[2], Path(benchmarks, name)
            ),
            "counts": {
                path.rpartition("/corpus/")[2].removesuffix(".counts.tsv"): pd.read_csv(
                    path, sep="\t"
                ).to_dict("records")
                for path in of_pair(name, counts)
            },
            "provenance": {
                raw_name(path, place, name): json.loads(Path(path).read_text())
                for place in directions[name]
                for path in of_pair(place, provenance)
            },
            "examples": examples(
                list(read_lines(*of_pair(name, sources))),
                list(read_lines(*of_pair(name, references))),
                {system: translated[system] for system in shown},
            ),
        }
        sections.append(section)
    page = jinja2.Template(
        Path(template).read_text(encoding="utf-8"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).render(
        study=study,
        date=datetime.date.today().isoformat(),
        systems=list(table.system.unique()),
        seeds=sorted(table.seed.unique()),
        teachers=teachers,
        machines=machines(trainings),
        versions={"Python": platform.python_version()}
        | {package: version(package) for package in PACKAGES},
        pairs=sections,
    )
    with atomic_write(output) as file:
        file.write(page)


def raw_name(path: str, place: str, name: str) -> str:
    """What a raw text is called: its split, of several directions with theirs."""
    split = Path(path).stem
    return split if place == name else f"{Path(place).name}/{split}"


def of_pair(name: str, paths: Sequence[str]) -> list[str]:
    """The paths that belong to one `dataset/pair`."""
    return [path for path in paths if f"/{name}/" in path]


# Scores ---------------------------------------------------------------------------


def in_readable_units(table: pd.DataFrame) -> pd.DataFrame:
    """The table with percent and millions of numbers that are too small or large."""
    return table.assign(
        argmax_percent=100 * table.argmax_probability,
        million_parameters=table.parameters / 1e6,
        million_nonzero=table.nonzero_parameters / 1e6,
    )


def score_table(rows: pd.DataFrame, teachers: Sequence[str]) -> dict[str, Any]:
    """The scores on one test set as text.

    Args:
        rows: one a system and seed.

    Returns:
        The test set's facts, `baselines` with the systems that are compared with each,
        and `systems`: by name, in the order of the rows, its
        `cells` by column and the columns in which it is the `best`.
    """
    by_system = rows.groupby("system", sort=False)
    best = best_values(
        by_system[list(DIGITS)].mean().drop(index=[*teachers], errors="ignore")
    )
    return {
        "testset": rows.testset.iloc[0],
        "sentences": rows.sentences.iloc[0],
        "signatures": [*rows.bleu_signature.unique(), *rows.chrf_signature.unique()],
        "baselines": {
            str(baseline): ", ".join(seeds.system.unique())
            for baseline, seeds in rows.dropna(subset="bleu_delta").groupby(
                "baseline", sort=False
            )
        },
        "systems": {
            system: {"cells": score_cells(seeds), "best": best.get(str(system), [])}
            for system, seeds in by_system
        },
    }


def score_cells(seeds: pd.DataFrame) -> dict[str, str]:
    """One system's row of the table, from its rows by seed."""
    cells = {
        column: mean_sd(seeds[column], digits) for column, digits in DIGITS.items()
    }
    cells["bleu_delta"] = delta(seeds.bleu_delta, seeds.bleu_p)
    cells["chrf_delta"] = delta(seeds.chrf_delta, seeds.chrf_p)
    return cells


def mean_sd(values: pd.Series, digits: int) -> str:
    """`26.4`, or `26.4 ± 0.2` where seeds differ."""
    values = values.dropna()
    if values.empty:
        return MISSING
    mean = f"{values.mean():,.{digits}f}"
    return mean if values.nunique() == 1 else f"{mean} ± {values.std():,.{digits}f}"


def delta(deltas: pd.Series, p_values: pd.Series) -> str:
    """`+1.3*`: the mean over the seeds, with the mark of their highest p-value."""
    if deltas.isna().all():
        return MISSING
    mark = "**" if p_values.max() < 0.01 else "*" if p_values.max() < 0.05 else ""
    return f"{deltas.mean():+.1f}{mark}".replace("-", "−")


def best_values(means: pd.DataFrame) -> dict[str, list[str]]:
    """By system the columns in which no other looks better, and some other worse."""
    shown = means.round(DIGITS)
    best = (
        shown[HIGHEST_IS_BEST]
        .eq(shown[HIGHEST_IS_BEST].max())
        .join(shown[LOWEST_IS_BEST].eq(shown[LOWEST_IS_BEST].min()))
    )
    best &= shown.nunique() > 1
    return {system: list(best.columns[best.loc[system]]) for system in best.index}


# What was trained, on what --------------------------------------------------------


def training_table(trainings: Sequence[str]) -> dict[str, dict[str, str]]:
    """By system the length of its training."""
    runs = pd.DataFrame(
        {"system": Path(path).parts[-3], **json.loads(Path(path).read_text())}
        for path in trainings
    )
    runs["minutes"] = runs.seconds / 60
    return {
        str(system): {
            "steps": mean_sd(seeds.steps, 0),
            "best_step": mean_sd(seeds.best_step, 0),
            "epochs": mean_sd(seeds.epochs, 1),
            "minutes": mean_sd(seeds.minutes, 1),
        }
        for system, seeds in runs.groupby("system", sort=False)
    }


def machines(trainings: Sequence[str]) -> list[dict[str, Any]]:
    """The different machines that trained, each once."""
    found = [json.loads(Path(path).read_text())["machine"] for path in trainings]
    return [
        machine for place, machine in enumerate(found) if machine not in found[:place]
    ]


# Examples -------------------------------------------------------------------------


def example_systems(
    rows: pd.DataFrame, baseline: str, teachers: Sequence[str]
) -> list[str]:
    """The teachers, the baseline, and the best of the others by BLEU."""
    bleu = rows.groupby("system", sort=False).bleu.mean()
    others = bleu.drop(index=[baseline, *teachers], errors="ignore")
    known = [system for system in bleu.index if system in {baseline, *teachers}]
    return [*known, str(others.idxmax())] if len(others) else known


def examples(
    sources: Sequence[str],
    references: Sequence[str],
    translations: Mapping[str, Sequence[str]],
) -> list[dict[str, Any]]:
    """Sentences spread evenly over those that the systems translate differently."""
    different = [
        line
        for line, hypotheses in enumerate(zip(*translations.values(), strict=True))
        if len(set(hypotheses)) > 1
    ]
    step = max(1, len(different) // NUM_EXAMPLES)
    return [
        {
            "line": line + 1,
            "source": sources[line],
            "reference": references[line],
            "translations": {
                system: hypotheses[line] for system, hypotheses in translations.items()
            },
        }
        for line in different[::step][:NUM_EXAMPLES]
    ]


def data_uri(svg: str) -> str:
    """A picture as text that an HTML page can hold."""
    packed = base64.b64encode(Path(svg).read_bytes()).decode()
    return f"data:image/svg+xml;base64,{packed}"


if __name__ == "__main__":
    sys.stderr = open(snakemake.log[0], "w")
    main(
        **dict(snakemake.input.items()),
        **dict(snakemake.params.items()),
        output=snakemake.output.page,
    )
