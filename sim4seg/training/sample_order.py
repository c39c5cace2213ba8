"""Which samples a step sees, in what order, and which of them a process reads: functions of seed and epoch alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.utils.data import Sampler

from sim4seg.digest import digest_json
from sim4seg.errors import ConfigError
from sim4seg.training.balance import Cell

STEPS_GROUPED = 50
"""Steps whose samples are sorted by length together."""


@dataclass(frozen=True)
class Share:
    """How the samples of a step fall to processes and accumulation steps.

    Attributes:
        world: processes.
        micro: samples that a process holds at once.
        accumulation: forward and backward passes of a process for each step of the optimizer.
    """

    world: int
    micro: int
    accumulation: int

    @property
    def step(self) -> int:
        """Samples of a step, all processes together."""
        return self.world * self.micro * self.accumulation

    @classmethod
    def of(cls, batch_size: int, accumulation: int, world: int) -> Share:
        """A step is ``batch_size * accumulation`` samples whatever the number of processes.

        Raises:
            ConfigError: the processes cannot have equal shares.
        """
        step = batch_size * accumulation
        if step % world:
            raise ConfigError(
                f"{step} samples a step cannot be shared equally by {world} processes",
                where="train.batch_size and train.accumulation",
                remedy=f"make their product a multiple of {world}, or start another number of processes",
            )
        own = step // world
        # A divisor of the process's share, so that all passes of a step hold equally many.
        micro = max(size for size in range(1, min(batch_size, own) + 1) if own % size == 0)
        return cls(world, micro, own // micro)


class Seen(NamedTuple):
    """A sample at one place of a run.

    Attributes:
        row: of the sample, or ``-1 - row`` for a stand-in that does not count.
        place: its number in the order of the whole run, the same whichever process reads it.
    """

    row: int
    place: int


def _permutation(count: int, seed: int) -> list[int]:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()


def _largest_remainder(weights: Mapping[str, float], total: int) -> dict[str, int]:
    """``total`` split by weight into whole numbers."""
    scale = total / sum(weights.values())
    counts = {name: int(weight * scale) for name, weight in weights.items()}
    # Largest fraction first, as the difference is minus it; names decide between equal ones, not the mapping's order.
    rest = sorted(weights, key=lambda name: (counts[name] - weights[name] * scale, name))
    for name in rest[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def _at_least_one(counts: dict[str, int], names: Collection[str]) -> dict[str, int]:
    """Give each of ``names`` that has none one of the largest's, as far as the numbers reach."""
    for name in sorted(name for name in names if not counts[name]):
        largest = max(sorted(counts), key=lambda other: counts[other])
        if counts[largest] > 1:
            counts[largest] -= 1
            counts[name] += 1
    return counts


def _name(cell: Cell) -> str:
    return f"{cell.dataset}/{cell.label}/{'empty' if cell.empty else 'lesion'}"


