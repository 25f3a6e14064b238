"""Losses over the vocabulary.

Shapes: N real target tokens (padding is left out before), V vocabulary. Losses are in
nats and summed over tokens; the objective divides by the tokens of the whole update.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from a2d.config import WordKD


class TokenLoss(NamedTuple):
    """The loss of a text and its parts; only `total` carries a gradient."""

    total: Tensor
    nll: Tensor
    """Negative log-likelihood, without label smoothing."""
    word_kd: Tensor
    """The divergence from the teacher, 0 without one."""


def token_loss(
    logits: Tensor,
    targets: Tensor,
    label_smoothing: float,
    weights: Tensor | None = None,
    word_kd: WordKD | None = None,
    teacher: Tensor | None = None,
) -> TokenLoss:
    """(1 - kd_weight) CE + kd_weight WordKD.

    CE is label-smoothed cross-entropy (Szegedy et al. 2016). WordKD compares student
    and teacher at each position (Kim and Rush 2016, section 3.1, L_WORD-KD), by the
    divergence that its settings name; with a temperature both distributions are
    softened and the loss is multiplied by its square (Hinton et al. 2015).

    Args:
        logits: the student's (N, V).
        targets: token ids (N,).
        weights: of the tokens (N,), 1 by default.
        teacher: logits (N, V) of one teacher, or log-probabilities of an ensemble.
    """
    arguments = (logits, targets, label_smoothing, weights, word_kd, teacher)
    return TokenLoss(*_TokenLoss.apply(*arguments))


class _TokenLoss(torch.autograd.Function):
    """Loss and gradient at once: of a cross-entropy it is probability minus target."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        targets: Tensor,
        label_smoothing: float,
        weights: Tensor | None,
        word_kd: WordKD | None,
        teacher: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        def weighted(losses: Tensor) -> Tensor:
            return losses.sum() if weights is None else losses @ weights.to(losses)

        vocab_size, columns = logits.shape[1], targets.unsqueeze(1)
        log_probs = logits.log_softmax(-1)
        nll = -weighted(log_probs.gather(1, columns).squeeze(1))
        uniform = -weighted(log_probs.sum(1)) / vocab_size
        total = (1 - label_smoothing) * nll + label_smoothing * uniform
        kd = torch.zeros_like(nll)
        if word_kd is not None and teacher is not None:
            losses, kd_grad = divergence(logits, log_probs, teacher, word_kd)
            kd = weighted(losses)
            total = (1 - word_kd.kd_weight) * total + word_kd.kd_weight * kd
        grad = log_probs.exp_().sub_(label_smoothing / vocab_size)
        grad.scatter_add_(1, columns, grad.new_full(columns.shape, label_smoothing - 1))
        if word_kd is not None and teacher is not None:
            grad.mul_(1 - word_kd.kd_weight).add_(kd_grad, alpha=word_kd.kd_weight)
        if weights is not None:
            grad.mul_(weights.unsqueeze(1))
        ctx.save_for_backward(grad)
        ctx.mark_non_differentiable(nll, kd)
        return total, nll, kd

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = ctx.saved_tensors
        return grad * grads[0], None, None, None, None, None


def divergence(
    logits: Tensor, log_probs: Tensor, teacher: Tensor, settings: WordKD
) -> tuple[Tensor, Tensor]:
    """Divergence of each token (N,) and its gradient (N, V) by the logits.

    Args:
        logits, teacher: as `token_loss`.
        log_probs: of the student (N, V), at temperature 1.
    """
    temperature = settings.temperature
    if settings.divergence == "mse":
        difference = logits - teacher
        return difference.square().mean(1), difference.mul_(2 / logits.shape[1])
    if temperature != 1:
        teacher = teacher / temperature
        log_probs = (logits / temperature).log_softmax(-1)
    if settings.divergence == "forward_kl":
        target = teacher.softmax(-1)
        losses = -(target * log_probs).sum(1)
        grad = target.neg_().add_(log_probs.exp())
    else:
        ratio = log_probs - teacher.log_softmax(-1)
        probs = log_probs.exp()
        losses = (probs * ratio).sum(1)
        grad = ratio.sub_(losses.unsqueeze(1)).mul_(probs)
    return losses * temperature**2, grad.mul_(temperature)
