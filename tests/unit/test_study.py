"""From `config.yaml` to the settings of one job, and every mistake on the way."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from a2d.config import (
    CleanJob,
    ConfigError,
    DistillJob,
    EvaluateJob,
    FetchJob,
    LocalFiles,
    Vocab,
)
from a2d.study import job_settings, resolve_pair, resolve_run, validate

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text())
TEXT = {"train": "train.{lang}", "valid": {"hold_out": 0.1}, "test": "test.{lang}"}


@pytest.fixture
def values() -> dict[str, Any]:
    """The project's systems on two small pairs of local files."""
    values = copy.deepcopy(PROJECT)
    del values["systems"]["pruned"]  # it repeats the mistakes of its start
    more = {"more_tests": {"far_news": "news.{lang}"}}
    values["datasets"] = {"toy": {"pairs": {"de-en": dict(TEXT), "de-fr": TEXT | more}}}
    values["study"] = "small"
    values["studies"] = {
        "small": {"pairs": ["toy/de-en"], "systems": ["student", "a2d"], "seeds": [1]}
    }
    return values


def mistakes(values: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as told:
        validate(values)
    return str(told.value).splitlines()


def test_project_s_own_configuration_is_right() -> None:
    config = validate(PROJECT)
    assert {"demo", "paper"} <= set(config.studies)
    for study in config.studies.values():
        for pair in study.pairs:
            dataset, name = pair.split("/")
            resolved = resolve_pair(PROJECT, dataset, name)
            for system in study.systems:
                resolve_run(resolved, dataset, name, system, 1)


def test_published_settings_of_align_to_distill() -> None:
    """IWSLT14 as released with the paper."""
    config = resolve_pair(PROJECT, "iwslt14", "de-en")
    teacher, student = config.models["teacher"], config.models["student"]
    assert (teacher.num_encoder_layers, teacher.num_decoder_layers) == (6, 6)
    assert (student.num_encoder_layers, student.num_decoder_layers) == (3, 3)
    for model in (teacher, student):
        assert (model.d_model, model.d_ff, model.num_heads) == (512, 1024, 4)
        assert (model.dropout, model.tie_embeddings) == (0.3, "decoder")
    train = config.train
    assert (train.betas, train.learning_rate) == ((0.9, 0.98), 5e-4)
    assert (train.schedule, train.warmup_steps) == ("inverse_sqrt", 4000)
    assert (train.weight_decay, train.label_smoothing) == (1e-4, 0.1)
    assert (train.max_tokens, train.patience) == (4096, 10)
    assert (train.select, train.average, config.decode.beam_size) == ("bleu", 1, 5)
    losses = config.systems["a2d"].losses
    assert losses.word_kd is not None
    assert losses.a2d is not None
    assert (losses.word_kd.kd_weight, losses.word_kd.temperature) == (0.5, 1)
    assert (losses.a2d.attn_weight, losses.a2d.attn_decay) == (1, 0.9)


# Overrides --------------------------------------------------------------------------


def test_overrides_of_dataset_then_pair(values: dict[str, Any]) -> None:
    dataset = values["datasets"]["toy"]
    dataset["override"] = {
        "train": {"max_steps": 10, "patience": 3},
        "models": {"student": {"d_ff": 64}},
    }
    dataset["pairs"]["de-fr"]["override"] = {"train": {"max_steps": 20}}
    before = copy.deepcopy(values)
    plain, changed = (resolve_pair(values, "toy", p) for p in ("de-en", "de-fr"))
    assert (plain.train.max_steps, plain.train.patience) == (10, 3)
    assert (changed.train.max_steps, changed.train.patience) == (20, 3)
    assert plain.train.learning_rate == PROJECT["train"]["learning_rate"]
    assert (plain.models["student"].d_ff, plain.models["student"].d_model) == (64, 512)
    assert plain.models["teacher"].d_ff == 1024
    assert values == before


def test_override_of_something_else_is_told(values: dict[str, Any]) -> None:
    values["datasets"]["toy"]["pairs"]["de-fr"]["override"] = {"study": "x"}
    (line,) = mistakes(values)
    assert line.startswith("datasets.toy.pairs.de-fr.override: study: ")
    assert "an override may hold only clean, vocab, models" in line


def test_override_is_checked_as_strictly(values: dict[str, Any]) -> None:
    values["datasets"]["toy"]["override"] = {"train": {"max_step": 3}}
    lines = mistakes(values)
    assert any(
        "train.max_step: there is no such key; did you mean max_steps?" in line
        for line in lines
    )


# Runs and jobs ----------------------------------------------------------------------


def test_run_is_the_resolved_row(values: dict[str, Any]) -> None:
    values["systems"]["a2d"]["teacher"] = "teacher-seed2"
    config = resolve_pair(values, "toy", "de-en")
    run = resolve_run(config, "toy", "de-en", "a2d", 3)
    assert (run.dataset, run.pair, run.system, run.seed) == ("toy", "de-en", "a2d", 3)
    assert run.teacher == ["teacher-seed2"]
    assert run.model == config.models["student"]
    assert run.train == config.train
    assert run.corpus == ["gold"]
    tuned = resolve_run(config, "toy", "de-en", "seq_inter", 1)
    assert (tuned.train.learning_rate, tuned.train.warmup_steps) == (1e-4, 0)
    assert tuned.train.max_tokens == config.train.max_tokens
    assert tuned.init.continue_ == "seq_kd"


def test_run_depends_on_its_own_row_only(values: dict[str, Any]) -> None:
    def fingerprint(system: str) -> str:
        config = resolve_pair(values, "toy", "de-en")
        return resolve_run(config, "toy", "de-en", system, 1).fingerprint()

    before = {name: fingerprint(name) for name in values["systems"]}
    assert len(set(before.values())) == len(before)
    values["systems"]["a2d"]["losses"]["word_kd"] = 0.25
    values["decode"]["beam_size"] = 9
    values["datasets"]["toy"]["pairs"]["de-fr"]["override"] = {"train": {"patience": 1}}
    after = {name: fingerprint(name) for name in values["systems"]}
    assert {name for name in before if before[name] != after[name]} == {"a2d"}


def test_settings_of_each_job(values: dict[str, Any]) -> None:
    config = resolve_pair(values, "toy", "de-fr")

    def settings(job: str) -> Any:
        return job_settings(config, "toy", "de-fr", job)

    fetched = settings("fetch_far_news")
    assert fetched == FetchJob(
        src="de", tgt="fr", sources=[LocalFiles(files="news.{lang}")]
    )
    assert settings("fetch_train").sources == [LocalFiles(files="train.{lang}")]
    assert settings("clean") == CleanJob(filters=config.clean, hold_out={"valid": 0.1})
    assert settings("vocab") == config.vocab
    assert isinstance(settings("vocab"), Vocab)
    made = settings("distill_seq_inter")
    assert isinstance(made, DistillJob)
    assert (made.beam_size, made.choose) == (35, "closest")
    assert made.decode == config.decode
    assert settings("evaluate") == EvaluateJob(
        evaluate=config.evaluate, decode=config.decode
    )


# Mistakes ---------------------------------------------------------------------------


def set_in(values: dict[str, Any], path: str, value: Any) -> None:
    *parents, key = path.split("/")
    for parent in parents:
        values = values.setdefault(parent, {})
    values[key] = value


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        # names that nobody defines
        ("study", "smal", "study: there is no study smal; did you mean small?"),
        (
            "studies/small/pairs",
            ["toy/de-eb"],
            "studies.small.pairs: there is no pair toy/de-eb; did you mean toy/de-en?",
        ),
        (
            "studies/small/systems",
            ["studnet"],
            "studies.small.systems: there is no system studnet; did you mean student?",
        ),
        (
            "systems/a2d/model",
            "studnt",
            "systems.a2d.model: there is no studnt; did you mean student?",
        ),
        (
            "systems/a2d/teacher",
            "teachr-seed2",
            "systems.a2d.teacher: there is no teachr; did you mean teacher?",
        ),
        (
            "systems/seq_kd/corpus",
            ["gold", "seq_dk"],
            "systems.seq_kd.corpus: there is no seq_dk; did you mean seq_kd?",
        ),
        (
            "systems/seq_inter/init",
            {"continue": "seq_dk"},
            "systems.seq_inter.init.continue: there is no seq_dk; did you mean seq_kd?",
        ),
        (
            "evaluate/baseline",
            "base",
            "evaluate.baseline: there is no system base; known: teacher, student, ",
        ),
        (
            "evaluate/speed_reference",
            "teachers",
            "evaluate.speed_reference: there is no system teachers; did you mean "
            "teacher?",
        ),
        # rows that cannot be trained
        (
            "systems/student/losses",
            {"word_kd": 0.5},
            "systems.student.losses: it needs a teacher, and the row names none",
        ),
        (
            "systems/student/losses",
            {"a2d": 1},
            "systems.student.losses: it needs a teacher, and the row names none",
        ),
        (
            "systems/student/corpus",
            "seq_kd",
            "systems.student.corpus: it needs a teacher, and the row names none",
        ),
        (
            "systems/a2d/teacher",
            ["teacher", "teacher-seed2"],
            "systems.a2d.losses.a2d: attention maps are aligned with one teacher, the "
            "row names 2",
        ),
        (
            "systems/teacher/teacher",
            "student",
            None,
        ),
        (
            "systems/seq_inter/model",
            "teacher",
            "systems.seq_inter.init.continue: seq_kd has another architecture",
        ),
        (
            "systems/seq_kd/train",
            {"patiense": 1},
            "systems.seq_kd.train.patiense: there is no such key; did you mean "
            "patience?",
        ),
        (
            "systems/seq_kd/train",
            {"max_steps": 0},
            "systems.seq_kd.train.max_steps: input should be greater than 0",
        ),
        ("systems/a2d/losses", {"a3d": 1}, "systems.a2d.losses.a3d: there is no such"),
        ("systems/2nd", {"model": "student"}, "systems.2nd"),
    ],
)
def test_mistakes_are_told_with_their_place(
    values: dict[str, Any], path: str, value: Any, expected: str | None
) -> None:
    set_in(values, path, value)
    if expected is None:  # a teacher may have a teacher of its own
        validate(values)
        return
    lines = mistakes(values)
    # what depends on the pair may be told once for each
    assert len({line.partition(" (on toy/")[0] for line in lines}) == 1
    assert lines[0].startswith(expected)


