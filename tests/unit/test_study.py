"""From `config.yaml` to the settings of one job, and every mistake on the way."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from a2d.checks import validate
from a2d.config import CleanJob, DistillJob, EvaluateJob, FetchJob, Prune, VocabJob
from a2d.section import ConfigError
from a2d.sources import LocalFiles
from a2d.study import (
    curve_name,
    directions,
    expand,
    job_settings,
    resolve_pair,
    resolve_run,
)

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text())
TEXT = {"train": "train.{lang}", "valid": {"hold_out": 0.1}, "test": "test.{lang}"}


@pytest.fixture
def values() -> dict[str, Any]:
    """The paper's systems on two small pairs of local files."""
    values = copy.deepcopy(PROJECT)
    values["systems"] = {
        name: row
        for name, row in values["systems"].items()
        if name in PROJECT["studies"]["paper"]["systems"]
        and name != "pruned"  # it repeats the mistakes of its start
    }
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


def test_overridden_choice_is_checked(values: dict[str, Any]) -> None:
    pair = values["datasets"]["toy"]["pairs"]["de-fr"]
    pair["override"] = {"corpora": {"seq_inter": {"beam_size": 1}}}
    (line,) = mistakes(values)
    assert line == (
        "datasets.toy.pairs.de-fr.override: corpora.seq_inter: choose closest needs "
        "several translations of a sentence, and beam_size 1 finds one"
    )


def test_combination_of_kim_and_rush(values: dict[str, Any]) -> None:
    """Both steps with one mixture of losses, the second with Seq-Inter's settings."""
    config = resolve_pair(values, "toy", "de-en")
    first, second, alone = (
        resolve_run(config, "toy", "de-en", system, 1)
        for system in ("seq_kd_word_kd", "seq_inter_word_kd", "seq_inter")
    )
    assert first.losses == second.losses
    assert first.losses.word_kd is not None
    assert first.losses.word_kd.kd_weight == 0.5
    assert (first.corpus, second.corpus) == (["seq_kd"], ["seq_inter"])
    assert second.init.continue_ == "seq_kd_word_kd"
    assert second.train == alone.train


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
    assert settings("vocab") == VocabJob(**config.vocab.model_dump(), tags=[])
    made = settings("distill_seq_inter")
    assert isinstance(made, DistillJob)
    assert (made.beam_size, made.choose, made.shards) == (35, "closest", 8)
    assert made.decode == config.decode
    assert settings("evaluate") == EvaluateJob(
        evaluate=config.evaluate, decode=config.decode
    )


# Lists of sparsities ----------------------------------------------------------------


@pytest.fixture
def curve(values: dict[str, Any]) -> dict[str, Any]:
    """The values with three sparsities of a pruned student in the study."""
    values["systems"]["pruned"] = {
        "model": "student",
        "init": {"continue": "student"},
        "prune": {"sparsity": [0.5, 0.8, 0.925], "scope": "per_matrix"},
        "train": {"max_steps": 70},
    }
    values["studies"]["small"]["systems"] = ["teacher", "pruned", "student"]
    return values


def test_list_of_sparsities_is_a_system_each(curve: dict[str, Any]) -> None:
    before = copy.deepcopy(curve)
    names = ["pruned_50", "pruned_80", "pruned_92_5"]
    config = validate(curve)
    assert config.studies["small"].systems == ["teacher", *names, "student"]
    assert list(config.systems)[-3:] == names
    assert "pruned" not in config.systems
    assert curve == before
    resolved = resolve_pair(curve, "toy", "de-en")
    assert list(resolved.systems) == list(config.systems)
    runs = [resolve_run(resolved, "toy", "de-en", name, 2) for name in names]
    assert [run.prune and run.prune.sparsity for run in runs] == [0.5, 0.8, 0.925]
    assert {run.prune and run.prune.scope for run in runs} == {"per_matrix"}
    assert {run.train.max_steps for run in runs} == {70}
    assert len({run.fingerprint() for run in runs}) == 3


def test_bare_list_is_one_of_sparsities(curve: dict[str, Any]) -> None:
    curve["systems"]["pruned"]["prune"] = [0.5, 0.55]
    config = validate(curve)
    found = [config.systems[name].prune for name in ("pruned_50", "pruned_55")]
    assert found == [Prune(sparsity=0.5), Prune(sparsity=0.55)]


def test_expanded_values_stay_as_they_are(curve: dict[str, Any]) -> None:
    once = expand(curve)
    assert expand(once) == once
    assert validate(once) == validate(curve)


def test_curve_names_are_those_of_their_rows() -> None:
    for name, sparsity in (("pruned_80", 0.8), ("pruned_92_5", 0.925), ("pruned", 0.7)):
        assert curve_name(name, sparsity) == "pruned"


