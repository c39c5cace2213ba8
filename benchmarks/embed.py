"""What stored embeddings save: training steps that encode with a frozen SAM against steps that read, in one run.

    python benchmarks/embed.py                # `tiny` with its encoder frozen, and the same with SAM's ViT-B at 1024 px
    python benchmarks/embed.py --params infra/train/params.mobile.yaml    # the preset of a parameter file as it is

Needs what `dvc repro gate_cot` makes. Both kinds of step take turns, so that a busy machine slows both; their CPU
seconds and the ratio of their times are printed, with the bytes that the embeddings take. A step is reading and
resizing images, forward and backward.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sim4seg.offline import silence

silence()

from sim4seg.config.params import Params, load_params  # noqa: E402
from sim4seg.data.manifest import read_manifest, write_manifest  # noqa: E402
from sim4seg.embeddings.embed import EmbedPaths, embed  # noqa: E402
from sim4seg.embeddings.store import open_store  # noqa: E402
from sim4seg.model.presets import preset_named  # noqa: E402
from sim4seg.model.segmenter import Segmenter  # noqa: E402
from sim4seg.training.dataset import Collator, SplitDataset  # noqa: E402
from sim4seg.training.lora import add_lora, freeze  # noqa: E402
from sim4seg.training.train import starting_model  # noqa: E402
from sim4seg.training.train_paths import TrainPaths  # noqa: E402

VIT_B = {"image_size": 1024, "embed_dim": 768, "depth": 12, "num_heads": 12, "global_attn_indexes": [2, 5, 8, 11],
         "window_size": 14, "conv_stem": False}  # fmt: skip


def one_step(model: Any, collate: Collator, samples: list[Any]) -> tuple[float, float]:
    """Seconds and CPU seconds of a step."""
    begun, worked = time.perf_counter(), time.process_time()
    model(**collate([{**sample} for sample in samples])).loss.backward()
    model.zero_grad()
    return time.perf_counter() - begun, time.process_time() - worked


def compare(name: str, params: Params, sam: dict[str, Any], batch: int, steps: int) -> None:
    """Print one row."""
    paths, preset = TrainPaths(), preset_named(params.train.preset)
    model, processor = starting_model(params.base.seed, params.train, paths)
    if sam:
        model.segmenter = Segmenter({**model.config.sam, **sam})
        processor.frames = replace(processor.frames, sam_size=sam["image_size"])
    if preset.frozen:
        freeze(model, preset.frozen)
    else:
        add_lora(model, preset.trained, preset.seg_row_only)
    rows = read_manifest(paths.manifest)
    chosen = rows[rows["split"] == "train"].head(batch)
    with tempfile.TemporaryDirectory() as folder:
        here = EmbedPaths(paths.shards, Path(folder) / "manifest.parquet", Path(folder) / "out", Path(folder) / "work")
        write_manifest(here.manifest, chosen)
        embed(params.embed.model_copy(update={"enabled": True}), model, processor, here)
        size = sum(file.stat().st_size for file in here.embeddings.iterdir())
        samples = [SplitDataset(chosen, "train", paths.shards)[place] for place in range(len(chosen))]
        plain, stored = Collator(processor), Collator(processor, open_store(here.embeddings))
        one_step(model.train(), stored, samples)
        times = [(one_step(model, plain, samples), one_step(model, stored, samples)) for _ in range(steps)]
    (encoded, encoded_cpu), (read, read_cpu) = (
        [statistics.median(column) for column in zip(*kind, strict=True)] for kind in zip(*times, strict=True)
    )
    print(
        f"{name}: {encoded / read:.2f} times as quick ({encoded_cpu:.2f} and {read_cpu:.2f} CPU seconds a step of "
        f"{batch}); {size / len(chosen) / 1e6:.2f} MB an image",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, help="a parameter file; default: the two of the first line")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.params:
        params = load_params(arguments.params)
        compare(params.train.preset, params, {}, params.train.batch_size, 5)
    else:
        compare("tiny, encoder frozen", load_params(), {}, 8, 7)
        compare("tiny with SAM ViT-B at 1024 px", load_params(), VIT_B, 1, 2)
