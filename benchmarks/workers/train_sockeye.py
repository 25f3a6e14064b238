"""Training throughput of Sockeye: `train_sockeye.py SETTINGS.json`, see `rounds.py`."""

import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from rounds import Rounds, read_pieces, read_settings
from sockeye import constants, train
from sockeye.data_io import Batch
from sockeye.training import EarlyStoppingTrainer

NEVER = 10**9
"""Updates between checkpoints, epochs of training."""


def options(settings: dict[str, Any]) -> list[str]:
    """Command line of sockeye-train, with its vocabulary and validation set written."""
    folder = Path(settings["folder"])
    vocab = folder / "vocab.json"
    tokens = [*constants.VOCAB_SYMBOLS, *read_pieces(settings)]
    vocab.write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    for side in ("src", "tgt"):  # required, only used to trace the model
        with open(settings[side], encoding="utf-8") as lines:
            first = "".join(islice(lines, 64))
        (folder / f"valid.{side}").write_text(first, encoding="utf-8")
    options = {
        "source": settings["src"],
        "target": settings["tgt"],
        "validation-source": folder / "valid.src",
        "validation-target": folder / "valid.tgt",
        "source-vocab": vocab,
        "target-vocab": vocab,
        "output": folder / "model",
        "num-layers": settings["num_layers"],
        "transformer-model-size": settings["d_model"],
        "num-embed": settings["d_model"],
        "transformer-feed-forward-num-hidden": settings["d_ff"],
        "transformer-attention-heads": settings["num_heads"],
        "transformer-positional-embedding-type": "fixed",
        "transformer-preprocess": "n",  # pre-norm
        "transformer-postprocess": "dr",
        "transformer-dropout-prepost": settings["dropout"],
        "transformer-dropout-attention": 0.0,
        "transformer-dropout-act": 0.0,
        "weight-tying-type": "src_trg_softmax",
        "label-smoothing": settings["label_smoothing"],
        "optimizer": "adam",
        "initial-learning-rate": 0.0005,
        "learning-rate-scheduler-type": "inv-sqrt-decay",
        "learning-rate-warmup": 4000,
        "gradient-clipping-type": "norm",
        "gradient-clipping-threshold": 1.0,
        # Target tokens without padding, EOS counted: each bucket of sentences of like
        # lengths has a fixed number of sentences that makes so many on average.
        "batch-type": "word",
        "batch-size": settings["max_tokens"],
        "checkpoint-interval": NEVER,
        "max-num-epochs": NEVER,
        "decode-and-evaluate": 0,
    }
    return ["--use-cpu", "--quiet", *(f"--{k}={v}" for k, v in options.items())]


def main() -> None:
    """Train until the parent is done."""
    settings = read_settings()
    rounds = Rounds(settings["updates"])
    step = EarlyStoppingTrainer._step

    def reporting_step(self: EarlyStoppingTrainer, batch: Batch) -> bool:
        updated = step(self, batch)
        labels = batch.labels[constants.TARGET_LABEL_NAME]
        rounds.update_done(int((labels != constants.PAD_ID).sum()))
        return updated

    EarlyStoppingTrainer._step = reporting_step
    sys.argv[1:] = options(settings)
    train.main()


if __name__ == "__main__":
    main()
