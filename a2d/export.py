"""Trained models as CTranslate2 models, for bulk decoding and for deployment."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ctranslate2.specs import TransformerSpec
from ctranslate2.specs.common_spec import Activation
from numpy.typing import NDArray
from torch import nn

from a2d.files import replacing_folder
from a2d.initialize import load_model
from a2d.model import Attention, DecoderLayer, FeedForward, Transformer, sinusoids
from a2d.vocab import Vocab

MAX_POSITIONS = 1024
"""Longest sentence in tokens that an exported model takes."""


def export(run_folder: Path, vocabs: tuple[Path, Path], out: Path) -> None:
    """Write a folder that needs nothing else: weights and both vocabularies.

    Args:
        run_folder: as left by `a2d train`.
        vocabs: SentencePiece models of source and target, copied into `out`.
        out: folder, replaced if it exists.
    """
    src_vocab, tgt_vocab = (Vocab(path) for path in vocabs)
    spec = transformer_spec(load_model(run_folder), src_vocab, tgt_vocab)
    spec.validate()
    spec.optimize()
    with replacing_folder(out) as folder:
        spec.save(str(folder))
        shutil.copyfile(vocabs[0], folder / "source.spm")
        shutil.copyfile(vocabs[1], folder / "target.spm")


def transformer_spec(
    model: Transformer, src_vocab: Vocab, tgt_vocab: Vocab
) -> TransformerSpec:
    """CTranslate2's description of a model, with its weights."""
    config = model.config
    spec = TransformerSpec.from_config(
        (config.num_encoder_layers, config.num_decoder_layers),
        config.num_heads,
        pre_norm=config.norm == "pre",
        activation=Activation.RELU,
    )
    positions = sinusoids(MAX_POSITIONS, config.d_model)
    for stack, layers, norm in (
        (spec.encoder, model.encoder, model.encoder_norm),
        (spec.decoder, model.decoder, model.decoder_norm),
    ):
        stack.scale_embeddings = True
        stack.position_encodings.encodings = array(positions)
        if isinstance(norm, nn.LayerNorm):
            set_norm(stack.layer_norm, norm)
        for layer_spec, layer in zip(stack.layer, layers, strict=True):
            set_self_attention(layer_spec.self_attention, layer.self_attn)
            norms = [layer_spec.self_attention.layer_norm, layer_spec.ffn.layer_norm]
            if isinstance(layer, DecoderLayer):
                set_cross_attention(layer_spec.attention, layer.cross_attn)
                norms.insert(1, layer_spec.attention.layer_norm)
            set_feed_forward(layer_spec.ffn, layer.feed_forward)
            for norm_spec, layer_norm in zip(norms, layer.norms, strict=True):
                set_norm(norm_spec, layer_norm)
    spec.encoder.embeddings[0].weight = array(model.src_embedding.weight)
    spec.decoder.embeddings.weight = array(model.tgt_embedding.weight)
    spec.decoder.projection.weight = array(model.projection.weight)
    spec.register_source_vocabulary(src_vocab.pieces)
    spec.register_target_vocabulary(tgt_vocab.pieces)
    spec.config.bos_token = spec.config.decoder_start_token = "<s>"
    spec.config.eos_token, spec.config.unk_token = "</s>", "<unk>"
    spec.config.add_source_eos = True
    spec.config.layer_norm_epsilon = 1e-5
    return spec


def array(tensor: torch.Tensor) -> NDArray[np.float32]:
    """A copy, because quantisation overwrites what a specification holds."""
    return tensor.detach().float().numpy().copy()


def set_linear(spec: Any, weight: torch.Tensor, bias: torch.Tensor) -> None:
    """Fill in a linear layer."""
    spec.weight, spec.bias = array(weight), array(bias)


def set_norm(spec: Any, norm: nn.LayerNorm) -> None:
    """Fill in a layer normalisation."""
    spec.gamma, spec.beta = array(norm.weight), array(norm.bias)


def set_self_attention(spec: Any, attention: Attention) -> None:
    """Fill in attention with query, key and value in one matrix."""
    query, key_value = attention.query, attention.key_value
    fused, output = spec.linear
    set_linear(
        fused,
        torch.cat([query.weight, key_value.weight]),
        torch.cat([query.bias, key_value.bias]),
    )
    set_linear(output, attention.output.weight, attention.output.bias)


def set_cross_attention(spec: Any, attention: Attention) -> None:
    """Fill in attention with key and value in one matrix."""
    linears = (attention.query, attention.key_value, attention.output)
    for linear_spec, linear in zip(spec.linear, linears, strict=True):
        set_linear(linear_spec, linear.weight, linear.bias)


def set_feed_forward(spec: Any, feed_forward: FeedForward) -> None:
    """Fill in both linear layers of a feed-forward network."""
    for linear_spec, layer in ((spec.linear_0, "0"), (spec.linear_1, "2")):
        parameters = (
            feed_forward.get_parameter(f"{layer}.{p}") for p in ("weight", "bias")
        )
        set_linear(linear_spec, *parameters)
