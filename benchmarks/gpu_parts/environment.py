"""On what it was measured: card, driver, packages, processor, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import torch

from benchmarks.gpu_parts.notes import Notes, part_arguments

PACKAGES = ("torch", "torchvision", "transformers", "accelerate", "peft", "monai", "timm", "numpy", "pandas", "pyarrow")


def printed(*command: str) -> str:
    """Standard output of a command; empty where there is none of that name, or it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def version(package: str) -> str:
    """Of an installed package; empty where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def card() -> dict[str, object]:
    """The GPU; an empty name where there is none."""
    if not torch.cuda.is_available():
        return {"name": "", "driver": ""}
    properties = torch.cuda.get_device_properties(0)
    name, _, driver = printed("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader").partition(", ")
    return {
        "name": name or properties.name,
        "driver": driver,
        "bytes": properties.total_memory,
        "multiprocessors": properties.multi_processor_count,
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
    }


def commit(file: Path) -> str:
    """The checkout's commit, or, where there is no git, what ``file`` says."""
    revision = printed("git", "rev-parse", "--short", "HEAD")
    return revision or (file.read_text(encoding="utf-8").strip() if file.is_file() else "")


def main() -> None:
    """Write one JSON object."""
    parser = part_arguments(__doc__)
    parser.add_argument("--commit-file", type=Path, default=Path("work/gpu-pack-1/commit.txt"))
    arguments = parser.parse_args()
    notes = Notes(arguments.out)
    notes.add("card", card())
    notes.add("cores", len(os.sched_getaffinity(0)))
    notes.add("python", platform.python_version())
    notes.add("packages", {name: version(name) for name in PACKAGES})
    notes.add("commit", commit(arguments.commit_file))


if __name__ == "__main__":
    main()
