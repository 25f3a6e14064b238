"""Magnitude pruning: which weights become zero, and stay it.

See, Luong and Manning (2016, section 3.2) name the scopes; Kim and Rush (2016) prune
distilled students.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from a2d.config import Prune


def prunable(model: nn.Module) -> dict[str, Tensor]:
    """Matrices of the linear layers in encoder and decoder, by name.

    Embeddings and the output projection, be it tied to one or not, biases and norms
    are not among them.
    """
    return {
        f"{name}.weight": module.weight
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(("encoder.", "decoder."))
    }


def magnitude_masks(weights: Mapping[str, Tensor], prune: Prune) -> dict[str, Tensor]:
    """Masks of the weights' shapes, True where a weight is among the smallest.

    Of n weights, `round(sparsity * n)` are True, in all matrices together or in each;
    of equal magnitudes the first ones.
    """
    if prune.scope == "per_matrix":
        return {
            name: smallest(weight.flatten(), prune.sparsity).view_as(weight)
            for name, weight in weights.items()
        }
    together = torch.cat([weight.flatten() for weight in weights.values()])
    parts = smallest(together, prune.sparsity).split(
        [weight.numel() for weight in weights.values()]
    )
    return {
        name: part.view_as(weight)
        for (name, weight), part in zip(weights.items(), parts, strict=True)
    }


def smallest(numbers: Tensor, share: float) -> Tensor:
    """True at the share of `numbers` (n,) that is closest to zero."""
    order = numbers.abs().argsort(stable=True)
    mask = torch.zeros_like(numbers, dtype=torch.bool)
    mask[order[: round(share * len(numbers))]] = True
    return mask


@torch.no_grad()
def apply_masks(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Set the weights under the masks to zero, in place."""
    for name, mask in masks.items():
        weights[name].masked_fill_(mask, 0)
