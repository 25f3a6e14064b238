"""Training: going on exactly, schedules, choosing weights, several processes."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from a2d import checkpoint
from a2d import train as train_module
from a2d.__main__ import main
from a2d.config import Prune, Run, Train
from a2d.data import Batch, ParallelData
from a2d.distributed import Worker
from a2d.encode import encode
from a2d.initialize import load_model
from a2d.model import Transformer
from a2d.prune import magnitude_masks, prunable
from a2d.section import UserError, dump
from a2d.train import (
    Files,
    Interrupted,
    Training,
    learning_rate,
    train,
    uses_bfloat16,
    voters,
)
from a2d.vocab import Vocab

A2D = {"word_kd": 0.5, "a2d": 1.0}
PRUNE = {"sparsity": 0.9}


@pytest.fixture(autouse=True)
def short_log_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_module, "LOG_INTERVAL", 3)


@pytest.fixture
def teacher_files(files: Files, teacher: Path) -> Files:
    return dataclasses.replace(files, teachers=[teacher])


@pytest.fixture(scope="module")
def start_files(
    files: Files,
    make_run: Callable[..., Run],
    make_trained: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Files:
    """With first weights, of the shape that a training has by default."""
    folder = tmp_path_factory.mktemp("start") / "student/seed1"
    return dataclasses.replace(files, start=make_trained(make_run(), folder))


def metrics_of(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    for row in rows:
        row.pop("seconds")
        row.pop("tokens_per_second", None)
    return rows


def interrupt_after(monkeypatch: pytest.MonkeyPatch, step: int, how: object) -> None:
    """Send a signal, or raise an exception, when `step` updates are done."""
    update = Training.update

    def update_then(self: Training, batches: Any) -> dict[str, float]:
        metrics = update(self, batches)
        if self.progress.step == step:
            if isinstance(how, signal.Signals):
                os.kill(os.getpid(), how)
            else:
                assert isinstance(how, BaseException)
                raise how
        return metrics

    monkeypatch.setattr(Training, "update", update_then)


# Going on ---------------------------------------------------------------------------


@pytest.mark.parametrize("system", ["student", "a2d", "pruned"])
def test_interrupted_training_ends_as_if_it_had_not_been(
    system: str,
    make_run: Callable[..., Run],
    files: Files,
    teacher_files: Files,
    start_files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    losses, prune = {"a2d": A2D}.get(system), {"pruned": PRUNE}.get(system)
    run = make_run(system, losses, prune=prune, average=2)
    files = {"a2d": teacher_files, "pruned": start_files}.get(system, files)
    assert run.model.dropout == 0.1
    train(run, files, tmp_path / "whole")
    out = tmp_path / "parts"
    ways = [(4, signal.SIGTERM), (8, KeyError("killed")), (9, signal.SIGUSR1)]
    for step, how in ways:
        with monkeypatch.context() as patched:
            interrupt_after(patched, step, how)
            # dice are thrown elsewhere between the runs
            torch.manual_seed(step)
            with pytest.raises(KeyError if step == 8 else Interrupted):
                train(run, files, out)
        # nothing that the workflow declares is there before the end
        assert {path.name for path in out.glob("[!.]*")} == {"state", "tensorboard"}
    train(run, files, out)
    # step 8 was never saved: what was saved last is step 5
    said = [line.partition("] ")[2] for line in capsys.readouterr().err.splitlines()]
    assert [line for line in said if "starts" in line or "goes on" in line] == [
        "starts",
        "starts",
        "goes on after step 4",
        "goes on after step 5",
        "goes on after step 9",
    ]
    whole, parts = (
        (folder / "model.safetensors").read_bytes()
        for folder in (tmp_path / "whole", out)
    )
    assert whole == parts
    assert metrics_of(tmp_path / "whole") == metrics_of(out)
    starts = [
        json.loads((folder / "training.json").read_text())["starts"]
        for folder in (tmp_path / "whole", out)
    ]
    assert starts == [1, 4]


def test_energy_of_all_starts_is_added_up(
    make_run: Callable[..., Run],
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Meter:
        def __init__(self, uuid: str | None) -> None:
            assert uuid is None  # this is a CPU

        def joules(self) -> float:
            return 1800.0

    monkeypatch.setattr("a2d.train.EnergyMeter", Meter)
    run = make_run(save_interval=5, max_steps=12)
    with monkeypatch.context() as patched:
        interrupt_after(patched, 7, signal.SIGTERM)
        with pytest.raises(Interrupted):
            train(run, files, tmp_path)
    train(run, files, tmp_path)
    summary = json.loads((tmp_path / "training.json").read_text())
    # it is asked when a state is saved: at steps 5, 7, 10 and 12
    assert summary["watt_hours"] == 4 * 1800 / 3600


def test_epochs_are_taken_up_at_their_borders(
    make_run: Callable[..., Run],
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Interrupted after the last update of an epoch, it begins the next one."""
    run = make_run(max_tokens=1200, max_steps=6)
    train(run, files, tmp_path / "whole")
    epochs = json.loads((tmp_path / "whole/training.json").read_text())["epochs"]
    assert epochs > 1
    for step in range(1, 6):
        with monkeypatch.context() as patched:
            interrupt_after(patched, step, signal.SIGTERM)
            with pytest.raises(Interrupted, match=f"interrupted at step {step};"):
                train(run, files, tmp_path / "parts")
    train(run, files, tmp_path / "parts")
    names = "whole", "parts"
    whole, parts = ((tmp_path / n / "model.safetensors").read_bytes() for n in names)
    assert whole == parts
    assert metrics_of(tmp_path / "whole") == metrics_of(tmp_path / "parts")


