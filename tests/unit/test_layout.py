"""The shape of the package: floors, light imports, short modules."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import a2d

PACKAGE = Path(a2d.__path__[0])
FLOORS = [
    {"chunks", "files", "hypothesis", "progress", "section"},
    {"sources"},
    {"config"},
    {"jobs"},
    {
        "alignment",
        "checkpoint",
        "corpus",
        "distributed",
        "download",
        "extract",
        "gpus",
        "losses",
        "metrics",
        "model",
        "process",
        "prune",
        "search",
        "study",
        "vocab",
    },
    {"checks", "encode", "fetch", "initialize"},
    {"data", "plan"},
    {"export", "objective", "reference"},
    {"translate"},
    {"distill", "evaluate", "train"},
    {"__main__"},
]
"""A module imports from the floors below its own, never from its own."""


def floor_of(module: str) -> int:
    (floor,) = (number for number, names in enumerate(FLOORS) if module in names)
    return floor


def imports_of(module: str) -> set[str]:
    """Modules of the package that a module imports, at whatever place."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "a2d":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    known = {path.stem for path in PACKAGE.glob("*.py")}
    return {name.removeprefix("a2d.") for name in found} & known


def modules() -> list[str]:
    return sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


def test_every_module_has_a_floor() -> None:
    assert set(modules()) == set().union(*FLOORS)


@pytest.mark.parametrize("module", modules())
def test_modules_import_from_lower_floors_only(module: str) -> None:
    allowed = set().union(*FLOORS[: floor_of(module)])
    assert imports_of(module) <= allowed


@pytest.mark.parametrize("module", modules())
def test_modules_are_short_and_explained(module: str) -> None:
    text = (PACKAGE / f"{module}.py").read_text()
    assert len(text.splitlines()) <= 530
    assert ast.get_docstring(ast.parse(text))


def loaded_after(code: str) -> set[str]:
    code += "\nimport sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


HEAVY = {"torch", "ctranslate2", "pandas", "pydantic", "sentencepiece", "sacrebleu"}


def test_the_workflow_s_imports_are_light() -> None:
    assert not loaded_after("import a2d.checks") & (HEAVY - {"pydantic"})


def test_ctranslate2_needs_no_torch() -> None:
    assert "torch" not in loaded_after("import a2d.translate")


def test_help_answers_without_heavy_imports() -> None:
    code = (
        "try: from a2d.__main__ import main; main(['--help'])\nexcept SystemExit: pass"
    )
    assert not loaded_after(code) & HEAVY


def test_help_names_every_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "a2d", "--help"],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    commands = [
        "fetch",
        "clean",
        "vocab",
        "encode",
        "train",
        "export",
        "distill_shard",
        "distill",
        "evaluate",
        "speed",
        "translate",
    ]
    assert [c for c in commands if f"\n    {c}" not in done.stdout] == []
