"""What all jobs of a language pair took, as their records tell."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

STEPS = {
    "text": "fetched, cleaned, segmented",
    "training": "of all systems",
    "translation": "of training texts, by teachers",
    "evaluation": "exports, test sets, speed",
}


def cost_table(folder: Path, benchmarks: Path) -> list[dict[str, str]]:
    """A row for each step that was done, and one for all.

    Hours are those of finished jobs and, of trainings, of all their starts. Where a
    pair was trained on GPUs, its translations and evaluations held one each.

    Args:
        folder: `results/{dataset}/{pair}`.
        benchmarks: the folder of Snakemake's benchmarks for it.
    """
    trainings = [
        json.loads(path.read_text())
        for path in sorted(folder.glob("*/seed*/training.json"))
    ]
    for training in trainings:  # of old ones less is known
        training["gpus"] = training["machine"].get("gpus", 0)
    gpus = any(training["gpus"] for training in trainings)
    found: dict[str, list[dict[str, float]]] = {step: [] for step in STEPS}
    for path in sorted(benchmarks.rglob("*.jsonl")):
        record = json.loads(path.read_text().splitlines()[-1])
        step = step_of(path)
        on_gpu = step == "translation" or path.stem.startswith("evaluate_")
        found[step].append(
            {
                "hours": record["s"] / 3600,
                "gpu_hours": record["s"] / 3600 * (gpus and on_gpu),
                # of a job that was over at once Snakemake measured nothing
                "gigabytes": 0
                if record["max_rss"] == "NA"
                else record["max_rss"] / 1000,
            }
        )
    memory = max((job["gigabytes"] for job in found["training"]), default=0)
    found["training"] = [
        {
            "restarts": training.get("starts", 1) - 1,
            "hours": training["seconds"] / 3600,
            "gpu_hours": training["seconds"] / 3600 * training["gpus"],
            "kilowatt_hours": (training.get("watt_hours") or 0) / 1000,
            "gigabytes": memory,
        }
        for training in trainings
    ]
    rows = [
        {"step": step, "what": what} | totals(found[step])
        for step, what in STEPS.items()
        if found[step]
    ]
    everything = [job for jobs in found.values() for job in jobs]
    return [*rows, {"step": "all", "what": ""} | totals(everything)]


def step_of(path: Path) -> str:
    """The step whose job a benchmark file is of."""
    if path.stem == "train":
        return "training"
    if re.fullmatch(r"\d+-of-\d+", path.stem):
        return "translation"
    if path.stem.partition("_")[0] in {"export", "evaluate", "speed"}:
        return "evaluation"
    return "text"


def totals(jobs: Iterable[dict[str, float]]) -> dict[str, str]:
    """Sums, and the largest memory, as they are shown; nothing for zero."""
    jobs = list(jobs)

    def total(name: str) -> float:
        return sum(job.get(name, 0) for job in jobs)

    def shown(value: float, digits: int) -> str:
        return f"{value:,.{digits}f}" if value else "–"

    return {
        "jobs": f"{len(jobs):,}",
        "restarts": shown(total("restarts"), 0),
        "hours": shown(total("hours"), 2),
        "gpu_hours": shown(total("gpu_hours"), 2),
        "kilowatt_hours": shown(total("kilowatt_hours"), 3),
        "gigabytes": shown(max((job["gigabytes"] for job in jobs), default=0), 1),
    }
