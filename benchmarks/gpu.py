"""Throughput of training on a GPU: `python -m benchmarks.gpu TABLE.tsv`.

Tokens a second, memory and share of the peak for student, teacher and Align-to-Distill
at the sizes of IWSLT and WMT, in bfloat16: a2d, a2d under `torch.compile`, the model
of plain `torch.nn.Transformer`; for Align-to-Distill the authors' way of computing it:
all maps kept, a sum over the batch, padding included. Text is random: its lengths are
those of a length-sorted batch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from a2d.config import BOS, EOS, PAD, Losses, Model
from a2d.data import Batch, pad
from a2d.model import Transformer
from a2d.objective import Objective
from a2d.section import parse
from benchmarks.contest import Row, rows_of, take_turns
from benchmarks.plain import Plain

UPDATES = 10
"""In a round."""
PEAK = {"NVIDIA H100": 989e12, "NVIDIA H200": 989e12, "NVIDIA A100": 312e12}
"""Published operations a second in bfloat16, dense, SXM form."""
LABEL_SMOOTHING = 0.1


@dataclass(frozen=True)
class Size:
    """A published setting."""

    d_model: int
    d_ff: int
    num_heads: int
    vocab_size: int
    max_tokens: int
    length: int
    """Mean tokens of a sentence."""


SIZES = {
    "IWSLT": Size(512, 1024, 4, 10_000, 4096, 25),
    "WMT": Size(512, 2048, 8, 32_000, 25_000, 30),
}
LAYERS = {"student": 3, "teacher": 6}


def architecture(size: Size, system: str) -> Model:
    """The student's or the teacher's shape."""
    layers = LAYERS[system]
    return Model(
        num_encoder_layers=layers,
        num_decoder_layers=layers,
        d_model=size.d_model,
        d_ff=size.d_ff,
        num_heads=size.num_heads,
        dropout=0.1,
        norm="post",
        tie_embeddings="all",
    )


def random_batches(size: Size, number: int) -> list[Batch]:
    """Batches of sentences of like length, on the GPU."""
    numbers = torch.Generator().manual_seed(1)

    def sentences(length: int) -> list[list[int]]:
        rows = size.max_tokens // (length + 2)
        lengths = torch.randint(length - 1, length + 2, (rows,), generator=numbers)
        return [
            torch.randint(EOS + 1, size.vocab_size, (n,), generator=numbers).tolist()
            for n in lengths.tolist()
        ]

    batches = []
    for _ in range(number):
        drawn = torch.randint(size.length // 2, 2 * size.length, (), generator=numbers)
        src, tgt = sentences(int(drawn)), sentences(int(drawn))
        batch = Batch(
            pad(src, end=EOS),
            pad(tgt, start=BOS),
            pad(tgt, end=EOS),
            torch.ones(len(src)),
            torch.zeros(len(src)),
        )
        batches.append(batch.to(torch.device("cuda")))
    return batches


class AuthorsLoss(nn.Module):
    """Align-to-Distill as its authors compute it, on top of our models."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective

    def forward(
        self, batch: Batch, src: int, tgt: int, epoch: int
    ) -> dict[str, Tensor]:
        """Cross-entropies, plus divergences summed over all positions."""
        objective, (teacher,) = self.objective, self.objective._teachers
        assert objective.alignment is not None
        student = objective.student(batch.src, batch.tgt_input, True)
        with torch.no_grad():
            taught = teacher(batch.src, batch.tgt_input, True)
            wanted = teacher.projection(taught.hidden).float().softmax(-1)
        logits = objective.student.projection(student.hidden).float()
        nll = F.cross_entropy(
            logits.flatten(0, 1),
            batch.tgt.flatten(),
            ignore_index=PAD,
            label_smoothing=LABEL_SMOOTHING,
        )
        word_kd = -(wanted * logits.log_softmax(-1)).sum(-1).mean()
        total = 0.5 * nll + 0.5 * word_kd
        for kind, maps in student.maps.items():
            convolution = objective.alignment.convolutions[kind]
            aligned = convolution(torch.cat(maps, 1)).float().log_softmax(-1)
            total = total + F.kl_div(
                aligned, torch.cat(taught.maps[kind], 1).float(), reduction="sum"
            ) / len(batch.src)
        return {"loss": total}


