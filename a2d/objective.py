"""What a training minimises: the losses that a row of `systems:` asks for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from a2d.alignment import AttentionAlignment, rowwise_attention_loss
from a2d.config import ATTENTIONS, PAD, Losses
from a2d.data import Batch
from a2d.losses import token_loss
from a2d.model import Output, Transformer, source_mask


class Objective(nn.Module):
    """The student together with everything that its loss needs.

    L = (1 - kd_weight) CE + kd_weight WordKD
        + attn_weight * attn_decay ** (epoch - 1) * sum of weighted attention losses

    as in Align-to-Distill (Jin et al., 2024) with alpha = kd_weight, beta = attn_weight
    and gamma = attn_decay. Every part is a mean over the real tokens of a whole update.
    """

    def __init__(
        self,
        student: Transformer,
        teachers: Sequence[Transformer],
        losses: Losses,
        label_smoothing: float,
    ) -> None:
        """Teachers are frozen; they belong to the objective but not to its weights."""
        super().__init__()
        self.student = student
        self.losses = losses
        self.label_smoothing = label_smoothing
        self.alignment = (
            AttentionAlignment(
                student.config,
                teachers[0].config,
                [kind for kind in ATTENTIONS if getattr(losses.a2d, kind)],
            )
            if losses.a2d
            else None
        )
        self._teachers = tuple(teacher.eval() for teacher in teachers)

    def forward(
        self, batch: Batch, src_tokens: int, tgt_tokens: int, epoch: int
    ) -> dict[str, Tensor]:
        """The loss of one batch and its parts, as shares of the update's means.

        Args:
            src_tokens, tgt_tokens: real tokens of the whole update.
            epoch: counts from 1.

        Returns:
            `loss`, to be minimised, and `nll`, `word_kd`, `a2d` as far as they apply.
        """
        losses, real = self.losses, batch.tgt != PAD
        with_maps = losses.a2d is not None
        output = self.student(batch.src, batch.tgt_input, with_maps)
        teacher_log_probs, outputs = None, []
        if losses.word_kd or losses.a2d:
            with torch.no_grad():
                outputs = [
                    teacher(batch.src, batch.tgt_input, with_maps)
                    for teacher in self._teachers
                ]
                if losses.word_kd:
                    teacher_log_probs = mean_log_probs(self._teachers, outputs, real)
        found = token_loss(
            token_logits(self.student, output, real),
            batch.tgt[real],
            self.label_smoothing,
            teacher_log_probs,
            losses.word_kd.kd_weight if losses.word_kd else 0.0,
            losses.word_kd.temperature if losses.word_kd else 1.0,
        )
        parts = {"loss": found.total / tgt_tokens, "nll": found.nll / tgt_tokens}
        if losses.word_kd:
            parts["word_kd"] = found.word_kd / tgt_tokens
        if losses.a2d:
            parts["a2d"] = self.attention_loss(
                output, outputs[0], batch, src_tokens, tgt_tokens
            )
            decay = losses.a2d.attn_decay ** (epoch - 1)
            parts["loss"] = (
                parts["loss"] + losses.a2d.attn_weight * decay * parts["a2d"]
            )
        return parts

    def attention_loss(
        self,
        student: Output,
        teacher: Output,
        batch: Batch,
        src_tokens: int,
        tgt_tokens: int,
    ) -> Tensor:
        """Weighted sum of attention losses, each a mean over query rows and maps."""
        assert self.losses.a2d is not None
        assert self.alignment is not None
        src_keys = source_mask(batch.src)
        src_rows, tgt_rows = batch.src != PAD, batch.tgt_input != PAD
        length = batch.tgt.shape[1]
        causal = src_keys.new_ones(length, length).tril()
        masks = {
            "enc_self_attn": (src_rows, src_keys, src_tokens),
            "dec_self_attn": (tgt_rows, causal, tgt_tokens),
            "cross_attn": (tgt_rows, src_keys, tgt_tokens),
        }
        total = student.hidden.new_zeros(())
        for kind in ATTENTIONS:
            weight = getattr(self.losses.a2d, kind)
            rows, keys, num_rows = masks[kind]
            if weight:
                scores = self.alignment(kind, student.maps[kind])
                loss = rowwise_attention_loss(scores, teacher.maps[kind], rows, keys)
                total = total + weight * loss / num_rows
        return total


def token_logits(model: Transformer, output: Output, real: Tensor) -> Tensor:
    """Logits (N, V) at the real target positions of (B, T), in float32."""
    return model.projection(output.hidden[real]).float()


def mean_log_probs(
    models: Sequence[Transformer], outputs: Sequence[Output], real: Tensor
) -> Tensor:
    """Logarithm of the mean probabilities (N, V) of several models."""
    votes = [
        token_logits(model, output, real).log_softmax(-1)
        for model, output in zip(models, outputs, strict=True)
    ]
    if len(votes) == 1:
        return votes[0]
    return torch.stack(votes).logsumexp(0) - math.log(len(votes))
