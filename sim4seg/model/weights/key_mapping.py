"""Which stored tensor becomes which of ours, and everything that does not come out even."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sim4seg.errors import ModelError
from sim4seg.model.weights.checkpoint import Checkpoint
from sim4seg.model.weights.lisa_names import NOT_NEEDED, matches, our_name

SHOWN = 20
"""Names a message lists of each kind; the report has them all."""


@dataclass
class KeyMapping:
    """The outcome.

    Attributes:
        sources: our name to checkpoint and stored name.
        not_needed: stored names left out, see :data:`sim4seg.model.weights.lisa_names.NOT_NEEDED`.
        unexpected: stored names that have no place here.
        misshaped: our name, with the stored and the wanted shape.
        missing: our names that got nothing.
    """

    sources: dict[str, tuple[Checkpoint, str]] = field(default_factory=dict)
    not_needed: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshaped: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def check(self, allowed: Iterable[str], where: str) -> None:
        """Refuse what does not come out even, but for names that fit the patterns ``allowed``.

        Raises:
            ModelError: lists the names.
        """
        patterns = tuple(allowed)
        lines = [
            f"{name}: stored {list(stored)}, wanted {list(expected)}"
            for name, (stored, expected) in sorted(self.misshaped.items())
        ]
        problems = {
            "stored weights have no place here": [n for n in self.unexpected if not matches(n, patterns)],
            "weights of ours got nothing": [n for n in self.missing if not matches(n, patterns)],
            "weights have another shape": lines,
        }
        texts = [
            f"{len(names)} {what}:\n    " + "\n    ".join(names[:SHOWN]) + ("\n    ..." if len(names) > SHOWN else "")
            for what, names in problems.items()
            if names
        ]
        if texts:
            raise ModelError(
                "\n  ".join(texts),
                where=where,
                remedy="give the complete checkpoint it was published as; a name that may be left out, or left at "
                "zero, is allowed with --allow PATTERN; a wrong shape never is",
            )


def map_keys(
    stored: Iterable[tuple[Checkpoint, dict[str, str]]],
    shapes: Mapping[str, tuple[int, ...]],
    made: Iterable[str] = (),
    growing: Iterable[str] = (),
) -> KeyMapping:
    """Find a place for every stored tensor.

    Args:
        stored: checkpoints with their prefixes; where two have the same weight, the first counts.
        shapes: our names and shapes.
        made: names of ours that need no stored tensor.
        growing: names of ours whose stored tensor may have fewer rows.
    """
    mapping = KeyMapping()
    for checkpoint, prefixes in stored:
        for name, info in checkpoint.tensors.items():
            ours = our_name(name, prefixes)
            if matches(name, NOT_NEEDED) or ours in mapping.sources:
                mapping.not_needed.append(name)
            elif ours is None or ours not in shapes:
                mapping.unexpected.append(name)
            else:
                shape, goal = info.shape, shapes[ours]
                shorter = ours in growing and shape[1:] == goal[1:] and shape[:1] <= goal[:1]
                if shape != goal and not shorter:
                    mapping.misshaped[ours] = (shape, goal)
                mapping.sources[ours] = (checkpoint, name)
    mapping.missing = [name for name in shapes if name not in mapping.sources and name not in made]
    return mapping
