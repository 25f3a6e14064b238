"""Parts of studies, and the profiles for machines other than this one."""

import gzip
import os
import subprocess

import pytest
from project import ROOT, Project


def test_a_part_of_the_pairs_is_a_batch(project: Project):
    both = {"pairs": ["toy/de-en", "toy/en-de"], "systems": ["student"], "seeds": [1]}
    project.edit(lambda v: v["studies"].update(both=both))
    target = ("results/both/scores.tsv", "--config", "study=both")
    jobs = project.jobs(*target, "--batch", "collect_study=1/2")
    trained = [output.split("/")[2] for rule, output in jobs if rule == "train"]
    assert trained == ["de-en"]
    later = project.snakemake("-n", *target, "--batch", "collect_study=2/2")
    assert later.returncode != 0
    assert "not all previous batches have been completed" in later.stdout


def test_all_text_is_fetched_by_one_target(project: Project):
    jobs = project.jobs("fetch_all", "--config", "study=several")
    fetched = {output for rule, output in jobs if rule == "fetch"}
    # the other splits of en-de are held out from its training text
    texts = ("de-en/raw/train", "de-en/raw/valid", "de-en/raw/test", "en-de/raw/train")
    assert fetched == {f"results/toy/{text}.tsv.gz" for text in texts}
    assert {rule for rule, _ in jobs} == {"fetch", "write_settings"}


def test_other_schedulers_get_what_a_job_needs(
    project: Project, monkeypatch: pytest.MonkeyPatch
):
    """Here it is one that does a job at once, and remembers how it ended."""
    programs = project.folder / "bin"
    programs.mkdir()
    for name, text in {
        "qsub": """
            echo "$*" >> submitted
            for script; do :; done
            sh "$script" > /dev/null 2>&1
            echo $? > "$(wc -l < submitted).server"
            echo "$(wc -l < submitted).server"
            """,
        "qstat": 'echo "    job_state = F, Exit_status = $(cat $3)"',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    (project.folder / "profiles").symlink_to(ROOT / "profiles")
    (project.folder / "train.en").write_text("no such number of lines\n")
    command = project.command(
        *("results/toy/de-en/raw/train.tsv.gz", "--profile", "profiles/generic"),
        *("--retries", "1", "--latency-wait", "1"),
        *("--seconds-between-status-checks", "1"),
    )
    done = subprocess.run(
        command, cwd=project.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    asked = (project.folder / "submitted").read_text().splitlines()
    # 12 hours and 4 GB; the second time, because the text is wrong, double of both
    assert [line.split()[1:-1] for line in asked] == [
        f"a2d.fetch -j oe -o results/logs/pbs/ -q workq -l select=1:ncpus=1:mem={mem}mb"
        f":ngpus=0 -l walltime={minutes}:00".split()
        for mem, minutes in ((4000, 720), (8000, 1440))
    ]
    log = project.path("logs/toy/de-en/fetch_train.log").read_text()
    assert "600" in log
    assert "fetch_train.log" in done.stderr  # where to look


def test_profile_for_one_machine_is_found_by_its_name(project: Project):
    """Without it, or `--cores`, Snakemake would not begin."""
    target = "results/toy/de-en/raw/train.tsv.gz"
    done = subprocess.run(
        project.command(target, "--profile", "workstation"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with gzip.open(project.folder / target, "rt") as file:
        assert sum(1 for _ in file) == 600
