"""The alignment that A2D learned: which student heads follow which teacher heads."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure

from figure_style import save_figure

snakemake: Any

ATTENTIONS = {
    "enc_self_attn": "encoder self-attention",
    "dec_self_attn": "decoder self-attention",
    "cross_attn": "cross-attention",
}


def main(trainings: list[str], svg: str, pdf: str) -> None:
    """Draw one row of heat maps a training.

    Args:
        trainings: as `.../{system}/seed{seed}/training.json`, all with an alignment.
    """
    alignments = {
        ", ".join(Path(path).parts[-3:-1]): json.loads(Path(path).read_text())[
            "alignment"
        ]
        for path in trainings
    }
    weights = [
        maps["weight"] for kinds in alignments.values() for maps in kinds.values()
    ]
    height = 1.4 + 0.15 * max(map(len, weights))  # inches that the names of heads need
    width = max(11, 2 + 3 * 0.13 * max(len(weight[0]) for weight in weights))
    figure = Figure(figsize=(width, height * len(alignments)), layout="constrained")
    panels = figure.subplots(len(alignments), 3, squeeze=False)
    for row, (name, alignment) in zip(panels, alignments.items(), strict=True):
        largest = max(np.abs(maps["weight"]).max() for maps in alignment.values())
        norm = CenteredNorm(halfrange=largest)
        for axes, (kind, title) in zip(row, ATTENTIONS.items(), strict=True):
            if kind not in alignment:  # the system does not align it
                axes.set_axis_off()
                continue
            maps = alignment[kind]
            image = axes.pcolormesh(maps["weight"], cmap="RdBu_r", norm=norm)
            mark_heads(axes, maps["teacher"], maps["student"])
            axes.set_title(title)
            axes.set_xlabel("student head")
        row[0].set_ylabel(f"{name}\nteacher head")
        figure.colorbar(image, ax=list(row), label="weight", fraction=0.02, pad=0.01)
    save_figure(figure, svg, pdf)


def mark_heads(axes: Axes, teacher: list[int], student: list[int]) -> None:
    """Name rows and columns and part the layers.

    Args:
        teacher: number of layers and heads; likewise `student`.
    """
    axes.set_yticks(np.arange(np.prod(teacher)) + 0.5, head_names(*teacher))
    axes.set_xticks(np.arange(np.prod(student)) + 0.5, head_names(*student))
    axes.tick_params(labelsize=6, length=0)
    axes.tick_params(axis="x", labelrotation=90)
    axes.grid(visible=False)
    axes.hlines(np.arange(1, teacher[0]) * teacher[1], 0, np.prod(student), **SEPARATOR)
    axes.vlines(np.arange(1, student[0]) * student[1], 0, np.prod(teacher), **SEPARATOR)
    axes.invert_yaxis()


SEPARATOR: dict[str, Any] = {"color": "#374151", "linewidth": 0.8}


def head_names(layers: int, heads: int) -> list[str]:
    """`L1H1`, `L1H2`, ..., counted from one; `L1`, `L2`, ... for whole layers."""
    return [
        f"L{layer}H{head}" if heads > 1 else f"L{layer}"
        for layer in range(1, layers + 1)
        for head in range(1, heads + 1)
    ]


if __name__ == "__main__":
    sys.stderr = open(snakemake.log[0], "w")
    main(snakemake.input.trainings, snakemake.output.svg, snakemake.output.pdf)
