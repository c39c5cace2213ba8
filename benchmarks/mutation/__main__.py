"""Small mistakes, one at a time, and whether the tests catch them: ``python -m benchmarks.mutation [MODULE ...]``.

``targets.yaml`` names the modules, the quick tests of each, and the mutants that cannot be caught because they do the
same. Exit code 1 if another one survives.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is imported

import yaml

from benchmarks.mutation.mutants import Mutant, mutants
from benchmarks.mutation.trial import CAUGHT, ENDLESS, ROOT, SURVIVED, Trials, import_libraries, project_copy

TARGETS = Path(__file__).with_name("targets.yaml")


@dataclass
class Result:
    """What became of a module's mutants.

    Attributes:
        module: its path.
        counts: by outcome; those listed as equivalent are not tried, and counted as "equivalent".
        survivors: not caught, and not listed.
        stale: listed as equivalent, and no mutant of the module as it is now.
    """

    module: str
    counts: dict[str, int] = field(default_factory=lambda: {CAUGHT: 0, ENDLESS: 0, SURVIVED: 0, "equivalent": 0})
    survivors: list[Mutant] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)

    @property
    def tried(self) -> int:
        """Mutants that could be caught."""
        return sum(self.counts.values()) - self.counts["equivalent"]

    @property
    def caught(self) -> int:
        """Those that were; one that never ends is, too."""
        return self.tried - self.counts[SURVIVED]

    def row(self) -> str:
        """Its line of the table in docs/testing.md."""
        share = self.caught / self.tried if self.tried else 1.0
        return f"| {self.module} | {self.tried} | {self.caught} | {share:.1%} | {self.counts['equivalent']} |"


def try_module(tree: Path, module: str, target: dict[str, Any]) -> Result:
    """All mutants of a module, one after the other."""
    equivalent = {entry["mutant"] for entry in target.get("equivalent", [])}
    result, trials = Result(module), Trials(tree, module, target["tests"])
    listed = list(mutants(ROOT / module))
    result.stale = sorted(equivalent - {mutant.name for mutant in listed})
    for mutant in listed:
        outcome = "equivalent" if mutant.name in equivalent else trials.run(mutant.source)
        result.counts[outcome] += 1
        if outcome == SURVIVED:
            result.survivors.append(mutant)
            print(f"{module}:{mutant.line}: survived: {mutant.name}", flush=True)
    return result


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutation", description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", help="default: all of targets.yaml")
    given = parser.parse_args()
    targets: dict[str, Any] = yaml.safe_load(TARGETS.read_text(encoding="utf-8"))
    chosen = given.modules or list(targets)
    import_libraries(heavy=any(targets[module].get("heavy", True) for module in chosen))
    with project_copy() as tree:
        results = [try_module(tree, module, targets[module]) for module in chosen]
    print("\n| module | mutants | caught | share | equivalent |\n|---|---:|---:|---:|---:|")
    whole = Result("all", {key: sum(one.counts[key] for one in results) for key in results[0].counts})
    for result in [*results, whole]:
        print(result.row())
    for result in results:
        for name in result.stale:
            print(f"{result.module}: listed as equivalent, but no longer a mutant: {name}")
    return int(any(result.survivors or result.stale for result in results))


if __name__ == "__main__":
    sys.exit(main())
