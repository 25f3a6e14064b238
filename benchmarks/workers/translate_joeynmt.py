"""Worker: joeynmt's beam search with the network of an a2d model.

The batches are a2d's: longest sentences first, `batch_tokens` source tokens times beam
size, padding included. A round goes from pieces to pieces.
"""

import json
import re
import time
from pathlib import Path
from statistics import mean
from types import SimpleNamespace
from typing import Any

import torch
from joeynmt.config import _check_special_symbols
from joeynmt.datasets import BaseDataset
from joeynmt.model import Model, build_model
from joeynmt.search import search
from joeynmt.vocabulary import Vocabulary
from rounds import read_settings, serve
from safetensors import safe_open
from torch import Tensor, nn

NAMES = {
    r"^src_embedding": "src_embed.lut",
    r"^tgt_embedding": "trg_embed.lut",
    r"^projection": "decoder.output_layer",
    r"coder_norm": "coder.layer_norm",
    r"coder\.(\d)": r"coder.layers.\1",
    r"^(en.*)self_attn": r"\1src_src_att",
    r"^(de.*)self_attn": r"\1trg_trg_att",
    r"cross_attn": "src_trg_att",
    r"(query|k|v)\.(weight|bias)": r"\1_layer.\2",
    r"query": "q",
    r"output\.": "output_layer.",
    r"^(en.*)norms\.0": r"\1layer_norm",
    r"^(de.*)norms\.0": r"\1x_layer_norm",
    r"^(de.*)norms\.1": r"\1dec_layer_norm",
    r"norms\.[12]": "feed_forward.layer_norm",
    r"feed_forward\.0": "feed_forward.pwff_layer.0",
    r"feed_forward\.2": "feed_forward.pwff_layer.3",
}
"""What joeynmt says for patterns in a2d's names of weights, applied in this order."""


def load_weights(path: str) -> dict[str, Tensor]:
    """Weights of an a2d model under joeynmt's names, and UNK before PAD."""
    with safe_open(path, "pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        tied = json.loads(file.metadata()["tied"])
    weights |= {name: weights[other] for name, other in tied.items()}
    for name in [name for name in weights if "key_value" in name]:
        for part, half in zip("kv", weights.pop(name).chunk(2), strict=True):
            weights[name.replace("key_value", part)] = half
    for name in ("src_embedding.weight", "tgt_embedding.weight", "projection.weight"):
        weights[name] = torch.cat([weights[name][[1, 0]], weights[name][2:]])
    for pattern, replacement in NAMES.items():
        weights = {re.sub(pattern, replacement, n): w for n, w in weights.items()}
    return weights


def load_model(path: str, config: dict[str, Any], vocab: Vocabulary) -> Model:
    """Build joeynmt's model and fill it with the weights of an a2d model."""
    stack = {
        "type": "transformer",
        "hidden_size": config["d_model"],
        "ff_size": config["d_ff"],
        "num_heads": config["num_heads"],
        "layer_norm": config["norm"],
        "embeddings": {"embedding_dim": config["d_model"], "scale": True},
    }
    settings = {
        "encoder": stack | {"num_layers": config["num_encoder_layers"]},
        "decoder": stack | {"num_layers": config["num_decoder_layers"]},
        "tied_embeddings": config["tie_embeddings"] == "all",
        "tied_softmax": config["tie_embeddings"] != "none",
    }
    model = build_model(settings, vocab, vocab)
    # joeynmt's positions alternate sines and cosines, a2d's are sines, then cosines
    positions = {
        name: torch.cat([table[..., ::2], table[..., 1::2]], dim=-1)
        for name, table in model.named_buffers()
    }
    model.load_state_dict(positions | load_weights(path))
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-5  # a2d's
    return model.eval()


def main() -> None:
    """Load model and text, then translate on demand."""
    settings = read_settings()
    pieces = Path(settings["vocab"]).read_text(encoding="utf-8").split("\n")[:-1]
    vocab = Vocabulary(pieces, SimpleNamespace(**_check_special_symbols({})))
    model = load_model(settings["weights"], settings["model"], vocab)
    lines = Path(settings["src"]).read_text(encoding="utf-8").split("\n")[:-1]
    sentences = [line.split(" ") for line in lines]
    lengths = [len(sentence) + 1 for sentence in sentences]
    by_length = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    max_length, beam_size = settings["max_length"], settings["beam_size"]
    max_tokens = settings["batch_tokens"] // beam_size
    prompts, encoders = {"src": False, "tgt": False}, {"src": vocab.sentences_to_ids}
    data = BaseDataset("", "src", "tgt", "test", False, prompts, None, encoders)
    # joeynmt divides by ((5 + length) / 6) ** alpha, a2d by length ** length_penalty:
    # with this alpha both grow at the same rate around the mean length
    alpha = settings["length_penalty"] * (5 + mean(lengths)) / mean(lengths)

    def translate() -> dict[str, Any]:
        """Translate all sentences."""
        start = time.perf_counter()
        found: dict[int, list[str]] = {}
        while rest := by_length[len(found) :]:
            count = max(1, max_tokens // lengths[rest[0]])
            rows = [(i, sentences[i], None) for i in rest[:count]]
            batch = data.collate_fn(rows, vocab.pad_index, vocab.eos_index)
            tokens, _, _ = search(model, batch, max_length, beam_size, alpha)
            hypotheses = vocab.arrays_to_sentences(tokens)
            found |= zip(rest[:count], hypotheses, strict=True)
        texts = [[p for p in found[i] if p != "</s>"] for i in sorted(found)]
        seconds = time.perf_counter() - start
        return {"sentences": len(texts), "seconds": seconds, "translations": texts}

    with torch.no_grad():
        serve(translate)


if __name__ == "__main__":
    main()
