"""The score table of one language pair: quality, size and speed of every system."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from a2d.corpus import read_lines
from a2d.files import atomic_write
from a2d.metrics import paired_bootstrap
from a2d.progress import tell

snakemake: Any

COLUMNS = [
    "system", "seed", "testset", "sentences",
    "bleu", "chrf", "greedy_bleu", "greedy_chrf",
    "baseline", "bleu_delta", "bleu_p", "chrf_delta", "chrf_p",
    "argmax_probability", "parameters", "nonzero_parameters",
    "megabytes", "compressed_megabytes",
    "greedy_sentences_per_second", "beam_sentences_per_second",
    "greedy_speedup", "beam_speedup",
    "bleu_signature", "chrf_signature",
]  # fmt: skip


COMPARED = ["baseline", "bleu_delta", "bleu_p", "chrf_delta", "chrf_p"]
"""Columns that a system has no value in that is compared with none."""
AVERAGED = [
    "bleu", "chrf", "greedy_bleu", "greedy_chrf", "bleu_delta", "chrf_delta",
    "argmax_probability",
]  # fmt: skip
"""Columns of which a multilingual system has a mean over its directions."""


def main(
    scores: list[str],
    translations: list[str],
    references: list[str],
    speed: str,
    baselines: Mapping[str, str],
    samples: int,
    output: str,
) -> None:
    """Write the table, one row a system, seed and test set.

    Args:
        scores: one JSON file a row of the table.
        translations: beam search's, in the order of `scores`.
        references: one a row, in the order of `scores`.
        baselines: by system, the one of the same seed that it is compared with.
        samples: of the paired bootstrap.
    """
    records = [json.loads(Path(path).read_text()) for path in scores]
    hypotheses = {
        (record["system"], record["seed"], record["testset"]): list(read_lines(path))
        for record, path in zip(records, translations, strict=True)
    }
    targets = {
        record["testset"]: path
        for record, path in zip(records, references, strict=True)
    }

    rows = []
    for record in records:
        system, seed, testset = record["system"], record["seed"], record["testset"]
        row = dict.fromkeys(COMPARED) | score_row(record)
        baseline = baselines[system]
        baseline_hypotheses = hypotheses.get((baseline, seed, testset))
        if system != baseline and baseline_hypotheses is not None:
            row["baseline"] = baseline
            tell("scores", f"paired bootstrap of {system}-seed{seed}, {testset}")
            compared = paired_bootstrap(
                list(read_lines(targets[testset])),
                baseline_hypotheses,
                hypotheses[system, seed, testset],
                samples,
            )
            for metric in ("bleu", "chrf"):
                row[f"{metric}_delta"] = compared[metric]["delta"]
                row[f"{metric}_p"] = compared[metric]["p_value"]
        rows.append(row)

    table = with_averages(pd.DataFrame(rows)).merge(
        speed_columns(pd.read_csv(speed, sep="\t")), on=["system", "seed"], how="left"
    )
    with atomic_write(output) as file:
        table.reindex(columns=COLUMNS).to_csv(
            file, sep="\t", index=False, float_format="%.6g"
        )


def score_row(record: dict[str, Any]) -> dict[str, Any]:
    """One score file as cells of the table."""
    same_name = set(COLUMNS) & set(record)
    return {column: record[column] for column in same_name} | {
        "bleu": record["beam"]["bleu"],
        "chrf": record["beam"]["chrf"],
        "greedy_bleu": record["greedy"]["bleu"],
        "greedy_chrf": record["greedy"]["chrf"],
        "bleu_signature": record["beam"]["bleu_signature"],
        "chrf_signature": record["beam"]["chrf_signature"],
    }


def with_averages(table: pd.DataFrame) -> pd.DataFrame:
    """The table, and `average` over the directions of the systems that have most.

    Test sets of a direction are called like `test.de-en`; of those called alike but for
    the direction the mean is taken, and the number of sentences added.
    """
    split = table.testset.str.partition(".")
    several = table[split[2] != ""].assign(testset="average." + split[0])
    keys = ["system", "seed", "testset"]
    groups = several.groupby(keys, sort=False)
    same = [c for c in several if c not in {*keys, *AVERAGED, "sentences"}]
    # where a direction lacks a value, as of a baseline that does not learn it, all do
    means = groups[AVERAGED].agg(lambda values: values.mean(skipna=False))
    means = means.join(groups["sentences"].sum())
    means = means.join(groups[same].first())
    means[["bleu_p", "chrf_p"]] = float("nan")
    sizes = groups.size()
    whole = sizes.groupby("testset").transform("max")
    found = means[(sizes > 1) & (sizes == whole)].reset_index()
    return pd.concat([table, found[table.columns]]) if len(found) else table


def speed_columns(speed: pd.DataFrame) -> pd.DataFrame:
    """One row a system and seed, columns `greedy_speedup`, `beam_speedup`, ..."""
    wide = speed.pivot(
        index=["system", "seed"],
        columns="search",
        values=["sentences_per_second", "speedup"],
    )
    wide.columns = wide.columns.map("{0[1]}_{0[0]}".format)
    return wide.reset_index()


if __name__ == "__main__":
    main(
        snakemake.input.scores,
        snakemake.input.translations,
        snakemake.input.references,
        snakemake.input.speed,
        snakemake.params.baselines,
        snakemake.params.samples,
        snakemake.output.scores,
    )
