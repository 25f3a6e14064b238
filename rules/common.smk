# What the other files share: the checked configuration and functions of wildcards.

import os
import signal
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

# a scheduler's warning before the end of a job's time is for the training alone; this
# Snakemake, which runs it, and the shell between them would die of it
signal.signal(signal.SIGUSR1, signal.SIG_IGN)

from a2d import checks, study
from a2d.config import parse_teacher, parse_testset
from a2d.section import ConfigError, dump
from a2d.sources import LocalFiles

try:
    study_config = checks.validate(config)
except ConfigError as error:
    raise WorkflowError(f"The configuration does not fit:\n{error}") from None

configs = {
    (dataset, pair): study.resolve_pair(config, dataset, pair)
    for dataset, row in study_config.datasets.items()
    for pair in (*row.pairs, *row.multilingual)
}


wildcard_constraints:
    dataset="|".join(study_config.datasets),
    pair=r"[a-zA-Z_+]+-[a-zA-Z_+]+",
    src=r"[a-zA-Z_+]+",
    tgt=r"[a-zA-Z_+]+",
    # the folder of one direction of a multilingual pair, or nothing
    part=r"(/[a-zA-Z_]+-[a-zA-Z_]+)?",
    split=r"\w+",
    testset=r"\w+(\.[a-zA-Z_]+-[a-zA-Z_]+)?",
    system="|".join(study_config.systems),
    seed=r"\d+",
    corpus="|".join(study_config.corpora),
    teacher=r"[\w+-]+",
    shard=r"\d+",
    shards=r"\d+",
    job=r"[\w-]+",
    study="|".join(study_config.studies),
    folder=r"corpus(/.+)?|distilled/.+",


# Rows of the configuration ------------------------------------------------------------


def pair_name(wildcards):
    return wildcards.get("pair") or f"{wildcards.src}-{wildcards.tgt}"


def pair_folder(wildcards):
    return f"results/{wildcards.dataset}/{pair_name(wildcards)}"


def pair_config(wildcards):
    """The configuration as this language pair sees it."""
    place = wildcards.dataset, pair_name(wildcards)
    if place not in configs:
        raise WorkflowError(f"datasets.{place[0]} has no pair {place[1]}")
    return configs[place]


def directions(wildcards):
    """Translation directions: the pair itself, or those of a multilingual one."""
    return study.directions(study_config, wildcards.dataset, pair_name(wildcards))


def system_directions(wildcards, system):
    """The directions that a system learns."""
    known = directions(wildcards)
    learned = pair_config(wildcards).systems[system].directions or known
    for direction in learned:
        if direction not in known:
            raise WorkflowError(
                f"systems.{system} learns {direction}, which "
                f"{wildcards.dataset}/{pair_name(wildcards)} does not have"
            )
    return learned


def direction_name(wildcards):
    """The direction that a job is about."""
    if wildcards.get("src"):
        return f"{wildcards.src}-{wildcards.tgt}"
    return wildcards.get("part", "").removeprefix("/") or wildcards.pair


def direction_row(wildcards, direction=None):
    """The row of `datasets:` that says where the text of a direction comes from."""
    pairs = study_config.datasets[wildcards.dataset].pairs
    name = direction or direction_name(wildcards)
    if name not in pairs:
        raise WorkflowError(f"datasets.{wildcards.dataset} has no pair {name}")
    return pairs[name]


def system_row(wildcards):
    return pair_config(wildcards).systems[wildcards.system]


def training_threads(wildcards):
    """Two for a teacher, because its students wait for it, one for the others."""
    systems = pair_config(wildcards).systems.values()
    teachers = {name for system in systems for name, _ in system.teachers}
    return 2 if wildcards.system in teachers else 1


