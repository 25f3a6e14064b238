# Functions of wildcards for tables, figures and the report page.


def pair_scores(wildcards):
    """Score files of all runs and test sets of a pair."""
    return runs_of(wildcards, "{folder}/{system}/seed{seed}/scores/{testset}.json")


def pair_translations(wildcards):
    """The beam's translations, in the order of `pair_scores`."""
    return runs_of(wildcards, "{folder}/{system}/seed{seed}/translations/{testset}.txt")


def pair_references(wildcards):
    """Reference texts, in the order of `pair_scores`."""
    pair = pair_name(wildcards)
    return [
        text(wildcards, *parse_testset(testset, pair))[1]
        for testset in runs_of(wildcards, "{testset}")
    ]


def baselines(wildcards):
    """By system, the one that it is compared with."""
    config = pair_config(wildcards)
    return {
        name: system.baseline or config.evaluate.baseline
        for name, system in config.systems.items()
    }


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
    return [system for system in row.systems if systems[system].losses.alignment]


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


def study_directions(wildcards):
    """By pair, the places of its text, as `dataset/direction`."""
    return {
        name: [
            f"{dataset}/{direction}"
            for direction in study.directions(study_config, dataset, pair)
        ]
        for name in study_row(wildcards).pairs
        for dataset, pair in [name.split("/")]
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
        "translations": [],
        "sources": [],
        "references": [],
        "counts": [],
        "provenance": [],
        "figures": [],
    }
    for name, places in study_directions(wildcards).items():
        dataset, pair = name.split("/")
        systems = configs[dataset, pair].systems
        inputs["provenance"] += fetched(name, "{place}/raw/{split}.json")
        figures = ["quality", "curves"]
        if aligned_systems(row, name):
            figures.append("alignment")
        if pruning_curves(row, name):
            figures.append("pruning")
        inputs["figures"] += [
            f"results/{wildcards.study}/figures/{name}/{figure}.svg"
            for figure in figures
        ]
        examples = False
        for place in places:
            direction = place.removeprefix(f"{dataset}/")
            texts = study_config.datasets[dataset].pairs[direction]
            folder, testset = f"results/{name}/corpus", "test"
            if direction != pair:
                folder = f"{folder}/{direction}"
                testset = f"test.{direction}"
            inputs["counts"] += [
                f"{folder}/{split}.counts.tsv" for split in texts.splits
            ]
            learners = [
                system
                for system in row.systems
                if direction in (systems[system].directions or [direction])
            ]
            if learners and not examples:  # they are those of the first direction
                examples = True
                src, tgt = direction.split("-")
                inputs["sources"].append(f"{folder}/test.{src}")
                inputs["references"].append(f"{folder}/test.{tgt}")
                inputs["translations"] += [
                    f"results/{name}/{system}/seed{row.seeds[0]}/translations/{testset}.txt"
                    for system in learners
                ]
    return inputs
