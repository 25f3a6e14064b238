"""Jobs get GPUs of their own, of a made-up `nvidia-smi`; and what GPUs use."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pynvml
import pytest

from a2d.gpus import EnergyMeter

SHOW = "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES'), flush=True); input()"


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """The environment of one with the GPUs GPU-a, GPU-b and GPU-c."""
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\nprintf 'GPU-a\\nGPU-b\\nGPU-c\\n'\n")
    smi.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    found = os.environ | {"PATH": path, "TMPDIR": str(tmp_path)}
    found.pop("CUDA_VISIBLE_DEVICES", None)
    return found


class Job:
    """A command that shows what GPUs it sees, and ends when it is told."""

    def __init__(self, number: int, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [*on_gpus(number), sys.executable, "-c", SHOW],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def sees(self) -> str:
        """Its GPUs, as soon as it has them."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.communicate("\n", timeout=30)
        assert self.process.returncode == 0


def on_gpus(number: int) -> list[str]:
    return [sys.executable, "-m", "a2d", "on_gpus", str(number)]


def test_jobs_at_a_time_see_different_gpus(machine: dict[str, str]) -> None:
    first, second = (Job(1, machine) for _ in range(2))
    assert {first.sees(), second.sees()} == {"GPU-a", "GPU-b"}
    waiting = Job(2, machine)  # one is free
    last = Job(1, machine)
    assert last.sees() == "GPU-c"
    assert waiting.process.poll() is None
    first.end()
    second.end()
    assert waiting.sees() == "GPU-a,GPU-b"
    waiting.end()
    last.end()


def test_gpu_of_a_killed_job_is_free_again(machine: dict[str, str]) -> None:
    killed = Job(3, machine)
    assert killed.sees() == "GPU-a,GPU-b,GPU-c"
    killed.process.kill()
    killed.process.wait()
    after = Job(3, machine)
    assert after.sees() == "GPU-a,GPU-b,GPU-c"
    after.end()


@pytest.mark.parametrize(
    ("number", "environment", "sees"),
    [
        (1, {"CUDA_VISIBLE_DEVICES": "7"}, "7"),  # a scheduler's choice
        (0, {}, "None"),
        (1, {"PATH": "/nowhere"}, "None"),  # no nvidia-smi
    ],
)
def test_other_machines_stay_as_they_are(
    number: int, environment: dict[str, str], sees: str, machine: dict[str, str]
) -> None:
    job = Job(number, machine | environment)
    assert job.sees() == sees
    job.end()


def test_the_warning_of_a_scheduler_does_not_kill(machine: dict[str, str]) -> None:
    job = Job(1, machine)
    assert job.sees() == "GPU-a"
    job.process.send_signal(signal.SIGUSR1)
    job.end()


def test_too_few_gpus_are_told(machine: dict[str, str]) -> None:
    done = subprocess.run(
        [*on_gpus(4), "true"], env=machine, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "a2d on_gpus: 4 GPUs are asked for, and there are 3\n"


def test_failure_of_the_command_is_its_own(machine: dict[str, str]) -> None:
    command = [*on_gpus(1), sys.executable, "-c", "raise SystemExit(7)"]
    assert subprocess.run(command, env=machine, check=False).returncode == 7


def test_energy_is_what_the_driver_counted_in_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted = iter([5_000, 12_500, 13_000])  # millijoules since the driver was loaded
    driver = {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByUUID": {"GPU-1234": "handle"}.__getitem__,
        "nvmlDeviceGetTotalEnergyConsumption": lambda _: next(counted),
    }
    for name, function in driver.items():
        monkeypatch.setattr(pynvml, name, function)
    meter = EnergyMeter("1234")
    assert [meter.joules(), meter.joules()] == [7.5, 0.5]


def test_energy_is_unknown_without_a_driver_that_counts() -> None:
    assert EnergyMeter(None).joules() is None
    assert EnergyMeter("0000").joules() is None
