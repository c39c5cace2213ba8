"""Checks of the machine and the project, each with a verdict and what to do about it."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sim4seg.config.params import Params, load_params
from sim4seg.data.snapshot import read_snapshot
from sim4seg.errors import Sim4SegError
from sim4seg.git import GitError, checked_out, git

State = Literal["ok", "warn", "fail"]

IMPORTED = ("torch", "torchvision", "transformers", "segment_anything", "monai", "datasets", "pydicom", "safetensors")
"""Imported for real: these break when they do not fit each other."""
INSTALLED = ("dvc", "mlflow", "prefect", "great-expectations", "peft", "accelerate", "boto3")
GIGABYTE = 1024**3
DISK = (2 * GIGABYTE, 10 * GIGABYTE)
MEMORY = (2 * GIGABYTE, 6 * GIGABYTE)
"""Free bytes below the first fail, below the second warn; the default run peaks below 8 GB of memory in all."""


@dataclass(frozen=True)
class Check:
    """One line of the report: what was looked at, how it stands, and the remedy unless it is ok."""

    name: str
    state: State
    message: str
    remedy: str = ""


def check_python() -> Check:
    """The interpreter's version."""
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] < (3, 14):
        return Check("python", "ok", version)
    return Check("python", "fail", f"{version}, but 3.11 to 3.13 is needed", "install Python 3.11 and run `make demo`")


def check_libraries(imported: tuple[str, ...] = IMPORTED, installed: tuple[str, ...] = INSTALLED) -> Check:
    """That the model's libraries import and the pipeline's are installed."""
    broken = []
    for name in imported:
        try:
            importlib.import_module(name)
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            broken.append(f"{name} ({error})")
    versions = []
    for name in (*imported, *installed):
        try:
            versions.append(f"{name} {importlib.metadata.version(name.replace('_', '-'))}")
        except importlib.metadata.PackageNotFoundError:
            broken.append(f"{name} (not installed)")
    if broken:
        remedy = "install the locked versions: pip install -r requirements.lock"
        return Check("libraries", "fail", "cannot be used: " + "; ".join(broken), remedy)
    return Check("libraries", "ok", ", ".join(versions))


def check_torch() -> Check:
    """Where the model will run."""
    import torch

    threads = torch.get_num_threads()
    if torch.cuda.is_available():
        return Check("torch", "ok", f"{torch.cuda.get_device_name(0)}, {threads} CPU threads")
    return Check("torch", "ok", f"CPU with {threads} threads, no CUDA (enough for preset tiny)")


def _room(name: str, free: int, limits: tuple[int, int], remedy: str) -> Check:
    state: State = "fail" if free < limits[0] else "warn" if free < limits[1] else "ok"
    return Check(name, state, f"{free / GIGABYTE:.1f} GB free", "" if state == "ok" else remedy)


def check_disk(root: Path) -> Check:
    """Free space where the project is."""
    return _room("disk", shutil.disk_usage(root).free, DISK, "free some space; `dvc gc --workspace` drops old outputs")


def check_memory() -> Check:
    """Memory that is free now."""
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return Check("memory", "warn", "this system does not tell", "have about 8 GB for the default run")
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024  # counts the caches that can be dropped
    return _room("memory", free, MEMORY, "close other programs, or lower train.batch_size and evaluate.batch_size")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def check_git(root: Path) -> Check:
    """Git, and that the project is a work tree; a registered model names its commit."""
    try:
        git(root, "--version", seconds=30)
    except GitError:
        return Check("git", "fail", "git is not installed", "install git")
    commit = checked_out(root)
    if commit is None:
        return Check("git", "fail", "not a git work tree with a commit", "clone the project, or git init and commit")
    short = git(root, "rev-parse", "--short", "HEAD", seconds=30)
    if commit[1]:
        remedy = "commit before you train what you want to register"
        return Check("git", "warn", f"at {short} with uncommitted changes", remedy)
    return Check("git", "ok", f"at {short}")


def check_dvc(root: Path) -> Check:
    """That DVC was initialised here."""
    if not (root / ".dvc").is_dir() or not (root / "dvc.yaml").is_file():
        return Check("dvc", "fail", "no DVC project here", "run from the project's folder; `dvc init` makes a new one")
    return Check("dvc", "ok", "initialised")


def check_params(root: Path) -> tuple[Check, Params | None]:
    """That params.yaml is valid; all its mistakes are in the message."""
    try:
        params = load_params(root / "params.yaml")
    except Sim4SegError as error:
        return Check("params.yaml", "fail", error.what, error.remedy), None
    return Check("params.yaml", "ok", f"valid; preset {params.train.preset}, source {params.fetch.source}"), params


def check_snapshot(root: Path, params: Params) -> Check:
    """That the source snapshot is of the kind that params.yaml asks for."""
    remedy = f"run `sim4seg snapshot --source {params.fetch.source}`"
    try:
        kind = read_snapshot(root / "source.snapshot.json").kind
    except Sim4SegError as error:
        return Check("snapshot", "fail", error.what, remedy)
    if kind != params.fetch.source:
        return Check("snapshot", "fail", f"is of kind {kind!r}, params.yaml asks for {params.fetch.source!r}", remedy)
    return Check("snapshot", "ok", f"kind {kind}")


def check_registry(params: Params) -> Check:
    """That the registry answers and has a champion."""
    from sim4seg.registry import resolve

    uri = f"models:/{params.register_.name}@champion"
    try:
        _, version = resolve(uri)
    except Sim4SegError as error:
        return Check("registry", "warn", error.what, error.remedy or "run `make demo`, then `sim4seg promote`")
    return Check("registry", "ok", f"{uri} is version {version}")


def examine(root: Path) -> Iterator[Check]:
    """All checks of the project in ``root``, one after the other, the cheap ones first."""
    yield check_python()
    yield check_disk(root)
    yield check_memory()
    yield check_git(root)
    yield check_dvc(root)
    valid, params = check_params(root)
    yield valid
    if params is not None:
        yield check_snapshot(root, params)
    libraries = check_libraries()
    yield libraries
    if libraries.state == "fail":
        return
    later: list[Callable[[], Check]] = [check_torch]
    if params is not None:
        later.append(lambda: check_registry(params))
    for check in later:
        yield check()
