"""Training throughput of Eole: `train_eole.py SETTINGS.json`, see `rounds.py`."""

from typing import Any

from eole.bin.run.train import train
from eole.config.run import TrainConfig
from eole.trainer import Trainer
from rounds import Rounds, read_settings

NEVER = 10**9
"""Updates between validations, log lines and the like."""


def config(settings: dict[str, Any]) -> TrainConfig:
    """Configuration of Eole."""
    with open(settings["src"], encoding="utf-8") as lines:
        num_sentences = sum(1 for _ in lines)
    return TrainConfig(
        seed=1,
        src_vocab=settings["vocab"],
        tgt_vocab=settings["vocab"],
        share_vocab=True,
        data={
            "corpus": {
                "path_src": settings["src"],
                "path_tgt": settings["tgt"],
                "transforms": [],
            }
        },
        report_every=NEVER,
        model={
            "architecture": "transformer",  # pre-norm
            "layers": settings["num_layers"],
            "hidden_size": settings["d_model"],
            "heads": settings["num_heads"],
            "transformer_ff": settings["d_ff"],
            "embeddings": {
                "word_vec_size": settings["d_model"],
                "position_encoding_type": "SinusoidalInterleaved",
            },
            "share_embeddings": True,
            "share_decoder_embeddings": True,
            "generator_bias": False,
            "add_qkvbias": True,
            "add_ffnbias": True,
        },
        training={
            "model_path": settings["folder"],
            "compute_dtype": "fp32",
            "optim": "adam",
            "learning_rate": 2.0,
            "decay_method": "noam",
            "warmup_steps": 4000,
            "max_grad_norm": 1.0,
            "dropout": [settings["dropout"]],  # also in the feed-forward network
            "attention_dropout": [0.0],
            "label_smoothing": settings["label_smoothing"],
            "log_attention_entropy": False,
            "normalization": "tokens",
            # Sentences times the longest one of either side, with BOS and EOS of the
            # target; sentences are sorted by length within a bucket: here, an epoch.
            "batch_type": "tokens",
            "batch_size": settings["max_tokens"],
            "bucket_size": num_sentences,
            "num_workers": 0,  # loads in the thread that trains
            "train_steps": 0,  # endless
            "valid_steps": NEVER,
            "save_checkpoint_steps": 0,
        },
    )


def main() -> None:
    """Train until the parent is done."""
    settings = read_settings()
    rounds = Rounds(settings["updates"])
    train_step = Trainer._train_step

    def reporting_step(
        self: Trainer, batches: list[dict[str, Any]], *args: Any, **kwargs: Any
    ) -> None:
        train_step(self, batches, *args, **kwargs)
        pad = self.train_loss.padding_idx
        rounds.update_done(
            sum(int((batch["tgt"][:, 1:] != pad).sum()) for batch in batches)
        )

    Trainer._train_step = reporting_step
    train(config(settings))


if __name__ == "__main__":
    main()
