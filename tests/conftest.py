"""What several tests share: a tiny language pair and tiny trainings.

Nothing here is downloaded; a sentence is a few numbers, spelled in German and English.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from a2d.config import EOS, NUMERICS, Losses, Model, Run, Vocab
from a2d.section import dump, parse

if TYPE_CHECKING:
    from a2d.train import Files
    from a2d.vocab import Vocab as Vocabulary

os.environ["OMP_NUM_THREADS"] = "1"

GERMAN = "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf"
ENGLISH = "zero one two three four five six seven eight nine ten eleven twelve"
VOCAB = Vocab(size=320, joint=True, kind="bpe")
MODEL = Model(
    num_encoder_layers=2,
    num_decoder_layers=1,
    d_model=16,
    d_ff=32,
    num_heads=2,
    dropout=0.1,
    norm="pre",
    tie_embeddings="decoder",
)
TRAIN: dict[str, Any] = {
    "max_tokens": 200,
    "accumulate": 1,
    "max_steps": 12,
    "schedule": "linear",
    "learning_rate": 0.01,
    "warmup_steps": 2,
    "betas": (0.9, 0.98),
    "weight_decay": 0,
    "label_smoothing": 0.1,
    "clip_norm": 1,
    "valid_interval": 4,
    "valid_sentences": 5,
    "save_interval": 5,
    "patience": 0,
    "select": "loss",
    "average": 1,
    "sampling_temperature": 1.0,
    "precision": "float32",
}


def write_numbers(folder: Path, split: str, num_lines: int, seed: int) -> None:
    """Write lines of one to nine numbers in both languages."""
    rng = random.Random(seed)
    rows = [rng.choices(range(13), k=rng.randint(1, 9)) for _ in range(num_lines)]
    for language, words in (("de", GERMAN.split()), ("en", ENGLISH.split())):
        lines = [" ".join(words[number] for number in row) for row in rows]
        (folder / f"{split}.{language}").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like `results/toy/de-en`: clean text and a joint vocabulary."""
    from a2d.encode import encode
    from a2d.vocab import train_vocab

    folder = tmp_path_factory.mktemp("toy") / "de-en"
    corpus, vocab = folder / "corpus", folder / "vocab"
    corpus.mkdir(parents=True)
    vocab.mkdir()
    write_numbers(corpus, "train", 300, seed=1)
    write_numbers(corpus, "valid", 20, seed=2)
    texts = [corpus / "train.de", corpus / "train.en"]
    models = vocab / "de.spm", vocab / "en.spm"
    for model in models:
        train_vocab(texts, model, VOCAB.size, VOCAB.kind)
    encode((texts[0], texts[1]), models, corpus / "train.tokens", threads=1)
    return folder


@pytest.fixture(scope="session")
def vocabs(pair: Path) -> tuple[Vocabulary, Vocabulary]:
    """Source and target vocabulary."""
    from a2d.vocab import Vocab

    return Vocab(pair / "vocab/de.spm"), Vocab(pair / "vocab/en.spm")


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Run]:
    """Build the settings of a tiny training; arguments replace single values."""

    def make_run(
        system: str = "student",
        losses: dict[str, Any] | None = None,
        model: dict[str, Any] | None = None,
        init: dict[str, Any] | None = None,
        prune: dict[str, Any] | None = None,
        **train: Any,
    ) -> Run:
        values = {
            "dataset": "toy",
            "pair": "de-en",
            "system": system,
            "seed": 1,
            "vocab": VOCAB.model_dump(),
            "model": MODEL.model_dump() | (model or {}),
            "train": TRAIN | train,
            "teacher": [],
            "corpus": ["gold"],
            "directions": ["de-en"],
            "losses": losses or {},
            "init": init or {},
            "prune": prune,
            "numerics": NUMERICS,
        }
        return parse(Run, values)

    return make_run


@pytest.fixture(scope="session")
def make_trained(pair: Path) -> Callable[[Run, Path, int], Path]:
    """Fill a run folder with random weights, as if training had left it."""
    import torch
    from torch.nn import LayerNorm

    from a2d.checkpoint import save_weights
    from a2d.model import Transformer

    def make_trained(run: Run, folder: Path, seed: int = 1) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(seed)
        model = Transformer(run.model, VOCAB.size, VOCAB.size)
        # strong weights make distributions as sharp as those of a trained model
        for parameter in model.parameters():
            noise = torch.randn_like(parameter)
            parameter.data += (0.7 if parameter.dim() > 1 else 0.2) * noise
        # and EOS is likely enough that some sentences end
        norm = [m for m in model.decoder.modules() if isinstance(m, LayerNorm)][-1]
        norm = model.decoder_norm if run.model.norm == "pre" else norm
        eos = model.projection.weight[EOS]
        norm.bias.data += 11 * (eos / eos.dot(eos)).detach()
        (folder / "config.yaml").write_text(dump(run))
        save_weights(folder / "model.safetensors", model.state_dict())
        return folder

    return make_trained


@pytest.fixture(scope="session")
def teacher(
    pair: Path, make_run: Callable[..., Run], make_trained: Callable[..., Path]
) -> Path:
    """Run folder of a teacher with other numbers of layers and heads than students."""
    shape = {"num_encoder_layers": 1, "num_decoder_layers": 3, "num_heads": 4}
    return make_trained(make_run("teacher", model=shape), pair / "teacher/seed1")


@pytest.fixture(scope="session")
def files(pair: Path) -> Files:
    """What a training of the tiny language pair reads."""
    from a2d.train import Files

    corpus = pair / "corpus"
    return Files(
        train=[corpus / "train.tokens"],
        valid=[(corpus / "valid.de", corpus / "valid.en")],
        vocabs=(pair / "vocab/de.spm", pair / "vocab/en.spm"),
    )


@pytest.fixture
def both_losses() -> Losses:
    """Word-level distillation and alignment of attention."""
    return parse(Losses, {"word_kd": 0.3, "a2d": {"attn_weight": 0.7}})
