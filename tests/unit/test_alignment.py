"""The Attention Alignment Module and its loss, against sums by hand."""

import math

import numpy as np
import pytest
import torch

from a2d.alignment import AttentionAlignment, num_layers, rowwise_attention_loss
from a2d.config import ATTENTIONS, Model

TEACHER = Model(
    num_encoder_layers=3,
    num_decoder_layers=4,
    d_model=12,
    d_ff=16,
    num_heads=6,
    dropout=0,
    norm="post",
    tie_embeddings="none",
)
STUDENT = TEACHER.model_copy(
    update={"num_encoder_layers": 1, "num_decoder_layers": 2, "num_heads": 2}
)


def all_true(batch: int, queries: int, keys: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.ones(batch, queries).bool(), torch.ones(1, 1, queries, keys).bool()


def kl_by_hand(
    scores: np.ndarray, teacher: np.ndarray, query_mask: np.ndarray, keys: np.ndarray
) -> float:
    """Mean over maps of the sum over real queries; `keys` is (B, Q, K)."""
    batch, num_maps, num_queries, _ = scores.shape
    total = 0.0
    for b in range(batch):
        for m in range(num_maps):
            for q in range(num_queries):
                if query_mask[b, q]:
                    seen = keys[b, q]
                    student = np.exp(scores[b, m, q, seen])
                    student /= student.sum()
                    row = teacher[b, m, q, seen]
                    kept = row > 0
                    ratio = np.log(row[kept] / student[kept])
                    total += (row[kept] * ratio).sum() / num_maps
    return total


def test_literal_rows() -> None:
    # student rows (1/2, 1/2) and (3/4, 1/4), teacher rows (1, 0) and (1/4, 3/4)
    scores = torch.tensor([[[[0, 0], [math.log(3), 0]]]], dtype=torch.float64)
    teacher = torch.tensor([[[[1, 0], [0.25, 0.75]]]], dtype=torch.float64)
    first = math.log(2)
    second = 0.25 * math.log(1 / 3) + 0.75 * math.log(3)
    loss = rowwise_attention_loss(scores, teacher, *all_true(1, 2, 2))
    assert float(loss) == pytest.approx(first + second, abs=1e-12)


def test_worked_example() -> None:
    """A one-hot diagonal against a uniform map: 80.5, where the release has 0.035."""
    teacher = torch.eye(25, dtype=torch.float64)[None, None]
    loss = rowwise_attention_loss(
        torch.zeros_like(teacher), teacher, *all_true(1, 25, 25)
    )
    assert float(loss) == pytest.approx(25 * math.log(25), abs=1e-9)
    assert round(float(loss), 1) == 80.5


def random_maps() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scores, teacher, queries (B, Q), keys (B, 1, 1, K) with padding on both sides."""
    torch.manual_seed(1)
    scores = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    queries = torch.tensor([[True] * 4, [True] * 2 + [False] * 2])
    keys = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])[:, None, None]
    teacher = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    teacher = teacher.masked_fill(~keys, -torch.inf).softmax(-1)
    return scores, teacher, queries, keys


def test_padded_maps_against_loops() -> None:
    scores, teacher, queries, keys = random_maps()
    expected = kl_by_hand(
        scores.numpy(),
        teacher.numpy(),
        queries.numpy(),
        keys.expand(2, 1, 4, 5)[:, 0].numpy(),
    )
    loss = rowwise_attention_loss(scores, teacher, queries, keys)
    assert float(loss) == pytest.approx(expected, rel=1e-12)


def test_causal_maps_against_loops() -> None:
    scores = random_maps()[0][..., :4]
    causal = torch.ones(4, 4).bool().tril()
    teacher = scores.flip(0).masked_fill(~causal, -torch.inf).softmax(-1)
    queries = torch.ones(2, 4).bool()
    expected = kl_by_hand(
        scores.numpy(), teacher.numpy(), queries.numpy(), causal.expand(2, 4, 4).numpy()
    )
    loss = rowwise_attention_loss(scores, teacher, queries, causal)
    assert float(loss) == pytest.approx(expected, rel=1e-12)


def test_padding_has_neither_loss_nor_gradient() -> None:
    scores, teacher, queries, keys = random_maps()
    padded = ~(queries[:, None, :, None] & keys).expand_as(scores)
    changed = scores.masked_fill(padded, 1e3).requires_grad_()
    loss = rowwise_attention_loss(changed, teacher, queries, keys)
    torch.testing.assert_close(
        loss, rowwise_attention_loss(scores, teacher, queries, keys)
    )
    loss.backward()
    assert changed.grad is not None
    assert (changed.grad[padded] == 0).all()
    assert (changed.grad[~padded] != 0).all()


def test_equal_maps_have_no_loss() -> None:
    _, teacher, queries, keys = random_maps()
    scores = teacher.clamp(min=1e-300).log() + 7  # a softmax ignores constants
    loss = rowwise_attention_loss(scores, teacher, queries, keys)
    assert float(loss) == pytest.approx(0, abs=1e-12)


def test_gradient_is_right() -> None:
    scores, teacher, queries, keys = random_maps()
    assert torch.autograd.gradcheck(
        lambda s: rowwise_attention_loss(s, teacher, queries, keys),
        scores.requires_grad_(),
    )


def test_single_precision_stays_finite_on_one_hot_maps() -> None:
    teacher = torch.eye(6)[None, None]
    scores = (1e4 * (1 - torch.eye(6)))[None, None].requires_grad_()
    loss = rowwise_attention_loss(scores, teacher, *all_true(1, 6, 6))
    loss.backward()
    assert scores.grad is not None
    assert loss.isfinite()
    assert scores.grad.isfinite().all()


def test_any_layers_and_heads_fit_together() -> None:
    module = AttentionAlignment(STUDENT, TEACHER, ATTENTIONS)
    shapes = {
        kind: tuple(
            module(kind, torch.rand(2, num_layers(STUDENT, kind) * 2, 5, 7)).shape
        )
        for kind in ATTENTIONS
    }
    assert shapes == {
        "enc_self_attn": (2, 3 * 6, 5, 7),
        "dec_self_attn": (2, 4 * 6, 5, 7),
        "cross_attn": (2, 4 * 6, 5, 7),
    }
    assert sum(p.numel() for p in module.parameters()) == (
        18 * (2 + 1) + 2 * 24 * (4 + 1)
    )


def test_module_is_a_learned_mixture_of_heads() -> None:
    torch.manual_seed(1)
    module = AttentionAlignment(STUDENT, TEACHER, ["cross_attn"])
    maps = torch.rand(2, 4, 3, 5, requires_grad=True)
    out = module("cross_attn", maps)
    weights = torch.tensor(module.weights()["cross_attn"])
    bias = module.convolutions.get_parameter("cross_attn.bias")
    assert weights.shape == (24, 4)
    expected = torch.einsum("ts,bsqk->btqk", weights, maps) + bias[:, None, None]
    torch.testing.assert_close(out, expected)
    assert list(module.weights()) == ["cross_attn"]

    teacher = torch.rand(2, 24, 3, 5).softmax(-1)
    rowwise_attention_loss(out, teacher, *all_true(2, 3, 5)).backward()
    assert maps.grad is not None
    assert (maps.grad != 0).any()
    weight = module.convolutions.get_parameter("cross_attn.weight")
    assert weight.grad is not None
    assert (weight.grad != 0).any()
