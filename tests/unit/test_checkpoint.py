"""Files of weights and states: whole, safe and exact."""

import gzip
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from a2d import checkpoint
from a2d.section import UserError


def tied() -> nn.ModuleDict:
    torch.manual_seed(1)
    model = nn.ModuleDict({"a": nn.Linear(3, 4, bias=False), "b": nn.Linear(3, 4)})
    model["b"].weight = model["a"].weight
    return model


def test_weights_survive(tmp_path: Path) -> None:
    model = tied()
    path = tmp_path / "new/folder/weights"
    checkpoint.save_weights(path, model.state_dict())
    found = checkpoint.load_weights(path)
    assert set(found) == {"a.weight", "b.weight", "b.bias"}
    assert all(torch.equal(found[n], t) for n, t in model.state_dict().items())
    other = tied()
    nn.init.zeros_(other["a"].weight)
    other.load_state_dict(found)
    assert other["a"].weight is other["b"].weight
    assert torch.equal(other["a"].weight, model["a"].weight)


def test_equal_weights_are_equal_bytes(tmp_path: Path) -> None:
    """Also of several names for one tensor: its hash stands in fingerprints."""
    found = set()
    for number in range(8):
        model = tied()
        for name in "cde":
            model[name] = nn.Linear(3, 4, bias=False)
            model[name].weight = model["a"].weight
        checkpoint.save_weights(tmp_path / str(number), model.state_dict())
        found.add((tmp_path / str(number)).read_bytes())
    assert len(found) == 1


def test_failed_write_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, state = tmp_path / "weights", tmp_path / "state"
    checkpoint.save_weights(weights, {"x": torch.ones(2)})
    checkpoint.save_state(state, {"x": 1})

    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        checkpoint.save_weights(weights, {"x": torch.zeros(2)})
    with pytest.raises(OSError, match="no space"):
        checkpoint.save_state(state, {"x": 2})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["state", "weights"]
    assert torch.equal(checkpoint.load_weights(weights)["x"], torch.ones(2))
    assert checkpoint.load_state(state) == {"x": 1}


def test_missing_and_damaged_weights_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none: there are no weights"):
        checkpoint.load_weights(tmp_path / "none")
    damaged = tmp_path / "damaged"
    checkpoint.save_weights(damaged, {"x": torch.ones(200)})
    whole = damaged.read_bytes()
    for content in (b"", b"no weights", whole[:-1], whole[:20]):
        damaged.write_bytes(content)
        with pytest.raises(UserError, match="damaged: not a safetensors file"):
            checkpoint.load_weights(damaged)


def test_average(tmp_path: Path) -> None:
    values = ([1.0, 2.0], [3.0, 6.0], [5.0, 1.0])
    paths = [tmp_path / str(number) for number in range(3)]
    for path, value in zip(paths, values, strict=True):
        checkpoint.save_weights(path, {"x": torch.tensor(value)})
    found = checkpoint.average_weights(iter(paths))
    assert found["x"].tolist() == [3.0, 3.0]
    (alone,) = (checkpoint.average_weights(paths[:1]),)
    assert alone["x"].tolist() == [1.0, 2.0]


def test_state_survives(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2)).sum().backward()
    optimizer.step()
    state = {
        "optimizer": optimizer.state_dict(),
        "progress": {"best": [(1.5, 3)], "finished": False, "seconds": 0.1},
        "random_states": [checkpoint.random_states(torch.device("cpu"))],
        "text": "ä",
    }
    checkpoint.save_state(tmp_path / "state", state)
    found = checkpoint.load_state(tmp_path / "state")
    assert (found["progress"], found["text"]) == (state["progress"], "ä")
    moments = found["optimizer"]["state"][0]
    assert torch.equal(
        moments["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"]
    )

    drawn = torch.rand(3)
    checkpoint.set_random_states(found["random_states"][0], torch.device("cpu"))
    assert torch.equal(torch.rand(3), drawn)


class Malicious:
    executed = False

    @staticmethod
    def attack() -> None:
        Malicious.executed = True

    def __reduce__(self) -> tuple[object, tuple[()]]:
        return Malicious.attack, ()


@pytest.mark.parametrize("by_torch", [True, False])
def test_state_is_never_code(tmp_path: Path, by_torch: bool) -> None:
    path = tmp_path / "state"
    content = OrderedDict(model=Malicious())
    if by_torch:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises((pickle.UnpicklingError, UserError)):
        checkpoint.load_state(path)
    assert not Malicious.executed


def test_parameters_are_counted_once() -> None:
    model = tied()
    assert checkpoint.count_parameters(model) == 12 + 4


def test_zeros_are_not_counted_and_hardly_stored(tmp_path: Path) -> None:
    """A tenth of the weights is left: their bytes, and where they stand."""
    torch.manual_seed(1)
    model = nn.Linear(300, 100, bias=False)
    sizes = []
    for zeros in (0, 270):
        with torch.no_grad():
            model.weight[:, torch.randperm(300)[:zeros]] = 0
        checkpoint.save_weights(tmp_path / "weights", model.state_dict())
        sizes.append(checkpoint.compressed_size(tmp_path / "weights"))
        assert checkpoint.count_nonzero_parameters(model) == 100 * (300 - zeros)
    assert 0.85 * 120_000 < sizes[0] < 120_200
    assert sizes[1] < 0.16 * sizes[0]
    packed = gzip.compress((tmp_path / "weights").read_bytes(), compresslevel=9)
    assert len(packed) - sizes[1] == 12  # gzip's longer header and trailer
