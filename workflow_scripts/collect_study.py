"""The score table of a study: the tables of its language pairs, stacked."""

import sys
from typing import Any

import pandas as pd

from a2d.files import atomic_write

snakemake: Any


def main(
    tables: list[str],
    pairs: list[str],
    systems: list[str],
    seeds: list[int],
    output: str,
) -> None:
    """Write the rows of the study's systems and seeds, in the study's order.

    Args:
        tables: one score table a pair, in the order of `pairs`.
        pairs: as `dataset/pair`.
    """
    stacked = pd.concat(
        [
            study_rows(pd.read_csv(table, sep="\t"), name, systems, seeds)
            for table, name in zip(tables, pairs, strict=True)
        ]
    )
    with atomic_write(output) as file:
        stacked.to_csv(file, sep="\t", index=False)


def study_rows(
    table: pd.DataFrame, name: str, systems: list[str], seeds: list[int]
) -> pd.DataFrame:
    """A pair's table, which may hold systems of other studies, as one study sees it."""
    rows = table[table.system.isin(systems) & table.seed.isin(seeds)]
    order = rows.system.map(systems.index)
    rows = rows.assign(order=order).sort_values(["order", "seed"], kind="stable")
    dataset, pair = name.split("/")
    rows.insert(0, "dataset", dataset)
    rows.insert(1, "pair", pair)
    return rows.drop(columns="order")


if __name__ == "__main__":
    sys.stderr = open(snakemake.log[0], "w")
    main(
        snakemake.input.tables,
        snakemake.params.pairs,
        snakemake.params.systems,
        snakemake.params.seeds,
        snakemake.output.scores,
    )
