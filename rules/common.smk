# What the other files share: the checked configuration and functions of wildcards.

import os
import sys
from pathlib import Path

sys.path.insert(0, str(workflow.basedir))
# jobs run this checkout's a2d with the Python that runs Snakemake, wherever it started
for variable, folder in (
    ("PYTHONPATH", str(workflow.basedir)),
    ("PATH", str(Path(sys.executable).parent)),
):
    os.environ[variable] = os.pathsep.join(
        [folder, *filter(None, [os.environ.get(variable)])]
    )

from a2d import study
from a2d.config import ConfigError, LocalFiles, dump, parse_teacher

try:
    study_config = study.validate(config)
except ConfigError as error:
    raise WorkflowError(f"The configuration does not fit:\n{error}") from None

configs = {
    (dataset, pair): study.resolve_pair(config, dataset, pair)
    for dataset, row in study_config.datasets.items()
    for pair in row.pairs
}


wildcard_constraints:
    dataset="|".join(study_config.datasets),
    pair=r"[a-zA-Z_]+-[a-zA-Z_]+",
    src=r"[a-zA-Z_]+",
    tgt=r"[a-zA-Z_]+",
    split=r"\w+",
    testset=r"\w+",
    system="|".join(study_config.systems),
    seed=r"\d+",
    corpus="|".join(study_config.corpora),
    teacher=r"[\w+-]+",
    shard=r"\d+",
    shards=r"\d+",
    job=r"\w+",
    study="|".join(study_config.studies),
    folder=r"corpus|distilled/.+",


# Rows of the configuration ------------------------------------------------------------


def pair_name(wildcards):
    return wildcards.get("pair") or f"{wildcards.src}-{wildcards.tgt}"


def pair_folder(wildcards):
    return f"results/{wildcards.dataset}/{pair_name(wildcards)}"


def pair_config(wildcards):
    """The configuration as this language pair sees it."""
    return configs[wildcards.dataset, pair_name(wildcards)]


def pair_row(wildcards):
    """The row of `datasets:` that says where the text comes from."""
    return study_config.datasets[wildcards.dataset].pairs[pair_name(wildcards)]


def system_row(wildcards):
    return pair_config(wildcards).systems[wildcards.system]


def training_threads(wildcards):
    """Two for a teacher, because its students wait for it, one for the others."""
    systems = pair_config(wildcards).systems.values()
    teachers = {name for system in systems for name, _ in system.teachers}
    return 2 if wildcards.system in teachers else 1


def job_settings(wildcards):
    return dump(
        study.job_settings(
            pair_config(wildcards), wildcards.dataset, wildcards.pair, wildcards.job
        )
    )


def run_settings(wildcards):
    return dump(
        study.resolve_run(
            pair_config(wildcards),
            wildcards.dataset,
            wildcards.pair,
            wildcards.system,
            int(wildcards.seed),
        )
    )


# Files --------------------------------------------------------------------------------


def text(wildcards, split, folder="corpus"):
    """Source and target file of a split."""
    src, tgt = pair_name(wildcards).split("-")
    return [f"{pair_folder(wildcards)}/{folder}/{split}.{lang}" for lang in (src, tgt)]


def vocab(wildcards):
    src, tgt = pair_name(wildcards).split("-")
    return [f"{pair_folder(wildcards)}/vocab/{lang}.spm" for lang in (src, tgt)]


def run_folder(wildcards, run):
    """Folder of a run named like `teacher-seed1`."""
    system, seed = parse_teacher(run)
    return f"{pair_folder(wildcards)}/{system}/seed{seed}"


def local_files(wildcards):
    """The user's own files among the sources of a split."""
    sources = pair_row(wildcards).splits[wildcards.split]
    paths = [source.files for source in sources if isinstance(source, LocalFiles)]
    languages = wildcards.pair.split("-")
    return sorted(
        {path.replace("{lang}", lang) for path in paths for lang in languages}
    )


