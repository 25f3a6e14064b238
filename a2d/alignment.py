"""The Attention Alignment Module of Align-to-Distill (Jin et al., 2024, section 3).

Shapes: B batch, Q queries, K keys, M_s and M_t the student's and the teacher's number
of maps (layers * heads).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from a2d.config import Model


def num_layers(model: Model, kind: str) -> int:
    """Layers of the stack that one kind of attention belongs to."""
    if kind == "enc_self_attn":
        return model.num_encoder_layers
    return model.num_decoder_layers


class AttentionAlignment(nn.Module):
    """Learned map from all student heads to all teacher heads, one a kind of attention.

    A 1x1 convolution over the student's stacked maps yields one map for every teacher
    head of every layer, so layers, heads and widths of the two models may differ.
    """

    def __init__(self, student: Model, teacher: Model, kinds: Iterable[str]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleDict(
            {
                kind: nn.Conv2d(
                    num_layers(student, kind) * student.num_heads,
                    num_layers(teacher, kind) * teacher.num_heads,
                    kernel_size=1,
                )
                for kind in kinds
            }
        )

    def forward(self, kind: str, student_maps: Tensor) -> Tensor:
        """Student maps (B, M_s, Q, K) to scores (B, M_t, Q, K), before any softmax."""
        return self.convolutions[kind](student_maps)

    def weights(self) -> dict[str, list[list[float]]]:
        """What was learned: (M_t, M_s) for each kind of attention."""
        return {
            kind: self.convolutions.get_parameter(f"{kind}.weight").flatten(1).tolist()
            for kind in self.convolutions
        }


def rowwise_attention_loss(
    scores: Tensor, teacher_maps: Tensor, query_mask: Tensor, key_mask: Tensor
) -> Tensor:
    """KL(teacher row || softmax(student row)), mean over maps, sum over query rows.

    Args:
        scores: aligned student maps (B, M_t, Q, K).
        teacher_maps: attention probabilities (B, M_t, Q, K).
        query_mask: (B, Q), True for real queries.
        key_mask: broadcastable to (B, 1, Q, K), True for keys that a query may see.
    """
    log_student = scores.masked_fill(~key_mask, float("-inf")).log_softmax(-1)
    log_student = log_student.masked_fill(~key_mask, 0.0)
    log_teacher = teacher_maps.clamp(min=torch.finfo(teacher_maps.dtype).tiny).log()
    divergence = (teacher_maps * (log_teacher - log_student)).sum(-1).mean(1)  # (B, Q)
    return (divergence * query_mask).sum()
