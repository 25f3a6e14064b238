"""Projects that the tests run the workflow in."""

from pathlib import Path

import pytest
from project import Project, write_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project of which nothing is made yet."""
    return write_project(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose study is complete."""
    project = write_project(tmp_path_factory.mktemp("finished"))
    project.said = project.run()  # type: ignore[attr-defined]
    return project
