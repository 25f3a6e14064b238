"""Losses over the vocabulary.

Shapes: N real target tokens (padding is left out before), V vocabulary. Losses are in
nats and summed over tokens; the objective divides by the tokens of the whole update.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class TokenLoss(NamedTuple):
    """The loss of a text and its parts; only `total` carries a gradient."""

    total: Tensor
    nll: Tensor
    """Negative log-likelihood, without label smoothing."""
    word_kd: Tensor
    """Cross-entropy of the student under the teacher, 0 without one."""


def token_loss(
    logits: Tensor,
    targets: Tensor,
    label_smoothing: float,
    teacher: Tensor | None = None,
    kd_weight: float = 0.0,
    temperature: float = 1.0,
) -> TokenLoss:
    """(1 - kd_weight) CE + kd_weight WordKD.

    CE is label-smoothed cross-entropy (Szegedy et al. 2016), WordKD the cross-entropy
    under the teacher's distribution at each position (Kim and Rush 2016, section 3.1,
    L_WORD-KD), both distributions at a temperature and the loss multiplied by its
    square (Hinton et al. 2015).

    Args:
        logits: the student's (N, V).
        targets: token ids (N,).
        teacher: log-probabilities (N, V), of one teacher or the mean of an ensemble.
    """
    arguments = (logits, targets, label_smoothing, teacher, kd_weight, temperature)
    return TokenLoss(*_TokenLoss.apply(*arguments))


class _TokenLoss(torch.autograd.Function):
    """Loss and gradient at once: of a cross-entropy it is probability minus target."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        targets: Tensor,
        label_smoothing: float,
        teacher: Tensor | None,
        kd_weight: float,
        temperature: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        vocab_size, columns = logits.shape[1], targets.unsqueeze(1)
        log_probs = logits.log_softmax(-1)
        nll = -log_probs.gather(1, columns).sum()
        uniform = -log_probs.sum() / vocab_size
        total = (1 - label_smoothing) * nll + label_smoothing * uniform
        kd = torch.zeros_like(nll)
        if teacher is not None:
            if temperature == 1:
                softened, teacher_probs = log_probs, teacher.exp()
            else:
                softened = (logits / temperature).log_softmax(-1)
                teacher_probs = (teacher / temperature).softmax(-1)
            kd = -(teacher_probs * softened).sum() * temperature**2
            total = (1 - kd_weight) * total + kd_weight * kd
            kd_grad = teacher_probs.neg_().add_(softened.exp()).mul_(temperature)
        grad = log_probs.exp_().sub_(label_smoothing / vocab_size)
        grad.scatter_add_(1, columns, grad.new_full(columns.shape, label_smoothing - 1))
        if teacher is not None:
            grad.mul_(1 - kd_weight).add_(kd_grad, alpha=kd_weight)
        ctx.save_for_backward(grad)
        ctx.mark_non_differentiable(nll, kd)
        return total, nll, kd

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = ctx.saved_tensors
        return grad * grads[0], None, None, None, None, None
