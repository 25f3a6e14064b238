"""The scripts of tables, figures and the report page, on a study made up here."""

import itertools
import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import lxml.html
import pandas as pd
import pytest
from matplotlib.figure import Figure

import collect_scores
import collect_study
import figure_style
import plot_alignment
import plot_curves
import plot_pruning
import plot_quality
import report

ROOT = Path(__file__).parents[2]

NAN = float("nan")
SYSTEMS = ["teacher", "student", "word_kd", "seq_kd", "seq_inter", "a2d", "seq_kd_a2d"]
BLEU = dict(zip(SYSTEMS, [31.2, 25.6, 26.4, 27.9, 28.1, 27.0, 28.6], strict=True))
NONZERO = {"teacher": 5119000}
TEACHER, STUDENT = (3, 2), (2, 2)
"""Layers and heads."""
GERMAN = [
    "Klicken Sie auf die Schaltfläche <OK>.",
    "Wählen Sie einen Eintrag aus der Liste.",
    "Öffnet den Dialog zum Speichern der Datei.",
    "Gibt die Anzahl der Zeilen im Bereich an.",
    "Fügt am Ende des Dokuments eine leere Seite ein.",
    "Das Makro wurde nicht gefunden.",
]
ENGLISH = [
    "Click the button <OK>.",
    "Select an entry from the list.",
    "Opens the dialog for saving the file.",
    "Specifies the number of rows in the range.",
    "Inserts an empty page at the end of the document.",
    "The macro was not found.",
]


PLOTS: dict[str, Callable[..., None]] = {
    "quality": plot_quality.main,
    "curves": plot_curves.main,
    "alignment": plot_alignment.main,
}


def write(path: Path, content: object) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def write_text(path: Path, lines: list[str]) -> str:
    return write(path, "".join(f"{line}\n" for line in lines))


