"""What a study costs: counted as the models count, and from what is measured."""

import json
from pathlib import Path
from typing import Any

import pytest

from a2d.__main__ import main
from a2d.checkpoint import count_parameters
from a2d.config import Model
from a2d.model import Transformer
from a2d.plan import Pair, Text, forward_operations, parameters, plan
from a2d.section import ConfigError, parse

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("tied", ["none", "decoder", "all"])
def test_parameters_are_those_of_the_model(norm: str, tied: str) -> None:
    model = Model(
        num_encoder_layers=2,
        num_decoder_layers=3,
        d_model=8,
        d_ff=20,
        num_heads=2,
        dropout=0.1,
        norm=norm,  # type: ignore[arg-type]
        tie_embeddings=tied,  # type: ignore[arg-type]
    )
    src, tgt = (50, 50) if tied == "all" else (50, 40)
    assert parameters(model, src, tgt) == count_parameters(Transformer(model, src, tgt))


def test_search_computes_every_beam_but_one_source(values: dict[str, Any]) -> None:
    model = parse(Model, values["models"]["student"])
    one, three, five = (forward_operations(model, 100, 9, 7, k) for k in (1, 3, 5))
    assert five - three == three - one
    encoder = model.model_copy(update={"num_decoder_layers": 0})
    memory = 2 * model.num_decoder_layers * 9 * 2 * model.d_model**2
    alone = forward_operations(encoder, 0, 9, 7) + memory
    assert one - alone == pytest.approx((three - one) / 2)


def test_text_is_measured(tmp_path: Path) -> None:
    assert Text.measure(tmp_path, "de-en") == Text(0, 25, 25)
    (tmp_path / "train.de").write_text("12345678901\n" * 10)
    (tmp_path / "train.en").write_text("123\n" * 10)
    text = Text.measure(tmp_path, "de-en")
    assert text == Text(10, 1 + 12 / 4, 1 + 4 / 4)
    assert text + Text(30, 8, 2) == Text(40, 7, 2)
    assert text + Text() == text


def test_teachers_and_their_texts_are_counted_once(
    values: dict[str, Any], tmp_path: Path
) -> None:
    pair = Pair(values, "toy/de-en", tmp_path)
    jobs = [job.what for job in pair.jobs(["seq_kd", "seq_inter", "n_best"], [1, 2])]
    assert sorted(jobs) == [
        *["n_best"] * 2,
        "n_best by teacher-seed1",
        *["seq_inter"] * 2,
        "seq_inter by teacher-seed1",
        *["seq_kd"] * 2,
        "seq_kd by teacher-seed1",
        "teacher",
    ]
    ensemble = [job.what for job in pair.jobs(["seq_kd_ensemble"], [3])]
    assert ensemble.count("teacher") == 2
    assert "seq_kd by teacher-seed1+teacher-seed2" in ensemble


def test_teacher_beside_a_student_is_counted_forward(
    values: dict[str, Any], tmp_path: Path
) -> None:
    pair = Pair(values, "toy/de-en", tmp_path)
    alone, beside = (pair.training(name, 1).operations for name in ("student", "a2d"))
    teacher = pair.config.models["teacher"]
    updates = pair.config.train.max_steps
    sentences = pair.config.train.max_tokens / 25
    forward = forward_operations(teacher, pair.config.vocab.size, 25, 25)
    assert beside - alone == pytest.approx(updates * sentences * forward)


def test_each_direction_is_translated_by_who_learned_it(
    several: dict[str, Any], tmp_path: Path
) -> None:
    several["systems"]["both"] = {
        "model": "student",
        "teacher": ["german", "french"],
        "corpus": "seq_kd",
    }
    several["systems"]["french"]["model"] = "wide_student"
    corpus = tmp_path / "toy/de-en+fr/corpus"
    for direction, lines in (("de-en", 10), ("de-fr", 20)):
        (corpus / direction).mkdir(parents=True)
        for language in direction.split("-"):
            text = "123\n" * lines
            (corpus / direction / f"train.{language}").write_text(text)
    pair = Pair(several, "toy/de-en+fr", tmp_path)
    found = [
        job.operations for job in pair.jobs(["both"], [1]) if job.what.startswith("seq")
    ]
    models = pair.config.models
    expected = [
        lines * forward_operations(models[name], pair.config.vocab.size, 2, 2, 5)
        for name, lines in (("teacher", 10), ("wide_student", 20))
    ]
    assert found == expected


def test_table_counts_what_is_left_by_what_was_measured(
    values: dict[str, Any], tmp_path: Path
) -> None:
    told = plan(values, None, tmp_path, None)
    assert "at 20 TFLOP/s (assumed" in told
    assert "toy/de-en: its text is not there" in told
    before = table(told)
    assert before["toy/de-en student"][:2] == ["1", "0"]
    assert before["all"][:2] == ["3", "0"]

    run = tmp_path / "toy/de-en/student/seed1"
    run.mkdir(parents=True)
    pair = Pair(values, "toy/de-en", tmp_path)
    operations = pair.training("student", 1).operations
    did = {"steps": 30000, "seconds": operations / 4e12, "machine": {"workers": 2}}
    (run / "training.json").write_text(json.dumps(did))
    told = plan(values, None, tmp_path, None)
    assert "at 1 TFLOP/s (measured" in told  # half of the updates by two devices
    after = table(told)
    assert after["toy/de-en student"][:3] == ["1", "1", "0.0"]
    hours = pair.training("a2d", 1).operations / 1e12 / 3600
    assert float(after["toy/de-en a2d"][2]) == pytest.approx(hours, abs=0.05)
    assert table(plan(values, None, tmp_path, 2.0))["toy/de-en a2d"][2] == (
        f"{hours / 2:.1f}"
    )


def test_ctrl_c_ends_a_command_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("a2d.plan.plan", interrupted)
    assert main(["plan", "--config", str(ROOT / "config.yaml")]) == 130


def test_unknown_study_is_told(values: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no study smal; did you mean small"):
        plan(values, "smal", tmp_path, None)


def table(told: str) -> dict[str, list[str]]:
    """Cells of the rows, by name."""
    rows = [line.rsplit(maxsplit=4) for line in told.splitlines()]
    return {name.strip(): cells for name, *cells in rows if len(cells) == 4}
