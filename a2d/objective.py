"""What a training minimises: the losses that a row of `systems:` asks for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from a2d.alignment import AttentionAlignment
from a2d.config import PAD, Losses
from a2d.data import Batch
from a2d.losses import token_loss
from a2d.model import Output, Transformer, source_mask


class Objective(nn.Module):
    """The student together with everything that its loss needs.

    L = (1 - kd_weight) CE + kd_weight WordKD
        + attn_weight * attn_decay ** (epoch - 1) * sum of weighted attention losses

    as in Align-to-Distill (Jin et al., 2024) with alpha = kd_weight, beta = attn_weight
    and gamma = attn_decay. Every part is a mean over the real tokens of a whole update,
    each counted with the weight of its sentence; only the attention loss as released
    is a sum.
    """

    def __init__(
        self,
        student: Transformer,
        teachers: Sequence[Transformer],
        losses: Losses,
        label_smoothing: float,
        voters: Sequence[Sequence[int]] = (),
    ) -> None:
        """Teachers are frozen; they belong to the objective but not to its weights.

        Args:
            voters: for each direction, the numbers of the teachers that know it; all
                know all by default.
        """
        super().__init__()
        self.student = student
        self.losses = losses
        self.label_smoothing = label_smoothing
        self.a2d = losses.alignment
        self.alignment = (
            AttentionAlignment(student.config, teachers[0].config, self.a2d)
            if self.a2d
            else None
        )
        self._teachers = tuple(teacher.eval() for teacher in teachers)
        # one vote for all directions where all teachers know them all
        everybody = all(len(numbers) == len(teachers) for numbers in voters)
        self._voters = () if everybody else voters

    def forward(
        self, batch: Batch, src_weight: float, tgt_weight: float, epoch: int
    ) -> dict[str, Tensor]:
        """The loss of one batch and its parts, as shares of the update's means.

        Args:
            src_weight, tgt_weight: real tokens of the whole update, each counted with
                the weight of its sentence.
            epoch: counts from 1.

        Returns:
            `loss`, to be minimised, and `nll`, `word_kd`, `a2d` as far as they apply.
        """
        real, word_kd = batch.tgt != PAD, self.losses.word_kd
        with_maps = self.alignment is not None
        output = self.student(batch.src, batch.tgt_input, with_maps)
        teacher_logits, outputs = None, []
        if word_kd and self._voters:
            teacher_logits = self.logits_by_direction(batch)
        elif word_kd or with_maps:
            with torch.no_grad():
                outputs = [
                    teacher(batch.src, batch.tgt_input, with_maps)
                    for teacher in self._teachers
                ]
                if word_kd:
                    teacher_logits = ensemble_logits(self._teachers, outputs, real)
        found = token_loss(
            token_logits(self.student, output, real),
            batch.tgt[real],
            self.label_smoothing,
            batch.weights[:, None].expand_as(real)[real],
            word_kd,
            teacher_logits,
        )
        parts = {"loss": found.total / tgt_weight, "nll": found.nll / tgt_weight}
        if word_kd:
            parts["word_kd"] = found.word_kd / tgt_weight
        if self.a2d:
            parts["a2d"] = self.attention_loss(
                output, outputs[0], batch, src_weight, tgt_weight
            )
            decay = self.a2d.attn_decay ** (epoch - 1)
            parts["loss"] = parts["loss"] + self.a2d.attn_weight * decay * parts["a2d"]
        return parts

    @torch.no_grad()
    def logits_by_direction(self, batch: Batch) -> Tensor:
        """Logits (N, V) of the teachers that know each sentence's direction."""
        found = []
        places = []
        real = batch.tgt != PAD
        numbers = torch.arange(int(real.sum()), device=real.device)
        for direction, voters in enumerate(self._voters):
            rows = batch.directions == direction
            if not rows.any():
                continue
            part, teachers = batch.rows(rows), [self._teachers[i] for i in voters]
            outputs = [teacher(part.src, part.tgt_input) for teacher in teachers]
            found.append(ensemble_logits(teachers, outputs, part.tgt != PAD))
            places.append(numbers[rows[:, None].expand_as(real)[real]])
        return torch.cat(found)[torch.cat(places).argsort()]

    def attention_loss(
        self,
        student: Output,
        teacher: Output,
        batch: Batch,
        src_weight: float,
        tgt_weight: float,
    ) -> Tensor:
        """Weighted sum over the kinds of attention."""
        assert self.a2d is not None
        assert self.alignment is not None
        src_rows, tgt_rows = batch.src != PAD, batch.tgt_input != PAD
        src_keys = source_mask(batch.src)
        past = source_mask(batch.tgt_input)
        if self.a2d.mode == "rowwise":
            past = past & past.new_ones(past.shape[-1], past.shape[-1]).tril()
        masks = {
            "enc_self_attn": (src_rows, src_keys, src_weight),
            "dec_self_attn": (tgt_rows, past, tgt_weight),
            "cross_attn": (tgt_rows, src_keys, tgt_weight),
        }
        total = student.hidden.new_zeros(())
        for kind in self.a2d.kinds:
            rows, keys, num_rows = masks[kind]
            loss = self.alignment(
                kind, student.maps[kind], teacher.maps[kind], rows, keys, batch.weights
            )
            share = 1 / num_rows if self.a2d.mode == "rowwise" else 1
            total = total + getattr(self.a2d, kind) * share * loss
        return total


def token_logits(model: Transformer, output: Output, real: Tensor) -> Tensor:
    """Logits (N, V) at the real target positions of (B, T), in float32 at least."""
    logits = model.projection(output.hidden[real])
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def ensemble_logits(
    models: Sequence[Transformer], outputs: Sequence[Output], real: Tensor
) -> Tensor:
    """Logits (N, V) of one model, or logarithms of several models' mean probability."""
    votes = [
        token_logits(model, output, real)
        for model, output in zip(models, outputs, strict=True)
    ]
    if len(votes) == 1:
        return votes[0]
    log_probs = torch.stack([vote.log_softmax(-1) for vote in votes])
    return log_probs.logsumexp(0) - math.log(len(votes))