class Training:
    """Updates of one contestant on the same batches."""

    def __init__(self, module: nn.Module, loss: Callable[[Batch], Tensor]) -> None:
        self.module, self.loss = module, loss
        self.optimizer = torch.optim.AdamW(module.parameters(), fused=True)
        self.memory = 0.0

    def rate(self, batches: list[Batch], tokens: int) -> float:
        """Target tokens a second; notes the peak memory in MB."""
        torch.cuda.reset_peak_memory_stats()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for batch in batches:
            self.optimizer.zero_grad()
            with torch.autocast("cuda", torch.bfloat16):
                loss = self.loss(batch)
            loss.backward()
            nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
            self.optimizer.step()
        end.record()
        end.synchronize()
        self.memory = torch.cuda.max_memory_allocated() / 1e6
        return 1000 * tokens / start.elapsed_time(end)


def ours(module: nn.Module) -> Training:
    """A training of an objective, with its numbers of tokens."""
    module.cuda().train()
    return Training(module, lambda b: module(b, b.src_tokens, b.tgt_tokens, 1)["loss"])


def plain(size: Size, system: str) -> Training:
    """The same model of `torch.nn.Transformer`."""
    settings = {
        "d_model": size.d_model,
        "d_ff": size.d_ff,
        "num_heads": size.num_heads,
        "num_layers": LAYERS[system],
        "dropout": 0.1,
    }
    model = Plain(settings, size.vocab_size).cuda().train()

    def loss(batch: Batch) -> Tensor:
        logits = model(batch.src, batch.tgt_input).flatten(0, 1)
        return F.cross_entropy(
            logits,
            batch.tgt.flatten(),
            ignore_index=PAD,
            label_smoothing=LABEL_SMOOTHING,
        )

    return Training(model, loss)


def objective(size: Size, system: str, distilled: bool = False) -> Objective:
    """Our objective, with a random teacher for Align-to-Distill."""
    model = Transformer(architecture(size, system), size.vocab_size, size.vocab_size)
    if not distilled:
        return Objective(model, [], Losses(), LABEL_SMOOTHING)
    shape = architecture(size, "teacher")
    teacher = Transformer(shape, size.vocab_size, size.vocab_size).cuda()
    losses = parse(Losses, {"word_kd": 0.5, "a2d": 1.0})
    return Objective(model, [teacher], losses, LABEL_SMOOTHING)


def contest(row: str, size: Size, contestants: dict[str, Training]) -> list[Row]:
    """Tokens a second and peak memory of all contestants, a2d first."""
    batches = random_batches(size, UPDATES)
    tokens = sum(batch.tgt_tokens for batch in batches)
    found = take_turns(
        {
            name: lambda training=training: training.rate(batches, tokens)
            for name, training in contestants.items()
        }
    )
    memory = {name: [training.memory] for name, training in contestants.items()}
    return [
        *rows_of(row, found, "target tokens/s"),
        *rows_of(f"{row}: memory", memory, "MB"),
    ]


def share_of_peak(row: str, size: Size, system: str, rate: float) -> list[Row]:
    """Operations of the matrix products, without attention, against the GPU's peak."""
    d_model, layers = size.d_model, LAYERS[system]
    weights = layers * (12 * d_model**2 + 4 * d_model * size.d_ff)
    found = {"a2d": [6 * (weights + d_model * size.vocab_size) * rate]}
    name = torch.cuda.get_device_name()
    peaks = [peak for gpu, peak in PEAK.items() if name.startswith(gpu)]
    published = {f"published peak of {name}": peaks} if peaks else {}
    return rows_of(f"{row}: operations", found | published, "1/s")


def main(out: Path) -> None:
    """Measure all sizes and write the table."""
    torch.set_float32_matmul_precision("high")
    rows: list[Row] = []
    for name, size in SIZES.items():
        for system in LAYERS:
            row = f"{name}, {system}"
            contestants = {
                "a2d": ours(objective(size, system)),
                "a2d, torch.compile": ours(
                    torch.compile(objective(size, system), dynamic=True)
                ),
                "torch.nn.Transformer": plain(size, system),
            }
            rows += contest(row, size, contestants)
            rows += share_of_peak(row, size, system, rows[-2 * len(contestants)].median)
        contestants = {
            "a2d": ours(objective(size, "student", distilled=True)),
            "the authors' way": ours(
                AuthorsLoss(objective(size, "student", distilled=True))
            ),
        }
        rows += contest(f"{name}, Align-to-Distill", size, contestants)
        pd.DataFrame(rows).to_csv(out, sep="\t", index=False, float_format="%.4g")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
