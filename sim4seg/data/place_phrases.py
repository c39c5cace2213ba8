"""Phrases that tell structures of one image apart by where they are, so that a question need not name the diagnosis.

Left and right are those of the image, not of the patient.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

SIDES = ("on the left side of the image", "on the right side of the image")
HALVES = ("in the upper half of the image", "in the lower half of the image")
SCATTERED = "in several parts of the image"

_CELLS = (
    ("upper left", "upper middle", "upper right"),
    ("middle left", "centre", "middle right"),
    ("lower left", "lower middle", "lower right"),
)
_ORDINALS = ("second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_IN_CELLS = re.compile(r"(?P<rank>(?:that is the .+ one )?)in the (?P<cells>.+) of the image")
_CLEAR = 0.1
"""Two structures are left and right of each other if their centres are this share of the width apart."""


@dataclass(frozen=True)
class Part:
    """One connected piece of a structure: centroid (x, y) and area, all as fractions of the image."""

    x: float
    y: float
    area: float


Structure = Sequence[Part]


def _centre(structure: Structure) -> tuple[float, float]:
    weights = [max(part.area, 1e-9) for part in structure]
    total = sum(weights)
    x = sum(part.x * weight for part, weight in zip(structure, weights, strict=True)) / total
    y = sum(part.y * weight for part, weight in zip(structure, weights, strict=True)) / total
    return x, y


def _pair(structures: Sequence[Structure], axis: int, phrases: tuple[str, str]) -> list[str]:
    """The phrases of two structures that lie wholly on either side of the middle, else nothing."""
    if len(structures) != 2:
        return []
    first, second = (_centre(structure)[axis] for structure in structures)
    if abs(first - second) < _CLEAR:
        return []
    low, high = (0, 1) if first < second else (1, 0)
    split = all((p.x, p.y)[axis] < 0.5 for p in structures[low]) and all(
        (p.x, p.y)[axis] >= 0.5 for p in structures[high]
    )
    return [phrases[0 if index == low else 1] for index in (0, 1)] if split else []


def _cell(x: float, y: float) -> str:
    row, column = (min(2, max(0, int(value * 3))) for value in (y, x))
    return _CELLS[row][column]


def _cells(structure: Structure) -> str:
    """The phrase for the cells of a 3x3 grid in which the structure's parts have their centres."""
    order = [name for row in _CELLS for name in row]
    cells = sorted({_cell(part.x, part.y) for part in structure}, key=order.index)
    return _cells_phrase(cells)


def _cells_phrase(cells: Sequence[str]) -> str:
    if len(cells) > 2:
        return SCATTERED
    return f"in the {' and the '.join(cells)} of the image"


def _rank(place: int, of: int) -> str:
    """How the structure at ``place`` (0 = largest) of ``of`` is called."""
    if of == 2:
        return ("larger", "smaller")[place]
    if place in (0, of - 1):
        return "largest" if place == 0 else "smallest"
    return f"{_ORDINALS[place - 1]} largest" if place <= len(_ORDINALS) else f"number {place + 1} by size"


def grid_phrases(structures: Sequence[Structure]) -> list[str]:
    """A phrase for each structure from a 3x3 grid; those with the same cells are told apart by size.

    Returns:
        As many phrases as structures, all different; one structure alone needs none and gets "".
    """
    if len(structures) < 2:
        return [""] * len(structures)
    places = [_cells(structure) for structure in structures]
    phrases = list(places)
    for place in sorted(set(places)):
        same = [index for index, other in enumerate(places) if other == place]
        if len(same) < 2:
            continue
        by_size = sorted(same, key=lambda index: (-sum(part.area for part in structures[index]), index))
        for position, index in enumerate(by_size):
            phrases[index] = f"that is the {_rank(position, len(same))} one {place}"
    return phrases


def phrases(structures: Sequence[Structure]) -> list[str]:
    """As ``grid_phrases``, but two structures that lie left and right, or above each other, are called just that."""
    return _pair(structures, 0, SIDES) or _pair(structures, 1, HALVES) or grid_phrases(structures)


def rearranged(phrase: str, move: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> str | None:
    """The phrase that picks the same structure after the image was mirrored or turned by quarters.

    Halves and cells go where their pixels go; which of several structures is the larger stays as it is.

    Args:
        phrase: one that this module gives.
        move: what was done to the pixels, to be done to a 3x3 grid.

    Returns:
        None if the phrase is none of this module's.
    """
    place_of = {int(cell): place for place, cell in enumerate(move(np.arange(9).reshape(3, 3)).ravel())}
    halves = {3: SIDES[0], 5: SIDES[1], 1: HALVES[0], 7: HALVES[1]}  # by the cell in the middle of that side
    for cell, half in halves.items():
        if phrase == half:
            return halves[place_of[cell]]
    if phrase == SCATTERED or phrase.endswith(f" {SCATTERED}"):
        return phrase
    match = _IN_CELLS.fullmatch(phrase)
    names = [name for row in _CELLS for name in row]
    cells = match.group("cells").split(" and the ") if match else []
    if match is None or not set(cells) <= set(names):
        return None
    moved = sorted(place_of[names.index(cell)] for cell in cells)
    return match.group("rank") + _cells_phrase([names[place] for place in moved])


def all_phrases() -> list[str]:
    """Every phrase of a place, and for each cell the usual ranks: the wording that a tokenizer should know."""
    names = [name for row in _CELLS for name in row]
    single = [_cells_phrase([name]) for name in names]
    double = [_cells_phrase(pair) for pair in combinations(names, 2)]
    ranks = ("larger", "smaller", "largest", "second largest", "third largest", "smallest")
    ranked = [f"that is the {rank} one {place}" for place in single for rank in ranks]
    return [*SIDES, *HALVES, *single, *double, SCATTERED, *ranked]
