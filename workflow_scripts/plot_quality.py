"""Quality against decoding speed and against size, one pair of a study."""

import sys
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from figure_style import label_points, panel_height, save_figure, system_looks

snakemake: Any

MEASURED = [
    "bleu",
    "greedy_bleu",
    "parameters",
    "beam_sentences_per_second",
    "greedy_sentences_per_second",
]


def main(scores: str, dataset: str, pair: str, svg: str, pdf: str) -> None:
    """Draw one row of panels a test set.

    Args:
        scores: the study's table.
    """
    table = pd.read_csv(scores, sep="\t")
    table = table[(table.dataset == dataset) & (table.pair == pair)]
    testsets = table.testset.unique()
    height = panel_height(table.system.nunique(), least=4)
    figure = Figure(figsize=(11, height * len(testsets)), layout="constrained")
    panels = figure.subplots(len(testsets), 2, squeeze=False)
    for (against_speed, against_size), testset in zip(panels, testsets, strict=True):
        by_system = table[table.testset == testset].groupby("system", sort=False)
        means, deviations = by_system[MEASURED].mean(), by_system[MEASURED].std()
        plot_speed(against_speed, means, deviations)
        plot_size(against_size, means, deviations)
        against_speed.set_title(f"{testset}: quality and speed")
        against_size.set_title(f"{testset}: quality and size")
    save_figure(figure, svg, pdf)


def plot_speed(axes: Axes, means: pd.DataFrame, deviations: pd.DataFrame) -> None:
    """Beam search (filled) and greedy search (hollow) of each system, joined."""
    looks = system_looks(list(means.index))
    ends, names = [], []
    for system in means.index:
        mean, deviation = means.loc[system], deviations.loc[system]
        color, marker = looks[system]
        searches = [
            (mean.beam_sentences_per_second, mean.bleu, deviation.bleu, color),
            (
                mean.greedy_sentences_per_second,
                mean.greedy_bleu,
                deviation.greedy_bleu,
                "white",
            ),
        ]
        measured = [search for search in searches if pd.notna(search[0])]
        if not measured:
            continue
        axes.plot(
            [speed for speed, *_ in measured],
            [bleu for _, bleu, *_ in measured],
            color=color,
            linewidth=0.8,
            alpha=0.5,
        )
        for speed, bleu, sd, fill in measured:
            plot_point(axes, speed, bleu, sd, color, marker, fill)
        ends.append(measured[-1][:2])
        names.append(system)
    use_log_axis(axes)
    axes.set_xlabel("sentences per second (filled: beam search, hollow: greedy search)")
    axes.set_ylabel("BLEU")
    label_points(axes, ends, names, [looks[name][0] for name in names])


def plot_size(axes: Axes, means: pd.DataFrame, deviations: pd.DataFrame) -> None:
    """Beam search of each system; the axis is turned, so that right is better."""
    looks = system_looks(list(means.index))
    millions = means.parameters / 1e6
    for system, (color, marker) in looks.items():
        sd = deviations.bleu[system]
        plot_point(axes, millions[system], means.bleu[system], sd, color, marker, color)
    use_log_axis(axes)
    axes.invert_xaxis()
    axes.set_xlabel("millions of parameters (fewer to the right)")
    axes.set_ylabel("BLEU (beam search)")
    points = list(zip(millions, means.bleu, strict=True))
    label_points(axes, points, list(looks), [color for color, _ in looks.values()])


def plot_point(
    axes: Axes, x: float, y: float, sd: float, color: str, marker: str, fill: str
) -> None:
    """One system; the bar is one standard deviation over the seeds each way."""
    axes.errorbar(
        x,
        y,
        yerr=None if pd.isna(sd) else sd,
        color=color,
        marker=marker,
        markerfacecolor=fill,
        markersize=6,
        elinewidth=0.8,
    )


def use_log_axis(axes: Axes) -> None:
    """Ticks at 1, 2, 5, 10, ..., written as plain numbers."""
    axes.set_xscale("log")
    axes.margins(x=0.1, y=0.12)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


if __name__ == "__main__":
    sys.stderr = open(snakemake.log[0], "w")
    main(
        snakemake.input.scores,
        snakemake.wildcards.dataset,
        snakemake.wildcards.pair,
        snakemake.output.svg,
        snakemake.output.pdf,
    )
