"""The processes that `torchrun` starts for one training, or the only one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Worker:
    """This process among those that share a training."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and progress."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """The values of all workers, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def sum(self, numbers: Tensor) -> Tensor:
        """The sum of the workers' tensors."""
        if self.size > 1:
            dist.all_reduce(numbers)
        return numbers

    def wait_for_leader(self) -> None:
        """Go on when the leader comes here too, which may take days."""
        if self.size > 1:
            patient = dist.new_group(backend="gloo", timeout=timedelta(days=30))
            dist.barrier(patient)

    def from_leader(self, value: Any) -> Any:
        """The leader's value, on all workers."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]


@contextmanager
def worker() -> Iterator[Worker]:
    """This process, connected with the others if `torchrun` started several."""
    size, rank = (
        int(os.environ.get(k, d)) for k, d in (("WORLD_SIZE", "1"), ("RANK", "0"))
    )
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
    if size > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Worker(rank, size, device)
    finally:
        if size > 1:
            dist.destroy_process_group()
