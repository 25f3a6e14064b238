"""The Attention Alignment Module of Align-to-Distill (Jin et al., 2024, section 3).

Shapes: B batch, Q queries, K keys, H heads of one layer, M maps, M_s and M_t the
student's and the teacher's number of maps (layers * heads, or layers alone at layer
granularity).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from a2d.config import A2D, Model


def map_shape(model: Model, kind: str, granularity: str) -> tuple[int, int]:
    """(layers, maps of one layer) of one kind of attention."""
    layers = (
        model.num_encoder_layers
        if kind == "enc_self_attn"
        else model.num_decoder_layers
    )
    return layers, model.num_heads if granularity == "head" else 1


class AttentionAlignment(nn.Module):
    """Learned map from all student heads to all teacher heads, one a kind of attention.

    A 1x1 convolution over the student's stacked maps yields one map for every teacher
    head of every layer, so layers, heads and widths of the two models may differ. At
    layer granularity the heads of a layer are averaged first, on both sides.
    """

    def __init__(self, student: Model, teacher: Model, settings: A2D) -> None:
        super().__init__()
        self.settings = settings
        self.shapes = {
            kind: [map_shape(m, kind, settings.granularity) for m in (student, teacher)]
            for kind in settings.kinds
        }
        sizes = {
            kind: (layers_s * maps_s, layers_t * maps_t)
            for kind, ((layers_s, maps_s), (layers_t, maps_t)) in self.shapes.items()
        }
        self.convolutions = nn.ModuleDict(
            {kind: nn.Conv2d(*size, kernel_size=1) for kind, size in sizes.items()}
        )
        self.teacher_convolutions = nn.ModuleDict(
            {
                kind: nn.Conv2d(size[1], size[1], kernel_size=1)
                for kind, size in sizes.items()
                if settings.mix_teacher
            }
        ).requires_grad_(False)

    def forward(
        self,
        kind: str,
        student_maps: Sequence[Tensor],
        teacher_maps: Sequence[Tensor],
        query_mask: Tensor,
        key_mask: Tensor,
        weights: Tensor | None = None,
    ) -> Tensor:
        """The loss of one kind of attention, a teacher's layer at a time.

        Row-wise it is a mean over maps and a sum over query rows; as released it is a
        sum over maps and sentences.

        Args:
            student_maps: attention probabilities (B, H, Q, K) of each layer; likewise
                `teacher_maps`.
            query_mask, key_mask, weights: as `rowwise_loss` or `released_loss`.
        """
        settings = self.settings
        if settings.granularity == "layer":
            student_maps, teacher_maps = (
                [m.mean(1, keepdim=True) for m in maps]
                for maps in (student_maps, teacher_maps)
            )
        loss = rowwise_loss if settings.mode == "rowwise" else released_loss
        heads = teacher_maps[0].shape[1]
        total = student_maps[0].new_zeros(())
        for layer, layer_maps in enumerate(teacher_maps):
            rows = slice(layer * heads, (layer + 1) * heads)
            scores = mix(self.convolutions[kind], rows, student_maps)
            if settings.mix_teacher:
                mixture = self.teacher_convolutions[kind]
                layer_maps = mix(mixture, rows, teacher_maps)
            total = total + loss(
                scores, layer_maps, query_mask, key_mask, weights, settings.temperature
            )
        num_maps = heads * len(teacher_maps)
        return total / num_maps if settings.mode == "rowwise" else total

    def learned(self) -> dict[str, dict[str, Any]]:
        """What was learned: by kind `weight` (M_t, M_s) and both models' map shapes."""
        return {
            kind: {
                "weight": self.convolutions.get_parameter(f"{kind}.weight")
                .flatten(1)
                .tolist(),
                "student": student,
                "teacher": teacher,
            }
            for kind, (student, teacher) in self.shapes.items()
        }