def test_interruption_is_told_without_a_traceback(
    make_run: Callable[..., Run],
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "config.yaml").write_text(dump(make_run()))
    interrupt_after(monkeypatch, 2, signal.SIGTERM)
    arguments = [tmp_path, "--tokens", *files.train, "--valid", *files.valid[0]]
    arguments += ["--vocab", *files.vocabs]
    assert main(["train", *map(str, arguments)]) not in (0, None)
    assert "interrupted at step 2; its state is saved" in capsys.readouterr().err


def test_changed_setting_starts_afresh(
    make_run: Callable[..., Run],
    files: Files,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train(make_run(max_steps=4), files, tmp_path / "changed")
    changed = make_run(max_steps=4, learning_rate=0.02)
    train(changed, files, tmp_path / "changed")
    train(changed, files, tmp_path / "fresh")
    said = capsys.readouterr().err
    assert "student/seed1] starts afresh: its settings or files have changed" in said
    weights = [
        (tmp_path / n / "model.safetensors").read_bytes() for n in ("changed", "fresh")
    ]
    assert weights[0] == weights[1]
    assert metrics_of(tmp_path / "changed") == metrics_of(tmp_path / "fresh")


@pytest.mark.parametrize("changed", ["train", "valid", "vocab", "teacher", "start"])
def test_fingerprint_changes_with_every_file(
    changed: str,
    pair: Path,
    make_run: Callable[..., Run],
    teacher_files: Files,
    tmp_path: Path,
) -> None:
    def fingerprint(files: Files) -> str:
        training = object.__new__(Training)
        training.run, training.files = make_run("a2d", A2D), files
        training.me = train_module.Worker(0, 1, torch.device("cpu"))
        return training.fingerprint()

    before = fingerprint(teacher_files)
    assert before == fingerprint(teacher_files)
    other = tmp_path / "model.safetensors"
    other.write_text("something else")
    (valid,) = teacher_files.valid
    encode(valid, teacher_files.vocabs, tmp_path / "tokens", threads=1)
    replaced: dict[str, dict[str, Any]] = {
        "train": {"train": [tmp_path / "tokens"]},
        "valid": {"valid": [(valid[0], other)]},
        "vocab": {"vocabs": (teacher_files.vocabs[0], other)},
        "teacher": {"teachers": [tmp_path]},
        "start": {"start": tmp_path},
    }
    changed_files = dataclasses.replace(teacher_files, **replaced[changed])
    assert fingerprint(changed_files) != before


def test_finished_training_is_exported_again_in_no_steps(
    make_run: Callable[..., Run],
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train(make_run(), files, tmp_path)
    names = ("model.safetensors", "metrics.jsonl", "training.json")
    before = [(tmp_path / name).read_bytes() for name in names]
    for name in names:
        (tmp_path / name).unlink()
    monkeypatch.delattr(Training, "update")
    train(make_run(), files, tmp_path)
    assert [(tmp_path / name).read_bytes() for name in names] == before


def test_two_processes_do_not_train_a_run_at_once(
    make_run: Callable[..., Run],
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = FileLock(tmp_path / ".lock")
    other.acquire()
    said = []

    def tell(name: str, news: str) -> None:
        said.append(news)
        if "waits" in news:
            assert not (tmp_path / "state").exists()
            other.release()

    for module in ("process", "train"):
        monkeypatch.setattr(f"a2d.{module}.tell", tell)
    train(make_run(), files, tmp_path)
    assert said[:2] == ["waits for another process that trains it", "starts"]
    with other.acquire(timeout=0):  # it is free again
        assert (tmp_path / "model.safetensors").exists()


# What a training does ---------------------------------------------------------------


def test_training_learns_and_says_what_it_did(
    make_run: Callable[..., Run], files: Files, tmp_path: Path
) -> None:
    train(make_run(max_steps=30, valid_interval=10), files, tmp_path)
    rows = metrics_of(tmp_path)
    losses = [row["loss"] for row in rows if "loss" in row]
    valid = [row["valid_loss"] for row in rows if "valid_loss" in row]
    assert len(losses) == 10
    assert len(valid) == 3
    assert losses[-1] < 0.8 * losses[0]
    assert valid == sorted(valid, reverse=True)
    facts = json.loads((tmp_path / "training.json").read_text())
    assert (facts["steps"], facts["best_step"], facts["alignment"]) == (30, 30, None)
    weights = checkpoint.load_weights(tmp_path / "model.safetensors")
    # source embedding, and target embedding that is the projection too
    tables = {n: t.numel() for n, t in weights.items() if n != "projection.weight"}
    assert facts["parameters"] == sum(tables.values())
    assert facts["machine"]["workers"] == 1


def test_validation_loss_is_the_likelihood_of_each_token(
    make_run: Callable[..., Run], files: Files, tmp_path: Path
) -> None:
    run = make_run(max_steps=4)
    train(run, files, tmp_path)
    (tmp_path / "config.yaml").write_text(dump(run))
    model = load_model(tmp_path)
    total, tokens = 0.0, 0
    vocabs = [Vocab(path) for path in files.vocabs]
    data = ParallelData.read(files.valid, vocabs)
    for src, tgt in zip(data.src, data.tgt, strict=True):
        tgt_input = torch.tensor([[2, *tgt]])
        hidden = model(torch.tensor([[*src, 3]]), tgt_input).hidden[0]
        log_probs = model.projection(hidden).log_softmax(-1)
        total -= float(log_probs[range(len(tgt) + 1), [*tgt, 3]].sum())
        tokens += len(tgt) + 1
    (found,) = (r["valid_loss"] for r in metrics_of(tmp_path) if "valid_loss" in r)
    assert found == pytest.approx(total / tokens, rel=1e-5)


def test_a2d_reports_its_losses_and_what_the_heads_learned(
    make_run: Callable[..., Run], teacher_files: Files, tmp_path: Path
) -> None:
    run = make_run("a2d", {"a2d": {"enc_self_attn": 0}}, max_steps=3)
    train(run, teacher_files, tmp_path)
    first = metrics_of(tmp_path)[0]
    assert {"loss", "nll", "a2d", "learning_rate"} <= set(first)
    assert "word_kd" not in first
    alignment = json.loads((tmp_path / "training.json").read_text())["alignment"]
    assert set(alignment) == {"dec_self_attn", "cross_attn"}
    facts = alignment["cross_attn"]
    assert (facts["teacher"], facts["student"]) == ([3, 4], [1, 2])
    assert torch.tensor(facts["weight"]).shape == (12, 2)
    # the trained student carries nothing of the alignment
    names = set(checkpoint.load_weights(tmp_path / "model.safetensors"))
    assert not any("align" in name for name in names)


def test_alignment_that_is_told_is_that_of_the_best_weights(
    make_run: Callable[..., Run],
    teacher_files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learned = {}

    def validate(self: Training) -> tuple[float, float]:
        assert self.objective.alignment is not None
        told = json.dumps(self.objective.alignment.learned())
        learned[self.progress.step] = json.loads(told)
        return {2: 3.0, 4: 1.0}.get(self.progress.step, 2.0), 0.0

    monkeypatch.setattr(Training, "validate", validate)
    train(make_run("a2d", A2D, valid_interval=2, max_steps=8), teacher_files, tmp_path)
    facts = json.loads((tmp_path / "training.json").read_text())
    assert (facts["steps"], facts["best_step"]) == (8, 4)
    assert facts["alignment"] == learned[4] != learned[8]


@pytest.mark.parametrize("decay", [1.0, 1e-6])
def test_attention_weight_decays_with_the_epochs_of_the_training(
    decay: float,
    make_run: Callable[..., Run],
    teacher_files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the second epoch the loss has the attention loss in it, or next to none."""
    a2d = {"attn_weight": 2.0, "attn_decay": decay}
    settings = {"max_tokens": 20000, "max_steps": 2, "label_smoothing": 0}
    run = make_run("a2d", {"a2d": a2d}, **settings)
    monkeypatch.setattr(train_module, "LOG_INTERVAL", 1)
    train(run, teacher_files, tmp_path)
    weights = {
        row["epoch"]: (row["loss"] - row["nll"]) / row["a2d"]
        for row in metrics_of(tmp_path)
        if "a2d" in row
    }
    assert weights[1] == pytest.approx(2, rel=1e-3)
    assert weights[2] == pytest.approx(2 * decay, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize(
    "a2d",
    [
        {"mode": "released", "mix_teacher": True},
        {"granularity": "layer", "temperature": 2},
    ],
    ids=str,
)
def test_ways_of_alignment_go_on_exactly(
    a2d: dict[str, Any],
    make_run: Callable[..., Run],
    teacher_files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The frozen mixture of the teacher is a part of the state too."""
    run = make_run("a2d", {"word_kd": 0.5, "a2d": a2d}, max_steps=8)
    train(run, teacher_files, tmp_path / "whole")
    with monkeypatch.context() as patched:
        interrupt_after(patched, 4, signal.SIGTERM)
        with pytest.raises(Interrupted):
            train(run, teacher_files, tmp_path / "parts")
    torch.manual_seed(1)
    train(run, teacher_files, tmp_path / "parts")
    names = "whole", "parts"
    whole, parts = ((tmp_path / n / "model.safetensors").read_bytes() for n in names)
    assert whole == parts


def test_alignment_without_weight_trains_as_word_kd_alone(
    make_run: Callable[..., Run], teacher_files: Files, tmp_path: Path
) -> None:
    for name, losses in (
        ("word_kd", {"word_kd": 0.5}),
        ("a2d", {"word_kd": 0.5, "a2d": {"attn_weight": 0}}),
    ):
        train(make_run("a2d", losses, max_steps=8), teacher_files, tmp_path / name)
    weights = [
        (tmp_path / n / "model.safetensors").read_bytes() for n in ("word_kd", "a2d")
    ]
    assert weights[0] == weights[1]
    assert metrics_of(tmp_path / "word_kd") == metrics_of(tmp_path / "a2d")


def test_several_directions_share_a_training(
    make_run: Callable[..., Run],
    make_trained: Callable[..., Path],
    teacher_files: Files,
    tmp_path: Path,
) -> None:
    """Each has its text, its share of the validation sample and its teachers."""
    settings = {"max_steps": 4, "valid_sentences": 6, "sampling_temperature": 3.0}
    run = make_run("both", {"word_kd": 0.5}, **settings)
    run = run.model_copy(update={"directions": ["de-en", "fr-en"]})
    french = make_run("french").model_copy(update={"directions": ["fr-en"]})
    (german,) = teacher_files.teachers
    teachers = [german, make_trained(french, tmp_path / "french")]
    assert voters(run, teachers) == [[0], [1]]
    (valid,) = teacher_files.valid
    encode(valid, teacher_files.vocabs, tmp_path / "tokens", threads=1)
    files = dataclasses.replace(
        teacher_files,
        train=[*teacher_files.train, tmp_path / "tokens"],
        valid=[valid, valid],
        teachers=teachers,
    )
    training = Training(run, files, tmp_path, Worker(0, 1, torch.device("cpu")))
    assert training.data.sampling_temperature == 3
    assert len(training.valid) == 2 * 20
    first = valid[0].read_text().splitlines()[:3]
    assert list(training.valid_src) == first * 2
    assert training.objective._voters == [[0], [1]]
    seen = {
        int(direction)
        for batches in training.updates()
        for batch in batches
        for direction in batch.directions
    }
    assert seen == {0, 1}
    train(run, files, tmp_path / "out")
    assert metrics_of(tmp_path / "out")[-1]["step"] == 4


def test_patience_ends_training(
    make_run: Callable[..., Run], files: Files, tmp_path: Path
) -> None:
    """With hardly any learning rate the loss does not fall after the first validation.

    The first is at step 2, two more without success end it at step 6.
    """
    run = make_run(learning_rate=1e-30, valid_interval=2, patience=2, max_steps=100)
    train(run, files, tmp_path)
    facts = json.loads((tmp_path / "training.json").read_text())
    assert facts["steps"] == 6
    assert facts["best_step"] == 2  # later ones are no better
    valid = [r["step"] for r in metrics_of(tmp_path) if "valid_loss" in r]
    assert valid == [2, 4, 6]


@pytest.mark.parametrize(("select", "best"), [("loss", [8, 4]), ("bleu", [8, 12])])
def test_best_validations_are_averaged(
    select: str,
    best: list[int],
    make_run: Callable[..., Run],
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores = {4: (2.0, 10.0), 8: (1.0, 30.0), 12: (3.0, 20.0)}
    weights = {}

    def validate(self: Training) -> tuple[float, float]:
        state = self.model.state_dict()
        weights[self.progress.step] = {n: t.clone() for n, t in state.items()}
        return scores[self.progress.step]

    monkeypatch.setattr(Training, "validate", validate)
    train(make_run(select=select, average=2), files, tmp_path)
    facts = json.loads((tmp_path / "training.json").read_text())
    assert facts["best_step"] == 8
    for name, tensor in checkpoint.load_weights(tmp_path / "model.safetensors").items():
        mean = (weights[best[0]][name] + weights[best[1]][name]) / 2
        torch.testing.assert_close(tensor, mean)
    kept = {p.name for p in (tmp_path / "state").glob("step*")}
    assert kept == {f"step{step}.safetensors" for step in best}


@pytest.mark.parametrize("scope", ["class_blind", "per_matrix"])
def test_pruned_weights_stay_zero_and_the_others_learn(
    scope: str, make_run: Callable[..., Run], start_files: Files, tmp_path: Path
) -> None:
    """Also in the mean of several validations' weights."""
    run = make_run("pruned", prune={"sparsity": 0.9, "scope": scope}, average=3)
    train(run, start_files, tmp_path)
    (tmp_path / "config.yaml").write_text(dump(run))
    assert start_files.start is not None
    before, after = (
        prunable(load_model(folder)) for folder in (start_files.start, tmp_path)
    )
    masks = magnitude_masks(before, Prune.model_validate({**PRUNE, "scope": scope}))
    # AdamW moves every weight that has a gradient, so no other is zero by chance
    for name, mask in masks.items():
        assert torch.equal(after[name] == 0, mask), name
    assert all((after[name] != before[name]).any() for name in masks)
    num_weights = sum(mask.numel() for mask in masks.values())
    zeros = sum(int(mask.sum()) for mask in masks.values())
    assert zeros == pytest.approx(0.9 * num_weights, abs=len(masks))
    facts = json.loads((tmp_path / "training.json").read_text())
    model = load_model(tmp_path)
    assert facts["parameters"] == checkpoint.count_parameters(model)
    others = [p for n, p in model.named_parameters() if n not in masks]
    left = sum(int((p != 0).sum()) for p in others) + num_weights - zeros
    assert facts["nonzero_parameters"] == left


def test_pruning_of_nothing_changes_nothing(
    make_run: Callable[..., Run], start_files: Files, tmp_path: Path
) -> None:
    for name, prune in (("plain", None), ("pruned", {"sparsity": 0.0})):
        train(make_run(prune=prune), start_files, tmp_path / name)
    plain, pruned = (
        (
            (tmp_path / name / "model.safetensors").read_bytes(),
            metrics_of(tmp_path / name),
        )
        for name in ("plain", "pruned")
    )
    assert plain == pruned


def test_loss_that_is_not_finite_is_told(
    make_run: Callable[..., Run], files: Files, tmp_path: Path
) -> None:
    run = make_run(learning_rate=1e30, warmup_steps=0, clip_norm=0)
    with pytest.raises(UserError, match=r"the loss is (nan|inf) at step \d+; lower"):
        train(run, files, tmp_path)


def test_gradient_is_clipped(
    make_run: Callable[..., Run], files: Files, tmp_path: Path
) -> None:
    norms = {}
    for clip_norm in (0.0, 0.25):
        run = make_run(clip_norm=clip_norm)
        with train_module.worker() as me:
            training = Training(run, files, tmp_path, me)
        training.progress.step = 1
        training.update(next(training.updates()))
        gradients = [
            p.grad for p in training.objective.parameters() if p.grad is not None
        ]
        norms[clip_norm] = float(torch.cat([g.flatten() for g in gradients]).norm())
    assert norms[0.0] > 0.5
    assert norms[0.25] == pytest.approx(0.25, rel=1e-3)


def test_accumulation_changes_the_micro_batches_only(
    make_run: Callable[..., Run], files: Files, tmp_path: Path
) -> None:
    """Four micro-batches together give the gradient of all their sentences."""
    run = make_run(model={"dropout": 0}, accumulate=4, clip_norm=0)
    with train_module.worker() as me:
        training = Training(run, files, tmp_path, me)
    batches = next(training.updates())
    assert len(batches) == 4
    assert all(max(b.src.numel(), b.tgt.numel()) <= 200 // 4 for b in batches)
    training.update(batches)
    found = {n: p.grad for n, p in training.model.named_parameters()}

    torch.manual_seed(run.seed)
    model = Transformer(run.model, 320, 320)
    total = torch.zeros(())
    for batch in batches:
        hidden = model(batch.src, batch.tgt_input).hidden
        logits = model.projection(hidden).transpose(1, 2)
        total = total + torch.nn.functional.cross_entropy(
            logits, batch.tgt, ignore_index=0, reduction="sum", label_smoothing=0.1
        )
    (total / sum(b.tgt_tokens for b in batches)).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_update_is_a_mean_over_weighted_tokens(
    make_run: Callable[..., Run],
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = make_run(accumulate=2)
    with train_module.worker() as me:
        training = Training(run, files, tmp_path, me)
    training.data.weights[:] = 0.25
    given = []

    def forward(batch: Batch, *normalisers: float) -> dict[str, torch.Tensor]:
        given.append(normalisers)
        return training.objective(batch, *normalisers)

    monkeypatch.setattr(training, "forward", forward)
    batches = next(training.updates())
    metrics = training.update(batches)
    src, tgt = (sum(getattr(b, f"{s}_tokens") for b in batches) for s in ("src", "tgt"))
    assert given == [(src / 4, tgt / 4, 1)] * 2
    assert metrics["tokens"] == tgt


# Several processes ------------------------------------------------------------------


def test_two_processes_equal_two_micro_batches(
    make_run: Callable[..., Run],
    files: Files,
    vocabs: tuple[Vocab, Vocab],
    tmp_path: Path,
) -> None:
    """Also where the first process has seen a long sentence and the other has not."""
    src, tgt = (tmp_path / f"train.{language}" for language in ("de", "en"))
    corpus, tokens = files.valid[0][0].parent, tmp_path / "train.tokens"
    for path in (src, tgt):
        short = (corpus / path.name).read_text()
        path.write_text(short + "🦄" * 100 + "\n")  # 401 tokens
    encode((src, tgt), files.vocabs, tokens, threads=1)
    files = dataclasses.replace(files, train=[tokens])
    data = ParallelData.open(files.train, vocabs)
    seed = next(
        seed
        for seed in range(1, 100)
        for (first, _), *_ in [data.epoch(seed, 1, 400, 2)]
        if 300 in first
    )
    settings = {"max_steps": 24, "valid_interval": 12, "max_tokens": 800}
    one, two = (
        make_run(model={"dropout": 0}, accumulate=n, **settings).model_copy(
            update={"seed": seed}
        )
        for n in (2, 1)
    )
    train(one, files, tmp_path / "one")

    (tmp_path / "two").mkdir()
    (tmp_path / "two/config.yaml").write_text(dump(two))
    arguments = [tmp_path / "two", "--tokens", tokens, "--valid", *files.valid[0]]
    arguments += ["--vocab", *files.vocabs]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": probe.getsockname()[1]}
    # what torchrun does
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "a2d", "train", *map(str, arguments)],
            cwd=Path(train_module.__file__).parent.parent,
            env=os.environ
            | {k: str(v) for k, v in (address | {"RANK": rank}).items()}
            | {"WORLD_SIZE": "2", "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    first, second = (process.communicate(timeout=120)[1] for process in workers)
    assert [process.returncode for process in workers] == [0, 0], first + second
    # only the first says where it stands
    assert f"student/seed{seed}] starts" in first
    assert "student/seed" not in second
    alone, together = (
        [row["valid_loss"] for row in metrics_of(tmp_path / n) if "valid_loss" in row]
        for n in ("one", "two")
    )
    assert together == pytest.approx(alone, rel=1e-4)
    facts = json.loads((tmp_path / "two/training.json").read_text())
    assert (facts["machine"]["workers"], facts["steps"]) == (2, 24)


# Schedules --------------------------------------------------------------------------


def test_learning_rates(make_run: Callable[..., Run]) -> None:
    def rates(schedule: str, warmup: int, steps: list[int]) -> list[float]:
        config = make_run(
            schedule=schedule, warmup_steps=warmup, learning_rate=2, max_steps=10
        ).train
        return [learning_rate(config, step) for step in steps]

    assert rates("inverse_sqrt", 4, [1, 2, 3, 4, 16, 64]) == [0.5, 1, 1.5, 2, 1, 0.5]
    assert rates("inverse_sqrt", 0, [1, 4, 16]) == [2, 1, 0.5]
    assert rates("linear", 2, [1, 2, 4, 6]) == [1, 2, 1.5, 1]
    assert rates("linear", 0, [1, 5, 9, 10]) == pytest.approx([1.8, 1, 0.2, 0])


def test_precision(make_run: Callable[..., Run]) -> None:
    def settings(precision: str) -> Train:
        return make_run(precision=precision).train

    cpu = torch.device("cpu")
    found = [uses_bfloat16(settings(p), cpu) for p in ("auto", "float32", "bfloat16")]
    assert found == [False, False, True]


def test_kept_memory_costs_no_fresh_pages() -> None:
    program = """
import resource, sys, torch
from a2d.process import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    [torch.ones(n * 1_000_000) for n in range(1, 11)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(sum(faults() for _ in range(10)))
"""
    kept, returned = (
        int(
            subprocess.run(
                [sys.executable, "-c", program, what],
                cwd=Path(train_module.__file__).parent.parent,
                capture_output=True,
                check=True,
            ).stdout
        )
        for what in ("keep", "return")
    )
    assert returned > 5 * kept  # 220 MB in 53,711 pages, ten times
