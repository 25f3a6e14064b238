"""Magnitude pruning, against masks worked out by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from a2d.checkpoint import count_nonzero_parameters, count_parameters
from a2d.config import Prune, Run
from a2d.model import Transformer
from a2d.prune import apply_masks, magnitude_masks, prunable

SMALL = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
LARGE = torch.tensor([[-5.0, 0.5, 6.0], [-7.0, 8.0, 9.0]])


def masks(sparsity: float, scope: Any, **weights: Tensor) -> dict[str, list[Any]]:
    prune = Prune(sparsity=sparsity, scope=scope)
    return {k: m.int().tolist() for k, m in magnitude_masks(weights, prune).items()}


def test_one_threshold_for_all_matrices() -> None:
    """The five smallest of ten are 0.5, 1, 2, 3 and 4."""
    assert masks(0.5, "class_blind", small=SMALL, large=LARGE) == {
        "small": [[1, 1], [1, 1]],
        "large": [[0, 1, 0], [0, 0, 0]],
    }


def test_a_threshold_for_each_matrix() -> None:
    """The two smallest of four, and the three smallest of six."""
    assert masks(0.5, "per_matrix", small=SMALL, large=LARGE) == {
        "small": [[1, 1], [0, 0]],
        "large": [[1, 1, 1], [0, 0, 0]],
    }


@pytest.mark.parametrize(
    ("sparsity", "expected"),
    [(0.0, "00000"), (0.5, "11000"), (0.6, "11100"), (0.8, "11110"), (0.95, "11111")],
)
def test_of_equal_weights_the_first_are_pruned(sparsity: float, expected: str) -> None:
    """So many as round(5 * sparsity) tells; a half goes to the even number."""
    for scope in ("class_blind", "per_matrix"):
        found = masks(sparsity, scope, ties=torch.tensor([[-1.0, 1, 1, -1, 1]]))
        assert "".join(map(str, found["ties"][0])) == expected


@pytest.mark.parametrize("scope", ["class_blind", "per_matrix"])
def test_masked_weights_are_zero_and_the_others_untouched(scope: Any) -> None:
    weights = {"small": SMALL.clone(), "large": LARGE.clone()}
    found = magnitude_masks(weights, Prune(sparsity=0.5, scope=scope))
    apply_masks(weights, found)
    for name, before in (("small", SMALL), ("large", LARGE)):
        # zeros without a sign compress best
        assert not weights[name][found[name]].signbit().any()
        expected = torch.where(found[name], 0, before)
        assert torch.equal(weights[name], expected)


@pytest.mark.parametrize("tie_embeddings", ["none", "decoder", "all"])
def test_matrices_of_both_stacks_are_pruned_and_nothing_else(
    tie_embeddings: str, make_run: Callable[..., Run]
) -> None:
    config = make_run(model={"tie_embeddings": tie_embeddings}).model
    model = Transformer(config, 20, 20)
    weights = prunable(model)
    # d_model 16, d_ff 32: four matrices for each attention, two for feed-forward
    attention, feed_forward = 4 * 16 * 16, 2 * 16 * 32
    num_weights = 2 * (attention + feed_forward) + (2 * attention + feed_forward)
    assert sum(weight.numel() for weight in weights.values()) == num_weights
    assert all(weight.dim() == 2 for weight in weights.values())
    for parameter in model.parameters():  # biases are zero at first
        torch.nn.init.normal_(parameter)
    apply_masks(weights, magnitude_masks(weights, Prune(sparsity=0.9)))
    zeros = round(0.9 * num_weights)
    assert count_nonzero_parameters(model) == count_parameters(model) - zeros