def mix(convolution: nn.Module, rows: slice, maps: Sequence[Tensor]) -> Tensor:
    """Some outputs of a 1x1 convolution of the maps of all layers, which stay apart.

    Args:
        rows: which outputs.
        maps: (B, H, Q, K) of each layer.

    Returns:
        (B, number of rows, Q, K).
    """
    weight = convolution.get_parameter("weight").flatten(1)[rows]
    batch, heads, queries, keys = maps[0].shape
    bias = convolution.get_parameter("bias")[rows, None]
    mixed = bias.expand(batch, -1, queries * keys)
    for layer, layer_maps in zip(weight.split(heads, dim=1), maps, strict=True):
        mixed = mixed.baddbmm(layer.expand(batch, -1, -1), layer_maps.flatten(2))
    return mixed.unflatten(2, (queries, keys))


# Losses -----------------------------------------------------------------------------


def rowwise_loss(
    scores: Tensor,
    teacher_maps: Tensor,
    query_mask: Tensor,
    key_mask: Tensor,
    weights: Tensor | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """KL(teacher row || softmax(scores row)), sum over query rows and maps.

    At a temperature both rows are softened, and the loss is multiplied by its square.

    Args:
        scores: aligned student maps (B, M, Q, K).
        teacher_maps: attention probabilities (B, M, Q, K).
        query_mask: (B, Q), True for real queries.
        key_mask: broadcastable to (B, 1, Q, K), True for keys that a query may see.
        weights: of the sentences (B,), 1 by default.
    """
    if temperature != 1:
        teacher_maps = softmax(teacher_maps.log() / temperature, key_mask)
    rows = divergence(scores / temperature, teacher_maps, key_mask).sum(1)  # (B, Q)
    return temperature**2 * weighted_sum(rows.masked_fill(~query_mask, 0), weights)


def released_loss(
    scores: Tensor,
    teacher_maps: Tensor,
    query_mask: Tensor,
    key_mask: Tensor,
    weights: Tensor | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """The loss as in the code released with the paper, but without padding.

    KL(softmax(teacher map) || softmax(scores map)), each softmax over a whole map, as
    if probabilities were scores; a sum over maps and sentences. Arguments as
    `rowwise_loss`.
    """
    real = (query_mask[:, None, :, None] & key_mask).flatten(2)
    target = softmax(teacher_maps.flatten(2) / temperature, real)
    maps = divergence(scores.flatten(2) / temperature, target, real)  # (B, M)
    return temperature**2 * weighted_sum(maps, weights)


def weighted_sum(losses: Tensor, weights: Tensor | None) -> Tensor:
    """Sum of (B, ...) with the weights (B,) of the sentences."""
    per_sentence = losses.flatten(1).sum(1)
    if weights is None:
        return per_sentence.sum()
    return per_sentence @ weights.to(per_sentence)


def softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Probabilities over the last dimension where `mask` is True, 0 elsewhere."""
    return scores.masked_fill(~mask, float("-inf")).softmax(-1).masked_fill(~mask, 0)


def divergence(scores: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """KL(target || softmax(scores)) over the last dimension, where `mask` is True.

    Args:
        scores: (..., K), at least of single precision while it is computed.
        target: probabilities of the same shape, 0 where `mask` is False.
    """
    precision = torch.promote_types(scores.dtype, torch.float32)
    return _Divergence.apply(scores.to(precision), target.to(precision), mask)


class _Divergence(torch.autograd.Function):
    """Loss and gradient at once: probability minus target, the one tensor kept."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        log_probs = scores.masked_fill(~mask, float("-inf")).log_softmax(-1)
        log_probs.masked_fill_(~mask, 0)
        found = (torch.xlogy(target, target) - target * log_probs).sum(-1)
        gradient = log_probs.exp_().sub_(target).masked_fill_(~mask, 0)
        ctx.save_for_backward(gradient)
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * grads[0].unsqueeze(-1), None, None
