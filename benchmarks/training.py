"""Throughput of training, and the price of Align-to-Distill in time and memory."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from torch import Tensor, nn

from a2d.config import NUMERICS, PAD, Losses, Model, Run
from a2d.data import Batch, ParallelData
from a2d.encode import encode
from a2d.model import Transformer
from a2d.objective import Objective
from a2d.plan import forward_operations
from a2d.process import keep_freed_memory
from a2d.section import dump, parse
from a2d.vocab import Vocab, train_vocab
from benchmarks.contest import Row, Worker, rows_of, seconds, take_turns

VOCAB_SIZE = 4000
SHAPE = {"d_model": 256, "d_ff": 1024, "num_heads": 4, "dropout": 0.1}
LAYERS = {"student": 3, "teacher": 6}
UPDATES = 2
"""In a round."""
MAX_TOKENS = 4096
LABEL_SMOOTHING = 0.1
TARGETS = {
    "joeynmt": ">= 2.5",
    "eole": ">= 2.5",
    "sockeye": ">= 2.5",
    "marian": ">= 1.8",
    "torch loop": ">= 1.25",
}


def prepare(text: tuple[Path, Path], folder: Path) -> dict[str, Any]:
    """Vocabulary, pieces and tokens of a text: what all workers read."""
    folder.mkdir(parents=True)
    spm, tokens = folder / "joint.spm", folder / "train.tokens"
    train_vocab(text, spm, VOCAB_SIZE, "bpe")
    encode(text, (spm, spm), tokens, threads=2)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(spm))
    pieces = Vocab(spm).pieces[4:]
    (folder / "pieces.txt").write_text("".join(f"{piece}\n" for piece in pieces))
    settings = {"spm": spm, "tokens": tokens, "vocab": folder / "pieces.txt"}
    for side, path in zip(("src", "tgt"), text, strict=True):
        lines = path.read_text().splitlines()
        segmented = processor.encode(lines, out_type=str)
        settings[side] = folder / f"train.{side}"
        settings[side].write_text("".join(f"{' '.join(row)}\n" for row in segmented))
        (folder / f"valid.{side}").write_text("\n".join(lines[:100]) + "\n")
    valid = [str(folder / "valid.src"), str(folder / "valid.tgt")]
    return {name: str(path) for name, path in settings.items()} | {"valid": valid}


def architecture(system: str) -> Model:
    """The student's or the teacher's shape."""
    layers = LAYERS[system]
    return Model(
        num_encoder_layers=layers,
        num_decoder_layers=layers,
        norm="pre",
        tie_embeddings="all",
        **SHAPE,
    )


def run_settings(system: str) -> Run:
    """Settings of a training that never validates."""
    train = {
        "max_tokens": MAX_TOKENS,
        "accumulate": 1,
        "max_steps": 10**6,
        "schedule": "inverse_sqrt",
        "learning_rate": 5e-4,
        "warmup_steps": 4000,
        "betas": (0.9, 0.98),
        "weight_decay": 1e-4,
        "label_smoothing": LABEL_SMOOTHING,
        "clip_norm": 1.0,
        "valid_interval": 10**6,
        "valid_sentences": 100,
        "save_interval": 10**6,
        "patience": 0,
        "select": "loss",
        "average": 1,
        "sampling_temperature": 1.0,
        "precision": "float32",
    }
    values = {
        "dataset": "benchmark",
        "pair": "de-en",
        "system": system,
        "seed": 1,
        "vocab": {"size": VOCAB_SIZE, "joint": True, "kind": "bpe"},
        "model": architecture(system).model_dump(),
        "train": train,
        "teacher": [],
        "corpus": ["gold"],
        "directions": ["de-en"],
        "losses": {},
        "init": {},
        "prune": None,
        "numerics": NUMERICS,
    }
    return parse(Run, values)


def operations_per_token(model: Model, data: ParallelData) -> float:
    """Floating-point operations of an update for each target token, without padding.

    Three times the forward pass: backward computes gradients of inputs and weights.
    """
    src, tgt = data.src.lengths + 1.0, data.tgt.lengths + 1.0
    return 3 * float(forward_operations(model, VOCAB_SIZE, src, tgt).sum() / tgt.sum())


def matrix_product() -> float:
    """Operations a second of a large float32 product."""
    size = 2048
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 3 * 2 * size**3 / seconds(lambda: (a @ b, a @ b, a @ b))


def throughput(
    system: str, settings: dict[str, Any], folder: Path, peers: Sequence[str]
) -> list[Row]:
    """Target tokens a second of all contestants, and a2d's share of the peak."""
    shared = settings | SHAPE | {"num_layers": LAYERS[system]}
    shared |= {"max_tokens": MAX_TOKENS, "label_smoothing": LABEL_SMOOTHING}
    shared["updates"] = UPDATES
    own = folder / system / "a2d"
    own.mkdir(parents=True)
    (own / "config.yaml").write_text(dump(run_settings(system)))
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(
                Worker(script, shared, folder / system / name, peer)
            )
            for name, script, peer in (
                ("a2d", "train_a2d.py", ""),
                ("torch loop", "train_torch.py", ""),
                *((peer, f"train_{peer}.py", peer) for peer in peers),
            )
        }
        contestants = {n: partial(w.rate, "tokens") for n, w in workers.items()}
        found = take_turns({**contestants, "matrix product": matrix_product})
    peak = found.pop("matrix product")
    spm = Vocab(settings["spm"])
    data = ParallelData.open([Path(settings["tokens"])], (spm, spm))
    cost = operations_per_token(architecture(system), data)
    work = {"a2d": [cost * rate for rate in found["a2d"]], "matrix product": peak}
    row = f"training, {system}"
    return [
        *rows_of(row, found, "target tokens/s", TARGETS),
        *rows_of(f"{row}: operations", work, "1/s", {"matrix product": ">= 0.6"}),
    ]


