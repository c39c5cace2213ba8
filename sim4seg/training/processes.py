"""The processes of one training run: what each adds up to over all, and how all stop together when one cannot go on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor

from sim4seg import errors
from sim4seg.errors import Sim4SegError


class Processes:
    """This process among ``world`` of them; a run of one process needs no communication.

    Args:
        rank, world: as the launcher numbered them.
        device: where the backend's tensors live (the CPU for gloo, this process's GPU for nccl).
    """

    def __init__(self, rank: int, world: int, device: torch.device) -> None:
        self.rank, self.world, self.device = rank, world, device

    @property
    def writes(self) -> bool:
        """Only one process writes."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """Sum over all processes."""
        return self._reduce(value, dist.ReduceOp.SUM)

    def least(self, value: Tensor) -> Tensor:
        """Element by element the least of all processes."""
        return self._reduce(value, dist.ReduceOp.MIN)

    def _reduce(self, value: Tensor, operation: dist.ReduceOp.RedOpType) -> Tensor:
        if self.world == 1:
            return value
        moved = value.detach().clone().to(self.device)
        dist.all_reduce(moved, operation)
        return moved.to(value.device)

    def gather(self, value: Tensor, fill: int | float = 0) -> list[Tensor]:
        """The values of all processes in their order; sizes may differ, the common frame is filled with ``fill``."""
        if self.world == 1:
            return [value]
        most = -self.least(-torch.tensor(value.shape))
        frame = torch.full(most.tolist(), fill, dtype=value.dtype, device=self.device)
        frame[tuple(slice(size) for size in value.shape)] = value.to(self.device)
        parts = [torch.empty_like(frame) for _ in range(self.world)]
        dist.all_gather(parts, frame)
        sizes = [torch.empty(value.dim(), dtype=torch.int64, device=self.device) for _ in range(self.world)]
        dist.all_gather(sizes, torch.tensor(value.shape, device=self.device))
        return [part[: int(size[0])].to(value.device) for part, size in zip(parts, sizes, strict=True)]

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world > 1:
            dist.barrier()

    def agree(self, step: int, folder: str) -> None:
        """Make sure that all found the same checkpoint.

        Raises:
            ModelError: they did not; the same on all.
        """
        least, most = int(self.least(torch.tensor(step))), -int(self.least(torch.tensor(-step)))
        if least != most:
            error = errors.ModelError(
                f"some processes find a checkpoint of step {most}, others of step {least}",
                where=folder,
                remedy="let all machines share the folder, or remove it on all of them",
            )
            error.shared = True
            raise error

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run a block that may fail on some processes only; then all raise the error of the first that failed.

        Raises:
            Sim4SegError: the same on all, with ``shared`` set: one of them need say it.
        """
        failed: Sim4SegError | None = None
        try:
            yield
        except Sim4SegError as error:
            failed = error
        if self.world == 1:
            if failed is not None:
                raise failed
            return
        first = int(self.least(torch.tensor(self.world if failed is None else self.rank)))
        if first < self.world:
            raise self._tell(failed, first) from failed

    def from_first(self, text: str) -> str:
        """The text of the process that writes; what the others give is not looked at."""
        return self._sent(text, 0)

    def _sent(self, text: str, source: int) -> str:
        """The text of process ``source``, on all."""
        if self.world == 1:
            return text
        own = text.encode() if self.rank == source else b""
        size = torch.tensor(len(own), device=self.device)
        dist.broadcast(size, source)
        letters = torch.zeros(int(size), dtype=torch.uint8, device=self.device)
        if own:
            letters.copy_(torch.frombuffer(bytearray(own), dtype=torch.uint8))
        dist.broadcast(letters, source)
        return bytes(letters.cpu().tolist()).decode()

    def _tell(self, error: Sim4SegError | None, source: int) -> Sim4SegError:
        message = ""
        if error is not None and self.rank == source:
            where = f"{error.where} (process {source} of {self.world})".strip()
            message = json.dumps([type(error).__name__, error.what, where, error.remedy])
        kind, what, where, remedy = json.loads(self._sent(message, source))
        shared: Sim4SegError = getattr(errors, kind, Sim4SegError)(what, where=where, remedy=remedy)
        shared.shared = True
        return shared


def this_process() -> Processes:
    """This process as its launcher (torchrun, accelerate) numbered it; the only one where there was no launcher."""
    state = PartialState(cpu=not torch.cuda.is_available())
    return Processes(state.process_index, state.num_processes, state.device)
