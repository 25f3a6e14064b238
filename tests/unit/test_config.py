"""Sections of the configuration: reading, writing, fingerprints, mistakes."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from a2d.config import (
    A2D,
    Clean,
    Config,
    Init,
    Losses,
    Model,
    Pair,
    Prune,
    Run,
    System,
    WordKD,
    parse_teacher,
)
from a2d.jobs import FetchJob
from a2d.section import ConfigError, dump, load, parse
from a2d.sources import SOURCES, HoldOut, LocalFiles

MODEL = {
    "num_encoder_layers": 2,
    "num_decoder_layers": 1,
    "d_model": 16,
    "d_ff": 32,
    "num_heads": 2,
    "dropout": 0.1,
    "norm": "pre",
    "tie_embeddings": "decoder",
}


def mistakes(section: Any, values: Any) -> list[str]:
    with pytest.raises(ConfigError) as told:
        parse(section, values)
    return str(told.value).splitlines()


def test_unknown_key_names_the_nearest() -> None:
    (line,) = mistakes(Model, MODEL | {"num_head": 2})
    assert line == "num_head: there is no such key; did you mean num_heads?"
    (line,) = mistakes(Init, {"continu": "x"})
    assert line == "continu: there is no such key; did you mean continue?"
    (line,) = mistakes(Model, MODEL | {"zzzzz": 2})
    assert line == "zzzzz: there is no such key"


def test_nearest_key_is_one_of_its_section() -> None:
    told = mistakes(Losses, {"a2d": {"word_kds": 1, "granularty": "head"}})
    assert told == [
        "a2d.word_kds: there is no such key",
        "a2d.granularty: there is no such key; did you mean granularity?",
    ]
    # the name of a row is no key, even if it is called like one
    rows = {"systems": {"model": {"model": "student", "corpora": "gold"}}}
    told = mistakes(Config, rows)
    assert "systems.model.corpora: there is no such key; did you mean corpus?" in told
    told = mistakes(Config, {"corpus": {}})
    assert "corpus: there is no such key; did you mean corpora?" in told


def test_all_mistakes_are_told_together() -> None:
    values = MODEL | {"dropout": 1, "norm": "mid", "d_modle": 8}
    del values["d_ff"]
    lines = mistakes(Model, values)
    assert len(lines) == 4
    assert "d_ff: this key is missing" in lines
    assert "d_modle: there is no such key; did you mean d_model?" in lines
    assert "norm: input should be 'pre' or 'post', not 'mid'" in lines
    assert "dropout: input should be less than 1, not 1" in lines


@pytest.mark.parametrize("changes", [{"num_heads": 3}, {"d_model": 15, "num_heads": 5}])
def test_heads_must_divide_an_even_width(changes: dict[str, int]) -> None:
    (line,) = mistakes(Model, MODEL | changes)
    assert "must be even and a multiple of num_heads" in line


def test_sections_do_not_change() -> None:
    model = parse(Model, MODEL)
    with pytest.raises(ValidationError, match="frozen"):
        model.dropout = 0.2


def test_fingerprint_is_of_values_not_of_order() -> None:
    model = parse(Model, MODEL)
    assert parse(Model, dict(reversed(MODEL.items()))).fingerprint() == (
        model.fingerprint()
    )
    assert len(model.fingerprint()) == 64
    others: dict[str, Any] = {
        "num_encoder_layers": 3,
        "num_decoder_layers": 2,
        "d_model": 18,
        "d_ff": 33,
        "num_heads": 4,
        "dropout": 0.1000001,
        "norm": "post",
        "tie_embeddings": "all",
    }
    assert set(others) == set(Model.model_fields)
    found = {parse(Model, MODEL | {k: v}).fingerprint() for k, v in others.items()}
    assert len(found | {model.fingerprint()}) == len(others) + 1


def test_sections_survive_a_file(tmp_path: Path, make_run: Any) -> None:
    path = tmp_path / "config.yaml"
    run = make_run("a2d", {"word_kd": 0.5, "a2d": {"attn_decay": 0.8}})
    run = run.model_copy(update={"init": Init.model_validate({"continue": "seq_kd"})})
    path.write_text(dump(run))
    assert load(Run, path) == run
    assert load(Run, path).fingerprint() == run.fingerprint()
    assert run.languages == ("de", "en")


SOURCE_ROWS: list[Any] = [
    "data/train.{lang}",
    {"files": "x.tsv", "columns": [2, 1]},
    {"url": "https://example.org/a.{lang}", "sha256": {"de": "0", "en": "1"}},
    {"url": ["https://example.org/a.tgz", "b.tgz"], "member": "a.{lang}"},
    {"mtdata": "Statmt-commoncrawl_wmt13-1-deu-eng"},
    {"sacrebleu": "wmt14/full"},
    {"debian": {"de": ["a"], "en": ["b"]}, "extract": "mozilla"},
    {"hold_out": 0.1},
]


@pytest.mark.parametrize("row", SOURCE_ROWS)
def test_every_kind_of_source_survives_a_file(row: Any, tmp_path: Path) -> None:
    job = parse(FetchJob, {"src": "de", "tgt": "en", "sources": row})
    (tmp_path / "job.yaml").write_text(dump(job))
    assert load(FetchJob, tmp_path / "job.yaml") == job
    (source,) = job.sources
    assert type(source) in SOURCES.values()


def test_source_names_one_kind() -> None:
    for row in ({"url": "a", "mtdata": "b"}, {"colums": [0, 1]}, 7):
        lines = mistakes(FetchJob, {"src": "de", "tgt": "en", "sources": row})
        assert any("a source names exactly one of files, url" in line for line in lines)


def test_pair_lists_its_splits() -> None:
    pair = parse(
        Pair,
        {
            "train": ["a", "b"],
            "valid": {"hold_out": 0.1},
            "test": {"hold_out": 0.2},
            "more_tests": {"news": "c"},
        },
    )
    assert list(pair.splits) == ["train", "valid", "test", "news"]
    assert pair.splits["train"] == [LocalFiles(files="a"), LocalFiles(files="b")]
    assert list(pair.testsets) == ["test", "news"]
    assert pair.hold_out == {"valid": 0.1, "test": 0.2}
    assert pair.valid == [HoldOut(hold_out=0.1)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"hold_out": 0.1}}, "train: hold_out stands alone"),
        ({"valid": [{"hold_out": 0.1}, "a"]}, "valid: hold_out stands alone"),
        ({"more_tests": {"valid": "a"}}, "more_tests may not be called train"),
    ],
)
def test_impossible_splits_are_told(changes: dict[str, Any], message: str) -> None:
    values = {"train": "a", "valid": "b", "test": "c"} | changes
    (line,) = mistakes(Pair, values)
    assert message in line


def test_shorthands() -> None:
    losses = parse(Losses, {"word_kd": 0.4, "a2d": 2})
    assert losses.word_kd == WordKD(kd_weight=0.4, temperature=1.0)
    assert losses.a2d == A2D(
        attn_weight=2,
        attn_decay=0.9,
        enc_self_attn=1,
        dec_self_attn=0.5,
        cross_attn=0.5,
    )
    system = parse(System, {"model": "m", "teacher": "t", "corpus": "seq_kd"})
    assert (system.teacher, system.corpus) == (["t"], ["seq_kd"])
    assert parse(System, {"model": "m"}).corpus == ["gold"]


def test_starts_and_pruning() -> None:
    kept = parse(System, {"model": "m", "init": {"continue": "a"}})
    assert (kept.init.start(3), kept.init.parent) == ("a-seed3", "a")
    copied = parse(System, {"model": "m", "init": {"copy": "a-seed2"}, "prune": 0.8})
    assert (copied.init.start(3), copied.init.parent) == ("a-seed2", "a")
    assert parse(Init, {"copy": "a"}).start(3) == "a-seed1"
    assert copied.prune == Prune(sparsity=0.8, scope="class_blind")
    new = parse(System, {"model": "m"})
    assert (new.init.start(3), new.init.parent, new.prune) == (None, None, None)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (
            {"prune": 0.5},
            "prune needs trained weights; name them by init.continue or init.copy",
        ),
        (
            {"init": {"continue": "a", "copy": "b"}},
            "init: name either continue or copy, not both",
        ),
        (
            {"init": {"continue": "a", "layers": "last"}},
            "init: layers and reduce belong to copy, which is not given",
        ),
        (
            {"init": {"reduce": "truncate"}},
            "init: layers and reduce belong to copy, which is not given",
        ),
        (
            {"init": {"copy": "a"}, "prune": 1},
            "prune.sparsity: input should be less than 1, not 1",
        ),
        (
            {"init": {"copy": "a"}, "prune": {"sparsity": 0.5, "scope": "row"}},
            "prune.scope: input should be 'class_blind' or 'per_matrix', not 'row'",
        ),
        (
            {"init": {"copy": "a"}, "prune": []},
            "prune.sparsity: input should be a valid number, not []",
        ),
    ],
)
def test_bad_starts_and_pruning_are_told(row: dict[str, Any], told: str) -> None:
    assert mistakes(System, {"model": "m"} | row) == [told]


def test_teachers_and_their_seeds() -> None:
    assert parse_teacher("big") == ("big", 1)
    assert parse_teacher("big-seed12") == ("big", 12)
    system = parse(System, {"model": "m", "teacher": ["a", "b-seed3"]})
    assert system.teachers == [("a", 1), ("b", 3)]
    assert system.teacher_key == "a-seed1+b-seed3"


@pytest.mark.parametrize(
    "teacher", ["big-seed", "big-seedx", "big-seed0", "big-seed1-"]
)
def test_malformed_seeds_are_told(teacher: str) -> None:
    lines = mistakes(System, {"model": "m", "teacher": teacher})
    assert any(teacher in line for line in lines)


def test_row_without_text_is_told() -> None:
    assert mistakes(System, {"model": "m", "corpus": []})


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    with pytest.raises(ConfigError, match=r"settings\.yaml: there is no such file"):
        load(Clean, path)
    path.write_text("min_words: [1\n")
    with pytest.raises(ConfigError, match=r"settings\.yaml: "):
        load(Clean, path)
    path.write_text("")
    with pytest.raises(ConfigError, match=r"settings\.yaml: "):
        load(Clean, path)
    path.write_text("min_words: 0\n")
    with pytest.raises(ConfigError, match=r"settings\.yaml: min_words: .*") as told:
        load(Clean, path)
    assert "max_ratio: this key is missing" in str(told.value)


def test_every_explained_default_is_that_of_the_paper() -> None:
    """Align-to-Distill as released: beta 1, gamma 0.9, encoder 1, decoder halves."""
    assert A2D().model_dump() == {
        "attn_weight": 1.0,
        "attn_decay": 0.9,
        "enc_self_attn": 1.0,
        "dec_self_attn": 0.5,
        "cross_attn": 0.5,
        "mode": "rowwise",
        "granularity": "head",
        "temperature": 1.0,
        "mix_teacher": False,
    }