def launcher(wildcards, resources):
    """How Python is started for a training: once for each GPU, on one node or several.

    Of several nodes `resources.mpi`, like `srun`, starts a task on each.
    """
    gpus, nodes = resources.gpu, resources.get("nodes", 1)
    python = f"python -m a2d on_gpus {gpus // nodes} python"
    torchrun = f"{python} -m torch.distributed.run --nproc-per-node {gpus // nodes}"
    if nodes > 1:
        # the shell that starts them all fills in its host, and a port by its number
        return (
            f"{resources.mpi} -n {nodes} {torchrun} --nnodes {nodes} --rdzv-backend c10d"
            " --rdzv-endpoint $(hostname):$((20000 + $$ % 10000))"
        )
    return f"{torchrun} --standalone" if gpus > 1 else python


def job_settings(wildcards):
    return dump(
        study.job_settings(
            pair_config(wildcards), wildcards.dataset, wildcards.pair, wildcards.job
        )
    )


def run_settings(wildcards):
    place = pair_config(wildcards), wildcards.dataset, wildcards.pair
    if mistakes := checks.misfits(*place, wildcards.system):
        raise WorkflowError("\n".join(mistakes))
    return dump(study.resolve_run(*place, wildcards.system, int(wildcards.seed)))


# Files --------------------------------------------------------------------------------


def subfolder(wildcards, folder, direction):
    """Where a direction has its files; only those of multilingual pairs are apart."""
    return folder if direction == pair_name(wildcards) else f"{folder}/{direction}"


def text(wildcards, split, direction):
    """Source and target file of a split of one direction."""
    folder = subfolder(wildcards, f"{pair_folder(wildcards)}/corpus", direction)
    return [f"{folder}/{split}.{lang}" for lang in direction.split("-")]


def texts(wildcards, split):
    """Source and target files of a split, of one direction after the other."""
    return [
        path
        for direction in directions(wildcards)
        for path in text(wildcards, split, direction)
    ]


def training_text(wildcards):
    """Source and target file that a teacher translates."""
    return text(wildcards, "train", direction_name(wildcards))


def testset_text(wildcards):
    split, direction = parse_testset(wildcards.testset, wildcards.pair)
    if direction not in system_directions(wildcards, wildcards.system):
        raise WorkflowError(
            f"systems.{wildcards.system} does not learn {direction}, which the test set "
            f"{wildcards.testset} is of"
        )
    return text(wildcards, split, direction)


def speed_text(wildcards):
    """Source texts of the directions that all systems learn, or else of all."""
    systems = dict.fromkeys(runs_of(wildcards, "{system}"))
    common = [
        direction
        for direction in directions(wildcards)
        if all(direction in system_directions(wildcards, s) for s in systems)
    ]
    return [
        text(wildcards, "test", direction)[0]
        for direction in common or directions(wildcards)
    ]


def valid_text(wildcards):
    """Source and target files of the directions that a system learns."""
    return [
        path
        for direction in system_directions(wildcards, wildcards.system)
        for path in text(wildcards, "valid", direction)
    ]


def folder_text(wildcards):
    """Source and target file in a folder, which a direction may end."""
    known = directions(wildcards)
    name = wildcards.folder.rpartition("/")[2]
    languages = (name if name in known else pair_name(wildcards)).split("-")
    folder = f"{pair_folder(wildcards)}/{wildcards.folder}"
    return [f"{folder}/train.{lang}" for lang in languages]


def vocab(wildcards):
    src, tgt = pair_name(wildcards).split("-")
    return [f"{pair_folder(wildcards)}/vocab/{lang}.spm" for lang in (src, tgt)]


def run_folder(wildcards, run):
    """Folder of a run named like `teacher-seed1`."""
    system, seed = parse_teacher(run)
    return f"{pair_folder(wildcards)}/{system}/seed{seed}"


def local_files(wildcards):
    """The user's own files among the sources of a split."""
    known = direction_row(wildcards).splits
    if wildcards.split not in known:
        raise WorkflowError(
            f"datasets.{wildcards.dataset}.pairs.{wildcards.pair} has no "
            f"{wildcards.split}, only {', '.join(known)}"
        )
    sources = known[wildcards.split]
    paths = [source.files for source in sources if isinstance(source, LocalFiles)]
    languages = wildcards.pair.split("-")
    return sorted(
        {path.replace("{lang}", lang) for path in paths for lang in languages}
    )


