"""A folder with text in an invented language, in which the real workflow runs."""

import gzip
import random
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "tests" / "workflow" / "config.yaml"
SYLLABLES = ["ba", "de", "fi", "go", "ku", "la", "me", "no", "pi", "ru", "sa", "to"]


class Project:
    """A folder with text and a configuration, in which the workflow runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "study.yaml"

    def command(self, *arguments: str) -> list[str]:
        """What a user types here, without the number of cores."""
        return [
            *(sys.executable, "-m", "snakemake"),
            *("--snakefile", str(ROOT / "Snakefile")),
            *("--directory", str(self.folder)),
            *("--configfile", str(self.config), "--replace-workflow-config"),
            *arguments,
        ]

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command("--cores", "2", *arguments),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def run(self, *arguments: str) -> str:
        """What Snakemake said; it must succeed."""
        done = self.snakemake(*arguments)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        return said

    def jobs(self, *arguments: str) -> set[tuple[str, str]]:
        """(rule, output) of all jobs that a run would do."""
        lines = self.run("--dry-run", "--printshellcmds", *arguments).splitlines()
        jobs, rule = set(), ""
        for line in lines:
            if line.startswith(("rule ", "localrule ")):
                rule = line.split()[1].rstrip(":")
            elif line.startswith("    output: "):
                jobs.add((rule, line.removeprefix("    output: ").split(", ")[0]))
        return jobs

    def edit(self, change) -> None:
        """Change the configuration."""
        values = yaml.safe_load(self.config.read_text())
        change(values)
        self.config.write_text(yaml.safe_dump(values, sort_keys=False))

    def path(self, name: str) -> Path:
        return self.folder / "results" / name


def invented_text(sentences: int, seed: int) -> list[tuple[str, str]]:
    """Sentences whose translation reverses every word and the order of all words."""
    draw = random.Random(seed)
    words = ["".join(draw.choices(SYLLABLES, k=2)) for _ in range(40)]
    rows = []
    for _ in range(sentences):
        chosen = draw.choices(words, k=draw.randint(2, 6))
        rows.append((" ".join(chosen), " ".join(word[::-1] for word in chosen[::-1])))
    return rows


def write_project(folder: Path) -> Project:
    rows = invented_text(700, 7)
    train, valid, test = rows[:600], rows[600:640], rows[640:]
    for side, language in enumerate(("de", "en")):
        text = "".join(f"{row[side]}\n" for row in train)
        (folder / f"train.{language}").write_text(text)
        text = "".join(f"{row[side]}\n" for row in valid)
        (folder / f"valid.{language}.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "test.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in test))
    project = Project(folder)
    project.config.write_text(CONFIG.read_text())
    return project
