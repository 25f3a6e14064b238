"""Configurations for the tests of studies and their checks."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text())
TEXT = {"train": "train.{lang}", "valid": {"hold_out": 0.1}, "test": "test.{lang}"}


@pytest.fixture
def project() -> dict[str, Any]:
    """The project's own configuration."""
    return copy.deepcopy(PROJECT)


@pytest.fixture
def values(project: dict[str, Any]) -> dict[str, Any]:
    """The paper's systems on two small pairs of local files."""
    asked = set(project["studies"]["paper"]["systems"])
    asked.remove("pruned")  # it repeats the mistakes of its start
    values = dict(project)
    values["systems"] = {
        name: row for name, row in project["systems"].items() if name in asked
    }
    more = {"more_tests": {"far_news": "news.{lang}"}}
    values["datasets"] = {"toy": {"pairs": {"de-en": dict(TEXT), "de-fr": TEXT | more}}}
    values["study"] = "small"
    values["studies"] = {
        "small": {"pairs": ["toy/de-en"], "systems": ["student", "a2d"], "seeds": [1]}
    }
    return values


@pytest.fixture
def several(values: dict[str, Any]) -> dict[str, Any]:
    """The same with a multilingual row, which a study trains."""
    dataset = values["datasets"]["toy"]
    dataset["multilingual"] = {"de-en+fr": {}}
    values["systems"]["german"] = {"model": "teacher", "directions": "de-en"}
    values["systems"]["french"] = {"model": "teacher", "directions": "de-fr"}
    values["systems"]["both"] = {
        "model": "student",
        "teacher": ["german", "french"],
        "losses": {"word_kd": 0.5},
    }
    values["studies"]["several"] = {
        "pairs": ["toy/de-en+fr"],
        "systems": ["teacher", "german", "french", "both"],
        "seeds": [1],
    }
    return values


@pytest.fixture
def curve(values: dict[str, Any]) -> dict[str, Any]:
    """The values with three sparsities of a pruned student in the study."""
    values["systems"]["pruned"] = {
        "model": "student",
        "init": {"continue": "student"},
        "prune": {"sparsity": [0.5, 0.8, 0.925], "scope": "per_matrix"},
        "train": {"max_steps": 70},
    }
    values["studies"]["small"]["systems"] = ["teacher", "pruned", "student"]
    return values
