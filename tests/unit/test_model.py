"""The Transformer, against PyTorch's own layers."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from a2d.checkpoint import count_parameters
from a2d.config import ATTENTIONS, BOS, EOS, PAD, Model
from a2d.model import (
    Attention,
    Dropout,
    FeedForward,
    Transformer,
    attention,
    sinusoids,
)

SRC_SIZE, TGT_SIZE = 11, 9
SRC = torch.tensor([[4, 5, 6, 7, EOS], [8, 9, EOS, PAD, PAD], [10, EOS] + [PAD] * 3])
TGT_INPUT = torch.tensor([[BOS, 4, 5, PAD], [BOS, 6, 7, 8], [BOS, PAD, PAD, PAD]])
REAL_SRC, REAL_TGT = SRC != PAD, TGT_INPUT != PAD


def config(**changes: Any) -> Model:
    values = {
        "num_encoder_layers": 2,
        "num_decoder_layers": 3,
        "d_model": 8,
        "d_ff": 12,
        "num_heads": 2,
        "dropout": 0,
        "norm": "pre",
        "tie_embeddings": "none",
    }
    return Model.model_validate(values | changes)


def transformer(**changes: Any) -> Transformer:
    """A model of which no weight, bias or gain is trivial."""
    torch.manual_seed(1)
    model = Transformer(config(**changes), SRC_SIZE, TGT_SIZE)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model.eval()


def copy_linear(theirs: nn.Linear, ours: nn.Module) -> None:
    assert isinstance(ours, nn.Linear)
    theirs.load_state_dict(ours.state_dict())


def copy_attention(theirs: nn.MultiheadAttention, ours: Attention) -> None:
    kv, query = ours.key_value, ours.query
    assert theirs.in_proj_weight is not None
    theirs.in_proj_weight.data = torch.cat([query.weight, kv.weight]).detach()
    theirs.in_proj_bias.data = torch.cat([query.bias, kv.bias]).detach()
    copy_linear(theirs.out_proj, ours.output)


def copy_layer(theirs: Any, ours: Any, attentions: dict[str, str]) -> None:
    for their_name, our_name in attentions.items():
        copy_attention(getattr(theirs, their_name), getattr(ours, our_name))
    assert isinstance(ours.feed_forward, FeedForward)
    copy_linear(theirs.linear1, ours.feed_forward[0])
    copy_linear(theirs.linear2, ours.feed_forward[2])
    for number, norm in enumerate(ours.norms, 1):
        getattr(theirs, f"norm{number}").load_state_dict(norm.state_dict())


# Attention --------------------------------------------------------------------------


@pytest.mark.parametrize("return_map", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_equals_torch(causal: bool, return_map: bool) -> None:
    torch.manual_seed(1)
    ours, x, memory = Attention(8, 2), torch.randn(3, 5, 8), torch.randn(3, 5, 8)
    theirs = nn.MultiheadAttention(8, 2, batch_first=True)
    copy_attention(theirs, ours)
    key, value = ours.project_memory(memory)
    mask = None if causal else REAL_SRC[:, None, None]
    out, attn_map = ours(x, key, value, mask, causal, return_map)
    expected, expected_map = theirs(
        x,
        memory,
        memory,
        key_padding_mask=None if causal else ~REAL_SRC,
        attn_mask=torch.ones(5, 5).triu(1).bool() if causal else None,
        average_attn_weights=False,
    )
    torch.testing.assert_close(out, expected)
    if return_map:
        torch.testing.assert_close(attn_map, expected_map)
    else:
        assert attn_map is None


def test_attention_of_literal_tensors() -> None:
    # scores 2 * ln(3) / sqrt(4) and 0: probabilities 3/4 and 1/4
    query = torch.tensor([[[[2.0, 0, 0, 0]]]])
    key = torch.tensor([[[[np.log(3), 0, 0, 0], [0, 7, 7, 7]]]], dtype=torch.float)
    value = torch.tensor([[[[4.0, 0, 0, 8], [0, 4, 0, 0]]]])
    out, attn_map = attention(query, key, value, None, return_map=True)
    assert attn_map is not None
    torch.testing.assert_close(attn_map, torch.tensor([[[[0.75, 0.25]]]]))
    torch.testing.assert_close(out, torch.tensor([[[[3.0, 1, 0, 6]]]]))


# The whole model --------------------------------------------------------------------


def hand_positions(length: int, d_model: int) -> np.ndarray:
    half = d_model // 2
    table = np.zeros((length, d_model))
    for position in range(length):
        for i in range(half):
            angle = position / 10000 ** (2 * i / d_model)
            table[position, i] = np.sin(angle)
            table[position, half + i] = np.cos(angle)
    return table


def test_sinusoids() -> None:
    np.testing.assert_allclose(sinusoids(300, 8), hand_positions(300, 8), atol=3e-5)


def embedded(embedding: nn.Embedding, tokens: Tensor) -> Tensor:
    positions = torch.from_numpy(hand_positions(tokens.shape[1], 8)).float()
    return embedding.weight[tokens] * 8**0.5 + positions


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_transformer_equals_torch(norm: str) -> None:
    ours = transformer(norm=norm)
    shape: dict[str, Any] = {
        "d_model": 8,
        "nhead": 2,
        "dim_feedforward": 12,
        "dropout": 0,
        "batch_first": True,
        "norm_first": norm == "pre",
    }
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(**shape),
        2,
        nn.LayerNorm(8) if norm == "pre" else None,
        enable_nested_tensor=False,
    )
    decoder = nn.TransformerDecoder(
        nn.TransformerDecoderLayer(**shape),
        3,
        nn.LayerNorm(8) if norm == "pre" else None,
    )
    for theirs, layer in zip(encoder.layers, ours.encoder, strict=True):
        copy_layer(theirs, layer, {"self_attn": "self_attn"})
    names = {"self_attn": "self_attn", "multihead_attn": "cross_attn"}
    for decoder_layer, layer in zip(decoder.layers, ours.decoder, strict=True):
        copy_layer(decoder_layer, layer, names)
    if norm == "pre":
        for stack, our_norm in (
            (encoder, ours.encoder_norm),
            (decoder, ours.decoder_norm),
        ):
            assert stack.norm is not None
            stack.norm.load_state_dict(our_norm.state_dict())

    memory = encoder(embedded(ours.src_embedding, SRC), src_key_padding_mask=~REAL_SRC)
    expected = decoder(
        embedded(ours.tgt_embedding, TGT_INPUT),
        memory,
        tgt_mask=torch.ones(4, 4).triu(1).bool(),
        memory_key_padding_mask=~REAL_SRC,
    )
    ours_memory, _ = ours.encode(SRC)
    torch.testing.assert_close(ours_memory[REAL_SRC], memory[REAL_SRC])
    hidden = ours(SRC, TGT_INPUT).hidden
    torch.testing.assert_close(hidden[REAL_TGT], expected[REAL_TGT])


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_fused_equals_explicit_attention(norm: str) -> None:
    model = transformer(norm=norm)
    fused, explicit = model(SRC, TGT_INPUT), model(SRC, TGT_INPUT, return_maps=True)
    assert not any(fused.maps.values())
    torch.testing.assert_close(fused.hidden, explicit.hidden)


def test_maps_are_attention_probabilities() -> None:
    layers = transformer()(SRC, TGT_INPUT, return_maps=True).maps
    assert tuple(layers) == ATTENTIONS
    assert {kind: [tuple(m.shape) for m in maps] for kind, maps in layers.items()} == {
        "enc_self_attn": [(3, 2, 5, 5)] * 2,
        "dec_self_attn": [(3, 2, 4, 4)] * 3,
        "cross_attn": [(3, 2, 4, 5)] * 3,
    }
    maps = {kind: torch.cat(attn_maps, 1) for kind, attn_maps in layers.items()}
    for attn_map in maps.values():
        torch.testing.assert_close(attn_map.sum(-1), torch.ones(attn_map.shape[:-1]))
    for kind in ("enc_self_attn", "cross_attn"):
        on_padding = maps[kind].transpose(1, 3)[~REAL_SRC]
        assert (on_padding == 0).all()
        assert (maps[kind].transpose(1, 3)[REAL_SRC] > 0).all()
    future = torch.ones(4, 4).triu(1).bool()
    assert (maps["dec_self_attn"][..., future] == 0).all()
    assert (maps["dec_self_attn"][..., ~future] > 0).all()


def test_maps_are_ordered_by_layer() -> None:
    model = transformer()
    maps = model(SRC, TGT_INPUT, return_maps=True).maps
    x, mask = model.embed(model.src_embedding, SRC), REAL_SRC[:, None, None]
    for layer, found in zip(model.encoder, maps["enc_self_attn"], strict=True):
        x, expected = layer(x, mask, True)
        torch.testing.assert_close(found, expected)
    # no query in a layer: its maps, and only its own, become uniform
    nn.init.zeros_(model.decoder[1].cross_attn.query.weight)  # type: ignore[union-attr]
    nn.init.zeros_(model.decoder[1].cross_attn.query.bias)  # type: ignore[union-attr]
    cross = model(SRC, TGT_INPUT, return_maps=True).maps["cross_attn"]
    uniform = [bool(((m[0] - 0.2).abs() < 1e-6).all()) for m in cross]
    assert uniform == [False, True, False]


@pytest.mark.parametrize("return_maps", [False, True])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_padding_changes_nothing(norm: str, return_maps: bool) -> None:
    model = transformer(norm=norm)
    together = model(SRC, TGT_INPUT, return_maps)
    for row in range(3):
        s, t = int(REAL_SRC[row].sum()), int(REAL_TGT[row].sum())
        alone = model(SRC[row : row + 1, :s], TGT_INPUT[row : row + 1, :t], return_maps)
        torch.testing.assert_close(together.hidden[row, :t], alone.hidden[0])
        for kind, maps in alone.maps.items():
            for attn_map, padded in zip(maps, together.maps[kind], strict=True):
                queries, keys = attn_map.shape[2:]
                found = padded[row, :, :queries, :keys]
                torch.testing.assert_close(found, attn_map[0])


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_step_equals_forward_after_reordering_and_dropping(norm: str) -> None:
    """Two beams of three sentences; the second sentence is dropped on the way."""
    model = transformer(norm=norm)
    cache = model.start(SRC)
    sources = [0, 0, 1, 1, 2, 2]
    prefixes = [[BOS] for _ in sources]
    moves = [
        (None, [1, 0, 2, 2, 5, 4]),
        ([0, 2], [1, 1, 4, 5]),
        ([1, 0], [3, 2, 0, 1]),  # sentences may change places too
        (None, [0, 0, 3, 2]),
        ([1], [3, 2]),
    ]
    generator = torch.Generator().manual_seed(1)
    for sentences, beams in moves:
        log_probs = model.step(torch.tensor([p[-1] for p in prefixes]), cache)
        hidden = model(SRC[sources], torch.tensor(prefixes)).hidden[:, -1]
        expected = model.projection(hidden).log_softmax(-1)
        torch.testing.assert_close(log_probs, expected)
        cache.select(
            None if sentences is None else torch.tensor(sentences), torch.tensor(beams)
        )
        words = torch.randint(4, TGT_SIZE, (len(beams),), generator=generator).tolist()
        prefixes = [[*prefixes[b], w] for b, w in zip(beams, words, strict=True)]
        sources = [sources[b] for b in beams]


def test_positions_grow_with_the_sentence() -> None:
    model = transformer()
    tokens = torch.full((1, 300), 5)
    x = model.embed(model.src_embedding, tokens)
    torch.testing.assert_close(
        x, embedded(model.src_embedding, tokens), atol=1e-4, rtol=0
    )


# Parameters -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tie", "num_tables"), [("none", 3), ("decoder", 2), ("all", 1)]
)
def test_tied_embeddings_are_one(tie: str, num_tables: int) -> None:
    def model(tie: str) -> Transformer:
        return Transformer(config(tie_embeddings=tie), TGT_SIZE, TGT_SIZE)

    tied = model(tie)
    source, target = tied.src_embedding.weight, tied.tgt_embedding.weight
    projection = tied.projection.weight
    assert (target is projection) == (tie != "none")
    assert (source is target) == (tie == "all")
    # by hand: an attention has 4 d (d + 1) numbers, a feed-forward 2 d f + d + f,
    # a normalisation 2 d; here d = 8 and f = 12
    encoder_layer, decoder_layer = 288 + 212 + 2 * 16, 2 * 288 + 212 + 3 * 16
    stacks = 2 * encoder_layer + 3 * decoder_layer + 2 * 16
    assert count_parameters(tied) == stacks + num_tables * TGT_SIZE * 8


def test_same_seed_gives_the_same_model() -> None:
    first, second = transformer().state_dict(), transformer().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


# Dropout ----------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5])
def test_dropout_keeps_the_mean(rate: float) -> None:
    torch.manual_seed(1)
    x = torch.ones(101, 997, requires_grad=True)
    out = Dropout(rate)(x)
    dropped = out == 0
    # standard error of the share is below 0.0016
    assert abs(float(dropped.float().mean()) - rate) < 0.008
    torch.testing.assert_close(out[~dropped], torch.ones(1) / (1 - rate) * x[~dropped])
    out.sum().backward()
    assert x.grad is not None
    assert (x.grad[dropped] == 0).all()
    torch.testing.assert_close(x.grad, out.detach())


def test_dropout_of_neighbours_is_independent() -> None:
    torch.manual_seed(1)
    dropped = (Dropout(0.5)(torch.ones(100_000)) == 0).float()
    for distance in (1, 2, 3, 4):
        together = dropped[distance:] * dropped[:-distance]
        assert abs(float(together.mean()) - 0.25) < 0.01


def test_dropout_follows_the_seed_and_rests_in_evaluation() -> None:
    dropout, x = Dropout(0.4), torch.randn(7, 5)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(dropout(x))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(dropout.eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
