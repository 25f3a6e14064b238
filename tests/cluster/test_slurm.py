"""The workflow on a real Slurm gives what it gives without, whatever happens there."""

import json
import re
import signal
import time
from pathlib import Path

import pandas as pd
from daemons import Slurm, run, wait_for
from project import Project
from workflows import LONG, THREADS, Training, Workflow, copy, submit

UNEQUAL = {"seconds", "tokens_per_second"}
"""Of two runs on one machine."""


def test_a_study_equals_that_of_a_local_run(
    fetched: Project, without_slurm: Workflow, slurm: Slurm, tmp_path: Path
):
    project = copy(fetched, tmp_path)
    study = submit(project, *THREADS)
    names, gpus = set(), set()
    while study.process.poll() is None:
        names |= set(slurm.jobs("all").values())
        gpus |= set(map(visible_gpus, running("-m a2d train")))
        time.sleep(1)
    study.finish()
    without_slurm.finish()
    local = without_slurm.project
    equal, unlike = 0, []
    for path in sorted(local.path("").rglob("*")):
        name = str(path.relative_to(local.path("")))
        if path.is_file() and not name.startswith(("logs/", "benchmarks/", LONG)):
            ours, theirs = content(project.path(name)), content(path)
            equal += ours is not None
            unlike += [name] * (ours != theirs)
    assert unlike == []
    assert equal > 60
    # every job says what it is, and the small ones share theirs
    assert "rule_train_wildcards_toy_de-en_teacher_1" in names
    groups = {name for name in names if not name.startswith(("rule_train", "rule_di"))}
    assert groups == {
        *("rule_corpus_clean_vocab", "rule_text_encode", "rule_text_distill_encode"),
        *("rule_scores_evaluate_export", "rule_speed_wildcards_toy_de-en"),
        "rule_collect_scores_wildcards_toy_de-en",
    }
    assert gpus - {None} == {"0", "1"}  # two trainings at a time


def running(command: str) -> list[str]:
    """Numbers of the processes of a command."""
    return run("pgrep", "-f", f"^python {command}").stdout.split()


def visible_gpus(process: str) -> str | None:
    """What Slurm gave it; None for one that does not run there, or has ended."""
    try:
        variables = Path(f"/proc/{process}/environ").read_text().split("\0")
    except FileNotFoundError:
        return None
    return dict(line.partition("=")[::2] for line in variables).get(
        "CUDA_VISIBLE_DEVICES"
    )


def warned(process: str, number: int) -> bool:
    """Whether a signal waits for a process that is stopped, or has ended it."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return True
    pending = re.search(r"(?m)^ShdPnd:\s*(\w+)", status)
    return pending is not None and bool(int(pending[1], 16) >> number - 1 & 1)


def content(path: Path):
    """What of a file is the same in each run; None if there is nothing."""
    if path.name in {"training.json", "speed.tsv", "report.html", ".lock"}:
        return None
    if {"state", "tensorboard"} & set(path.parts) or path.suffix in {".pdf", ".svg"}:
        return None
    if path.name == "metrics.jsonl":
        return curve(path.parent)
    if path.name == "scores.tsv":
        table = pd.read_csv(path, sep="\t")
        return table.loc[:, ~table.columns.str.contains("second|speed")].to_csv()
    return path.read_bytes()


def curve(folder: Path) -> list[dict]:
    """All that a training measured on its way, but for its speed."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [
        {name: value for name, value in json.loads(line).items() if name not in UNEQUAL}
        for line in lines
    ]


def assert_same(training: Training, expected: Path, starts: int) -> None:
    """Weights and all that was measured; and how often the training was started."""
    ours, weights = training.folder, "model.safetensors"
    assert (ours / weights).read_bytes() == (expected / weights).read_bytes()
    assert curve(ours) == curve(expected)
    assert json.loads((ours / "training.json").read_text())["starts"] == starts


def test_a_training_survives_what_happens_to_its_job(
    local: Project, training: Training
):
    """A restart of the controller, preemptions of two kinds, and a cancellation."""
    workflow, slurm = training.submit(), training.slurm
    training.runs()
    slurm.stop_controller()
    # what is trained now leaves too little for what follows
    run("pkill", "-STOP", "-f", "^python -m a2d train")
    wait_for("a warning", lambda: "does not answer" in workflow.log.read_text())
    run("pkill", "-CONT", "-f", "^python -m a2d train")
    slurm.start_controller()
    for _ in range(2):
        slurm.preempt(training.runs())
    slurm.restart_controller(preempt="CANCEL")
    slurm.preempt(training.runs())
    slurm.restart_controller()
    run("scancel", training.runs())
    said = workflow.finish()
    # Slurm itself starts again what was preempted, Snakemake what was cancelled
    assert said.count("SLURM status is: 'CANCELLED'") == 2
    assert said.count("has been submitted") == 3
    assert_same(training, local.path(LONG), starts=5)


def test_a_training_outlives_its_time(local: Project, training: Training):
    workflow = training.submit()
    # two minutes before the end of one minute is at once; Slurm looks every 30 seconds
    run("scontrol", "update", f"job={training.runs()}", "timelimit=1")
    (process,) = running("-m a2d train")
    run("kill", "-STOP", process)  # or it might be over before
    wait_for("a warning", lambda: warned(process, signal.SIGUSR1))
    run("kill", "-CONT", process)
    said = workflow.finish()
    assert said.count("SLURM status is: 'FAILED'") == 1
    assert said.count("has been submitted") == 2
    assert_same(training, local.path(LONG), starts=2)


def test_a_training_whose_workflow_died_is_not_trained_twice(
    local: Project, training: Training
):
    workflow = training.submit()
    training.runs()
    workflow.kill()
    training.project.run("--unlock")
    said = training.submit().finish()
    assert said.count("has been submitted") == 2
    assert "waits for another process that trains it" in training.said()
    assert_same(training, local.path(LONG), starts=1)


def test_two_nodes_train_as_one_machine_with_two_devices(training: Training):
    project, name = training.project, "toy/de-en/student/seed2"
    target = f"results/{name}/model.safetensors"
    project.run(target, *THREADS, "--set-resources", "train:gpu=2")
    expected = project.path(name).rename(project.path("expected"))
    two = ("train:gpu=2", "train:nodes=2", "train:tasks=2", "train:tasks_per_gpu=0")
    where = (
        "train:mpi=srun --nodes=2 --ntasks-per-node=1",
        "train:slurm_partition=pair",
        "train:slurm_extra=--gpus-per-node=1",
    )
    workflow = submit(project, target, *THREADS, "--set-resources", *two, *where)
    nodes = set()
    while workflow.process.poll() is None:
        nodes.add(run("squeue", "-h", "-t", "running", "-o", "%N").stdout.strip())
        time.sleep(0.5)
    workflow.finish()
    assert nodes == {"", "left,right"}
    training.folder = project.path(name)
    assert_same(training, expected, starts=1)
    machine = json.loads((training.folder / "training.json").read_text())["machine"]
    assert machine["workers"] == 2


def test_a_wrong_partition_is_told(training: Training):
    workflow = training.submit("train:slurm_partition=nowhere")
    assert workflow.process.wait(120) != 0
    assert "invalid partition specified: nowhere" in workflow.log.read_text()