def raw_text(wildcards):
    """Where the text of a split comes from: its own source, or the training text's."""
    held_out = wildcards.split in pair_row(wildcards).hold_out
    split = "train" if held_out else wildcards.split
    return f"{pair_folder(wildcards)}/raw/{split}.tsv.gz"


def protected_text(wildcards):
    """Text whose sentences a split may not contain: train none of valid and test."""
    splits = {"train": ["valid", "test"], "valid": ["test"]}.get(wildcards.split, [])
    if splits:
        splits += pair_row(wildcards).more_tests
    return [path for split in splits for path in text(wildcards, split)]


def training_tokens(wildcards):
    """Encoded text of all corpora of a system."""
    row = system_row(wildcards)
    folders = [
        "corpus" if corpus == "gold" else f"distilled/{corpus}/{row.teacher_key}"
        for corpus in row.corpus
    ]
    return [f"{pair_folder(wildcards)}/{folder}/train.tokens" for folder in folders]


def line_weights(wildcards):
    """Weights of the lines of a distilled text."""
    path = f"{pair_folder(wildcards)}/{wildcards.folder}/train.weights"
    return [path] if wildcards.folder != "corpus" else []


def shards(wildcards):
    """What the jobs of a distilled text translate, each a part of it."""
    number = pair_config(wildcards).corpora[wildcards.corpus].shards
    made = f"distilled/{wildcards.corpus}/{wildcards.teacher}"
    return [
        f"{pair_folder(wildcards)}/{made}/shards/{shard}-of-{number}.tsv"
        for shard in range(1, number + 1)
    ]


def teacher_folders(wildcards):
    """Run folders of the teachers that run beside a training, or that distil."""
    if "teacher" in wildcards.keys():
        runs = wildcards.teacher.split("+")
    else:
        row = system_row(wildcards)
        runs = row.teacher_key.split("+") if row.needs_teacher_output else []
    return [run_folder(wildcards, run) for run in runs]


def teacher_models(wildcards):
    return [f"{folder}/model.safetensors" for folder in teacher_folders(wildcards)]


def teacher_exports(wildcards):
    """The exported teacher; an ensemble is decoded without."""
    folders = teacher_folders(wildcards)
    return [f"{folder}/ctranslate2" for folder in folders if len(folders) == 1]


def start_folder(wildcards):
    """Run folder of the system whose weights a training starts from."""
    start = system_row(wildcards).init.start(int(wildcards.seed))
    return [run_folder(wildcards, start)] if start else []


def start_model(wildcards):
    return [f"{folder}/model.safetensors" for folder in start_folder(wildcards)]


def runs_of(wildcards, pattern):
    """A file of each run of one language pair.

    The runs are those of the studies that name the pair, or else of the chosen study.
    """
    wanted = f"{wildcards.dataset}/{pair_name(wildcards)}"
    studies = study_config.studies
    asking = [row for row in studies.values() if wanted in row.pairs]
    runs = {
        (system, seed): None
        for row in asking or [studies[study_config.study]]
        for system in row.systems
        for seed in row.seeds
    }
    return [
        pattern.format(folder=pair_folder(wildcards), system=system, seed=seed)
        for system, seed in runs
    ]


# Tables, figures and the report page --------------------------------------------------


def pair_scores(wildcards):
    """Score files of all runs and test sets of a pair."""
    return expand(
        "{run}/scores/{testset}.json",
        run=runs_of(wildcards, "{folder}/{system}/seed{seed}"),
        testset=pair_row(wildcards).testsets,
    )


def pair_translations(wildcards):
    """The beam's translations, in the order of `pair_scores`."""
    return expand(
        "{run}/translations/{testset}.txt",
        run=runs_of(wildcards, "{folder}/{system}/seed{seed}"),
        testset=pair_row(wildcards).testsets,
    )


def pair_references(wildcards):
    return [text(wildcards, testset)[1] for testset in pair_row(wildcards).testsets]


def baseline(wildcards):
    return pair_config(wildcards).evaluate.baseline


def bootstrap_samples(wildcards):
    return pair_config(wildcards).evaluate.bootstrap_samples


def study_row(wildcards):
    return study_config.studies[wildcards.study]


