"""The Transformer (Vaswani et al. 2017, arXiv 1706.03762), with its attention maps.

Shapes: B batch, S source length, T target length, H heads, D d_model, K beams,
V vocabulary, L layers. Masks are True where attention may look.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from a2d.config import ATTENTIONS, PAD, Model


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    causal: bool = False,
    return_map: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Scaled dot-product attention, fused unless the map is asked for.

    Args:
        query: (B, H, T, D/H); key, value: (B, H, S, D/H).
        mask: broadcastable to (B, H, T, S), or None.
        causal: let position t look at positions up to t only; excludes a mask.

    Returns:
        (B, H, T, D/H) and the probabilities (B, H, T, S), or None.
    """
    if not return_map:
        out = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=causal
        )
        return out, None
    if causal:
        mask = query.new_ones(query.shape[2], key.shape[2], dtype=torch.bool).tril()
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    attn_map = scores.softmax(-1)
    return attn_map @ value, attn_map


class Dropout(nn.Dropout):
    """Dropout that is fast on a CPU too: one random number serves four elements."""

    def forward(self, x: Tensor) -> Tensor:
        """Zero each element with probability p, scale up the others."""
        if not self.training or self.p == 0 or x.device.type != "cpu":
            return super().forward(x)
        numbers = torch.empty(-(-x.numel() // 4), dtype=torch.int64)
        sixteen_bits = numbers.random_(-(2**63), None).view(torch.int16)[: x.numel()]
        kept = torch.empty_like(x)  # written as numbers at once: 0 or 1
        torch.ge(sixteen_bits.view(x.shape), round(self.p * 2**16) - 2**15, out=kept)
        return x * kept.mul_(1 / (1 - self.p))


class Attention(nn.Module):
    """Multi-head attention (section 3.2.2)."""

    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(d_model, d_model)
        self.key_value = nn.Linear(d_model, 2 * d_model)
        self.output = nn.Linear(d_model, d_model)

    def heads(self, x: Tensor) -> Tensor:
        """Split the last dimension: (B, T, D) to (B, H, T, D/H)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def project_memory(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, S, D/H) of a memory (B, S, D)."""
        key, value = self.key_value(memory).chunk(2, dim=-1)
        return self.heads(key), self.heads(value)

    def forward(
        self,
        x: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        causal: bool = False,
        return_map: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from x (B, T, D) to keys and values of `project_memory`."""
        out, attn_map = attention(
            self.heads(self.query(x)), key, value, mask, causal, return_map
        )
        return self.output(out.transpose(1, 2).flatten(2)), attn_map


class FeedForward(nn.Sequential):
    """Position-wise feed-forward network (section 3.3)."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__(
            nn.Linear(d_model, d_ff), nn.ReLU(inplace=True), nn.Linear(d_ff, d_model)
        )


L = TypeVar("L", bound=nn.Module)


class Stack(nn.ModuleList, Generic[L]):
    """Modules of one kind, one after the other."""

    def __init__(self, modules: Iterator[L]) -> None:
        super().__init__(modules)

    def __iter__(self) -> Iterator[L]:
        return super().__iter__()  # type: ignore[return-value]


class Layer(nn.Module):
    """What encoder and decoder layers share: residual sub-layers, pre- or post-norm."""

    def __init__(self, config: Model, num_sublayers: int) -> None:
        super().__init__()
        self.pre_norm = config.norm == "pre"
        self.dropout = Dropout(config.dropout)
        self.norms = Stack(nn.LayerNorm(config.d_model) for _ in range(num_sublayers))
        self.self_attn = Attention(config.d_model, config.num_heads)
        self.feed_forward = FeedForward(config.d_model, config.d_ff)

    def before(self, sublayer: int, x: Tensor) -> Tensor:
        """Input of a sub-layer."""
        return self.norms[sublayer](x) if self.pre_norm else x

    def after(self, sublayer: int, x: Tensor, out: Tensor) -> Tensor:
        """Residual connection around a sub-layer."""
        x = x + self.dropout(out)
        return x if self.pre_norm else self.norms[sublayer](x)


class EncoderLayer(Layer):
    """Self-attention and feed-forward network."""

    def __init__(self, config: Model) -> None:
        super().__init__(config, num_sublayers=2)

    def forward(
        self, x: Tensor, mask: Tensor, return_map: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Next x (B, S, D) and the self-attention map (B, H, S, S)."""
        h = self.before(0, x)
        key, value = self.self_attn.project_memory(h)
        out, attn_map = self.self_attn(h, key, value, mask, return_map=return_map)
        x = self.after(0, x, out)
        return self.after(1, x, self.feed_forward(self.before(1, x))), attn_map


class DecoderLayer(Layer):
    """Causal self-attention, cross-attention and feed-forward network."""

    def __init__(self, config: Model) -> None:
        super().__init__(config, num_sublayers=3)
        self.cross_attn = Attention(config.d_model, config.num_heads)

    def forward(
        self, x: Tensor, memory: Tensor, mask: Tensor, return_map: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Next x (B, T, D), self-attention map (B, H, T, T), cross map (B, H, T, S)."""
        h = self.before(0, x)
        key, value = self.self_attn.project_memory(h)
        out, self_map = self.self_attn(h, key, value, None, True, return_map)
        x = self.after(0, x, out)
        key, value = self.cross_attn.project_memory(memory)
        out, cross_map = self.cross_attn(
            self.before(1, x), key, value, mask, return_map=return_map
        )
        x = self.after(1, x, out)
        return (
            self.after(2, x, self.feed_forward(self.before(2, x))),
            self_map,
            cross_map,
        )

    def step(self, x: Tensor, cache: LayerCache, mask: Tensor) -> Tensor:
        """One position (B * K, 1, D); extends the cache."""
        h = self.before(0, x)
        key, value = self.self_attn.project_memory(h)
        if cache.key is not None and cache.value is not None:
            key = torch.cat([cache.key, key], dim=2)
            value = torch.cat([cache.value, value], dim=2)
        cache.key, cache.value = key, value
        x = self.after(0, x, self.self_attn(h, key, value)[0])
        # the beams of a sentence share its memory: they are queries of one attention
        h = self.before(1, x).unflatten(0, (len(mask), -1)).squeeze(2)
        out, _ = self.cross_attn(h, cache.memory_key, cache.memory_value, mask)
        x = self.after(1, x, out.flatten(0, 1).unsqueeze(1))
        return self.after(2, x, self.feed_forward(self.before(2, x)))


@dataclass
class LayerCache:
    """Keys and values of one decoder layer during search."""

    memory_key: Tensor  # (B, H, S, D/H)
    memory_value: Tensor
    key: Tensor | None = None  # (B * K, H, t, D/H)
    value: Tensor | None = None


@dataclass
class Cache:
    """What the decoder remembers of the positions before."""

    layers: list[LayerCache]
    mask: Tensor  # (B, 1, 1, S)
    length: int = 0

    def select(self, sentences: Tensor | None, beams: Tensor) -> None:
        """Keep and reorder: `sentences` (B',) of the memory, `beams` (B' * K,)."""
        for layer in self.layers:
            assert layer.key is not None
            assert layer.value is not None
            layer.key, layer.value = layer.key[beams], layer.value[beams]
            if sentences is not None:
                layer.memory_key = layer.memory_key[sentences]
                layer.memory_value = layer.memory_value[sentences]
        if sentences is not None:
            self.mask = self.mask[sentences]


@dataclass
class Output:
    """What a forward pass computes."""

    hidden: Tensor  # (B, T, D), before the output projection
    maps: dict[str, list[Tensor]]
    """Attention probabilities by kind, (B, H, queries, keys) of each layer."""


class Transformer(nn.Module):
    """Encoder-decoder Transformer with sinusoidal positions."""

    positions: Tensor

    def __init__(self, config: Model, src_vocab_size: int, tgt_vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.src_embedding = nn.Embedding(src_vocab_size, config.d_model, PAD)
        self.tgt_embedding = (
            self.src_embedding
            if config.tie_embeddings == "all"
            else nn.Embedding(tgt_vocab_size, config.d_model, PAD)
        )
        self.projection = nn.Linear(config.d_model, tgt_vocab_size, bias=False)
        self.encoder = Stack(
            EncoderLayer(config) for _ in range(config.num_encoder_layers)
        )
        self.decoder = Stack(
            DecoderLayer(config) for _ in range(config.num_decoder_layers)
        )
        self.encoder_norm, self.decoder_norm = (
            nn.LayerNorm(config.d_model) if config.norm == "pre" else nn.Identity()
            for _ in range(2)
        )
        self.dropout = Dropout(config.dropout)
        self.register_buffer("positions", torch.empty(0), persistent=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        for embedding in (self.src_embedding, self.tgt_embedding):
            nn.init.normal_(embedding.weight, std=config.d_model**-0.5)
            nn.init.zeros_(embedding.weight[PAD])
        if config.tie_embeddings != "none":
            self.projection.weight = self.tgt_embedding.weight

    def embed(self, embedding: nn.Embedding, tokens: Tensor, start: int = 0) -> Tensor:
        """Scaled embeddings plus positions: (B, T) to (B, T, D)."""
        end = start + tokens.shape[1]
        if len(self.positions) < end:
            self.positions = sinusoids(max(end, 256), self.config.d_model).to(
                tokens.device
            )
        x = embedding(tokens) * math.sqrt(self.config.d_model)
        return self.dropout(x + self.positions[start:end])

    def encode(
        self, src: Tensor, return_maps: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """Encode (B, S) to the memory (B, S, D) and each layer's map, or no map."""
        mask = source_mask(src)
        x = self.embed(self.src_embedding, src)
        maps = []
        for layer in self.encoder:
            x, attn_map = layer(x, mask, return_maps)
            if attn_map is not None:
                maps.append(attn_map)
        return self.encoder_norm(x), maps

    def forward(
        self, src: Tensor, tgt_input: Tensor, return_maps: bool = False
    ) -> Output:
        """Teacher-forced pass.

        Args:
            src: (B, S), ends in EOS, padded with PAD.
            tgt_input: (B, T), starts with BOS, padded with PAD.
        """
        memory, enc_maps = self.encode(src, return_maps)
        mask = source_mask(src)
        x = self.embed(self.tgt_embedding, tgt_input)
        self_maps, cross_maps = [], []
        for layer in self.decoder:
            x, self_map, cross_map = layer(x, memory, mask, return_maps)
            if self_map is not None and cross_map is not None:
                self_maps.append(self_map)
                cross_maps.append(cross_map)
        maps = (enc_maps, self_maps, cross_maps)
        return Output(self.decoder_norm(x), dict(zip(ATTENTIONS, maps, strict=True)))

    def start(self, src: Tensor) -> Cache:
        """Encode (B, S) and prepare the decoder for `step`."""
        memory, _ = self.encode(src)
        layers = [
            LayerCache(*layer.cross_attn.project_memory(memory))
            for layer in self.decoder
        ]
        return Cache(layers, source_mask(src))

    def step(self, tokens: Tensor, cache: Cache) -> Tensor:
        """Log-probabilities (B * K, V) of the token after `tokens` (B * K,)."""
        x = self.embed(self.tgt_embedding, tokens.unsqueeze(1), cache.length)
        for layer, layer_cache in zip(self.decoder, cache.layers, strict=True):
            x = layer.step(x, layer_cache, cache.mask)
        cache.length += 1
        logits = self.projection(self.decoder_norm(x)).squeeze(1)
        return logits.float().log_softmax(-1)


def source_mask(src: Tensor) -> Tensor:
    """Mask (B, 1, 1, S) of the real tokens of (B, S)."""
    return (src != PAD)[:, None, None, :]


def sinusoids(length: int, d_model: int) -> Tensor:
    """Position encodings (length, D): sines, then cosines (section 3.5)."""
    rates = 10000.0 ** (-torch.arange(0, d_model, 2) / d_model)
    angles = torch.arange(length)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