def test_override_of_a_list_is_of_each_and_yields_to_that_of_one(
    curve: dict[str, Any],
) -> None:
    dataset = curve["datasets"]["toy"]
    dataset["override"] = {
        "systems": {
            "pruned_80": {"train": {"max_steps": 9}},
            "pruned": {
                "train": {"max_steps": 5, "patience": 3},
                "prune": {"scope": "class_blind"},
            },
        }
    }
    override = {"systems": {"pruned": {"train": {"patience": 4}}}}
    dataset["pairs"]["de-fr"]["override"] = override
    validate(curve)
    found = {
        pair: [
            (system.train["max_steps"], system.train["patience"])
            for name, system in resolve_pair(curve, "toy", pair).systems.items()
            if name.startswith("pruned")
        ]
        for pair in ("de-en", "de-fr")
    }
    assert found["de-en"] == [(5, 3), (9, 3), (5, 3)]
    assert found["de-fr"] == [(5, 4), (9, 4), (5, 4)]
    for name, sparsity in (("pruned_50", 0.5), ("pruned_80", 0.8)):
        system = resolve_pair(curve, "toy", "de-en").systems[name]
        assert system.prune == Prune(sparsity=sparsity, scope="class_blind")


def test_override_of_a_list_itself_is_told(curve: dict[str, Any]) -> None:
    override = {"systems": {"pruned": {"prune": [0.5, 0.8]}}}
    curve["datasets"]["toy"]["pairs"]["de-fr"]["override"] = override
    (line,) = mistakes(curve)
    assert line == (
        "datasets.toy.pairs.de-fr.override: pruned_92_5 would not have its sparsity; a "
        "list of them cannot be changed here, because systems are named after them"
    )


def test_list_of_something_else_is_told(curve: dict[str, Any]) -> None:
    curve["systems"]["pruned"]["prune"] = ["half"]
    (line,) = mistakes(curve)
    assert line == (
        "systems.pruned.prune.sparsity: input should be a valid number, not ['half']"
    )


# First weights ----------------------------------------------------------------------


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
    for name in ("privileged", "privileged_kd"):
        values["systems"][name]["init"] |= init
    if told is None:
        validate(values)
        return
    assert mistakes(values) == [
        f"systems.{name}.init.{told} (on toy/de-en and 1 more)"
        for name in ("privileged", "privileged_kd")
    ]


def test_source_of_a_copy_is_an_ancestor(values: dict[str, Any]) -> None:
    values["systems"]["teacher"]["teacher"] = "privileged"
    told = {line.partition(":")[0] for line in mistakes(values)}
    assert told == {"systems.teacher", "systems.privileged"}


# Several directions -----------------------------------------------------------------


@pytest.fixture
def several(values: dict[str, Any]) -> dict[str, Any]:
    """The same with a multilingual row, which a study trains."""
    dataset = values["datasets"]["toy"]
    dataset["multilingual"] = {"de-en+fr": {}}
    values["systems"]["german"] = {"model": "teacher", "directions": "de-en"}
    values["systems"]["french"] = {"model": "teacher", "directions": "de-fr"}
    values["systems"]["both"] = {
        "model": "student",
        "teacher": ["german", "french"],
        "losses": {"word_kd": 0.5},
    }
    values["studies"]["several"] = {
        "pairs": ["toy/de-en+fr"],
        "systems": ["teacher", "german", "french", "both"],
        "seeds": [1],
    }
    return values


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("de-en", ["de-en"]),
        ("de-en+fr", ["de-en", "de-fr"]),
        ("de+fr-en+fr", ["de-en", "de-fr", "fr-en"]),  # fr-fr is nothing
        ("en+de-fr+de", ["de-fr"]),
    ],
)
def test_name_tells_the_directions(
    several: dict[str, Any], name: str, expected: list[str]
) -> None:
    dataset = several["datasets"]["toy"]
    dataset["pairs"]["fr-en"] = TEXT
    dataset["multilingual"] = {} if name == "de-en" else {name: {}}
    config = resolve_pair(several, "toy", name)
    assert directions(config, "toy", name) == expected


def test_multilingual_jobs_know_tags_and_directions(several: dict[str, Any]) -> None:
    validate(several)
    pair = "de-en+fr"
    config = resolve_pair(several, "toy", pair)
    found = {
        job: job_settings(config, "toy", pair, job)
        for job in ("clean_de-en", "clean_de-fr", "vocab")
    }
    assert found["clean_de-fr"] == CleanJob(
        filters=config.clean, hold_out={"valid": 0.1}, tag="<2fr>"
    )
    assert found["clean_de-en"].model_dump()["tag"] == "<2en>"
    assert found["vocab"].model_dump()["tags"] == ["<2en>", "<2fr>"]
    learned = {
        name: resolve_run(config, "toy", pair, name, 1).directions
        for name in ("teacher", "german", "both")
    }
    assert learned == {
        "teacher": ["de-en", "de-fr"],
        "german": ["de-en"],
        "both": ["de-en", "de-fr"],
    }


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