def write_run(pair: Path, system: str, seed: int, testset: str = "test") -> None:
    """What the training and scoring of one system leave behind."""
    chance = random.Random(f"{pair.name} {system} {seed}")
    run = pair / system / f"seed{seed}"
    is_teacher = system == "teacher"
    bleu = BLEU[system] + chance.gauss(0, 0.2)
    curve = [
        {
            "step": step,
            "epoch": step // 300,
            "valid_loss": 2.1 + 5 * 0.45 ** (step / 400) - bleu / 60,
            "valid_bleu": bleu * (1 - 0.4 ** (step / 400)) + chance.gauss(0, 0.3),
            "seconds": step * (0.9 if is_teacher else 0.3),
        }
        for step in range(250, 3001, 250)
    ]
    updates = [
        {"step": step, "epoch": 0, "loss": 5.0, "nll": 4.0, "seconds": step * 0.3}
        for step in range(50, 3001, 50)
    ]
    lines = sorted(curve + updates, key=lambda line: line["step"])
    write(run / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    alignment = {
        name: {
            "weight": [
                [chance.gauss(0, 0.2) for _ in range(STUDENT[0] * STUDENT[1])]
                for _ in range(TEACHER[0] * TEACHER[1])
            ],
            "teacher": TEACHER,
            "student": STUDENT,
        }
        for name in plot_alignment.ATTENTIONS
    }
    write(
        run / "training.json",
        {
            "steps": 3000,
            "best_step": 2750,
            "epochs": 9.5,
            "seconds": curve[-1]["seconds"],
            "starts": 1,
            "watt_hours": None,
            "parameters": 5120000 if is_teacher else 1250000,
            "alignment": alignment if "a2d" in system else None,
            "machine": {"device": "Xeon", "threads": 1, "gpus": 0, "torch": "2.13.0"},
        },
    )
    score = {"bleu_signature": "nrefs:1|tok:13a", "chrf_signature": "nrefs:1|nc:6"}
    write(
        run / f"scores/{testset}.json",
        {
            "dataset": pair.parent.name,
            "pair": pair.name,
            "system": system,
            "seed": seed,
            "testset": testset,
            "sentences": 6,
            "beam_size": 5,
            "beam": {"bleu": bleu, "chrf": bleu + 22, **score},
            "greedy": {"bleu": bleu - 0.8, "chrf": bleu + 21, **score},
            "argmax_probability": 0.169 if "seq" in system else 0.009,
            "parameters": 5120000 if is_teacher else 1250000,
            "nonzero_parameters": NONZERO.get(system, 1249000),
            "megabytes": 20.5 if is_teacher else 5.0,
            "compressed_megabytes": NONZERO.get(system, 1249000) * 3.7e-6,
        },
    )
    hypotheses = [
        sentence if chance.random() < BLEU[system] / 50 else sentence[4:].capitalize()
        for sentence in ENGLISH
    ]
    hypotheses[0] = f"{system} <OK>"
    write_text(run / f"translations/{testset}.txt", hypotheses)


def write_pair(results: Path, name: str, seeds: list[int]) -> None:
    """One language pair with all its systems, clean text and speeds."""
    pair = results / name
    src, tgt = pair.name.split("-")
    speeds = ["system seed search sentences_per_second speedup backend threads"]
    for system, seed in itertools.product(SYSTEMS, seeds):
        write_run(pair, system, seed)
        beam = (21 if system == "teacher" else 110) + seed
        for search, speed in (("beam", beam), ("greedy", 2.5 * beam)):
            speeds.append(
                f"{system} {seed} {search} {speed} {speed / 22} ctranslate2 1"
            )
    write_text(pair / "speed.tsv", [line.replace(" ", "\t") for line in speeds])
    write_text(pair / f"corpus/test.{src}", GERMAN)
    write_text(pair / f"corpus/test.{tgt}", ENGLISH)
    steps = "step\tkept\tdropped\nread\t31024\t0\nlength\t27310\t3714\n"
    for split in ("train", "valid", "test"):
        write(pair / f"corpus/{split}.counts.tsv", steps)
    package = {"name": "help-de.deb", "version": "7.4.7", "sha256": "ab" * 32}
    download = {"url": "text.en.gz", "sha256": "cd" * 32, "bytes": 5}
    write(
        pair / "raw/train.json",
        [
            {
                "source": {"debian": {"de": ["help-de"]}, "extract": "libreoffice"},
                "files": [package, download],
                "rows": 31024,
                "text_sha256": "ef" * 32,
            }
        ],
    )


def score_pair(pair: Path, seeds: list[int], samples: int = 10) -> str:
    runs = [
        pair / system / f"seed{seed}"
        for system, seed in itertools.product(SYSTEMS, seeds)
    ]
    table = str(pair / "scores.tsv")
    collect_scores.main(
        [str(run / "scores/test.json") for run in runs],
        [str(run / "translations/test.txt") for run in runs],
        [str(pair / f"corpus/test.{pair.name.split('-')[1]}")] * len(runs),
        str(pair / "speed.tsv"),
        dict.fromkeys(SYSTEMS, "student"),
        samples,
        table,
    )
    return table


def write_page(results: Path, names: list[str], seeds: list[int]) -> Path:
    """Everything from made-up results to the report page."""
    figures = []
    for name in names:
        write_pair(results, name, seeds)
    study = results / "demo"
    study.mkdir(exist_ok=True)
    scores = str(study / "scores.tsv")
    tables = [score_pair(results / name, seeds) for name in names]
    collect_study.main(tables, names, SYSTEMS, seeds, scores)
    for name in names:
        folder = study / "figures" / name
        folder.mkdir(parents=True)
        runs = [
            results / name / system / f"seed{seed}"
            for system, seed in itertools.product(SYSTEMS, seeds)
        ]
        aligned = [run for run in runs if "a2d" in run.parent.name]
        for draw, arguments in {
            "quality": (scores, *name.split("/")),
            "curves": ([str(run / "metrics.jsonl") for run in runs],),
            "alignment": (
                [str(run / "training.json") for run in aligned[:: len(seeds)]],
            ),
        }.items():
            svg, pdf = str(folder / f"{draw}.svg"), str(folder / f"{draw}.pdf")
            PLOTS[draw](*arguments, svg, pdf)
            figures.append(svg)

    def files(pattern: str) -> list[str]:
        return sorted(
            str(path) for name in names for path in results.glob(f"{name}/{pattern}")
        )

    page = study / "report.html"
    report.main(
        template=str(ROOT / "workflow_scripts/report.html.j2"),
        scores=scores,
        speeds=files("speed.tsv"),
        trainings=[
            str(results / name / system / f"seed{seed}/training.json")
            for name, system, seed in itertools.product(names, SYSTEMS, seeds)
        ],
        counts=[
            str(results / name / f"corpus/{split}.counts.tsv")
            for name, split in itertools.product(names, ("train", "valid", "test"))
        ],
        provenance=files("raw/*.json"),
        sources=files("corpus/test.de"),
        references=files("corpus/test.en"),
        translations=files("*/seed1/translations/test.txt"),
        figures=figures,
        study="demo",
        pairs=names,
        directions={name: [name] for name in names},
        evaluations={
            name: {"baseline": "student", "speed_reference": "teacher"}
            for name in names
        },
        teachers=["teacher"],
        benchmarks=str(results / "benchmarks"),
        output=str(page),
    )
    return page


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("study") / "results"
    return write_page(results, ["libreoffice/de-en"], [1])


# Score tables ---------------------------------------------------------------------


def bootstrap_of_nothing(
    references: list[str], baseline: list[str], system: list[str], samples: int
) -> dict[str, dict[str, float]]:
    """Tells what it was given by what it returns."""
    return {
        "bleu": {
            "delta": len(set(system)) - len(set(baseline)),
            "p_value": 1 / samples,
        },
        "chrf": {"delta": float(len(references)), "p_value": 0.5},
    }


@pytest.fixture
def scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Student with seeds 1 and 2, teacher with 1 and 3; the teacher has no speed."""
    monkeypatch.setattr(collect_scores, "paired_bootstrap", bootstrap_of_nothing)
    pair = tmp_path / "results/mozilla/de-dsb"
    runs = [("teacher", 1), ("teacher", 3), ("student", 1), ("student", 2)]
    for system, seed in runs:
        write_run(pair, system, seed)
        lines = ["a", "b", "c"] if system == "teacher" else ["a", "a", "a"]
        write_text(pair / system / f"seed{seed}/translations/test.txt", lines)
    speed = [
        "system seed search sentences_per_second speedup backend threads",
        "student 1 greedy 300 15 torch 1",
        "student 1 beam 100 5 torch 1",
        "student 2 beam 110 5.5 torch 1",
    ]
    collect_scores.main(
        [str(pair / f"{system}/seed{seed}/scores/test.json") for system, seed in runs],
        [
            str(pair / f"{system}/seed{seed}/translations/test.txt")
            for system, seed in runs
        ],
        [write_text(pair / "corpus/test.dsb", ["a", "b", "c"])] * len(runs),
        write_text(pair / "speed.tsv", [line.replace(" ", "\t") for line in speed]),
        {"teacher": "student", "student": "student"},
        100,
        str(tmp_path / "scores.tsv"),
    )
    return pd.read_csv(tmp_path / "scores.tsv", sep="\t")


def test_score_table_has_a_row_for_each_file_in_order(scored: pd.DataFrame) -> None:
    assert " ".join(scored.columns) == (
        "system seed testset sentences bleu chrf greedy_bleu greedy_chrf baseline "
        "bleu_delta bleu_p chrf_delta chrf_p argmax_probability parameters "
        "nonzero_parameters megabytes compressed_megabytes "
        "greedy_sentences_per_second beam_sentences_per_second greedy_speedup "
        "beam_speedup bleu_signature chrf_signature"
    )
    assert list(scored.system + scored.seed.astype(str)) == [
        "teacher1",
        "teacher3",
        "student1",
        "student2",
    ]
    assert list(scored.parameters) == [5120000, 5120000, 1250000, 1250000]
    assert list(scored.bleu - scored.greedy_bleu) == pytest.approx([0.8] * 4, abs=1e-3)
    assert set(scored.bleu_signature) == {"nrefs:1|tok:13a"}


def test_directions_of_a_multilingual_system_have_an_average() -> None:
    rows = [
        ("base", "test.de-en", 3, 20.0, 1.0, 0.5, 100),
        ("base", "test.fr-en", 5, 30.0, 2.0, 0.1, 100),
        ("base", "news.fr-en", 7, 40.0, 2.0, 0.1, 100),
        ("tuned", "test.de-en", 3, 25.0, None, None, 50),
    ]
    columns = ["system", "testset", "sentences", "bleu", "bleu_delta", "bleu_p"]
    table = pd.DataFrame(rows, columns=[*columns, "parameters"]).assign(seed=1)
    table["baseline"] = "student"
    for column in {*collect_scores.AVERAGED, "chrf_p"} - set(table.columns):
        table[column] = 1.0
    found = collect_scores.with_averages(table)
    assert list(found.testset) == [*table.testset, "average.test"]
    last = found.iloc[-1]
    assert (last.system, last.seed, last.sentences) == ("base", 1, 8)
    assert (last.bleu, last.bleu_delta, last.parameters) == (25, 1.5, 100)
    assert pd.isna(last.bleu_p)
    assert pd.isna(last.chrf_p)
    # the baseline learns one direction: what is compared there alone has no average
    table.loc[table.testset == "test.fr-en", "bleu_delta"] = None
    assert pd.isna(collect_scores.with_averages(table).iloc[-1].bleu_delta)
    # two of three directions are no average of the three
    third = table.iloc[:1].assign(testset="test.it-en")
    two = table.iloc[:2].assign(system="two")
    more = collect_scores.with_averages(pd.concat([table, third, two]))
    assert list(more[more.testset == "average.test"].system) == ["base"]
    ordinary = table.assign(testset="test").iloc[:1]
    pd.testing.assert_frame_equal(collect_scores.with_averages(ordinary), ordinary)


def test_page_of_several_directions_names_them(tmp_path: Path) -> None:
    assert report.raw_name("results/t/de-en/raw/train.json", "t/de-en", "t/de-en") == (
        "train"
    )
    path = "results/t/fr-en/raw/train.json"
    assert report.raw_name(path, "t/fr-en", "t/de+fr-en") == "fr-en/train"


def test_systems_are_compared_with_the_baseline_of_their_seed(
    scored: pd.DataFrame,
) -> None:
    compared = scored[["bleu_delta", "bleu_p", "chrf_delta", "chrf_p"]]
    assert list(compared.loc[0]) == [2, 0.01, 3, 0.5]
    assert compared.loc[1:].isna().all(axis=None)  # no student of seed 3; the students
    assert scored.baseline.fillna("").to_list() == ["student", "", "", ""]


def test_unmeasured_speed_is_empty(scored: pd.DataFrame) -> None:
    assert scored.beam_speedup.to_list() == pytest.approx(
        [NAN, NAN, 5, 5.5], nan_ok=True
    )
    assert scored.greedy_sentences_per_second.to_list() == pytest.approx(
        [NAN, NAN, 300, NAN], nan_ok=True
    )


def test_study_table_has_the_rows_of_the_study_in_its_order(tmp_path: Path) -> None:
    rows = "system\tseed\ttestset\tbleu\n" + "".join(
        f"{system}\t{seed}\t{testset}\t1.5\n"
        for system in ("a", "b", "c")
        for seed in (1, 2, 3)
        for testset in ("test", "news")
    )
    table = write(tmp_path / "scores.tsv", rows)
    study = str(tmp_path / "study.tsv")
    collect_study.main(
        [table, table], ["mozilla/de-dsb", "wmt22/de-hsb"], ["c", "a"], [1, 3], study
    )
    lines = Path(study).read_text().splitlines()
    assert lines[0] == "dataset\tpair\tsystem\tseed\ttestset\tbleu"
    assert lines[1] == "mozilla\tde-dsb\tc\t1\ttest\t1.5"
    assert lines[2] == "mozilla\tde-dsb\tc\t1\tnews\t1.5"
    assert lines[3] == "mozilla\tde-dsb\tc\t3\ttest\t1.5"
    assert lines[5] == "mozilla\tde-dsb\ta\t1\ttest\t1.5"
    assert lines[9] == "wmt22\tde-hsb\tc\t1\ttest\t1.5"
    assert len(lines) == 1 + 2 * 8


# Cells ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "digits", "text"),
    [
        ([26.44], 1, "26.4"),
        ([26.0, 27.0, 28.0], 1, "27.0 ± 1.0"),
        ([1.25, 1.25, 1.25], 2, "1.25"),
        ([1050.0, NAN], 0, "1,050"),
        ([NAN, NAN], 1, "–"),
    ],
)
def test_mean_and_standard_deviation(
    values: list[float], digits: int, text: str
) -> None:
    assert report.mean_sd(pd.Series(values), digits) == text


@pytest.mark.parametrize(
    ("deltas", "p_values", "text"),
    [
        ([1.31], [0.2], "+1.3"),
        ([1.31], [0.049], "+1.3*"),
        ([-1.31], [0.001], "−1.3**"),
        ([1.0, 2.0], [0.001, 0.04], "+1.5*"),  # the mark of the higher p
        ([NAN], [NAN], "–"),
    ],
)
def test_delta_and_its_mark(
    deltas: list[float], p_values: list[float], text: str
) -> None:
    assert report.delta(pd.Series(deltas), pd.Series(p_values)) == text


def test_best_is_decided_on_the_values_shown() -> None:
    means = pd.DataFrame(
        {
            "bleu": [27.01, 27.04, 25.0],
            "chrf": [50.0, 51.0, NAN],
            "greedy_bleu": [20.0, 20.0, 20.0],
            "million_parameters": [1.25, 1.25, 0.5],
            "million_nonzero": [1.25, 1.25, 0.5],
            "megabytes": [5.0, 5.0, 5.0],
            "compressed_megabytes": [4.5, 2.5, 4.5],
        },
        index=["x", "y", "z"],
    )
    assert report.best_values(means) == {
        "x": ["bleu"],
        "y": ["bleu", "chrf", "compressed_megabytes"],
        "z": ["million_parameters", "million_nonzero"],
    }


def test_example_systems_are_teachers_baseline_and_the_best_other() -> None:
    rows = pd.DataFrame(
        {
            "system": ["teacher", "student", "a2d", "a2d", "seq_kd"],
            "bleu": [40, 20, 30, 20, 26],
        }
    )
    chosen = report.example_systems(rows, "student", ["teacher", "unused"])
    assert chosen == ["teacher", "student", "seq_kd"]
    assert report.example_systems(rows[:2], "student", ["teacher"]) == [
        "teacher",
        "student",
    ]


def test_examples_spread_over_the_sentences_that_differ() -> None:
    lines = [str(line) for line in range(100)]
    half = [line if int(line) % 2 else "x" for line in lines]
    found = report.examples(lines, lines, {"a": lines, "b": half})
    assert [example["line"] for example in found] == [1, 21, 41, 61, 81]
    assert found[1]["translations"] == {"a": "20", "b": "x"}
    assert report.examples(lines, lines, {"a": lines, "b": lines}) == []


# Figures --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "spread"),
    [
        ([], []),
        ([0, 5], [0, 5]),
        ([0, 0, 0], [-1, 0, 1]),
        ([0, 0.5, 9], [-0.25, 0.75, 9]),
        ([0, 3, 3.2, 3.4], [0, 2.2, 3.2, 4.2]),
    ],
)
def test_labels_move_as_little_as_possible(
    wanted: list[float], spread: list[float]
) -> None:
    assert figure_style.spread_out(wanted, 1) == pytest.approx(spread)


def test_no_label_of_a_figure_overlaps_another() -> None:
    figure = Figure(figsize=(11, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    axes[0].plot([1, 3], [1, 2])
    points = [(1, 1.5), (2, 1.5), (3, 1.0), (3, 1.01), (1, 1.02), (3, 2.0), (2, 1.5)]
    figure_style.label_points(axes[0], points, SYSTEMS, ["black"] * 7)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes[0].texts]
    assert axes[0].texts[-1].get_text() == "a2d"  # the highest point
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    assert all(box.x0 > axes[0].bbox.x1 and box.x1 < axes[1].bbox.x0 for box in boxes)


def test_panel_is_high_enough_for_its_labels() -> None:
    """Thirty labels, one of a point below the axis: all stay in the picture."""
    figure = Figure(
        figsize=(8, figure_style.panel_height(30, least=4)), layout="constrained"
    )
    axes = figure.subplots()
    axes.set_title("quality")
    axes.set_xlabel("speed")
    axes.set_ylim(0, 1)
    points = [(1.0, -3.0), *((1.0, 0.5) for _ in range(29))]
    figure_style.label_points(axes, points, ["name"] * 30, ["black"] * 30)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert min(box.y0 for box in boxes) >= 0
    assert max(box.y1 for box in boxes) <= figure.bbox.height
    assert figure_style.panel_height(3, least=4) == 4


def test_systems_keep_their_colours() -> None:
    looks = figure_style.system_looks([str(place) for place in range(11)])
    assert looks["0"] == looks["10"] == ("#222222", "o")
    assert len(set(looks.values())) == 10


def test_curves_are_means_where_all_seeds_validated(tmp_path: Path) -> None:
    for seed, scores in ((1, [10, 20]), (2, [14, 20, 30])):
        lines = [
            {"step": 100 * n, "valid_bleu": bleu, "valid_loss": 5 - n, "seconds": n}
            for n, bleu in enumerate(scores, 1)
        ]
        text = '{"step": 50, "loss": 6.0, "seconds": 0.5}\n'
        text += "".join(json.dumps(line) + "\n" for line in lines)
        write(tmp_path / f"a2d/seed{seed}/metrics.jsonl", text)
    curves = plot_curves.validation_curves(
        [str(tmp_path / f"a2d/seed{seed}/metrics.jsonl") for seed in (1, 2)]
    )
    assert list(curves.step) == [100, 200]
    assert list(curves.valid_bleu) == [12, 20]
    assert list(curves.valid_bleu_low) == [10, 20]
    assert list(curves.valid_bleu_high) == [14, 20]
    assert list(curves.valid_loss) == [4, 3]
    assert set(curves.system) == {"a2d"}


def test_time_unit() -> None:
    assert plot_curves.time_unit(100) == ("seconds", 1)
    assert plot_curves.time_unit(180) == ("minutes", 60)
    assert plot_curves.time_unit(86400) == ("hours", 3600)


def test_points_of_a_pruning_curve_are_means_in_order_of_sparsity() -> None:
    rows = pd.DataFrame(
        {
            "system": ["whole", "cut_90", "cut_50", "whole", "cut_90", "other"],
            "bleu": [30.0, 20.0, 29.0, 32.0, 24.0, 1.0],
            "greedy_bleu": [29.0, 19.0, 28.0, 31.0, 19.0, 1.0],
            "nonzero_parameters": [8e6, 1e6, 4e6, 8e6, 1e6, 5e6],
        }
    )
    curves = {"cut of whole": {"whole": 0.0, "cut_90": 0.9, "cut_50": 0.5}}
    points = plot_pruning.curve_points(rows, curves)
    assert list(points.system) == ["whole", "cut_50", "cut_90"]
    assert list(points.percent) == [0, 50, 90]
    assert list(points.millions) == [8, 4, 1]
    assert list(points.bleu) == [31, 29, 22]
    assert list(points.greedy_bleu) == [30, 28, 19]
    assert points.bleu_sd[0] == pytest.approx(2**0.5)
    assert pd.isna(points.bleu_sd[1])
    assert points.bleu_sd[2] == pytest.approx(8**0.5)


def test_head_names() -> None:
    assert plot_alignment.head_names(2, 2) == ["L1H1", "L1H2", "L2H1", "L2H2"]
    assert plot_alignment.head_names(2, 1) == ["L1", "L2"]  # layer granularity


def test_table_names_the_baselines_of_its_own_comparisons(scored: pd.DataFrame) -> None:
    rows = report.in_readable_units(scored)
    compared = report.score_table(rows, ["teacher"])
    assert compared["baselines"] == {"student": "teacher"}
    # of a test set whose baseline learned another direction
    alone = report.score_table(rows.assign(bleu_delta=float("nan")), ["teacher"])
    assert alone["baselines"] == {}


# Page -----------------------------------------------------------------------------


def test_page_shows_the_scores(page: Path) -> None:
    table = lxml.html.fromstring(page.read_text()).xpath("//table[@class='scores']")[0]
    scores = pd.read_csv(page.with_name("scores.tsv"), sep="\t").set_index("system")
    rows = {
        row[0].text_content(): [cell.text_content() for cell in row[1:]]
        for row in table.xpath("tbody/tr")
    }
    assert list(rows) == SYSTEMS
    assert rows["student"][:3] == [
        f"{scores.bleu['student']:.1f}",
        "–",
        f"{scores.chrf['student']:.1f}",
    ]
    assert "|".join(rows["teacher"][5:]) == "0.9 %|5.12 M|20.5|22|55|1.0×|2.5×"
    assert "|".join(rows["a2d"][5:]) == "0.9 %|1.25 M|5.0|111|278|5.0×|12.6×"
    best = table.xpath("//td[@class='best']/../th")
    assert [cell.text_content() for cell in best] == ["seq_kd_a2d"]


def test_page_needs_nothing_beside_it(page: Path) -> None:
    text = page.read_text()
    pictures = lxml.html.fromstring(text).xpath("//img")
    assert len(pictures) == 3
    assert all(
        picture.get("src").startswith("data:image/svg+xml;base64,")
        for picture in pictures
    )
    assert not re.search(r"<script|<link|@import|url\(|https?:", text)


def test_page_escapes_text(page: Path) -> None:
    text = page.read_text()
    assert "Schaltfläche &lt;OK&gt;." in text
    assert "<OK>" not in text


def test_page_tells_where_the_text_comes_from(page: Path) -> None:
    text = lxml.html.fromstring(page.read_text()).text_content()
    assert "ef" * 32 in text
    assert "help-de.deb" in text
    assert text.count("documents held out of the training text") == 2
