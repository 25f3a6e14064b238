"""Models from run folders, and the first weights of a student."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from a2d.checkpoint import load_weights
from a2d.config import Model, Run
from a2d.model import Transformer
from a2d.section import load
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
    if start is not None and run.init.copy_:
        copy_weights(load_model(start), model, run.init.layers)
    elif start is not None:
        model.load_state_dict(load_weights(Path(start) / "model.safetensors"))
    return model


def copy_weights(source: Transformer, model: Transformer, layers: str) -> None:
    """Fill a model with the weights of one that is as large or larger.

    As in The Privileged Students (Wibowo et al. 2024, arXiv 2406.16524): embeddings,
    output projection, final norms and chosen layers of both stacks. Of a wider source
    the leading part of each dimension is taken, for attention the first heads and of
    each the first dimensions.

    Args:
        layers: `even`, `first` or `last`, as for `chosen_layers`.
    """
    chosen = {
        stack: chosen_layers(
            len(getattr(source, stack)), len(getattr(model, stack)), layers
        )
        for stack in ("encoder", "decoder")
    }
    weights = source.state_dict()
    for name, weight in model.state_dict().items():
        part, *rest = name.split(".")
        if part in chosen:
            rest[0] = str(chosen[part][int(rest[0])])
        theirs = by_head(name, weights[".".join([part, *rest])], source.config)
        ours = by_head(name, weight, model.config)
        ours.copy_(theirs[tuple(map(slice, ours.shape))])


def chosen_layers(num_source: int, num_layers: int, layers: str) -> list[int]:
    """Which layers of a stack are copied, counted from zero, in order.

    `even`: layer i of k is layer round(i (n - 1) / (k - 1)) of n, a half rounded to
    the even number; the first and the last are among them, and a single one is the
    last. `first` and `last`: so many from that end.
    """
    if layers == "first":
        return list(range(num_layers))
    if layers == "last" or num_layers == 1:
        return list(range(num_source - num_layers, num_source))
    return [round(i * (num_source - 1) / (num_layers - 1)) for i in range(num_layers)]


def by_head(name: str, weight: Tensor, config: Model) -> Tensor:
    """A view of a weight in which heads and their dimensions are two dimensions.

    Queries are (H, D/H, ...), keys and values (2, H, D/H, ...), the output's matrix
    (D, H, D/H); all others stay as they are.
    """
    heads = (config.num_heads, config.head_size)
    if ".query." in name:
        return weight.unflatten(0, heads)
    if ".key_value." in name:
        return weight.unflatten(0, (2, *heads))
    if name.endswith("_attn.output.weight"):
        return weight.unflatten(1, heads)
    return weight
