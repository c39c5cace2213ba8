"""Which checkpoint a run goes on from, and whether it can."""

from __future__ import annotations

import json
from pathlib import Path

from sim4seg.atomic import write_json
from sim4seg.errors import ModelError

ORIGIN = "origin.json"


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end (its state file, written last, can be read)."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]), reverse=True):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            continue
        return checkpoint
    return None


def write_origin(checkpoint: Path, world: int, engine: str) -> None:
    """Note which launch wrote a checkpoint."""
    write_json(checkpoint / ORIGIN, {"processes": world, "engine": engine})


def check_origin(checkpoint: Path, world: int, engine: str) -> None:
    """Refuse a checkpoint whose state is laid out for another launch.

    Plain data parallel and FSDP (full state) keep whole tensors, which any number of processes can read; DeepSpeed
    keeps a piece of the optimizer's state for each process.

    Raises:
        ModelError: it was written by another engine, or by DeepSpeed on another number of processes.
    """
    try:
        origin = json.loads((checkpoint / ORIGIN).read_text(encoding="utf-8"))
        wrote, count = origin["engine"], origin["processes"]
    except (OSError, ValueError, KeyError, TypeError):
        wrote, count = "unknown", 0
    pieces = engine.startswith("deepspeed") and count != world
    if wrote != engine or pieces:
        raise ModelError(
            f"this checkpoint was written by {count} processes ({wrote}); this run has {world} ({engine})",
            where=str(checkpoint),
            remedy=f"launch as before, or remove {checkpoint.parent} to begin again",
        )
