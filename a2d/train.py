"""Training: reads top to bottom, and goes on exactly where it was interrupted.

Everything needed to go on lies in `state/` of the run folder; the files that the
workflow declares are written once, at the end.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.tensorboard import SummaryWriter

from a2d import checkpoint
from a2d.config import PAD, Decode, Run, Train
from a2d.corpus import read_parallel
from a2d.data import Batch, ParallelData
from a2d.distributed import Worker, worker
from a2d.encode import encoding
from a2d.files import replacing, sha256_of
from a2d.gpus import EnergyMeter
from a2d.initialize import load_model, new_model
from a2d.losses import token_loss
from a2d.metrics import bleu
from a2d.objective import Objective, token_logits
from a2d.process import alone, interruptions, keep_freed_memory
from a2d.progress import PROGRESS_SECONDS, clock_time, tell
from a2d.prune import apply_masks, magnitude_masks, prunable
from a2d.reference import TorchBackend
from a2d.section import Interrupted, UserError, load
from a2d.translate import translate
from a2d.vocab import Vocab

STATE = 2
"""Raise when other things are saved: half-finished trainings then start afresh."""
LOG_INTERVAL = 50
"""Updates that a line of metrics is the mean of."""
GREEDY = Decode(
    beam_size=1, length_penalty=1.0, max_tokens=8000, max_length=128, backend="torch"
)
"""Search on the validation set; a translation of an untrained model is cut short."""


@dataclass(frozen=True)
class Files:
    """What a training reads."""

    train: Sequence[Path]
    """Folders that `a2d encode` wrote: of each corpus, by direction."""
    valid: Sequence[tuple[Path, Path]]
    """Source and target text of each direction."""
    vocabs: tuple[Path, Path]
    teachers: Sequence[Path] = ()
    """Run folders."""
    start: Path | None = None
    """Run folder whose weights are the first ones."""

    def hashes(self) -> list[str]:
        """SHA-256 of the contents of all files."""
        texts = [
            sha for folder in self.train for sha in encoding(folder)["text_sha256"]
        ]
        folders = [*self.teachers, *([self.start] if self.start else [])]
        weights = [folder / "model.safetensors" for folder in folders]
        others = (*chain.from_iterable(self.valid), *self.vocabs, *weights)
        return texts + [sha256_of(path) for path in others]


@dataclass
class Progress:
    """Where a training stands; part of its saved state."""

    starts: int = 0
    """Processes that worked on it."""
    step: int = 0
    epoch: int = 1
    position: int = 0
    """Updates done in this epoch."""
    seconds: float = 0.0
    best: list[tuple[float, int]] = field(default_factory=list)
    """(score, step) of the best validations, best first."""
    stale: int = 0
    """Validations since the best one."""
    finished: bool = False
    joules: float | None = None
    """Of all GPUs in all starts; None where a driver did not tell."""
    sums: dict[str, float] = field(default_factory=dict)
    """Metrics since the last line of `metrics.jsonl`."""


def train(run: Run, files: Files, out: Path) -> None:
    """Train one system; write model.safetensors, metrics.jsonl and training.json.

    Raises:
        Interrupted: after SIGINT, SIGTERM or SIGUSR1; call again to go on.
        UserError: if the files do not fit each other, or the loss is not finite.
    """
    with worker() as me, ExitStack() as stack:
        if me.leads:
            stack.enter_context(alone(run.name, out))
        me.wait_for_leader()
        signals = stack.enter_context(interruptions())
        training = Training(run, files, out, me)
        training.resume()
        while not training.progress.finished:
            for batches in training.updates():
                training.log(training.update(batches))
                training.validate_when_due()
                training.save_when_due(interrupted=bool(signals))
                if training.progress.finished:
                    break
        training.export()


class Training:
    """Model, optimizer, data and progress of one training."""

    def __init__(self, run: Run, files: Files, out: Path, me: Worker) -> None:
        self.run, self.files, self.out, self.me = run, files, out, me
        self.state = out / "state"
        self.metrics = self.state / "metrics.jsonl"
        torch.set_flush_denormal(True)
        keep_freed_memory()

        self.vocabs = Vocab(files.vocabs[0]), Vocab(files.vocabs[1])
        self.data = ParallelData.open(
            files.train,
            self.vocabs,
            len(run.directions),
            run.train.sampling_temperature,
        )
        self.valid = ParallelData.read(files.valid, self.vocabs)
        share = -(-run.train.valid_sentences // len(files.valid))
        sample = [
            row for text in files.valid for row in islice(read_parallel(*text), share)
        ]
        self.valid_src, self.valid_tgt = zip(*sample, strict=True)

        self.model = new_model(run, *self.vocabs, files.start).to(me.device)
        # from the first weights, so that a training that goes on has the same masks
        self.prunable = prunable(self.model)
        self.masks = magnitude_masks(self.prunable, run.prune) if run.prune else {}
        apply_masks(self.prunable, self.masks)
        teachers = [load_model(folder).to(me.device) for folder in files.teachers]
        self.objective = Objective(
            self.model,
            teachers,
            run.losses,
            run.train.label_smoothing,
            voters(run, files.teachers),
        ).to(me.device)
        self.forward: nn.Module = self.objective
        if me.size > 1:
            # the only buffer, of positions, grows with what each worker has read
            self.forward = DistributedDataParallel(
                self.objective, broadcast_buffers=False
            )
        self.optimizer = torch.optim.AdamW(
            self.objective.parameters(),
            betas=run.train.betas,
            weight_decay=run.train.weight_decay,
            fused=True,
        )
        self.autocast = torch.autocast(
            me.device.type, torch.bfloat16, enabled=uses_bfloat16(run.train, me.device)
        )
        self.progress = Progress()
        self.meter = EnergyMeter(gpu_uuid(me.device))
        self.since = time.monotonic()
        self.shown = 0.0
        torch.manual_seed(run.seed * 1000 + me.rank)

    # One update ---------------------------------------------------------------------

    def updates(self) -> Iterator[list[Batch]]:
        """Batches of each update that is left of this epoch."""
        config, progress = self.run.train, self.progress
        group_size = config.accumulate * self.me.size
        groups = self.data.epoch(
            self.run.seed, progress.epoch, config.max_tokens // group_size, group_size
        )
        for group in islice(groups, progress.position, None):
            progress.position += 1
            progress.step += 1
            yield [self.data.batch(indices) for indices in group]
        progress.epoch += 1
        progress.position = 0

    def update(self, batches: list[Batch]) -> dict[str, float]:
        """One optimizer step on the gradient of all batches; returns its metrics."""
        config, me = self.run.train, self.me
        src_weight = sum(batch.src_weight for batch in batches)
        tgt_weight = sum(batch.tgt_weight for batch in batches)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, self.progress.step)
        self.objective.train()
        self.optimizer.zero_grad()
        totals: dict[str, Tensor] = {}
        for batch in batches[me.rank :: me.size]:
            with self.autocast:
                parts = self.forward(
                    batch.to(me.device), src_weight, tgt_weight, self.progress.epoch
                )
            # DistributedDataParallel takes the mean of the workers' gradients
            (parts["loss"] * me.size).backward()
            for name, part in parts.items():
                totals[name] = part.detach() + totals.get(name, 0)
        if config.clip_norm:
            nn.utils.clip_grad_norm_(self.objective.parameters(), config.clip_norm)
        self.optimizer.step()
        apply_masks(self.prunable, self.masks)
        means = me.sum(torch.stack(list(totals.values()))).tolist()
        tokens = sum(batch.tgt_tokens for batch in batches)
        return {"tokens": tokens} | dict(zip(totals, means, strict=True))

    # Watching -----------------------------------------------------------------------

    def clock(self) -> float:
        """Seconds of training so far, those before an interruption included."""
        now = time.monotonic()
        self.progress.seconds += now - self.since
        self.since = now
        return self.progress.seconds

    def log(self, metrics: dict[str, float]) -> None:
        """Count an update's metrics; show and write their means every so often."""
        progress, sums = self.progress, self.progress.sums
        if not math.isfinite(metrics["loss"]):
            raise UserError(
                f"{self.run.name}: the loss is {metrics['loss']} at step "
                f"{progress.step}; lower train.learning_rate or set train.clip_norm"
            )
        sums.setdefault("started", progress.seconds)
        for name, value in (metrics | {"updates": 1}).items():
            sums[name] = sums.get(name, 0) + value
        speed = sums["tokens"] / (self.clock() - sums["started"])
        if time.monotonic() - self.shown > PROGRESS_SECONDS:
            self.show(sums["loss"] / sums["updates"], speed)
        if progress.step % LOG_INTERVAL == 0:
            losses = ("loss", "nll", "word_kd", "a2d")
            means = {k: sums[k] / sums["updates"] for k in losses if k in sums}
            rate = learning_rate(self.run.train, progress.step)
            self.write(
                means | {"learning_rate": rate, "tokens_per_second": round(speed)}
            )
            sums.clear()

    def show(self, loss: float, speed: float) -> None:
        """Print a line of progress."""
        progress, config = self.progress, self.run.train
        self.shown = time.monotonic()
        left = (config.max_steps - progress.step) * progress.seconds / progress.step
        best = (
            f"  valid {config.select} {abs(progress.best[0][0]):.2f}"
            if progress.best
            else ""
        )
        if self.me.leads:
            tell(
                self.run.name,
                f"step {progress.step}/{config.max_steps}  epoch {progress.epoch}  "
                f"loss {loss:.3f}{best}  {speed:,.0f} tokens/s  "
                f"{clock_time(left)} left",
            )

    def write(self, values: dict[str, float]) -> None:
        """Append a line to metrics.jsonl and the same to TensorBoard."""
        if not self.me.leads:
            return
        progress = self.progress
        line = {"step": progress.step, "epoch": progress.epoch} | values
        with open(self.metrics, "a") as file:
            file.write(json.dumps(line | {"seconds": round(self.clock(), 2)}) + "\n")
        for name, value in values.items():
            self.board.add_scalar(name, value, progress.step)

    # Choosing the best weights --------------------------------------------------------

    def validate_when_due(self) -> None:
        """Score the weights every so many updates; decide whether to stop."""
        config, progress = self.run.train, self.progress
        last = progress.step >= config.max_steps
        if progress.step % config.valid_interval and not last:
            return
        loss, score = self.me.from_leader(self.validate() if self.me.leads else None)
        self.write({"valid_loss": loss, "valid_bleu": score})
        goodness = score if config.select == "bleu" else -loss
        better = not progress.best or goodness > progress.best[0][0]
        progress.stale = 0 if better else progress.stale + 1
        ranking = [*progress.best, (goodness, progress.step)]
        ranking.sort(key=lambda found: -found[0])  # of equals the first stays ahead
        progress.best = ranking[: config.average]
        if self.me.leads and (goodness, progress.step) in progress.best:
            checkpoint.save_weights(
                self.path_of(progress.step), self.objective.state_dict()
            )
        progress.finished = last or 0 < config.patience <= progress.stale

    @torch.no_grad()
    def validate(self) -> tuple[float, float]:
        """Negative log-likelihood a token, and BLEU of greedy search."""
        self.objective.eval()
        total, tokens = 0.0, 0
        for batch in self.valid.in_order(self.run.train.max_tokens):
            batch = batch.to(self.me.device)
            real = batch.tgt != PAD
            with self.autocast:
                output = self.model(batch.src, batch.tgt_input)
                logits = token_logits(self.model, output, real)
            total += float(token_loss(logits, batch.tgt[real], 0.0).nll)
            tokens += batch.tgt_tokens
        backend = TorchBackend([self.model], self.me.device)
        found = translate(backend, self.vocabs, self.valid_src, GREEDY)
        return total / tokens, bleu([best.text for best, *_ in found], self.valid_tgt)

    def path_of(self, step: int) -> Path:
        """Where the weights of a validation lie while they are among the best."""
        return self.state / f"step{step}.safetensors"

    # Saving and going on --------------------------------------------------------------

    def fingerprint(self) -> str:
        """Only a state with the same fingerprint is taken up."""
        where = f"{self.me.size} x {self.me.device.type}"
        parts = [self.run.fingerprint(), *self.files.hashes(), where, f"state {STATE}"]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def save_when_due(self, interrupted: bool) -> None:
        """Save the state every so many updates, when finished and when interrupted."""
        progress = self.progress
        interrupted = any(self.me.gather(interrupted))
        due = progress.step % self.run.train.save_interval == 0
        if due or interrupted or progress.finished:
            self.save()
        if interrupted and not progress.finished:
            raise Interrupted(
                f"{self.run.name}: interrupted at step {progress.step}; its state is "
                "saved, run it again to go on"
            )

    def save(self) -> None:
        """Write everything that a later process needs to go on."""
        self.clock()
        used = [joules for joules in self.me.gather(self.meter.joules()) if joules]
        if used:
            self.progress.joules = (self.progress.joules or 0) + sum(used)
        random_states = self.me.gather(checkpoint.random_states(self.me.device))
        if not self.me.leads:
            return
        self.board.flush()
        state = {
            "fingerprint": self.identity,
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": asdict(self.progress),
            "random_states": random_states,
            "metrics_bytes": self.metrics.stat().st_size
            if self.metrics.exists()
            else 0,
        }
        checkpoint.save_state(self.state / "last.pt", state)
        best = {self.path_of(step) for _, step in self.progress.best}
        for path in set(self.state.glob("step*.safetensors")) - best:
            path.unlink()

    def resume(self) -> None:
        """Take up the saved state if it is this training's own, else start afresh."""
        self.identity = self.fingerprint()
        path = self.state / "last.pt"
        state = checkpoint.load_state(path) if path.exists() else None
        if state and state["fingerprint"] == self.identity:
            self.objective.load_state_dict(state["objective"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.progress = Progress(**state["progress"])
            self.progress.best = [(score, step) for score, step in self.progress.best]
            states = state["random_states"][self.me.rank]
            checkpoint.set_random_states(states, self.me.device)
            said = f"goes on after step {self.progress.step}"
        else:
            said = (
                "starts afresh: its settings or files have changed"
                if state
                else "starts"
            )
        self.progress.starts += not self.progress.finished
        if self.me.leads:
            tell(self.run.name, said)
            if self.progress.step == 0:
                shutil.rmtree(self.state, ignore_errors=True)
                shutil.rmtree(self.out / "tensorboard", ignore_errors=True)
            self.state.mkdir(parents=True, exist_ok=True)
            if state and self.progress.step:
                with open(self.metrics, "a") as file:
                    file.truncate(state["metrics_bytes"])
            self.board = SummaryWriter(
                str(self.out / "tensorboard"), purge_step=self.progress.step + 1
            )

    def export(self) -> None:
        """Write the declared files from the state."""
        if not self.me.leads:
            return
        self.board.close()
        weights = checkpoint.average_weights(
            self.path_of(step) for _, step in self.progress.best
        )
        self.objective.load_state_dict(weights)
        alignment = self.objective.alignment
        summary = {
            "steps": self.progress.step,
            "best_step": self.progress.best[0][1],
            "epochs": self.progress.epoch,
            "seconds": round(self.progress.seconds, 1),
            "starts": self.progress.starts,
            "watt_hours": self.progress.joules
            and round(self.progress.joules / 3600, 3),
            "parameters": checkpoint.count_parameters(self.model),
            "nonzero_parameters": checkpoint.count_nonzero_parameters(self.model),
            "alignment": alignment.learned() if alignment else None,
            "machine": {
                "device": device_name(self.me.device),
                "threads": torch.get_num_threads(),
                "workers": self.me.size,
                "gpus": self.me.size if self.me.device.type == "cuda" else 0,
                "python": platform.python_version(),
                "torch": torch.__version__,
            },
        }
        with replacing(self.out / "training.json") as temporary:
            temporary.write_text(json.dumps(summary, indent=1) + "\n")
        with replacing(self.out / "metrics.jsonl") as temporary:
            shutil.copyfile(self.metrics, temporary)
        weights = self.model.state_dict()
        checkpoint.save_weights(self.out / "model.safetensors", weights)


def voters(run: Run, teachers: Sequence[Path]) -> list[list[int]]:
    """For each direction of a run, which of its teachers learned it."""
    learned = [load(Run, folder / "config.yaml").directions for folder in teachers]
    return [
        [number for number, known in enumerate(learned) if direction in known]
        for direction in run.directions
    ]


def learning_rate(config: Train, step: int) -> float:
    """The rate of one update, counted from 1: linear warm-up, then the schedule."""
    warmup = config.warmup_steps
    if step < warmup:
        return config.learning_rate * step / warmup
    if config.schedule == "linear":
        left = (config.max_steps - step) / max(1, config.max_steps - warmup)
        return config.learning_rate * max(0.0, left)
    return config.learning_rate * math.sqrt(max(1, warmup) / step)


def uses_bfloat16(config: Train, device: torch.device) -> bool:
    """Whether to compute in bfloat16."""
    if config.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return config.precision == "bfloat16"


def gpu_uuid(device: torch.device) -> str | None:
    """What the driver knows a GPU by; None for another device."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_properties(device).uuid)
    return None


def device_name(device: torch.device) -> str:
    """What the training ran on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()
