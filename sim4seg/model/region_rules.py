"""Which cells of the region matrix prompt SAM: the paper's fixed number of them, or as many as the matrix itself says.

36 of 256 cells are 14 % of an image, and lesions fill between half a percent and 40 % of theirs. ``otsu`` and ``mass``
let each image have its own number; ``soft`` chooses none and hands SAM the scores as the mask logits that its prompt
encoder was trained with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sim4seg.model import rvls2m

Perturbation = Callable[[Tensor], Tensor]
"""Normalised region matrices (B * m, g, g) to n variants of each, one after the other: (B * m * n, g, g)."""


@dataclass(frozen=True)
class RegionMatrices:
    """Region matrices as a rule gets them, perturbed or not.

    Attributes:
        normal: (R, g, g) float32 min-max normalised; a perturbation may have moved them out of [0, 1].
        low, span: (R, 1, 1) float32, least score and the greatest less the least: ``low + span * normal`` are scores.
    """

    normal: Tensor
    low: Tensor
    span: Tensor

    @classmethod
    def of(cls, scores: Tensor) -> RegionMatrices:
        """Of scores (R, g, g) float32."""
        low, high = scores.amin(dim=(-2, -1), keepdim=True), scores.amax(dim=(-2, -1), keepdim=True)
        return cls(rvls2m.normalise(scores), low, high - low)

    def perturbed(self, perturbation: Perturbation) -> RegionMatrices:
        """N variants of each matrix, one after the other."""
        normal = perturbation(self.normal)
        times = len(normal) // len(self.normal)
        return RegionMatrices(normal, self.low.repeat_interleave(times, 0), self.span.repeat_interleave(times, 0))

    @property
    def scores(self) -> Tensor:
        """(R, g, g) on the scale of the similarities, with the perturbation if there was one."""
        return self.low + self.span * self.normal


RegionRule = Callable[[RegionMatrices], Tensor]
"""Region matrices to region masks (R, g, g), binary or soft.

A rule also decides what gradient reaches the matrix: a binary one needs :func:`rvls2m.straight_through`."""


def region_rule(region: Mapping[str, Any]) -> RegionRule | None:
    """The rule that a model's region settings ask for; None where RVLS2M is off.

    Args:
        region: ``Sim4SegConfig.region``.
    """
    if not region["enabled"]:
        return None
    rules: dict[str, RegionRule] = {
        "top_n": partial(top_cells, top_n=region["top_n"]),
        "otsu": otsu_cells,
        "mass": partial(mass_cells, share=region["mass"]),
        "soft": soft_cells,
    }
    return rules[region["rule"]]


def top_cells(matrices: RegionMatrices, top_n: int) -> Tensor:
    """The paper's rule: the ``top_n`` best cells are 1, the others 0; the gradient is that of the matrix."""
    return rvls2m.straight_through(rvls2m.select_top(matrices.normal, top_n), matrices.normal)


def otsu_cells(matrices: RegionMatrices) -> Tensor:
    """The cells above the threshold that parts the matrix best (Otsu 1979): the greatest variance between both sides.

    Of a constant matrix no cell is chosen. The gradient is that of the matrix.
    """
    best, _ = matrices.normal.detach().flatten(1).sort(dim=1, descending=True)
    cells = best.shape[1]
    # In double precision: the sums of 256 cells are compared, and equal splits must tie on every machine.
    above = best.double().cumsum(1)[:, :-1]
    count = torch.arange(1, cells, device=best.device, dtype=torch.float64)
    below = best.double().sum(1, keepdim=True) - above
    variance = count * (cells - count) * (above / count - below / (cells - count)) ** 2
    split = variance.argmax(1, keepdim=True)  # the first of equals: fewer cells
    # By value, not by number: cells of the same value are all chosen or none.
    chosen = matrices.normal.flatten(1) >= best.gather(1, split)
    chosen = chosen & (best[:, :1] > best[:, -1:])
    return rvls2m.straight_through(chosen.to(best.dtype).view_as(matrices.normal), matrices.normal)


def mass_cells(matrices: RegionMatrices, share: float) -> Tensor:
    """The fewest cells that hold ``share`` of the softmax of the scores, (0, 1]; the gradient is that of the matrix.

    Ties go to the earlier cell in reading order, as with :func:`rvls2m.select_top`.
    """
    mass = matrices.scores.detach().flatten(1).double().softmax(1)
    order = torch.argsort(mass, dim=1, descending=True, stable=True)
    before = mass.gather(1, order).cumsum(1) - mass.gather(1, order)
    chosen = torch.zeros_like(mass).scatter_(1, order, (before < share).double())
    return rvls2m.straight_through(chosen.to(matrices.normal.dtype).view_as(matrices.normal), matrices.normal)


def soft_cells(matrices: RegionMatrices) -> Tensor:
    """No choice: the scores themselves, as logits; the gradient is their own."""
    return matrices.scores