def raw_text(wildcards):
    """Where the text of a split comes from: its own source, or the training text's."""
    held_out = wildcards.split in direction_row(wildcards).hold_out
    split = "train" if held_out else wildcards.split
    return f"results/{wildcards.dataset}/{direction_name(wildcards)}/raw/{split}.tsv.gz"


def fetched(name, pattern):
    """A file of each text that is fetched for a pair, `dataset/pair`."""
    dataset, pair = name.split("/")
    pairs = study_config.datasets[dataset].pairs
    return [
        pattern.format(place=f"results/{dataset}/{direction}", split=split)
        for direction in study.directions(study_config, dataset, pair)
        for split in pairs[direction].splits
        if split not in pairs[direction].hold_out
    ]


def all_raw_texts(wildcards):
    """What the chosen study fetches."""
    return [
        path
        for name in study_config.studies[study_config.study].pairs
        for path in fetched(name, "{place}/raw/{split}.tsv.gz")
    ]


def protected_text(wildcards):
    """Text whose sentences a split may not contain, in no direction.

    Of the training text these are validation and test sets, of the former the latter.
    """
    splits = {"train": ["valid", "test"], "valid": ["test"]}.get(wildcards.split, [])
    return [
        path
        for direction in directions(wildcards)
        if splits
        for split in (*splits, *direction_row(wildcards, direction).more_tests)
        for path in text(wildcards, split, direction)
    ]


def training_tokens(wildcards):
    """Encoded text of all corpora of a system, each of all its directions."""
    row = system_row(wildcards)
    folders = [
        "corpus" if corpus == "gold" else f"distilled/{corpus}/{row.teacher_key}"
        for corpus in row.corpus
    ]
    places = [
        subfolder(wildcards, f"{pair_folder(wildcards)}/{folder}", direction)
        for folder in folders
        for direction in system_directions(wildcards, wildcards.system)
    ]
    return [f"{place}/train.tokens" for place in places]


def line_weights(wildcards):
    """Weights of the lines of a distilled text."""
    path = f"{pair_folder(wildcards)}/{wildcards.folder}/train.weights"
    return [path] if wildcards.folder.startswith("distilled/") else []


def shards(wildcards):
    """What the jobs of a distilled text translate, each a part of it."""
    number = pair_config(wildcards).corpora[wildcards.corpus].shards
    made = f"distilled/{wildcards.corpus}/{wildcards.teacher}"
    folder = subfolder(
        wildcards, f"{pair_folder(wildcards)}/{made}", direction_name(wildcards)
    )
    return [f"{folder}/shards/{n}-of-{number}.tsv" for n in range(1, number + 1)]


def teacher_folders(wildcards):
    """Run folders of the teachers that run beside a training, or that distil."""
    if "teacher" in wildcards.keys():
        direction = direction_name(wildcards)
        runs = [
            run
            for run in wildcards.teacher.split("+")
            if direction in system_directions(wildcards, parse_teacher(run)[0])
        ]
        if not runs:
            raise WorkflowError(f"none of {wildcards.teacher} learns {direction}")
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

    The runs are those of the chosen study, or, where it does not name the pair, of
    the studies that do.
    """
    wanted = f"{wildcards.dataset}/{pair_name(wildcards)}"
    chosen = study_config.studies[study_config.study]
    asking = [row for row in study_config.studies.values() if wanted in row.pairs]
    runs = {
        (system, seed): None
        for row in ([chosen] if chosen in asking else asking or [chosen])
        for system in row.systems
        for seed in row.seeds
    }
    return [
        path
        for system, seed in runs
        for path in expand(
            pattern,
            folder=pair_folder(wildcards),
            system=system,
            seed=seed,
            testset=testsets(wildcards, system),
        )
    ]


def testsets(wildcards, system):
    """Names of the test sets of a system, of a multilingual pair like `test.de-en`."""
    return [
        testset if direction == pair_name(wildcards) else f"{testset}.{direction}"
        for direction in system_directions(wildcards, system)
        for testset in direction_row(wildcards, direction).testsets
    ]
