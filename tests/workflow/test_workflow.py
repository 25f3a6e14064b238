"""The whole DAG, run for real, and what reruns after a change."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
import sacrebleu
import torch
from project import ROOT, Project

from a2d.checkpoint import load_weights
from a2d.data import ParallelData
from a2d.jobs import DistillJob
from a2d.metrics import scores
from a2d.section import load
from a2d.translate import Translation, open_models, translate
from a2d.vocab import Vocab

SYSTEMS = [
    *("teacher", "student", "word_kd", "seq_kd"),
    *("seq_inter", "n_best", "a2d", "seq_kd_a2d", "voted"),
    *("privileged", "pruned_50", "pruned_90"),
]


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_table_has_every_system_with_the_scores_of_its_translations(finished: Project):
    table = pd.read_csv(finished.path("tiny/scores.tsv"), sep="\t")
    assert list(table["system"]) == SYSTEMS
    references = lines(finished.path("toy/de-en/corpus/test.en"))
    for row in table.itertuples():
        folder = finished.path(f"toy/de-en/{row.system}/seed1/translations")
        for column, name in (("", "test.txt"), ("greedy_", "test.greedy.txt")):
            expected = scores(lines(folder / name), references)
            assert getattr(row, f"{column}bleu") == pytest.approx(
                expected["bleu"], abs=1e-3
            )
            assert getattr(row, f"{column}chrf") == pytest.approx(
                expected["chrf"], abs=1e-3
            )
    assert table.set_index("system")["bleu_p"].isna().to_dict() == {
        system: system == "student" for system in SYSTEMS
    }


def test_table_knows_the_size_of_every_model(finished: Project):
    table = pd.read_csv(finished.path("tiny/scores.tsv"), sep="\t", index_col="system")
    for system in SYSTEMS:
        path = finished.path(f"toy/de-en/{system}/seed1/model.safetensors")
        tied = ("tgt_embedding.weight", "projection.weight")
        weights = load_weights(path).items()
        count = sum(tensor.numel() for name, tensor in weights if name not in tied)
        assert table.loc[system, "parameters"] == count
        assert count * 4 < path.stat().st_size < count * 4 + 20_000


def test_table_shows_what_pruning_left(finished: Project):
    table = pd.read_csv(finished.path("tiny/scores.tsv"), sep="\t", index_col="system")
    # d_model 16, d_ff 64: three attentions of four matrices, two feed-forward networks
    num_weights = 3 * 4 * 16 * 16 + 2 * 2 * 16 * 64
    left = table["nonzero_parameters"]
    assert left["pruned_50"] - left["pruned_90"] == round(0.4 * num_weights)
    assert left["student"] - left["pruned_90"] == round(0.9 * num_weights)
    assert (
        table["parameters"]
        .loc[["pruned_50", "pruned_90"]]
        .eq(table.loc["student", "parameters"])
        .all()
    )
    size = table["compressed_megabytes"]
    assert size["pruned_90"] < size["pruned_50"] < size["student"]
    # a pruned weight has hardly any of its four bytes left
    assert size["student"] - size["pruned_90"] > 0.75 * 0.9 * num_weights * 4e-6
    assert (size < table["megabytes"]).all()


def test_copy_starts_from_the_last_layer_of_its_teacher(finished: Project):
    """Twenty steps leave the weights near to those that were copied."""
    folder = finished.path("toy/de-en")
    teacher, student = (
        load_weights(folder / f"{system}/seed1/model.safetensors")
        for system in ("teacher", "privileged")
    )
    ours = student["encoder.0.feed_forward.0.weight"].flatten()
    first, last = (
        teacher[f"encoder.{layer}.feed_forward.0.weight"].flatten() for layer in (0, 1)
    )
    assert torch.cosine_similarity(ours, last, dim=0) > 0.9
    assert torch.cosine_similarity(ours, first, dim=0) < 0.5


def test_distilled_text_is_what_the_teacher_says(finished: Project):
    folder = finished.path("toy/de-en")
    made = folder / "distilled/seq_kd/teacher-seed1"
    assert lines(made / "train.de") == lines(folder / "corpus/train.de")
    assert lines(made / "train.en") == [
        nbest[0].text for nbest in teacher_lists(folder, "seq_kd")
    ]
    assert set(lines(made / "train.weights")) == {"1"}
    record = json.loads((made / "decode.json").read_text())
    assert record["teachers"] == ["results/toy/de-en/teacher/seed1"]
    assert record["settings"]["decode"]["backend"] == "ctranslate2"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "a2d", "translate", "--beam-size", "2"),
            str(folder / "teacher/seed1"),
        ],
        input="\n".join(lines(made / "train.de")[:10]) + "\n",
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    said = zip(lines(made / "train.en")[:10], done.stdout.splitlines(), strict=True)
    # the command allows longer translations
    assert sum(a == b for a, b in said) >= 9


def test_text_of_an_ensemble_is_what_all_its_teachers_say(finished: Project):
    folder = finished.path("toy/de-en")
    made = folder / "distilled/seq_kd/teacher-seed1+teacher-seed2"
    assert lines(made / "train.en") == [
        nbest[0].text for nbest in teacher_lists(folder, "seq_kd", seeds=(1, 2))
    ]
    alone = lines(folder / "distilled/seq_kd/teacher-seed1/train.en")
    assert lines(made / "train.en") != alone
    record = json.loads((made / "decode.json").read_text())
    assert record["teachers"] == [
        f"results/toy/de-en/teacher/seed{seed}" for seed in (1, 2)
    ]
    assert record["settings"]["decode"]["backend"] == "torch"


def test_seq_inter_is_the_brute_force_choice_by_sacrebleu(finished: Project):
    folder = finished.path("toy/de-en")
    references = lines(folder / "corpus/train.en")
    made = folder / "distilled/seq_inter/teacher-seed1"
    assert lines(made / "train.de") == lines(folder / "corpus/train.de")
    others = 0
    for nbest, reference, chosen in zip(
        teacher_lists(folder, "seq_inter"),
        references,
        lines(made / "train.en"),
        strict=True,
    ):
        scores = [
            sacrebleu.sentence_bleu(
                found.text, [reference], smooth_method="exp", use_effective_order=True
            ).score
            for found in nbest
        ]
        assert chosen == nbest[scores.index(max(scores))].text
        others += chosen != nbest[0].text
    assert others > 50


def test_n_best_text_is_the_list_weighted_by_probability(finished: Project):
    folder = finished.path("toy/de-en")
    gold = lines(folder / "corpus/train.de")
    made = folder / "distilled/n_best/teacher-seed1"
    found: dict[str, dict[str, float]] = {}
    rows = [lines(made / f"train.{ending}") for ending in ("de", "en", "weights")]
    for src, tgt, weight in zip(*rows, strict=True):
        found.setdefault(src, {})[tgt] = float(weight)
    assert list(found) == gold
    lists = teacher_lists(folder, "n_best")
    for src, nbest in zip(gold, lists, strict=True):
        expected = dict.fromkeys((translation.text for translation in nbest), 0.0)
        total = math.fsum(math.exp(translation.log_prob) for translation in nbest)
        for translation in nbest:
            expected[translation.text] += math.exp(translation.log_prob) / total
        assert found[src] == pytest.approx(expected, rel=1e-6)
    tokens = ParallelData.open(
        [folder / "corpus/train.tokens", made / "train.tokens"],
        (Vocab(folder / "vocab/de.spm"), Vocab(folder / "vocab/en.spm")),
    )
    assert len(tokens) > 3 * len(gold)
    assert set(tokens.weights[: len(gold)]) == {1}
    assert tokens.weights.sum() == pytest.approx(2 * len(gold), rel=1e-5)


def teacher_lists(
    folder: Path, corpus: str, seeds: Sequence[int] = (1,)
) -> list[list[Translation]]:
    """What teachers find for the training text, in one call for each shard."""
    job = load(DistillJob, folder / f"settings/distill_{corpus}.yaml")
    decode = job.decode.model_copy(update={"beam_size": job.beam_size})
    teachers = [folder / f"teacher/seed{seed}" for seed in seeds]
    backend, vocabs = open_models(teachers, "ctranslate2", 1)
    gold = lines(folder / "corpus/train.de")
    edges = [i * len(gold) // job.shards for i in range(job.shards + 1)]
    return [
        nbest
        for first, end in pairwise(edges)
        for nbest in translate(backend, vocabs, gold[first:end], decode, job.beam_size)
    ]


def test_lost_shard_is_redone_alone(finished: Project):
    made = finished.path("toy/de-en/distilled/seq_kd/teacher-seed1")
    kept, lost = (made / f"shards/{i}-of-2.tsv" for i in (1, 2))
    texts = [made / f"train.{ending}" for ending in ("de", "en", "weights")]
    before = {path: path.read_bytes() for path in (kept, lost, *texts)}
    time_kept, time_lost = (path.stat().st_mtime_ns for path in (kept, lost))
    lost.unlink()
    (made / "train.en").unlink()
    target = str((made / "train.en").relative_to(finished.folder))
    assert {rule for rule, _ in finished.jobs(target)} == {"distill_shard", "distill"}
    finished.run(target)
    assert {path: path.read_bytes() for path in before} == before
    assert kept.stat().st_mtime_ns == time_kept
    assert lost.stat().st_mtime_ns > time_lost
    # the text is the same, so nothing is trained again
    assert "Nothing to be done" in finished.run()


def test_clean_training_text_shares_no_sentence_with_the_test_set(finished: Project):
    folder = finished.path("toy/de-en/corpus")
    for language in ("de", "en"):
        train = set(lines(folder / f"train.{language}"))
        assert not train & set(lines(folder / f"test.{language}"))
    counts = pd.read_csv(folder / "train.counts.tsv", sep="\t", index_col="step")
    assert counts["kept"].iloc[-1] == len(lines(folder / "train.de"))
    assert counts["kept"].iloc[0] == 600


def test_a2d_reports_the_alignment_it_learned(finished: Project):
    path = finished.path("toy/de-en/a2d/seed1/training.json")
    alignment = json.loads(path.read_text())["alignment"]
    assert set(alignment) == {"enc_self_attn", "dec_self_attn", "cross_attn"}
    for learned in alignment.values():
        assert len(learned["weight"]) == math.prod(learned["teacher"]) == 4
        assert len(learned["weight"][0]) == math.prod(learned["student"]) == 2
    path = finished.path("toy/de-en/student/seed1/training.json")
    assert json.loads(path.read_text())["alignment"] is None


def test_page_is_one_file_that_shows_every_system(finished: Project):
    page = finished.path("tiny/report.html").read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert page.count("data:image/svg+xml") == 4
    table = pd.read_csv(finished.path("tiny/scores.tsv"), sep="\t")
    for row in table.itertuples():
        assert row.system in page
        assert f"{row.bleu:.1f}" in page


def test_progress_names_job_step_loss_and_time_left(finished: Project):
    said = finished.said  # type: ignore[attr-defined]
    progress = r"\[toy/de-en/teacher/seed1\] step \d+/60 .* loss [\d.]+ .* left"
    assert re.search(progress, said)


def test_finished_study_has_nothing_to_do(finished: Project):
    assert "Nothing to be done" in finished.run()


def test_one_pair_is_one_target(finished: Project):
    jobs = finished.jobs("results/toy/en-de/scores.tsv")
    assert all("/en-de/" in output for _, output in jobs)
    trained = {output.split("/")[3] for rule, output in jobs if rule == "train"}
    assert trained == {*SYSTEMS}


def test_parts_of_a_study_that_the_documentation_names(finished: Project):
    """`docs/cluster.md`; the study is done, so that all is forced."""

    def rules(*arguments: str) -> Counter[str]:
        return Counter(rule for rule, _ in finished.jobs("--forceall", *arguments))

    everything = rules()
    assert everything["train"] == 13  # the teacher with two seeds
    until = rules("--until", "distill")
    assert until["distill"] == everything["distill"] == 4
    assert until["train"] == 2
    assert not until["evaluate"]
    before = rules("--omit-from", "train")
    assert set(before) == {"write_config", "write_settings", "fetch"} | {
        *("clean", "vocab", "encode")
    }
    one = rules("results/toy/de-en/a2d/seed1/scores/test.json")
    assert (one["train"], one["evaluate"]) == (2, 1)
    again = Counter(rule for rule, _ in finished.jobs("--forcerun", "evaluate"))
    assert again["evaluate"] == 12
    assert not again["train"]


def test_jobs_ask_for_more_memory_than_they_use(finished: Project):
    asked = {}
    output = finished.run("--dry-run", "--forceall")
    for block in output.split("\nrule ")[1:]:
        found = re.search(r"benchmark: (\S+).*mem_mb=(\d+)", block, re.DOTALL)
        if found:
            asked[found[1]] = int(found[2])
    used = {
        str(path.relative_to(finished.folder)): json.loads(path.read_text())["max_rss"]
        for path in finished.path("benchmarks").rglob("*.jsonl")
    }
    assert len(asked) >= 60
    for path, memory in asked.items():
        assert used[path] == "NA" or used[path] < memory, path


def test_changed_system_reruns_alone_with_what_depends_on_it(finished: Project):
    before = finished.config.read_text()
    finished.edit(lambda v: v["systems"]["seq_kd"].update(train={"max_steps": 50}))
    trained = {output for rule, output in finished.jobs() if rule == "train"}
    distilled = {output for rule, output in finished.jobs() if rule == "distill"}
    finished.config.write_text(before)
    runs = {path.split("/")[3] for path in trained}
    assert runs == {"seq_kd", "seq_inter"}  # seq_inter continues seq_kd
    assert not distilled


@pytest.fixture(scope="module")
def several(finished: Project) -> Project:
    """The same project after the study of a multilingual pair too."""
    finished.run("--config", "study=several")
    return finished


def test_every_direction_is_scored_and_the_average(several: Project):
    table = pd.read_csv(several.path("several/scores.tsv"), sep="\t")
    both = ["test.de-en", "test.en-de", "average.test"]
    assert table.groupby("system", sort=False)["testset"].apply(list).to_dict() == {
        "teacher": both,
        "forward": both[:1],
        "backward": both[1:2],
        "merged": both,
    }
    merged = table[table.system == "merged"].set_index("testset").bleu
    assert merged["average.test"] == pytest.approx(merged[both[:2]].mean(), abs=1e-3)
    folder = several.path("toy/de+en-de+en")
    for direction, target in (("de-en", "en"), ("en-de", "de")):
        found = lines(folder / f"merged/seed1/translations/test.{direction}.txt")
        references = lines(folder / f"corpus/{direction}/test.{target}")
        assert merged[f"test.{direction}"] == pytest.approx(
            scores(found, references)["bleu"], abs=1e-3
        )


def test_directions_have_tags_and_share_no_test_sentence(several: Project):
    folder = several.path("toy/de+en-de+en/corpus")
    tests: dict[str, set[str]] = {"de": set(), "en": set()}
    for direction in ("de-en", "en-de"):
        src, tgt = direction.split("-")
        for split in ("train", "test"):
            sources = lines(folder / direction / f"{split}.{src}")
            assert all(line.startswith(f"<2{tgt}> ") for line in sources)
        tests[src] |= {
            line.partition(" ")[2] for line in lines(folder / f"{direction}/test.{src}")
        }
        tests[tgt] |= set(lines(folder / direction / f"test.{tgt}"))
    for direction in ("de-en", "en-de"):
        src, tgt = direction.split("-")
        train = lines(folder / direction / f"train.{src}")
        assert not tests[src] & {line.partition(" ")[2] for line in train}
        assert not tests[tgt] & set(lines(folder / direction / f"train.{tgt}"))
    vocab = Vocab(folder.parent / "vocab/de+en.spm")
    assert vocab.pieces[4:6] == ["<2de>", "<2en>"]


def test_each_direction_is_distilled_by_its_own_teacher(several: Project):
    folder = several.path("toy/de+en-de+en")
    made = folder / "distilled/seq_kd/forward-seed1+backward-seed1"
    for direction, teacher in (("de-en", "forward"), ("en-de", "backward")):
        src, tgt = direction.split("-")
        backend, vocabs = open_models([folder / f"{teacher}/seed1"], "ctranslate2", 1)
        job = load(DistillJob, folder / "settings/distill_seq_kd.yaml")
        decode = job.decode.model_copy(update={"beam_size": job.beam_size})
        sources = lines(folder / f"corpus/{direction}/train.{src}")[:20]
        found = translate(backend, vocabs, sources, decode)
        assert lines(made / direction / f"train.{tgt}")[:20] == [
            best.text for best, *_ in found
        ]
    page = several.path("several/report.html").read_text()
    assert "en-de/train" in page


def test_snakemake_report_has_captions_and_categories(finished: Project):
    path = finished.folder / "report.zip"
    finished.run("--report", str(path))
    with zipfile.ZipFile(path) as archive:
        text = " ".join(
            archive.read(name).decode(errors="ignore")
            for name in archive.namelist()
            if name.endswith((".html", ".js"))
        )
    for category in ("Scores", "Quality", "Training", "Attention", "Pruning"):
        assert category in text


def test_project_s_own_study_plans_and_finds_its_profiles():
    for arguments in ([], ["--profile", "slurm"], ["--config", "study=paper"]):
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "snakemake",
                "--dry-run",
                "--cores",
                "1",
                *arguments,
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_mistake_in_the_configuration_is_a_sentence(project: Project):
    project.edit(lambda v: v["systems"]["a2d"].update(losess={"word_kd": 1}))
    done = project.snakemake("--dry-run")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "systems.a2d.losess: there is no such key; did you mean losses?" in said
    assert "Traceback" not in said


def test_row_that_fits_no_study_is_refused_when_it_is_a_target(project: Project):
    def change(values):
        values["systems"]["misled"] = {
            "model": "student",
            "teacher": "forward",  # it learns de-en alone
            "losses": {"word_kd": 0.5},
        }

    project.edit(change)
    project.run("--dry-run")
    folder = "results/toy/de+en-de+en/misled/seed1"
    done = project.snakemake("--dry-run", f"{folder}/model.safetensors")
    assert done.returncode != 0
    told = "systems.misled.teacher: none of its teachers learns en-de (on toy/de+en-de"
    assert told in done.stdout + done.stderr


def test_unknown_test_set_is_told(project: Project):
    done = project.snakemake(
        "--dry-run", "results/toy/de-en/student/seed1/scores/news.json"
    )
    assert done.returncode != 0
    told = "datasets.toy.pairs.de-en has no news, only train, valid, test"
    assert told in done.stdout + done.stderr


def test_unequal_line_counts_stop_with_a_sentence(project: Project):
    with open(project.folder / "train.de", "a") as file:
        file.write("noch ein Satz\n")
    done = project.snakemake("results/toy/de-en/corpus/train.de")
    assert done.returncode != 0
    assert "601 lines" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not project.path("toy/de-en/raw/train.tsv.gz").exists()


def test_missing_file_is_named(project: Project):
    (project.folder / "train.en").unlink()
    done = project.snakemake("--dry-run")
    assert done.returncode != 0
    assert "train.en" in done.stdout + done.stderr


def test_killed_training_goes_on(project: Project):
    """Kill the workflow in the middle of a training; the next one resumes it."""
    target = "results/toy/de-en/student/seed1/model.safetensors"
    long = {"max_steps": 400, "save_interval": 10}
    project.edit(lambda v: v["train"].update(long))
    process = subprocess.Popen(
        [
            *(
                sys.executable,
                "-m",
                "snakemake",
                "--snakefile",
                str(ROOT / "Snakefile"),
            ),
            *("--directory", str(project.folder), "--cores", "2", "--configfile"),
            *(str(project.config), "--replace-workflow-config", target),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    state = project.path("toy/de-en/student/seed1/state/last.pt")
    wait_for(state.exists)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    project.run("--unlock")
    said = project.run("--rerun-incomplete", target)
    step = int(re.search(r"student/seed1\] goes on after step (\d+)", said)[1])
    assert step >= 10
    assert step % 10 == 0


def test_training_on_several_gpus_is_several_processes(project: Project):
    """On a machine without any, which has processes all the same."""
    run = "results/toy/de-en/student/seed1"
    project.run(f"{run}/model.safetensors", "--set-resources", "train:gpu=2")
    facts = json.loads((project.folder / run / "training.json").read_text())
    assert facts["machine"]["workers"] == 2
    assert facts["steps"] == 60


def wait_for(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