class SampleOrder:
    """The samples of an epoch in the order in which they are seen.

    Without weights and without a set number of steps each sample comes once, shuffled. Otherwise every sub-dataset is
    gone through in shuffled passes, one after the other across epochs, so that no sample comes twice before each of its
    sub-dataset has come once. With ``cells``, the same is done with every cell of a sub-dataset.

    Args:
        datasets: sub-dataset of each sample.
        lengths: length of each sample's text, in any unit.
        seed: decides everything.
        sampling: see :class:`sim4seg.config.train.Train`.
        step: samples of a step.
        steps: steps of an epoch; 0 = as many as there are samples for.
        by_length: sort within groups of :data:`STEPS_GROUPED` steps.
        cells: of each sample, to share out a sub-dataset's samples by ``shares``
            (:func:`sim4seg.training.balance.cell_shares`); None = all samples of a sub-dataset are alike.

    Raises:
        ConfigError: a weight names a sub-dataset that has no samples.
    """

    def __init__(
        self,
        datasets: Sequence[str],
        lengths: Sequence[int],
        seed: int,
        sampling: str | Mapping[str, float],
        step: int,
        steps: int = 0,
        by_length: bool = False,
        cells: Sequence[Cell] | None = None,
        shares: Mapping[Cell, float] | None = None,
    ) -> None:
        self.lengths, self.seed, self.step, self.by_length = lengths, seed, step, by_length
        self.rows: dict[str, list[int]] = {name: [] for name in sorted(set(datasets))}
        for row, name in enumerate(datasets):
            self.rows[name].append(row)
        self.plain = sampling == "proportional" and not steps
        self.count = steps * step or len(datasets)
        self.counts = _largest_remainder(self._weights(sampling), self.count)
        if cells is not None and shares is not None:
            self._divide(cells, shares)

    def _weights(self, sampling: str | Mapping[str, float]) -> dict[str, float]:
        if isinstance(sampling, str):
            return {name: float(len(rows)) if sampling == "proportional" else 1.0 for name, rows in self.rows.items()}
        unknown = sorted(set(sampling) - set(self.rows))
        if unknown:
            raise ConfigError(
                f"no training samples of {', '.join(unknown)}",
                where="train.sampling",
                remedy=f"weigh some of {', '.join(self.rows)}; those without a weight are left out",
            )
        return dict(sampling)

    def _divide(self, cells: Sequence[Cell], shares: Mapping[Cell, float]) -> None:
        """Go through cells instead of whole sub-datasets; each with a lesion is seen in every epoch that has room."""
        rows: dict[str, list[int]] = {}
        counts: dict[str, int] = {}
        for row, cell in enumerate(cells):
            rows.setdefault(_name(cell), []).append(row)
        for dataset, count in self.counts.items():
            own = {cell: share for cell, share in sorted(shares.items()) if cell.dataset == dataset}
            named = {_name(cell): share for cell, share in own.items()}
            # Not those without a lesion: `train.balance.negatives` may want none of them.
            lesions = [_name(cell) for cell in own if not cell.empty]
            counts |= _at_least_one(_largest_remainder(named, count), lesions)
        self.plain, self.rows, self.counts = False, rows, counts

    def __len__(self) -> int:
        return self.count

    def epoch(self, epoch: int) -> list[int]:
        """Row of each sample of an epoch."""
        if self.plain:
            order = _permutation(self.count, self.seed + epoch)
        else:
            # Sorted by name, since what is permuted next are places: another order would be another epoch.
            drawn = [row for name, count in sorted(self.counts.items()) for row in self._pass(name, count, epoch)]
            order = [drawn[place] for place in _permutation(len(drawn), self.seed + epoch)]
        return self._grouped(order, epoch) if self.by_length else order

    def _pass(self, name: str, count: int, epoch: int) -> list[int]:
        """``count`` rows of a sub-dataset: the epoch's part of an endless chain of shuffled passes."""
        rows = self.rows[name]
        first, last = epoch * count, (epoch + 1) * count
        chain: list[int] = []
        for lap in range(first // len(rows), -(-last // len(rows))):
            # Of the lap and not of the epoch: an epoch that begins within a lap goes on in the same order.
            seed = int(digest_json([self.seed, name, lap])[:12], 16)
            chain += [rows[place] for place in _permutation(len(rows), seed)]
        start = first - first // len(rows) * len(rows)
        return chain[start : start + count]

    def _grouped(self, order: list[int], epoch: int) -> list[int]:
        """Steps of like lengths in shuffled order, the longest first so that too little memory shows at once."""
        span = self.step * STEPS_GROUPED
        full = len(order) // self.step * self.step
        steps: list[list[int]] = []
        for start in range(0, full, span):
            part = sorted(order[start : min(start + span, full)], key=lambda row: (-self.lengths[row], row))
            steps += [part[at : at + self.step] for at in range(0, len(part), self.step)]
        shuffled = [steps[place] for place in _permutation(len(steps), self.seed + epoch)]
        longest = max(range(len(shuffled)), key=lambda at: self.lengths[shuffled[at][0]], default=0)
        shuffled[:1], shuffled[longest : longest + 1] = shuffled[longest : longest + 1], shuffled[:1]
        # The step that is not full stays last: elsewhere it would shift the bounds of all steps after it.
        return [row for step in shuffled for row in step] + order[full:]


class ProcessBatches(Sampler[list[int] | list[Seen]]):
    """The batches of one process: of each step in the common order, its own part.

    A step's samples go, in order, to pass 0 of processes 0, 1, …, then to pass 1 of them. Where the last step of an
    epoch has no sample left for a process, it gets one that does not count, given as ``-1 - row``: all processes make
    equally many passes.

    Args:
        order: of all processes.
        share: of a step.
        rank: which process this is.
        places: tell the place of each sample too (:class:`Seen`), for those who make every sight of it another.
    """

    def __init__(self, order: SampleOrder, share: Share, rank: int, places: bool = False) -> None:
        self.order, self.share, self.rank, self.places = order, share, rank, places
        self.number = 0

    def set_epoch(self, epoch: int) -> None:
        """Which epoch to go through next."""
        self.number = epoch

    def __len__(self) -> int:
        # Passes over all processes are contiguous, so those of the last, partial step are counted alike.
        return -(-len(self.order) // (self.share.world * self.share.micro))

    def __iter__(self) -> Iterator[list[int] | list[Seen]]:
        rows, micro = self.order.epoch(self.number), self.share.micro
        together = self.share.world * micro
        for start in range(0, len(rows), together):
            passed = rows[start : start + together]
            own = passed[self.rank * micro : (self.rank + 1) * micro]
            first = self.number * len(rows) + start + self.rank * micro
            batch = own or [-1 - passed[0]]
            yield [Seen(row, first + at) for at, row in enumerate(batch)] if self.places else batch
