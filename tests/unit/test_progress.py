"""Lines of progress."""

import pytest

from a2d.progress import clock_time, tell


def test_clock_time() -> None:
    assert [clock_time(s) for s in (0, 59.9, 185, 3600)] == [
        "0:00",
        "0:59",
        "3:05",
        "60:00",
    ]


def test_line_names_its_job(capsys: pytest.CaptureFixture[str]) -> None:
    tell("toy/de-en", "half done")
    assert capsys.readouterr().err == "[toy/de-en] half done\n"
