"""Print a study's score table and where its report lies: the last line of `make`."""

import sys
from pathlib import Path

import pandas as pd

COLUMNS = {
    "dataset": "dataset",
    "pair": "pair",
    "system": "system",
    "seed": "seed",
    "testset": "test set",
    "bleu": "BLEU",
    "chrf": "chrF",
    "greedy_bleu": "greedy BLEU",
    "greedy_chrf": "greedy chrF",
    "bleu_delta": "+/- baseline",
    "bleu_p": "p",
    "argmax_probability": "p(argmax)",
    "parameters": "parameters",
    "greedy_speedup": "greedy speed-up",
}


def main(folder: Path) -> None:
    """Print the table of `results/{study}`."""
    table = pd.read_csv(folder / "scores.tsv", sep="\t")[list(COLUMNS)]
    shown = table.rename(columns=COLUMNS).round(3)
    print(shown.to_string(index=False, na_rep="-"))
    print(f"\nReport: {folder / 'report.html'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
