"""Every mistake between the rows of `config.yaml` is told with its place."""

from typing import Any

import pytest

from a2d.checks import misfits, validate
from a2d.section import ConfigError
from a2d.study import resolve_pair, resolve_run


def mistakes(values: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as told:
        validate(values)
    return str(told.value).splitlines()


def test_project_s_own_configuration_is_right(project: dict[str, Any]) -> None:
    config = validate(project)
    assert {"demo", "paper"} <= set(config.studies)
    for study in config.studies.values():
        for pair in study.pairs:
            dataset, name = pair.split("/")
            resolved = resolve_pair(project, dataset, name)
            for system in study.systems:
                resolve_run(resolved, dataset, name, system, 1)


def test_override_of_something_else_is_told(values: dict[str, Any]) -> None:
    values["datasets"]["toy"]["pairs"]["de-fr"]["override"] = {"study": "x"}
    (line,) = mistakes(values)
    assert line.startswith("datasets.toy.pairs.de-fr.override: study: ")
    assert "an override may hold only clean, vocab, models" in line


def test_overridden_choice_is_checked(values: dict[str, Any]) -> None:
    pair = values["datasets"]["toy"]["pairs"]["de-fr"]
    pair["override"] = {"corpora": {"seq_inter": {"beam_size": 1}}}
    (line,) = mistakes(values)
    assert line == (
        "datasets.toy.pairs.de-fr.override: corpora.seq_inter: choose closest needs "
        "several translations of a sentence, and beam_size 1 finds one"
    )


def test_override_is_checked_as_strictly(values: dict[str, Any]) -> None:
    values["datasets"]["toy"]["override"] = {"train": {"max_step": 3}}
    lines = mistakes(values)
    assert any(
        "train.max_step: there is no such key; did you mean max_steps?" in line
        for line in lines
    )


def test_override_of_a_list_itself_is_told(curve: dict[str, Any]) -> None:
    override = {"systems": {"pruned": {"prune": [0.5, 0.8]}}}
    curve["datasets"]["toy"]["pairs"]["de-fr"]["override"] = override
    (line,) = mistakes(curve)
    assert line == (
        "datasets.toy.pairs.de-fr.override: pruned_92_5 would not have its sparsity; a "
        "list of them cannot be changed here, because systems are named after them"
    )


@pytest.mark.parametrize("first", [True, False])
def test_row_named_like_one_of_a_list_is_told(
    curve: dict[str, Any], first: bool
) -> None:
    rows, twin = curve["systems"], {"pruned_80": {"model": "wide_student"}}
    curve["systems"] = twin | rows if first else rows | twin
    assert mistakes(curve) == [
        "systems.pruned_80: systems.pruned makes a system of this name too; rename one"
    ]


def test_list_of_something_else_is_told(curve: dict[str, Any]) -> None:
    curve["systems"]["pruned"]["prune"] = ["half"]
    (line,) = mistakes(curve)
    assert line == (
        "systems.pruned.prune.sparsity: input should be a valid number, not ['half']"
    )


@pytest.mark.parametrize(
    ("model", "init", "told"),
    [
        ({}, {}, None),
        ({"d_model": 256}, {"reduce": "truncate"}, None),
        ({"d_model": 256, "num_heads": 2, "d_ff": 9}, {"reduce": "truncate"}, None),
        ({"tie_embeddings": "none", "dropout": 0}, {}, None),
        (
            {"d_model": 256, "d_ff": 512},
            {},
            "copy: teacher has d_model 512, d_ff 1024 and the model wide_student "
            "d_model 256, d_ff 512; choose a model as wide, or `reduce: truncate`",
        ),
        (
            {"num_heads": 8},
            {},
            "copy: teacher has num_heads 4 and the model wide_student num_heads 8; "
            "choose a model as wide, or `reduce: truncate`",
        ),
        (
            {"d_ff": 2048},
            {"reduce": "truncate"},
            "reduce: teacher has d_ff 1024 and the model wide_student d_ff 2048; a "
            "copy can only be smaller",
        ),
        (
            {"num_heads": 2},
            {"reduce": "truncate"},
            "reduce: teacher has d_model 512, num_heads 4 and the model wide_student "
            "d_model 512, num_heads 2; a head can only be smaller",
        ),
        (
            {"norm": "pre"},
            {"reduce": "truncate"},
            "copy: teacher has norm post and the model wide_student norm pre; they "
            "must be equal",
        ),
        (
            {"tie_embeddings": "all"},
            {"reduce": "truncate"},
            "copy: teacher has tie_embeddings decoder and the model wide_student "
            "tie_embeddings all; different tables cannot become one",
        ),
        (
            {"num_decoder_layers": 7},
            {},
            "copy: teacher has num_decoder_layers 6 and the model wide_student "
            "num_decoder_layers 7; layers can only be left out",
        ),
    ],
)
def test_copies_of_other_shapes_are_refused(
    values: dict[str, Any],
    model: dict[str, Any],
    init: dict[str, Any],
    told: str | None,
) -> None:
    values["models"]["wide_student"] |= model
    names = ["privileged", "privileged_kd"]
    for name in names:
        values["systems"][name]["init"] |= init
    # a row that no study trains may have shapes that do not fit
    validate(values)
    pairs = ["toy/de-en", "toy/de-fr"]
    values["studies"]["copies"] = {"pairs": pairs, "systems": names, "seeds": [1]}
    if told is None:
        validate(values)
        return
    assert mistakes(values) == [
        f"systems.{name}.init.{told} (on toy/de-en and 1 more)" for name in names
    ]


def test_system_is_judged_where_it_is_trained(values: dict[str, Any]) -> None:
    """The same row may fit one pair and not another."""
    small = {"d_model": 256, "d_ff": 512}
    override = {"models": {"wide_student": small}}
    values["datasets"]["toy"]["pairs"]["de-fr"]["override"] = override
    study = {"pairs": ["toy/de-en"], "systems": ["privileged"], "seeds": [1]}
    values["studies"]["copies"] = study
    validate(values)
    found = {
        pair: misfits(resolve_pair(values, "toy", pair), "toy", pair, "privileged")
        for pair in ("de-en", "de-fr")
    }
    assert found["de-en"] == []
    (line,) = found["de-fr"]
    assert line.startswith("systems.privileged.init.copy: teacher has d_model 512")
    study["pairs"].append("toy/de-fr")
    assert mistakes(values) == [line]


def test_source_of_a_copy_is_an_ancestor(values: dict[str, Any]) -> None:
    values["systems"]["teacher"]["teacher"] = "privileged"
    told = {line.partition(":")[0] for line in mistakes(values)}
    assert told == {"systems.teacher", "systems.privileged"}


def set_in(values: dict[str, Any], path: str, value: Any) -> None:
    *parents, key = path.split("/")
    for parent in parents:
        values = values.setdefault(parent, {})
    values[key] = value


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (
            "datasets/toy/multilingual",
            {"de+it-en+fr": {}},
            "datasets.toy.multilingual.de+it-en+fr: the dataset has no pair from it "
            "among its languages",
        ),
        (
            "datasets/toy/multilingual/de-en+fr/override",
            {"vocab": {"joint": False}},
            "datasets.toy.multilingual.de-en+fr: its languages need a joint vocabulary",
        ),
        (
            "datasets/toy/multilingual/de-en+fr/override",
            {"vocab": {"jiont": False}},
            "datasets.toy.multilingual.de-en+fr.override: vocab.jiont: there is no",
        ),
        ("datasets/toy/multilingual", {"de-en": {}}, "datasets.toy.multilingual.de-en"),
        (
            "systems/german/directions",
            ["de-it"],
            "systems.german.directions: toy/de-en+fr has no direction de-it; ",
        ),
        (
            "systems/both/teacher",
            ["german"],
            "systems.both.teacher: none of its teachers learns de-fr (on toy/de-en+fr)",
        ),
        (
            "systems/both/losses",
            {"a2d": 1},
            "systems.both.losses.a2d: attention maps are aligned with one teacher",
        ),
        ("train/sampling_temperature", 0.5, "train.sampling_temperature: "),
        (
            "datasets/toy/multilingual",
            {"de+de-en": {}},
            "datasets.toy.multilingual.de+de-en: a language stands there twice",
        ),
        (  # who is not in the study, but trained for it
            "systems/fine",
            {"model": "student", "init": {"continue": "lost"}},
            "systems.lost.teacher: none of its teachers learns de-fr (on toy/de-en+fr)",
        ),
    ],
)
def test_mistakes_of_several_directions_are_told(
    several: dict[str, Any], path: str, value: Any, expected: str
) -> None:
    several["systems"]["lost"] = several["systems"]["both"] | {"teacher": "german"}
    set_in(several, path, value)
    several["studies"]["several"]["systems"].append("fine")
    several["systems"].setdefault("fine", {"model": "student"})
    if path == "datasets/toy/multilingual":
        several["studies"].pop("several")
    assert any(line.startswith(expected) for line in mistakes(several))


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
            "systems/privileged/init",
            {"copy": "teachr-seed2"},
            "systems.privileged.init.copy: there is no teachr; did you mean teacher?",
        ),
        (
            "systems/student/prune",
            0.5,
            "systems.student: prune needs trained weights; name them by init.continue",
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
            "systems/word_kd",
            {
                "model": "student",
                "teacher": ["teacher", "teacher-seed2"],
                "losses": {"word_kd": {"kd_weight": 0.5, "divergence": "mse"}},
            },
            "systems.word_kd.losses.word_kd: mse compares logits with those of one "
            "teacher, the row names 2",
        ),
        (
            "systems/word_kd/losses",
            {"word_kd": {"kd_weight": 0.5, "divergence": "mse", "temperature": 2}},
            "systems.word_kd.losses.word_kd: mse compares logits, which a temperature",
        ),
        (
            "systems/a2d/losses",
            {"a2d": {"mix_teacher": True}},
            "systems.a2d.losses.a2d: mix_teacher needs mode released",
        ),
        (
            "systems/seq_kd/teacher",
            ["teacher", "teacher-seed1"],
            "systems.seq_kd.teacher: an ensemble needs different teachers, and the row "
            "names one twice",
        ),
        (
            "corpora/seq_inter/beam_size",
            1,
            "corpora.seq_inter: choose closest needs several translations of a "
            "sentence, and beam_size 1 finds one",
        ),
        (
            "corpora/n_best/beam_size",
            1,
            "corpora.n_best: choose nbest needs several translations of a sentence, "
            "and beam_size 1 finds one",
        ),
        (
            "corpora/n_best/shards",
            0,
            "corpora.n_best.shards: input should be greater than 0",
        ),
        (
            "corpora/gold",
            {"beam_size": 5, "choose": "best", "shards": 1},
            "corpora.gold: gold is the clean text; choose another name",
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
        (
            "systems/seq_inter/init",
            {"continue": "seq_kd-seed2"},
            "systems.seq_inter.init.continue: string should match pattern",
        ),
        (
            "systems/a2d/losses",
            {"a2d": True},
            "systems.a2d.losses.a2d: input should be",
        ),
        (
            "systems/student/directions",
            ["de-en", "de-en"],
            "systems.student.directions: de-en stands there twice",
        ),
        ("studies/small/seeds", [], "studies.small.seeds: the list is empty"),
        ("studies/small/seeds", [1, 1], "studies.small.seeds: 1 stands there twice"),
        ("train/learning_rate", float("inf"), "train.learning_rate: "),
        (
            "systems/pruned",
            {"model": "student", "init": {"continue": "student"}, "prune": []},
            "systems.pruned.prune.sparsity: input should be a valid number",
        ),
        ("systems/2nd", {"model": "student"}, "systems.2nd"),
    ],
)
def test_mistakes_are_told_with_their_place(
    values: dict[str, Any], path: str, value: Any, expected: str | None
) -> None:
    set_in(values, path, value)
    values["studies"]["all"] = {
        "pairs": ["toy/de-en", "toy/de-fr"],
        "systems": list(values["systems"]),
        "seeds": [1],
    }
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
    values["studies"]["small"]["pairs"].append("toy/de-fr")
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
