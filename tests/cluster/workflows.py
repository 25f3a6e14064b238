"""Workflows in the background, most of which hand their jobs to Slurm."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

from daemons import Slurm, wait_for
from project import ROOT, Project

THREADS = ("--set-threads", "train=1", "distill_shard=1", "speed=2")
"""The profile asks for more than two processors have."""
PATIENCE = (
    *("--slurm-init-seconds-before-status-checks", "2"),
    *("--seconds-between-status-checks", "2"),
    *("--max-status-checks-per-second", "10"),
    *("--latency-wait", "5"),
)
LONG = "toy/de-en/long/seed1"
"""A training of less than a minute."""


def copy(project: Project, folder: Path) -> Project:
    """A project that has what another one has."""
    shutil.copytree(project.folder, folder, dirs_exist_ok=True)
    return Project(folder)


class Workflow:
    """A running Snakemake."""

    def __init__(self, project: Project, *arguments: str) -> None:
        self.project = project
        self.log = project.folder / "snakemake.log"
        self.process = subprocess.Popen(
            project.command(*arguments),
            stdout=self.log.open("a"),
            stderr=subprocess.STDOUT,
        )

    def kill(self) -> None:
        """End it so that it cannot tidy up."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def finish(self, seconds: float = 400) -> str:
        """Wait for its end, which must be a good one; what it said."""
        try:
            self.process.wait(seconds)
        finally:
            self.process.kill()
        said = self.log.read_text()
        assert self.process.returncode == 0, said
        return said


def submit(project: Project, *arguments: str) -> Workflow:
    """Start one that hands its jobs to Slurm; targets before options."""
    profile = ("--profile", str(ROOT / "profiles/slurm"))
    return Workflow(project, *arguments, *PATIENCE, *profile)


class Training:
    """The longer training, submitted in a folder that has all it needs."""

    def __init__(self, project: Project, slurm: Slurm) -> None:
        self.project, self.slurm = project, slurm
        self.folder = project.path(LONG)
        self.state = self.folder / "state/last.pt"

    def submit(self, *resources: str) -> Workflow:
        """Start the workflow; by default with the profile's own resources."""
        more = ("--set-resources", *resources) if resources else ()
        target = f"results/{LONG}/model.safetensors"
        return submit(self.project, target, *THREADS, *more)

    def said(self) -> str:
        """The log of its rule, which has what its last start said."""
        path = self.project.path(f"logs/{LONG}/train.log")
        return path.read_text() if path.exists() else ""

    def runs(self) -> str:
        """Wait until it saved a state in the present start; the number of its job."""
        seen = self.state.stat().st_mtime if self.state.exists() else 0
        wait_for(
            "a saved state",
            lambda: self.state.exists() and self.state.stat().st_mtime > seen,
        )
        jobs = [n for n, what in self.slurm.jobs("RUNNING").items() if "train" in what]
        assert len(jobs) == 1
        return jobs[0]
