"""The benchmark's arithmetic: turns, ratios, targets, operations."""

import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from a2d.config import PAD
from a2d.data import ParallelData, TokenSequences
from a2d.encode import flat, starts_of
from a2d.model import Transformer
from benchmarks import __main__ as program
from benchmarks import contest, training
from benchmarks.contest import Row, Worker, rows_of, take_turns


def test_contestants_take_turns_after_a_warm_up() -> None:
    calls: list[str] = []

    def contestant(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    found = take_turns(
        {name: lambda name=name: contestant(name) for name in "ab"}, rounds=2
    )
    assert calls == list("ababab")
    assert found == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


def test_ratios_are_medians_of_rounds_and_meet_targets_or_not() -> None:
    found = {"a2d": [10.0, 20.0, 30.0], "slow": [5.0, 5.0, 10.0], "fast": [20.0] * 3}
    ours, slow, fast = rows_of("speed", found, "1/s", {"slow": ">= 3", "fast": "<= 1"})
    assert (ours.median, ours.spread, ours.ratio, ours.met) == (20, 1, None, "")
    # 2, 4 and 3: neither the ratio of the medians nor that of the means
    assert (slow.ratio, slow.target, slow.met) == (3, ">= 3", "yes")
    assert (fast.ratio, fast.spread, fast.met) == (1, 0, "yes")
    (_, missed) = rows_of("speed", {"a2d": [1.0], "slow": [2.0]}, "", {"slow": ">= 1"})
    assert missed.met == "no"


WORKER = """
import json, sys
settings = json.load(open(sys.argv[1]))
print("noise")
print("READY", flush=True)
for round, _ in enumerate(sys.stdin):
    print("ROUND", json.dumps({"tokens": settings["size"] * round, "seconds": 2}))
    sys.stdout.flush()
"""


def test_worker_answers_round_by_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contest, "WORKERS", tmp_path)
    (tmp_path / "train.py").write_text(WORKER)
    with Worker("train.py", {"size": 3}, tmp_path / "scratch") as worker:
        assert [worker.rate("tokens") for _ in range(3)] == [0, 1.5, 3]
    assert worker.process.returncode == 0
    (tmp_path / "dies.py").write_text("raise SystemExit('no model')")
    with pytest.raises(RuntimeError, match="the worker died"):
        Worker("dies.py", {}, tmp_path / "scratch")
    assert (tmp_path / "scratch/stderr.txt").read_text() == "no model\n"


def test_operations_are_those_that_torch_counts() -> None:
    """Two for each multiplication, backward twice as many as forward."""
    length, sentences = 7, 5
    sequence = [[9] * length] * sentences
    tokens, lengths = flat(sequence)
    side = TokenSequences([(tokens, starts_of(lengths))])
    data = ParallelData(side, side)
    config = training.architecture("student").model_copy(update={"dropout": 0.0})
    model = Transformer(config, training.VOCAB_SIZE, training.VOCAB_SIZE)
    batch = data.batch(torch.arange(sentences).numpy())
    with FlopCounterMode(display=False) as counter:
        # with maps attention is explicit matrix products, which can be counted
        hidden = model(batch.src, batch.tgt_input, return_maps=True).hidden
        model.projection(hidden[batch.tgt != PAD]).sum().backward()
    mine = training.operations_per_token(config, data) * sentences * (length + 1)
    # a causal map has a triangle of keys that no query sees, but torch multiplies it
    unseen = sentences * (length + 1) * length / 2 * 12 * config.d_model
    assert counter.get_total_flops() == mine + unseen * config.num_decoder_layers


def test_table_keeps_rows_of_other_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, results = tmp_path / "page.md", tmp_path / "results.tsv"
    page.write_text("before\n<!-- measured -->\nold\n<!-- /measured -->\nafter\n")
    monkeypatch.setattr(program, "PAGE", page)
    monkeypatch.setattr(program, "RESULTS", results)
    program.write([Row("one", "a2d", 1, 0.1, "s"), Row("two", "a2d", 2, 0, "s")])
    program.write([Row("one", "a2d", 3, 0, "s"), Row("one", "b", 6, 0, "s", 0.5)])
    table = pd.read_csv(results, sep="\t")
    columns = "row contestant median spread unit ratio target met"
    assert list(table.columns) == columns.split()
    assert table["median"].tolist() == [2, 3, 6]
    text = page.read_text()
    assert text.startswith("before\n<!-- measured -->\n")
    assert text.endswith("<!-- /measured -->\nafter\n")
    assert "| one | b | 6 | 0 % | s | 0.50 |  |  |" in text
    assert "old" not in text
    assert str(sys.version_info[0]) in text