def study_tables(wildcards):
    """Score tables of the pairs of a study."""
    return expand("results/{name}/scores.tsv", name=study_row(wildcards).pairs)


def study_metrics(wildcards):
    """Of the runs of a study on one pair."""
    return expand(
        "results/{dataset}/{pair}/{system}/seed{seed}/metrics.jsonl",
        dataset=wildcards.dataset,
        pair=wildcards.pair,
        system=study_row(wildcards).systems,
        seed=study_row(wildcards).seeds,
    )


def aligned_systems(row, name):
    """Those systems of a study that learn an alignment of attention maps on a pair."""
    systems = configs[tuple(name.split("/"))].systems
    return [system for system in row.systems if systems[system].losses.a2d]


def study_alignments(wildcards):
    """Of the systems of a study on one pair, first seed."""
    row = study_row(wildcards)
    return expand(
        "results/{dataset}/{pair}/{system}/seed{seed}/training.json",
        dataset=wildcards.dataset,
        pair=wildcards.pair,
        system=aligned_systems(row, f"{wildcards.dataset}/{wildcards.pair}"),
        seed=row.seeds[0],
    )


def study_systems(wildcards):
    return study_row(wildcards).systems


def pruning_curves(row, name):
    """By curve, the sparsity of each system of a study on a pair; its start has 0."""
    systems = configs[tuple(name.split("/"))].systems
    curves = {}
    for system in row.systems:
        if not (prune := systems[system].prune):
            continue
        init = systems[system].init
        curve = f"{study.curve_name(system, prune.sparsity)}, from {init.parent}"
        whole = {init.continue_: 0.0} if init.continue_ in row.systems else {}
        curves.setdefault(curve, whole)[system] = prune.sparsity
    return curves


def study_curves(wildcards):
    """Of the pruned systems of a study on one pair."""
    name = f"{wildcards.dataset}/{wildcards.pair}"
    return pruning_curves(study_row(wildcards), name)


def study_teachers(wildcards):
    """All systems that teach a system of the study."""
    row = study_row(wildcards)
    return sorted(
        {
            teacher
            for name in row.pairs
            for system in row.systems
            for teacher, _ in configs[tuple(name.split("/"))].systems[system].teachers
        }
    )


def study_evaluations(wildcards):
    """By pair, the systems that others are compared with, and how."""
    return {
        name: configs[tuple(name.split("/"))].evaluate.model_dump()
        for name in study_row(wildcards).pairs
    }


def report_inputs(wildcards):
    """All that the page shows besides the score table, in the order of the study."""
    row = study_row(wildcards)
    inputs = {
        "speeds": expand("results/{name}/speed.tsv", name=row.pairs),
        "trainings": expand(
            "results/{name}/{system}/seed{seed}/training.json",
            name=row.pairs,
            system=row.systems,
            seed=row.seeds,
        ),
        "translations": expand(
            "results/{name}/{system}/seed{seed}/translations/test.txt",
            name=row.pairs,
            system=row.systems,
            seed=row.seeds[0],
        ),
        "sources": [],
        "references": [],
        "counts": [],
        "provenance": [],
        "figures": [],
    }
    for name in row.pairs:
        dataset, pair = name.split("/")
        src, tgt = pair.split("-")
        texts = study_config.datasets[dataset].pairs[pair]
        figures = ["quality", "curves"]
        if aligned_systems(row, name):
            figures.append("alignment")
        if pruning_curves(row, name):
            figures.append("pruning")
        inputs["sources"].append(f"results/{name}/corpus/test.{src}")
        inputs["references"].append(f"results/{name}/corpus/test.{tgt}")
        inputs["counts"] += [
            f"results/{name}/corpus/{split}.counts.tsv" for split in texts.splits
        ]
        inputs["provenance"] += [
            f"results/{name}/raw/{split}.json"
            for split in texts.splits
            if split not in texts.hold_out
        ]
        inputs["figures"] += [
            f"results/{wildcards.study}/figures/{name}/{figure}.svg"
            for figure in figures
        ]
    return inputs
