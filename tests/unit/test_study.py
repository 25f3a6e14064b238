"""From `config.yaml` to the settings of one job."""

import copy
from typing import Any

import pytest

from a2d.checks import validate
from a2d.config import Prune
from a2d.jobs import CleanJob, DistillJob, EvaluateJob, FetchJob, VocabJob
from a2d.sources import LocalFiles
from a2d.study import (
    curve_name,
    directions,
    expand,
    job_settings,
    resolve_pair,
    resolve_run,
)


def test_published_settings_of_align_to_distill(project: dict[str, Any]) -> None:
    """IWSLT14 as released with the paper."""
    config = resolve_pair(project, "iwslt14", "de-en")
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
    assert plain.train.learning_rate == 5e-4
    assert (plain.models["student"].d_ff, plain.models["student"].d_model) == (64, 512)
    assert plain.models["teacher"].d_ff == 1024
    assert values == before


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


# Several directions -----------------------------------------------------------------


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
    dataset["pairs"]["fr-en"] = dataset["pairs"]["de-en"]
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
