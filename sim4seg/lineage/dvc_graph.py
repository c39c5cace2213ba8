"""The DVC graph as it is written in dvc.yaml: stages in order, and what depends on what."""

from __future__ import annotations

from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml


def _names(items: list[Any]) -> list[str]:
    """DVC lists a path as a string or as a mapping with the path as its only key."""
    return [item if isinstance(item, str) else next(iter(item)) for item in items]


def _meets(dependency: str, output: str) -> bool:
    first, second = Path(dependency), Path(output)
    return first == second or second in first.parents or first in second.parents


def read_graph(file: Path = Path("dvc.yaml")) -> dict[str, set[str]]:
    """The stages in topological order, each with the stages it directly depends on."""
    stages = yaml.safe_load(file.read_text(encoding="utf-8"))["stages"]
    outputs = {
        name: _names([*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])])
        for name, stage in stages.items()
    }
    graph = {
        name: {
            other
            for other in stages
            if other != name
            and any(_meets(need, made) for need in _names(stage.get("deps", [])) for made in outputs[other])
        }
        for name, stage in stages.items()
    }
    return {name: graph[name] for name in TopologicalSorter(graph).static_order()}


def downstream(graph: dict[str, set[str]], changed: set[str]) -> set[str]:
    """The changed stages and all that depend on them."""
    reached: set[str] = set()
    for name, needs in graph.items():
        if name in changed or needs & reached:
            reached.add(name)
    return reached
