"""The conda environment and the container install what the constraints file pins."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
CONTAINER = (ROOT / "envs/a2d.def").read_text()
CONDA = yaml.safe_load((ROOT / "envs/environment.yaml").read_text())


def pins() -> dict[str, str]:
    found = {}
    for line in (ROOT / "envs/constraints.txt").read_text().splitlines():
        if not line.startswith("#"):
            name, version = line.split("==")
            found[canonicalize_name(name)] = version
    return found


def test_every_dependency_is_pinned_within_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]["dev"]
    for requirement in map(Requirement, [*project["dependencies"], *extra]):
        pinned = pins()[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pinned), requirement


def test_container_and_conda_name_no_version_but_that_of_python() -> None:
    *packages, pip = CONDA["dependencies"]
    assert packages == ["python=3.11", "pip"]
    assert pip == {"pip": ["--constraint constraints.txt", "--editable .."]}
    assert re.findall(r"^From: (.*)", CONTAINER, re.MULTILINE) == ["python:3.11-slim"]
    assert re.findall(r"pip install (.*)", CONTAINER) == [
        "--no-cache-dir --constraint /opt/a2d/constraints.txt /opt/a2d"
    ]


def test_container_has_every_file_that_it_installs_from() -> None:
    copied = re.search(r"%files\n(.*?)\n\n", CONTAINER, re.DOTALL)
    assert copied
    words = [word for line in copied[1].splitlines() for word in line.split()[:-1]]
    assert {"a2d", "pyproject.toml", "envs/constraints.txt"} <= set(words)
    assert all((ROOT / word).exists() for word in words)
