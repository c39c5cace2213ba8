"""The tests of tests/gpu on the device that there is."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.gpu_parts.notes import Notes, part_arguments

TOY = ("-k", "tiny or refuse")


def main() -> None:
    """Run them, and note how many passed and which failed."""
    arguments = part_arguments(__doc__).parse_args()
    notes = Notes(arguments.out)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "tests.xml"
        command = [sys.executable, "-m", "pytest", "tests/gpu", "-p", "no:cacheprovider", f"--junitxml={report}"]
        done = subprocess.run([*command, *(TOY if arguments.toy else ())], check=False)
        notes.add("exit_code", done.returncode)
        cases = list(ElementTree.parse(report).iter("testcase"))
    unhappy = {kind: [one for one in cases if one.find(kind) is not None] for kind in ("failure", "error", "skipped")}
    notes.add("tests", len(cases))
    for kind, group in unhappy.items():
        notes.add(kind, [f"{one.get('classname')}::{one.get('name')}" for one in group])
    notes.add("seconds", {str(one.get("name")): float(one.get("time") or 0) for one in cases})


if __name__ == "__main__":
    main()