def align_to_distill(settings: dict[str, Any]) -> list[Row]:
    """Time of a step with all losses, against its two unavoidable parts."""
    keep_freed_memory()
    torch.set_flush_denormal(True)
    spm = Vocab(settings["spm"])
    data = ParallelData.open([Path(settings["tokens"])], (spm, spm))
    teacher = Transformer(architecture("teacher"), VOCAB_SIZE, VOCAB_SIZE).eval()
    losses = parse(Losses, {"word_kd": 0.5, "a2d": 1.0})
    plain, distilled = (
        Objective(
            Transformer(architecture("student"), VOCAB_SIZE, VOCAB_SIZE),
            teachers,
            chosen,
            LABEL_SMOOTHING,
        )
        for teachers, chosen in (([], Losses()), ([teacher], losses))
    )
    optimizers = {
        objective: torch.optim.AdamW(objective.parameters(), fused=True)
        for objective in (plain, distilled)
    }
    batches: list[Batch] = []

    def next_batches() -> None:
        batches[:] = [data.batch(indices) for (indices,) in islice(groups, 2)]

    groups = data.epoch(1, 1, MAX_TOKENS, 1)

    def step(objective: Objective, batch: Batch) -> None:
        objective.train()
        optimizers[objective].zero_grad()
        parts = objective(batch, batch.src_tokens, batch.tgt_tokens, 1)
        parts["loss"].backward()
        nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
        optimizers[objective].step()

    @torch.no_grad()
    def forward(batch: Batch) -> Tensor:
        hidden = teacher(batch.src, batch.tgt_input).hidden
        return teacher.projection(hidden[batch.tgt != PAD])

    def whole() -> float:
        next_batches()
        return seconds(lambda: [step(distilled, batch) for batch in batches])

    def parts() -> float:
        return seconds(lambda: [(step(plain, b), forward(b)) for b in batches])

    name = "student step + teacher forward"
    found = take_turns({"A2D + Word-KD step": whole, name: parts}, rounds=9)
    return rows_of("A2D step", found, "s", {name: "<= 1.25"})


RECIPES: dict[str, dict[str, Any]] = {
    "A2D + Word-KD": {"word_kd": 0.5, "a2d": 1.0},
    "Word-KD": {"word_kd": 0.5},
    "student alone": {},
}


def peak_memory(recipe: str, length: int) -> tuple[float, float]:
    """Of a step on sentences of a length, in MB.

    Returns:
        Most memory of the process, and of its tensors alone, weights left out.
    """
    keep_freed_memory()
    torch.manual_seed(1)
    torch.set_num_threads(1)
    losses = parse(Losses, RECIPES[recipe])
    student, teacher = (
        Transformer(architecture(name), VOCAB_SIZE, VOCAB_SIZE) for name in LAYERS
    )
    teachers = [teacher.requires_grad_(False)] if RECIPES[recipe] else []
    objective = Objective(student, teachers, losses, LABEL_SMOOTHING)
    optimizer = torch.optim.AdamW(objective.parameters(), fused=True)
    tokens = torch.randint(4, VOCAB_SIZE, (MAX_TOKENS // length, length))
    ones = torch.ones(len(tokens))
    batch = Batch(tokens, tokens, tokens, ones, torch.zeros_like(ones))

    def step() -> None:
        optimizer.zero_grad()
        objective(batch, tokens.numel(), tokens.numel(), 1)["loss"].backward()
        optimizer.step()

    step()
    step()
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    with torch.profiler.profile(profile_memory=True) as profile:
        step()
    events = profile.profiler.kineto_results.events()  # type: ignore[union-attr]
    changes = [event.nbytes() for event in events if event.name() == "[memory]"]
    return process, max(accumulate(changes)) / 1e6


def memory_of_a_step() -> list[Row]:
    """Peak memory of a step, each in a process of its own."""
    rows = []
    for length in (16, 64, 256):
        found = {}
        for recipe in RECIPES:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                found[recipe] = pool.submit(peak_memory, recipe, length).result()
        for number, what in enumerate(("the process", "its tensors")):
            name = f"A2D step, sentences of {length} tokens: peak memory of {what}"
            peaks = {recipe: [peak[number]] for recipe, peak in found.items()}
            rows += rows_of(name, peaks, "MB")
    return rows


def measure(text: tuple[Path, Path], folder: Path, peers: Sequence[str]) -> list[Row]:
    """All rows about training."""
    settings = prepare(text, folder / "text")
    rows = [
        row for system in LAYERS for row in throughput(system, settings, folder, peers)
    ]
    return rows + align_to_distill(settings)
