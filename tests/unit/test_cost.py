"""The cost table adds up what the records of jobs say."""

import json
from pathlib import Path

import pytest

from cost import cost_table


def record(path: Path, values: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values) + "\n")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A pair with two trainings, one of them interrupted twice, and other jobs."""
    folder, benchmarks = tmp_path / "de-en", tmp_path / "benchmarks"
    for name, seconds, memory in (
        ("clean_train", 36, 900),
        ("encode/distilled/seq_kd/teacher-seed1", 36, 100),
        ("distill_seq_kd_teacher-seed1", 36, 200),
        ("distill_seq_kd_teacher-seed1/1-of-2", 1800, 4000),
        ("distill_seq_kd_teacher-seed1/2-of-2", 3600, 5000),
        ("distill_seq_kd_teacher-seed1/de-en/1-of-1", 1800, 100),  # multilingual
        ("teacher/seed1/train", 10, 7000),  # only its last start
        ("student/seed1/train", 3600, 6000),
        ("student/seed1/export", 36, "NA"),
        ("student/seed1/evaluate_test", 360, 3000),
        ("speed", 360, 3500),
    ):
        record(benchmarks / f"{name}.jsonl", {"s": seconds, "max_rss": memory})
    return folder, benchmarks


def trainings(folder: Path, gpus: int, watt_hours: float | None) -> None:
    for system, seconds, starts in (("teacher", 7200, 3), ("student", 3600, 1)):
        machine = {"gpus": gpus}
        values = {
            "seconds": seconds,
            "starts": starts,
            "watt_hours": watt_hours,
            "machine": machine,
        }
        record(folder / system / "seed1/training.json", values)


def rows(table: list[dict[str, str]]) -> dict[str, list[str]]:
    return {
        row["step"]: [row[name] for name in row if name not in ("step", "what")]
        for row in table
    }


def test_gpu_hours_are_those_of_all_starts_and_gpus(folders: tuple[Path, Path]) -> None:
    trainings(folders[0], gpus=2, watt_hours=500)
    assert rows(cost_table(*folders)) == {
        # jobs, restarts, hours, GPU-hours, kWh, gigabytes
        "text": ["3", "–", "0.03", "–", "–", "0.9"],
        "training": ["2", "2", "3.00", "6.00", "1.000", "7.0"],
        "translation": ["3", "–", "2.00", "2.00", "–", "5.0"],
        "evaluation": ["3", "–", "0.21", "0.10", "–", "3.5"],
        "all": ["11", "2", "5.24", "8.10", "1.000", "7.0"],
    }


def test_no_gpu_costs_no_gpu_hours(folders: tuple[Path, Path]) -> None:
    trainings(folders[0], gpus=0, watt_hours=None)
    table = rows(cost_table(*folders))
    assert table["all"] == ["11", "2", "5.24", "–", "–", "7.0"]


def test_results_without_benchmarks_cost_what_trainings_tell(tmp_path: Path) -> None:
    trainings(tmp_path, gpus=0, watt_hours=None)
    table = rows(cost_table(tmp_path, tmp_path / "nothing"))
    assert table == {
        "training": ["2", "2", "3.00", "–", "–", "–"],
        "all": ["2", "2", "3.00", "–", "–", "–"],
    }