def test_own_ancestor_is_told(values: dict[str, Any]) -> None:
    values["systems"]["teacher"]["teacher"] = "student"
    values["systems"]["student"] |= {"init": {"continue": "word_kd"}}
    lines = mistakes(values)
    told = {line.partition(":")[0] for line in lines}
    assert told == {"systems.teacher", "systems.student", "systems.word_kd"}
    assert all("it is its own teacher or start" in line for line in lines)


def test_one_table_of_two_vocabularies_is_told(values: dict[str, Any]) -> None:
    values["models"]["student"]["tie_embeddings"] = "all"
    values["datasets"]["toy"]["pairs"]["de-fr"]["override"] = {
        "vocab": {"joint": False}
    }
    (line,) = mistakes(values)
    assert line == (
        "models.student.tie_embeddings: all needs a joint vocabulary (on toy/de-fr)"
    )


def test_all_mistakes_are_told_together(values: dict[str, Any]) -> None:
    values["study"] = "large"
    values["systems"]["seq_kd"]["model"] = "studnt"  # seq_inter goes on from it
    values["systems"]["a2d"]["teacher"] = []
    values["datasets"]["toy"]["pairs"]["de-fr"]["override"] = {"train": {"rate": 1}}
    lines = mistakes(values)
    starts = (
        "study: there is no study large",
        "systems.seq_kd.model: there is no studnt; did you mean student?",
        "systems.a2d.losses: it needs a teacher",
        "datasets.toy.pairs.de-fr.override: train.rate: there is no such key",
    )
    assert [any(line.startswith(s) for line in lines) for s in starts] == [True] * 4
    assert len(lines) == len(set(lines)) == 4


def test_shape_is_checked_before_names(values: dict[str, Any]) -> None:
    values["sistems"] = values.pop("systems")
    lines = mistakes(values)
    assert "sistems: there is no such key; did you mean systems?" in lines
    assert "systems: this key is missing" in lines
