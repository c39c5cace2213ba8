"""What the pipeline does on a GPU, in one command of at most eight minutes; the figures of docs/gpu.md.

    python benchmarks/gpu.py --out work/gpu --data DATA       # DATA: shards/, manifest_cot.parquet, tokenizer/
    python benchmarks/gpu.py --out work/gpu --parts paper     # one part; neither data nor weights are needed
    python benchmarks/gpu.py --out work/gpu --toy             # all of it at toy size, on a CPU in a minute or two
    python benchmarks/gpu.py --table work/gpu/results.json    # the tables of docs/gpu.md

Parts: environment (card, versions), suite (tests/gpu), paper (the preset `paper` at full size with random weights),
bytes (two runs, same bytes?), learn (training runs on real images, three seeds, with and without RVLS2M).
Each part is a process of its own with a time limit and a log beside the results, and writes after every figure: a part
that fails or is ended loses the figure at hand, and the others go on. Nothing is fetched.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.gpu_parts.machine import ONE_THREAD  # noqa: E402
from benchmarks.gpu_parts.tables import tables  # noqa: E402
from sim4seg.atomic import write_json  # noqa: E402

LIMITS = {"environment": 20, "suite": 60, "paper": 140, "bytes": 40, "learn": 220}
"""Seconds after which a part is ended; together eight minutes."""
TOY_LIMIT = 900
"""Of every part on a CPU, which may be busy."""
MODULES = {"bytes": "same_bytes"}
LAST = 3000
"""Characters of a log that are kept in the results of a part that failed."""


def options_of(part: str, arguments: argparse.Namespace) -> list[str]:
    """What a part is told beside where to write."""
    options = ["--toy"] if arguments.toy else []
    if part in ("bytes", "learn"):
        options += ["--data", str(arguments.data), "--params", *arguments.params]
        options += ["--work", str(arguments.scratch / part)]
    if part == "bytes":
        options += ["--epochs", "1" if arguments.toy else "0.1"]
    if part == "learn":
        options += ["--seeds", *map(str, arguments.seeds), "--train-seconds", str(arguments.train_seconds)]
        options += ["--epochs", str(1 if arguments.toy else arguments.epochs)]
        options += ["--limit", str(arguments.limit["learn"] - 20)]
        options += ["--workers", "0" if arguments.toy else str(arguments.workers)]
        options += ["--evaluate-batch", str(arguments.evaluate_batch)]
        options += ["--batch-size", str(arguments.batch_size), "--checkpoints", "1" if arguments.toy else "2"]
    return options


def end(child: subprocess.Popen[bytes]) -> None:
    """End a part with all that it has started."""
    os.killpg(child.pid, signal.SIGTERM)
    try:
        child.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def run_part(part: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one part; how it ended, how long it took, and what it found."""
    report, log = arguments.out / f"{part}.json", arguments.out / f"{part}.log"
    module = f"benchmarks.gpu_parts.{MODULES.get(part, part)}"
    command = [sys.executable, "-m", module, "--out", str(report), *options_of(part, arguments)]
    begun, ended = time.monotonic(), "done"
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with open(log, "wb") as stream:
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **(ONE_THREAD if arguments.toy else {})},
            start_new_session=True,
        )
        try:
            if child.wait(arguments.limit[part]):
                ended = f"failed with {child.returncode}"
        except subprocess.TimeoutExpired:
            ended = f"ended after {arguments.limit[part]} seconds"
            end(child)
    record: dict[str, Any] = {"ended": ended, "seconds": round(time.monotonic() - begun, 1)}
    record["found"] = json.loads(report.read_text(encoding="utf-8")) if report.is_file() else {}
    if ended != "done":
        record["log"] = log.read_text(encoding="utf-8", errors="replace")[-LAST:]
    return record


def prepare_toy(arguments: argparse.Namespace) -> None:
    """Painted samples and a small preset's parameters, where none are given."""
    from benchmarks.gpu_parts.toy_data import make_toy_data, write_toy_params

    arguments.params = [str(arguments.scratch / "params.yaml")]
    write_toy_params(Path(arguments.params[0]))
    if not arguments.data and {"bytes", "learn"} & set(arguments.parts):
        arguments.data = arguments.scratch / "data"
        make_toy_data(arguments.data)
    arguments.seeds = arguments.seeds[:1]


def read() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("work/gpu"), help="results.json, and logs")
    parser.add_argument("--parts", default=",".join(LIMITS), help="with commas; default: %(default)s")
    parser.add_argument("--limits", default="", metavar="PART=SECONDS,…", help="other time limits")
    parser.add_argument("--toy", action="store_true", help="at toy size, on a painted data set")
    parser.add_argument("--data", type=Path, help="for bytes and learn")
    parser.add_argument("--params", nargs="+", default=["params.yaml"], help="parameter files of bytes and learn")
    parser.add_argument("--seeds", nargs="+", type=int, default=[17, 18, 19])
    parser.add_argument("--train-seconds", type=float, default=80.0, help="of each run of learn; chooses its epochs")
    parser.add_argument("--epochs", type=float, default=0.0, help="of each run of learn, in place of --train-seconds")
    parser.add_argument("--batch-size", type=int, default=0, help="of learn; 0 = as the parameter files have it")
    parser.add_argument("--workers", type=int, default=1, help="reading processes of each run of learn")
    parser.add_argument("--evaluate-batch", type=int, default=128, help="images that learn answers at once")
    parser.add_argument("--table", type=Path, metavar="RESULTS", help="print tables of a results.json, and end")
    arguments = parser.parse_args()
    changes = dict(pair.split("=") for pair in arguments.limits.split(",") if pair)
    arguments.limit = dict.fromkeys(LIMITS, TOY_LIMIT) if arguments.toy else dict(LIMITS)
    arguments.limit |= {part: int(seconds) for part, seconds in changes.items()}
    arguments.parts = arguments.parts.split(",")
    unknown = sorted({*arguments.parts, *changes} - set(LIMITS))
    if unknown:
        parser.error(f"no part is called {', '.join(unknown)}; there are {', '.join(LIMITS)}")
    if not arguments.table and not arguments.toy and not arguments.data and {"bytes", "learn"} & set(arguments.parts):
        parser.error("bytes and learn need --data")
    return arguments


def main() -> None:
    """See the module's text."""
    arguments = read()
    if arguments.table:
        print(tables(json.loads(arguments.table.read_text(encoding="utf-8"))))
        return
    arguments.out, arguments.scratch = arguments.out.resolve(), arguments.out.resolve() / "scratch"
    arguments.scratch.mkdir(parents=True, exist_ok=True)
    if arguments.toy:
        prepare_toy(arguments)
    file = arguments.out / "results.json"
    results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    for part in arguments.parts:
        results[part] = run_part(part, arguments)
        write_json(file, results)
        print(f"{part}: {results[part]['ended']}, {results[part]['seconds']} s", flush=True)
    failed = [part for part in arguments.parts if results[part]["ended"] != "done"]
    sys.exit(f"not done: {', '.join(failed)}; see {arguments.out}/*.log" if failed else 0)


if __name__ == "__main__":
    main()
