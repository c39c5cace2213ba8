"""Small mistakes, one at a time, and whether the tests catch them: ``python -m benchmarks.mutation [MODULE ...]``.

``targets.yaml`` names the modules, the quick tests of each, and the mutants that cannot be caught because they do the
same. Exit code 1 if another one survives. ``--count`` tries none, and says how many there are and how many CPU
seconds the tests of each module take. ``--jobs 2`` tries two at a time, each in a copy of the project of its own; what
is printed and its order are the same.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is imported

import yaml

from benchmarks.mutation.mutants import Mutant, mutants
from benchmarks.mutation.trial import CAUGHT, ENDLESS, ROOT, SURVIVED, import_libraries
from benchmarks.mutation.workers import outcome_of, seconds_of_tests, workers

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


def try_module(pool: ProcessPoolExecutor, module: str, target: dict[str, Any]) -> Result:
    """All mutants of a module; as many at a time as the pool has processes, noted in the order of its lines."""
    equivalent = {entry["mutant"] for entry in target.get("equivalent", [])}
    result, listed = Result(module), list(mutants(ROOT / module))
    result.stale = sorted(equivalent - {mutant.name for mutant in listed})
    result.counts["equivalent"] = sum(mutant.name in equivalent for mutant in listed)
    tried = [mutant for mutant in listed if mutant.name not in equivalent]
    outcomes = pool.map(partial(outcome_of, module, target["tests"]), [mutant.source for mutant in tried])
    for mutant, outcome in zip(tried, outcomes, strict=True):
        result.counts[outcome] += 1
        if outcome == SURVIVED:
            result.survivors.append(mutant)
            print(f"{module}:{mutant.line}: survived: {mutant.name}", flush=True)
    return result


def count(pool: ProcessPoolExecutor, targets: dict[str, Any]) -> None:
    """Print how many mutants of each module would be tried, and the CPU seconds of its tests without a mistake."""
    print("| module | mutants | CPU seconds of its tests |\n|---|---:|---:|")
    for module, target in targets.items():
        equivalent = {entry["mutant"] for entry in target.get("equivalent", [])}
        number = sum(mutant.name not in equivalent for mutant in mutants(ROOT / module))
        seconds = pool.submit(seconds_of_tests, module, target["tests"]).result()
        print(f"| {module} | {number} | {seconds:.1f} |", flush=True)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutation", description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", help="default: all of targets.yaml")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time; each takes a core and up to 2 GB")
    parser.add_argument("--count", action="store_true", help="count mutants and time the tests; try no mutant")
    arguments = parser.parse_args()
    known: dict[str, Any] = yaml.safe_load(TARGETS.read_text(encoding="utf-8"))
    if unknown := [module for module in arguments.modules if module not in known]:
        parser.error(f"targets.yaml does not name {', '.join(unknown)}")
    targets = {module: known[module] for module in arguments.modules or known}
    import_libraries(heavy=any(target.get("heavy", True) for target in targets.values()))
    with workers(max(1, arguments.jobs)) as pool:
        if arguments.count:
            count(pool, targets)
            return 0
        results = [try_module(pool, module, target) for module, target in targets.items()]
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
