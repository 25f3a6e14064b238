"""Quality of pruned systems against sparsity and size, one pair of a study."""

import sys
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figure_style import label_points, save_figure, system_looks

snakemake: Any

SEARCHES = {"bleu": "-", "greedy_bleu": ":"}
"""Columns of beam and greedy search, and their lines."""


def main(
    scores: str,
    dataset: str,
    pair: str,
    curves: Mapping[str, Mapping[str, float]],
    svg: str,
    pdf: str,
) -> None:
    """Draw one row of panels a test set.

    Args:
        scores: the study's table.
        curves: by name, the sparsity of each of its systems.
    """
    table = pd.read_csv(scores, sep="\t")
    table = table[(table.dataset == dataset) & (table.pair == pair)]
    testsets = table.testset.unique()
    figure = Figure(figsize=(11, 4 * len(testsets)), layout="constrained")
    panels = figure.subplots(len(testsets), 2, squeeze=False)
    for (against_sparsity, against_size), testset in zip(panels, testsets, strict=True):
        points = curve_points(table[table.testset == testset], curves)
        against_size.invert_xaxis()
        plot_curves(against_sparsity, points, "percent")
        plot_curves(against_size, points, "millions")
        against_sparsity.set_title(f"{testset}: quality and sparsity")
        against_size.set_title(f"{testset}: quality and size")
        against_sparsity.set_xlabel("zeros among the matrices of both stacks, %")
        against_size.set_xlabel("millions of parameters not zero (fewer to the right)")
    save_figure(figure, svg, pdf)


def curve_points(
    rows: pd.DataFrame, curves: Mapping[str, Mapping[str, float]]
) -> pd.DataFrame:
    """Means and standard deviations (`_sd`) over the seeds, by curve and sparsity.

    Args:
        rows: one a system and seed.
    """
    places = pd.DataFrame(
        [
            {"curve": curve, "system": system, "percent": 100 * sparsity}
            for curve, systems in curves.items()
            for system, sparsity in sorted(systems.items(), key=lambda found: found[1])
        ]
    )
    by_system = rows.assign(millions=rows.nonzero_parameters / 1e6).groupby("system")
    means = by_system[["millions", *SEARCHES]].mean()
    deviations = by_system[[*SEARCHES]].std().add_suffix("_sd")
    return places.join(means.join(deviations), on="system")


def plot_curves(axes: Axes, points: pd.DataFrame, column: str) -> None:
    """Beam (filled) and greedy search (hollow) of each curve, named at its end."""
    looks = system_looks(list(points.curve.unique()))
    for curve, (color, marker) in looks.items():
        line = points[points.curve == curve]
        for search, style in SEARCHES.items():
            sd = line[f"{search}_sd"]
            axes.errorbar(
                line[column],
                line[search],
                yerr=None if sd.isna().all() else sd.fillna(0),
                color=color,
                linestyle=style,
                linewidth=1.2,
                marker=marker,
                markersize=6,
                markerfacecolor=color if search == "bleu" else "white",
                elinewidth=0.8,
            )
    axes.set_ylabel("BLEU (filled: beam, hollow: greedy)")
    last = points.groupby("curve", sort=False).last()
    ends = list(zip(last[column], last.bleu, strict=True))
    label_points(axes, ends, list(looks), [color for color, _ in looks.values()])


if __name__ == "__main__":
    sys.stderr = open(snakemake.log[0], "w")
    main(
        snakemake.input.scores,
        snakemake.wildcards.dataset,
        snakemake.wildcards.pair,
        snakemake.params.curves,
        snakemake.output.svg,
        snakemake.output.pdf,
    )
