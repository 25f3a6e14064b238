"""The loop that everybody can write: `torch.nn.Transformer` with tied embeddings."""

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from a2d.config import PAD
from a2d.model import sinusoids


class Plain(nn.Module):
    """Pre-norm Transformer of PyTorch's own layers, every position projected."""

    def __init__(self, settings: dict[str, Any], vocab_size: int) -> None:
        super().__init__()
        d_model, layers = settings["d_model"], settings["num_layers"]
        self.scale = math.sqrt(d_model)
        self.embedding = nn.Embedding(vocab_size, d_model, padding_idx=PAD)
        nn.init.normal_(self.embedding.weight, std=1 / self.scale)
        self.transformer = nn.Transformer(
            d_model,
            settings["num_heads"],
            layers,
            layers,
            settings["d_ff"],
            settings["dropout"],
            batch_first=True,
            norm_first=True,
        )
        self.register_buffer("positions", sinusoids(1024, d_model))
        self.dropout = nn.Dropout(settings["dropout"])

    def embed(self, tokens: Tensor) -> Tensor:
        """Scaled embeddings plus positions."""
        x = self.embedding(tokens) * self.scale + self.positions[: tokens.shape[1]]
        return self.dropout(x)

    def forward(self, src: Tensor, tgt_input: Tensor) -> Tensor:
        """Logits of all positions."""
        length = tgt_input.shape[1]
        hidden = self.transformer(
            self.embed(src),
            self.embed(tgt_input),
            tgt_mask=nn.Transformer.generate_square_subsequent_mask(length, src.device),
            src_key_padding_mask=src == PAD,
            memory_key_padding_mask=src == PAD,
            tgt_is_causal=True,
        )
        return F.linear(hidden, self.embedding.weight)
