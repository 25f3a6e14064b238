"""Training throughput of JoeyNMT: `train_joeynmt.py SETTINGS.json`, see `rounds.py`."""

from pathlib import Path
from typing import Any

from joeynmt import training
from joeynmt.batch import Batch
from rounds import Rounds, read_settings

NEVER = 10**9
"""Updates between validations, log lines and the like."""


def config(settings: dict[str, Any]) -> dict[str, Any]:
    """Configuration of JoeyNMT, with the text linked under the names it expects."""
    folder = Path(settings["folder"])
    for side in ("src", "tgt"):
        (folder / f"train.{side}").symlink_to(Path(settings[side]).absolute())
    language = {
        "level": "word",
        "lowercase": False,
        "max_length": -1,
        "voc_file": settings["vocab"],
    }
    stack = {
        "type": "transformer",
        "num_layers": settings["num_layers"],
        "num_heads": settings["num_heads"],
        "embeddings": {
            "embedding_dim": settings["d_model"],
            "scale": True,
            "dropout": settings["dropout"],
        },
        "hidden_size": settings["d_model"],
        "ff_size": settings["d_ff"],
        # also in attention and feed-forward network: there is one setting for all
        "dropout": settings["dropout"],
        "layer_norm": "pre",
    }
    return {
        "name": "benchmark",
        "model_dir": str(folder),
        "use_cuda": False,
        "data": {
            "train": str(folder / "train"),
            "dev": str(folder / "train"),  # required, never used
            "dataset_type": "plain",
            "src": {"lang": "src", **language},
            "trg": {"lang": "tgt", **language},
        },
        "model": {
            "tied_embeddings": True,
            "tied_softmax": True,
            "encoder": stack,
            "decoder": stack,
        },
        "training": {
            "optimizer": "adam",
            "learning_rate": 0.0005,
            "scheduling": "warmupinversesquareroot",
            "learning_rate_warmup": 4000,
            "learning_rate_min": 0.0,
            "clip_grad_norm": 1.0,
            "label_smoothing": settings["label_smoothing"],
            "normalization": "tokens",
            # Sentences times the longest one of either side, EOS counted; a batch is
            # full with the sentence that reaches the size. JoeyNMT does not group
            # sentences by length.
            "batch_type": "token",
            "batch_size": settings["max_tokens"],
            "epochs": NEVER,
            "validation_freq": NEVER,
            "logging_freq": NEVER,
        },
        "testing": {},
    }


class Trainer(training.TrainManager):
    """JoeyNMT's trainer, which reports its updates to `rounds`."""

    rounds: Rounds

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.optimizer.register_step_post_hook(
            lambda *_: self.rounds.update_done(self.tokens)
        )

    def _train_step(self, batch: Batch) -> tuple[float, int]:
        self.tokens = int((batch.trg != self.model.pad_index).sum())
        return super()._train_step(batch)


def main() -> None:
    """Train until the parent is done."""
    settings = read_settings()
    Trainer.rounds = Rounds(settings["updates"])
    training.TrainManager = Trainer
    training.train(rank=0, world_size=1, cfg=config(settings), skip_test=True)


if __name__ == "__main__":
    main()
