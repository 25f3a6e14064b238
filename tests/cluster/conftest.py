"""A running Slurm, and a small study that ran without it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from daemons import Slurm, Unavailable, install
from project import Project, write_project
from workflows import LONG, THREADS, Training, Workflow, copy


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A Slurm with nothing in its queue."""
    try:
        install()
        slurm = Slurm(tmp_path_factory.mktemp("slurm"))
        try:
            slurm.start()
            yield slurm
        finally:
            slurm.stop()
    except Unavailable as reason:
        pytest.skip(f"no Slurm: {reason}")


@pytest.fixture(autouse=True)
def _empty_queue(slurm: Slurm) -> Iterator[None]:
    yield
    slurm.cancel_all()


@pytest.fixture(scope="session")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A study of three systems whose text was on a server that is there no more."""
    project = write_project(tmp_path_factory.mktemp("fetched"))

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args) -> None:
            super().__init__(*args, directory=str(project.folder))

        def log_message(self, *args) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever).start()
        project.edit(lambda values: shrink(values, server.server_port))
        project.run("fetch_all")
        server.shutdown()
    return project


def shrink(values: dict, port: int) -> None:
    """Leave few systems, add one that trains for long, and get all text by HTTP."""
    values["studies"]["tiny"]["systems"] = ["teacher", "student", "seq_kd_a2d"]
    values["systems"]["long"] = {"model": "student", "train": {"max_steps": 1500}}
    texts = values["datasets"]["toy"]["pairs"]["de-en"]
    for split, name in texts.items():
        texts[split] = {"url": f"http://127.0.0.1:{port}/{name}"}


@pytest.fixture(scope="session")
def without_slurm(
    fetched: Project, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workflow]:
    """The study, and the longer training, on this machine alone."""
    project = copy(fetched, tmp_path_factory.mktemp("local"))
    targets = ("all", f"results/{LONG}/model.safetensors")
    workflow = Workflow(project, *targets, "--cores", "2", *THREADS)
    yield workflow
    workflow.process.kill()


@pytest.fixture(scope="session")
def local(without_slurm: Workflow) -> Project:
    """The same when it is done."""
    without_slurm.finish()
    return without_slurm.project


@pytest.fixture
def training(local: Project, slurm: Slurm, tmp_path: Path) -> Training:
    """The longer training, of which nothing is done."""
    project = copy(local, tmp_path)
    shutil.rmtree(project.path(LONG))
    return Training(project, slurm)
