"""Learning curves: validation BLEU and loss, over steps and over time."""

import sys
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from figure_style import label_points, panel_height, save_figure, system_looks

snakemake: Any

SCORES = {"valid_bleu": "validation BLEU", "valid_loss": "validation loss"}


def main(metrics: list[str], svg: str, pdf: str) -> None:
    """Draw one line a system, the mean of its seeds in a band from lowest to highest.

    Args:
        metrics: as `.../{system}/seed{seed}/metrics.jsonl`, in the order of the study.
    """
    curves = validation_curves(metrics)
    unit, seconds = time_unit(curves.seconds.max())
    curves["time"] = curves.seconds / seconds
    looks = system_looks(list(curves.system.unique()))
    height = panel_height(len(looks), least=3.5)
    figure = Figure(figsize=(11, 2 * height), layout="constrained")
    for row, (score, title) in zip(figure.subplots(2, 2), SCORES.items(), strict=True):
        over_steps, over_time = row
        for axes, column in ((over_steps, "step"), (over_time, "time")):
            for system, (color, _) in looks.items():
                curve = curves[curves.system == system]
                at = curve[column]
                low, high = curve[f"{score}_low"], curve[f"{score}_high"]
                axes.plot(at, curve[score], color=color, marker=".", markersize=4)
                axes.fill_between(at, low, high, color=color, alpha=0.12, linewidth=0)
            axes.set_title(title)
            # the first validations are far from the rest, in which systems differ
            if score == "valid_bleu":
                axes.set_ylim(bottom=curves[score].quantile(0.15))
            else:
                axes.set_ylim(top=curves[score].quantile(0.85))
        over_steps.set_xlabel("training step")
        over_time.set_xlabel(f"training time ({unit})")
        ends = curves.groupby("system", sort=False).last()
        points = list(zip(ends.step, ends[score], strict=True))
        colors = [color for color, _ in looks.values()]
        label_points(over_steps, points, list(looks), colors)
    save_figure(figure, svg, pdf)


def validation_curves(metrics: list[str]) -> pd.DataFrame:
    """Mean, lowest and highest over the seeds, where all seeds of a system validated.

    Returns:
        Columns `system`, `step`, `seconds`, and `valid_bleu`, `valid_bleu_low`,
        `valid_bleu_high`, likewise `valid_loss`.
    """
    seeds = []
    for path in metrics:
        lines = pd.read_json(path, lines=True).dropna(subset="valid_bleu")
        seeds.append(lines.assign(system=Path(path).parts[-3], seed=path))
    lines = pd.concat(seeds)
    lines["of"] = lines.groupby("system").seed.transform("nunique")
    lines["with"] = lines.groupby(["system", "step"]).seed.transform("nunique")
    steps = lines[lines["of"] == lines["with"]].groupby(["system", "step"], sort=False)
    curves = steps[["seconds", *SCORES]].mean()
    for score in SCORES:
        curves[f"{score}_low"] = steps[score].min()
        curves[f"{score}_high"] = steps[score].max()
    return curves.reset_index()


def time_unit(longest: float) -> tuple[str, int]:
    """Name and seconds of the unit that suits a longest time in seconds."""
    for unit, seconds in (("hours", 3600), ("minutes", 60)):
        if longest >= 3 * seconds:
            return unit, seconds
    return "seconds", 1


if __name__ == "__main__":
    sys.stderr = open(snakemake.log[0], "w")
    main(snakemake.input.metrics, snakemake.output.svg, snakemake.output.pdf)
