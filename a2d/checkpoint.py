"""Weights and training states on disk: whole or not at all, and never code.

Weights are safetensors; states are read with `weights_only=True`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from a2d.files import replacing
from a2d.section import UserError


def save_weights(path: str | Path, weights: dict[str, Tensor]) -> None:
    """Write weights; of tied ones the others are named in the file's metadata."""
    names: dict[int, str] = {}
    first = {
        name: names.setdefault(tensor.data_ptr(), name)
        for name, tensor in weights.items()
    }
    stored = {name: weights[name].detach().cpu() for name in names.values()}
    tied = {name: other for name, other in first.items() if name != other}
    with replacing(path) as temporary:
        # one key, because the order of several is random
        metadata = {"tied": json.dumps(tied, sort_keys=True)}
        temporary.write_bytes(safetensors.torch.save(stored, metadata=metadata))


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """Read weights, tied ones under each of their names.

    Raises:
        UserError: if the file is missing or is no safetensors file.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: there are no weights; was the system trained?")
    try:
        with safetensors.safe_open(path, "pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            tied = json.loads((file.metadata() or {}).get("tied", "{}"))
    except safetensors.SafetensorError as error:
        raise UserError(f"{path}: not a safetensors file ({error})") from None
    return weights | {name: weights[other] for name, other in tied.items()}


def average_weights(paths: Iterable[str | Path]) -> dict[str, Tensor]:
    """Mean of the weights in several files."""
    models = [load_weights(path) for path in paths]
    return {
        name: torch.stack([model[name].float() for model in models]).mean(0)
        for name in models[0]
    }


def save_state(path: str | Path, state: dict[str, Any]) -> None:
    """Write a training state of tensors, numbers, strings, lists and dictionaries."""
    with replacing(path) as temporary:
        torch.save(state, temporary)


def load_state(path: str | Path) -> dict[str, Any]:
    """Read a training state."""
    return torch.load(path, map_location="cpu", weights_only=True)


def count_parameters(model: nn.Module) -> int:
    """Trainable numbers, tied ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_nonzero_parameters(model: nn.Module) -> int:
    """Trainable numbers that are not zero, tied ones counted once."""
    return sum(int(parameter.count_nonzero()) for parameter in model.parameters())


def compressed_size(path: str | Path) -> int:
    """Bytes of a file after Deflate of level 9, the compression of gzip and zip."""
    return len(zlib.compress(Path(path).read_bytes(), level=9))


def random_states(device: torch.device) -> dict[str, Tensor]:
    """States of the random number generators that training draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_states(states: dict[str, Tensor], device: torch.device) -> None:
    """Continue the random numbers where `random_states` was taken."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
