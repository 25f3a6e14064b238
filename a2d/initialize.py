"""Models from run folders, and the first weights of a student."""

from __future__ import annotations

from pathlib import Path

import torch

from a2d.checkpoint import load_weights
from a2d.config import Run, load
from a2d.model import Transformer
from a2d.vocab import Vocab


def load_model(folder: str | Path) -> Transformer:
    """The trained model of a run folder, in evaluation mode and without gradients.

    Raises:
        UserError: if the folder holds no trained model.
    """
    folder = Path(folder)
    run = load(Run, folder / "config.yaml")
    weights = load_weights(folder / "model.safetensors")
    sizes = (len(weights[f"{side}_embedding.weight"]) for side in ("src", "tgt"))
    model = Transformer(run.model, *sizes)
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)


def new_model(
    run: Run, src_vocab: Vocab, tgt_vocab: Vocab, start: str | Path | None
) -> Transformer:
    """The untrained model of a run: random, or with the weights of a run folder."""
    torch.manual_seed(run.seed)
    model = Transformer(run.model, len(src_vocab), len(tgt_vocab))
    if start is not None:
        model.load_state_dict(load_weights(Path(start) / "model.safetensors"))
    return model
