"""DVC's graph: the stages in the order in which they run, and which depends on which.

The same for dvc.yaml, which says what is to be made, and dvc.lock, which says what was.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Protocol

import yaml

Graph = Mapping[str, set[str]]
"""The stages in topological order, each with the stages it directly depends on."""


class StagePaths(Protocol):
    """A stage as far as the graph goes: paths that it reads and paths that it makes."""

    @property
    def deps(self) -> Collection[str]:
        """Files and folders it depends on."""
        ...

    @property
    def outs(self) -> Collection[str]:
        """Files and folders it makes, metrics and plots too."""
        ...


@dataclass(frozen=True)
class PipelineStage:
    """A stage of dvc.yaml.

    Attributes:
        deps, outs: paths, see :class:`StagePaths`.
        cached: those of its ``outs`` (not of its metrics and plots) that DVC keeps in its cache.
    """

    deps: tuple[str, ...]
    outs: tuple[str, ...]
    cached: tuple[str, ...]


def _paths(items: list[Any]) -> tuple[str, ...]:
    """DVC lists a path as a string or as a mapping with the path as its only key."""
    return tuple(item if isinstance(item, str) else next(iter(item)) for item in items)


def _is_cached(item: Any) -> bool:
    return isinstance(item, str) or bool(next(iter(item.values())).get("cache", True))


def read_pipeline(file: Path = Path("dvc.yaml")) -> dict[str, PipelineStage]:
    """The stages of dvc.yaml, in the order of the file."""
    stages = yaml.safe_load(file.read_text(encoding="utf-8"))["stages"]
    return {
        name: PipelineStage(
            deps=_paths(stage.get("deps", [])),
            outs=_paths([*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]),
            cached=_paths([item for item in stage.get("outs", []) if _is_cached(item)]),
        )
        for name, stage in stages.items()
    }


def _meets(dependency: str, output: str) -> bool:
    first, second = Path(dependency), Path(output)
    return first == second or second in first.parents or first in second.parents


def _depends(stage: StagePaths, other: StagePaths) -> bool:
    return any(_meets(dependency, output) for dependency in stage.deps for output in other.outs)


def graph_of(stages: Mapping[str, StagePaths]) -> Graph:
    """The graph of stages in any order; a path inside another's output, or around it, is a dependency too.

    Raises:
        graphlib.CycleError: two stages depend on each other.
    """
    # Lists, not sets: of stages that may run in any order, the first in the file comes first, at every start.
    needs = {
        name: [other for other in stages if other != name and _depends(stage, stages[other])]
        for name, stage in stages.items()
    }
    return {name: set(needs[name]) for name in TopologicalSorter(needs).static_order()}


def read_graph(file: Path = Path("dvc.yaml")) -> Graph:
    """The graph of dvc.yaml."""
    return graph_of(read_pipeline(file))


def downstream(graph: Graph, changed: Collection[str]) -> set[str]:
    """The changed stages and all that depend on them, through any number of others."""
    reached: set[str] = set()
    for name, needs in graph.items():
        if name in changed or needs & reached:
            reached.add(name)
    return reached


def upstream(graph: Graph, stage: str) -> list[str]:
    """The stages that ``stage`` depends on, through any number of others, in order."""
    needed = set(graph[stage])
    for name in reversed(list(graph)):
        if name in needed:
            needed |= graph[name]
    return [name for name in graph if name in needed]
