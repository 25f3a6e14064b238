"""One process among several; several together are tested in test_train.py."""

import pytest
import torch

from a2d.distributed import Worker, worker


def test_single_process_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with worker() as me:
        assert (me.rank, me.size, me.leads) == (0, 1, True)
        assert not torch.distributed.is_initialized()
        value = {"any": "thing"}
        assert me.gather(value) == [value]
        assert me.from_leader(value) is value
        numbers = torch.tensor([1.0, 2.0])
        assert me.sum(numbers).tolist() == [1, 2]


def test_only_rank_zero_leads() -> None:
    ranks = [Worker(rank, 3, torch.device("cpu")) for rank in range(3)]
    assert [me.leads for me in ranks] == [True, False, False]


def test_one_of_several_joins_and_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    distributed = "a2d.distributed.dist"
    monkeypatch.setattr(f"{distributed}.init_process_group", calls.append)
    monkeypatch.setattr(
        f"{distributed}.destroy_process_group", lambda: calls.append("left")
    )
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with worker() as me:
        assert (me.rank, me.size, me.leads) == (2, 4, False)
        assert calls == ["gloo"]
    assert calls == ["gloo", "left"]
