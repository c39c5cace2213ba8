"""What decides the weights of a training run; a run is resumed only by one of the same identity."""

from __future__ import annotations

from pathlib import Path

from sim4seg.config.train import Train
from sim4seg.device import best_device
from sim4seg.digest import digest_directory, digest_file
from sim4seg.embeddings.index import INDEX
from sim4seg.identity.identity import Identity, identity_of
from sim4seg.model.presets import preset_named
from sim4seg.training.arguments import wants_bf16
from sim4seg.training.train_paths import TrainPaths

FILE = "identity.json"
"""In the folder of a run's checkpoints."""
SHOWN = 5
"""Differences named in a message."""
NO_RECORD = "it was begun by an older release, which kept no record of its code and data"


def run_identity(seed: int, params: Train, paths: TrainPaths) -> Identity:
    """The code of training, library versions, kind of device, seed and settings, and every byte that is read.

    Without ``train.workers``, which changes no result, and without how many processes share the work: a checkpoint says
    itself which launch may go on from it. All shards are read, and all stored embeddings.

    Raises:
        ConfigError: weights that ``train.weights`` names are not on this machine.
    """
    # Late, since it reads loaders that only a training run needs.
    from sim4seg.model.presets.pretrained import digests_not_given

    started_from = digests_not_given(params.preset, preset_named(params.preset), params.weights)
    data = {
        "manifest": digest_file(paths.manifest),
        "shards": digest_directory(paths.shards),
        "tokenizer": digest_directory(paths.tokenizer),
        **{f"start weights {name}": digest for name, digest in started_from.items()},
    }
    if (paths.embeddings / INDEX).is_file():
        data["embeddings"] = digest_directory(paths.embeddings)
    settings = {
        "base": {"seed": seed},
        "train": params.model_dump(mode="json", exclude={"workers"}),
        # What `auto` comes to: on another machine the rest of a run might be computed otherwise than its beginning.
        "machine": {"device": best_device().type, "bf16": wants_bf16(params.bf16)},
    }
    return identity_of("sim4seg.training.train", settings, data)


def run_folder(work: Path, digest: str) -> Path:
    """Where the checkpoints of the run with this identity lie."""
    return work / f"train-{digest[:16]}"


def other_run(work: Path, identity: Identity) -> str | None:
    """What to say of an earlier run in ``work`` that is not resumed, the one most alike; None if there is none."""
    found = []
    for folder in sorted(work.glob("train-*/checkpoint-*/..")):
        before = Identity.read(folder / FILE)
        differences = identity.differences(before) if before else [NO_RECORD]
        if differences:
            found.append((before is None, len(differences), folder.parent.parent, differences))
    if not found:
        return None
    _, count, folder, differences = min(found)
    more = f" and {count - SHOWN} more" if count > SHOWN else ""
    return f"{folder} is of another run and is not resumed: {'; '.join(differences[:SHOWN])}{more}"
