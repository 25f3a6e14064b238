"""GPUs of one machine: shared out among the jobs of a workflow, and their energy."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pynvml

from a2d.section import UserError


def on_gpus(number: int, command: Sequence[str]) -> None:
    """Become a command that sees GPUs which no other such command sees.

    It waits until so many are free. Where a scheduler has chosen them already, or
    there are none, the command runs as it is. It does not die of SIGUSR1, with which a
    scheduler warns: `torchrun` leaves that to the trainings that it started.

    Raises:
        UserError: if the machine has too few.
    """
    if number and "CUDA_VISIBLE_DEVICES" not in os.environ:
        gpus = gpus_here()
        if 0 < len(gpus) < number:
            raise UserError(f"{number} GPUs are asked for, and there are {len(gpus)}")
        if gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(claim(gpus, number))
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    os.execvp(command[0], list(command))


def gpus_here() -> list[str]:
    """UUIDs of the machine's NVIDIA GPUs."""
    if not shutil.which("nvidia-smi"):
        return []
    query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return done.stdout.split() if done.returncode == 0 else []


def claim(gpus: Sequence[str], number: int) -> list[str]:
    """Lock so many GPUs for the rest of this process, also as another program."""
    folder = Path(tempfile.gettempdir())
    while True:
        held: dict[str, int] = {}
        for gpu in gpus:
            file = open_lock(folder / f"a2d-{gpu}.lock")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                continue
            held[gpu] = file
            if len(held) == number:
                for file in held.values():
                    os.set_inheritable(file, True)
                return list(held)
        # all or none, so that two jobs with half of their GPUs do not wait for ever
        for file in held.values():
            os.close(file)
        time.sleep(0.5)


def open_lock(path: Path) -> int:
    """A file that all users may lock, whoever made it."""
    try:
        # where everybody may write, Linux forbids O_CREAT on another user's file
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)


class EnergyMeter:
    """What a GPU uses, as its driver counts it, for all that runs there."""

    def __init__(self, uuid: str | None) -> None:
        """
        Args:
            uuid: the GPU's; None for another device, of which nothing is known.
        """
        self.handle = self.before = None
        if uuid:
            with suppress(pynvml.NVMLError):  # old GPUs, and parts of one, do not count
                pynvml.nvmlInit()
                handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
                self.before = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
                self.handle = handle

    def joules(self) -> float | None:
        """What was used since the last call, or since the beginning."""
        if self.handle is None:
            return None
        now = pynvml.nvmlDeviceGetTotalEnergyConsumption(self.handle)  # millijoules
        used, self.before = now - self.before, now
        return used / 1000
