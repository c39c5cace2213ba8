"""Time and memory of `make demo` from an empty clone, and whether a second clone gives the same figures.

    python3 benchmarks/demo.py                      one clone: install, then demo
    python3 benchmarks/demo.py --runs 2 --offline   two clones, the demo of each without any network but loopback

Needs git, make, python3 and a Linux /proc; `--offline` also `unshare` and `ip`. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from watched_command import run_watched

ROOT = Path(__file__).resolve().parents[1]


def descendants(root: int) -> list[int]:
    """The process and all that came of it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    processes, todo = [], [root]
    while todo:
        processes.append(todo.pop())
        todo += children.get(processes[-1], [])
    return processes


def memory(root: int) -> int:
    """Bytes of the whole process tree, shared pages counted once (PSS)."""
    total = 0
    for process in descendants(root):
        try:
            for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += 1024 * int(line.split()[1])
        except OSError:
            continue
    return total


def measured(command: list[str], folder: Path, log: Path) -> dict[str, float]:
    """Seconds and peak memory of a command, whose output goes to ``log``; ends this program if it failed."""
    peak = 0

    def look(pid: int) -> None:
        nonlocal peak
        peak = max(peak, memory(pid))

    seconds = run_watched(command, folder, log, look, 2.0)
    return {"seconds": round(seconds, 1), "peak_gigabytes": round(peak / 2**30, 2)}


def one_run(folder: Path, offline: bool, changes: list[str]) -> dict[str, object]:
    """Clone, install, demo; what it took, and the figures."""
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(ROOT), str(folder)], check=True)
    if changes:
        file = folder / "params.yaml"
        text = file.read_text(encoding="utf-8")
        for change in changes:
            old, _, new = change.partition("=>")
            if text.count(old) != 1:
                sys.exit(f"{old!r} is not once in params.yaml")
            text = text.replace(old, new)
        file.write_text(text, encoding="utf-8")
    install = measured(["make", "install"], folder, folder.with_suffix(".install.log"))
    command = ["make", "demo"]
    if offline:
        command = ["unshare", "-rn", "sh", "-c", "ip link set lo up && make demo"]
    demo = measured(command, folder, folder.with_suffix(".demo.log"))
    metrics = json.loads((folder / "reports/metrics.json").read_text(encoding="utf-8"))
    return {
        "folder": str(folder),
        "install": install,
        "demo": demo,
        "figures": {mode: metrics[mode]["mean"] for mode in ("single", "tts", "tts_oracle")},
        "baselines": {name: table["mean"] for name, table in metrics["baselines"].items()},
        "metrics_text": (folder / "reports/metrics.json").read_text(encoding="utf-8"),
        "lock": (folder / "dvc.lock").read_text(encoding="utf-8"),
    }


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1, help="clones, one after the other")
    parser.add_argument("--offline", action="store_true", help="cut the network after the install")
    parser.add_argument("--change", action="append", default=[], metavar="OLD=>NEW", help="edit of params.yaml")
    parser.add_argument("--folder", type=Path, help="where the clones go and stay; default: a temporary folder")
    arguments = parser.parse_args()
    base = arguments.folder or Path(tempfile.mkdtemp(prefix="sim4seg-demo-"))
    base.mkdir(parents=True, exist_ok=True)
    runs = [
        one_run(base / f"run{number}", arguments.offline, arguments.change) for number in range(1, arguments.runs + 1)
    ]
    same = {name: len({str(run.pop(name)) for run in runs}) == 1 for name in ("metrics_text", "lock")}
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    print(
        json.dumps(
            {
                "commit": commit.strip(),
                "cores": len(os.sched_getaffinity(0)),
                "runs": runs,
                **({"same_figures": same["metrics_text"], "same_digests": same["lock"]} if len(runs) > 1 else {}),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
