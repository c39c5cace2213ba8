"""Mutants of a module: its source with one small mistake each, made by mutmut's operators.

Left out are the words of messages (strings, and what stands in ``raise``), which have tests of their own, and
annotations, decorators, imports and docstrings. Left out, too, is None in place of a value or an argument: whatever
test gets there fails, so that it would only flatter the share that is caught.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
import libcst.matchers as m
from libcst.metadata import CodeRange, MetadataWrapper, WhitespaceInclusivePositionProvider
from mutmut.mutation.mutators import mutation_operators, operator_assignment, operator_string

OPERATORS = [pair for pair in mutation_operators if pair[1] not in (operator_string, operator_assignment)]
LEFT_OUT = (cst.Annotation, cst.Decorator, cst.Import, cst.ImportFrom, cst.Raise, cst.Assert, cst.BaseString)


@dataclass(frozen=True)
class Mutant:
    """One mistake.

    Attributes:
        name: the innermost statement's first line, before and after, and a number where that is not unique; it does
            not change when lines are added elsewhere, so equivalent mutants are listed by it.
        line: where, counted from 1.
        source: the whole module with the mistake.
    """

    name: str
    line: int
    source: str


class _Nodes(cst.CSTVisitor):
    """Collects the nodes that operators may change, with the place of each in the source."""

    METADATA_DEPENDENCIES = (WhitespaceInclusivePositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.places: list[tuple[cst.CSTNode, CodeRange]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        """Take the node down; what stands in one of :data:`LEFT_OUT` is not visited."""
        if isinstance(node, LEFT_OUT):
            return False
        place = self.get_metadata(WhitespaceInclusivePositionProvider, node, None)
        if place is not None:
            self.places.append((node, place))
        return True


def _changed_lines(before: str, after: str) -> tuple[str, str]:
    """The lines that differ, stripped and joined; operators change neither the lines before nor those behind."""
    old, new = before.splitlines(), after.splitlines()
    while old and new and old[0] == new[0]:
        old, new = old[1:], new[1:]
    while old and new and old[-1] == new[-1]:
        old, new = old[:-1], new[:-1]
    return " ".join(line.strip() for line in old), " ".join(line.strip() for line in new)


def _is_none_for_a_value(node: cst.CSTNode, changed: cst.CSTNode) -> bool:
    """Whether an argument of a call became None; one that is taken away is another matter."""
    if not (isinstance(node, cst.Call) and isinstance(changed, cst.Call) and len(node.args) == len(changed.args)):
        return False
    pairs = zip(node.args, changed.args, strict=True)
    return any(old is not new and m.matches(new.value, m.Name("None")) for old, new in pairs)


def _replaced(lines: list[str], place: CodeRange, code: str) -> str:
    """The source, given as its lines with their ends, with ``code`` in the place of a node."""
    first, last = place.start.line - 1, place.end.line - 1
    head, tail = lines[first][: place.start.column], lines[last][place.end.column :]
    return "".join([*lines[:first], head + code + tail, *lines[last + 1 :]])


def mutants(path: Path) -> Iterator[Mutant]:
    """All mutants of the module at ``path``, in the order of its lines; each differs from the others."""
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines(keepends=True)
    wrapper = MetadataWrapper(cst.parse_module(source), unsafe_skip_copy=True)
    nodes = _Nodes()
    wrapper.visit(nodes)
    seen, names = {source}, Counter[str]()
    for node, place in nodes.places:
        for kind, operator in OPERATORS:
            if not isinstance(node, kind):
                continue
            for changed in operator(node):
                mutated = _replaced(lines, place, wrapper.module.code_for_node(changed))
                if mutated in seen or _is_none_for_a_value(node, changed):
                    continue
                seen.add(mutated)
                name = " -> ".join(_changed_lines(source, mutated))
                names[name] += 1
                yield Mutant(f"{name} #{names[name]}" if names[name] > 1 else name, place.start.line, mutated)
