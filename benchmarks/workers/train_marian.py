"""Training throughput of Marian: `train_marian.py SETTINGS.json`, see `rounds.py`.

Marian's training loop cannot be stopped between updates: each round is a new training,
measured with Marian's log.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from rounds import read_pieces, read_settings, ready, report, wait_for_parent

WARM_UP = 2
"""Updates of each training that are not measured."""


def options(settings: dict[str, Any]) -> list[str]:
    """Command line of Marian, with its vocabulary written."""
    folder = Path(settings["folder"])
    vocab = folder / "vocab.txt"
    tokens = ["</s>", "<unk>", *read_pieces(settings)]
    vocab.write_text("\n".join(tokens) + "\n", encoding="utf-8")
    last = WARM_UP + settings["updates"]
    options = {
        "type": "transformer",
        "model": folder / "model.npz",
        "train-sets": [settings["src"], settings["tgt"]],
        "vocabs": [vocab, vocab],
        "max-length": 1000,
        "tempdir": folder,
        "enc-depth": settings["num_layers"],
        "dec-depth": settings["num_layers"],
        "dim-emb": settings["d_model"],
        "transformer-dim-ffn": settings["d_ff"],
        "transformer-heads": settings["num_heads"],
        "transformer-ffn-activation": "relu",
        "transformer-preprocess": "n",  # pre-norm
        "transformer-postprocess": "da",
        "transformer-postprocess-top": "n",
        "transformer-dropout": settings["dropout"],
        "label-smoothing": settings["label_smoothing"],
        "optimizer": "adam",
        "learn-rate": 0.0005,
        "lr-warmup": 4000,
        "lr-decay-inv-sqrt": 4000,
        "clip-norm": 1.0,
        # Source tokens without padding, EOS counted; sentences are sorted by the length
        # of the target within 6,400 sentences.
        "mini-batch-words": settings["max_tokens"],
        "cpu-threads": 1,
        "data-threads": 1,  # beside the thread that trains
        "after-batches": last,
        # a line for each update of the warm-up, then one for all others
        "disp-first": WARM_UP,
        "disp-freq": last,
    }
    arguments = ["--tied-embeddings-all", "--output-omit-bias", "--no-reload"]
    for name, value in options.items():
        values = value if isinstance(value, list) else [value]
        arguments += [f"--{name}", *map(str, values)]
    return arguments


def measure(arguments: list[str]) -> tuple[int, float]:
    """Target tokens, among them EOS, and seconds of a training without its warm-up."""
    log = subprocess.run(
        [sys.executable, "-m", "pymarian", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    ).stderr
    pattern = r"Cost \S+ \* ([\d,]+) .* : Time ([\d.]+)s"
    *_, (tokens, seconds) = re.findall(pattern, log)
    return int(tokens.replace(",", "")), float(seconds)


def main() -> None:
    """Train once for every round."""
    arguments = options(read_settings())
    ready()
    while True:
        wait_for_parent()
        tokens, seconds = measure(arguments)
        report(tokens=tokens, seconds=seconds)


if __name__ == "__main__":
    main()
