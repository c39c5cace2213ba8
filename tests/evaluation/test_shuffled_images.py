"""A model that was trained with its images shuffled is found out by the controls; its twin is not.

Both learn on the same pictures of one bright spot, for the same steps; the one gets each sample's picture, the other
another sample's. What the second can learn is where spots usually are, and what they are usually called.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers import CLIPVisionConfig, LlavaConfig

from sim4seg.config.evaluate import Evaluate
from sim4seg.config.generate_cot import GenerateCot
from sim4seg.config.train import Train
from sim4seg.cot.generate import generate_cot
from sim4seg.data.manifest import read_manifest
from sim4seg.data.shards import ShardReader
from sim4seg.evaluation.evaluate import Outputs, evaluate
from sim4seg.model.configuration import Sim4SegConfig
from sim4seg.model.frames import Frames
from sim4seg.model.presets import PRESETS, Preset, TokenVocabulary
from sim4seg.model.presets.tiny import SAM_TINY, small_llama
from sim4seg.registry.rules import not_shown_to_look
from sim4seg.training.train import train
from sim4seg.training.train_paths import TrainPaths
from tests.ingest.test_ingest import run
from tests.settings import settings

pytestmark = pytest.mark.slow

SIDE, COUNT = 64, 160


def smaller(vocabulary: TokenVocabulary) -> tuple[Sim4SegConfig, Frames]:
    """`tiny` at 64 px: 8 x 8 image tokens, masks of 32 x 32."""
    vision = CLIPVisionConfig(
        hidden_size=64, intermediate_size=192, num_hidden_layers=2, num_attention_heads=4, image_size=SIDE, patch_size=8
    )
    lvlm = LlavaConfig(
        vision_config=vision, text_config=small_llama(vocabulary), image_token_index=vocabulary.image,
        image_seq_length=64, vision_feature_layer=-1, vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )  # fmt: skip
    sam = {**SAM_TINY, "image_size": SIDE, "patch_size": 8, "embed_dim": 64, "num_heads": 4, "prompt_dim": 64}
    config = Sim4SegConfig(lvlm_config=lvlm, sam=sam, seg_token_id=vocabulary.seg, vision_conv_stem=True)
    return config, Frames(sam_size=SIDE, vision_size=SIDE, vision_patch=8)


def spots(folder: Path) -> None:
    """Pictures in the `generic` layout, each with a round spot anywhere in it."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    rows, draws = ["image,label,group"], np.random.default_rng(2)
    down, across = np.mgrid[:SIDE, :SIDE]
    for index in range(COUNT):
        centre, radius = draws.integers(12, SIDE - 12, 2), draws.integers(7, 12)
        spot = (down - centre[0]) ** 2 + (across - centre[1]) ** 2 <= radius**2
        ground = draws.integers(30, 90, (8, 8, 3), dtype=np.uint8)
        picture = np.asarray(Image.fromarray(ground).resize((SIDE, SIDE), Image.Resampling.BICUBIC)).copy()
        picture[spot] = [230, 230, 210] if index % 2 else [200, 60, 40]
        Image.fromarray(picture).save(folder / f"images/{index:03d}.png")
        Image.fromarray(spot).save(folder / f"masks/{index:03d}.png")
        rows.append(f"{index:03d}.png,{'benign' if index % 2 else 'malignant'},p{index}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("spots")
    spots(root / "raw/generic")
    where = run(root, splits={"train": 0.6, "val": 0.05, "test": 0.35})
    generate_cot(5, settings(GenerateCot), where.manifest, where.shards, root / "cot.parquet", root / "cot.json")
    return root


def learnt(data: Path, out: Path) -> TrainPaths:
    """A model trained on what the shards give."""
    paths = TrainPaths(
        data / "out/shards", data / "cot.parquet", data / "out/tokenizer", out / "model", out / "train.json",
        out / "curve.csv", out / "work",
    )  # fmt: skip
    train(3, settings(Train, epochs=9, batch_size=8, checkpoints=1, warmup_steps=20, threads=1), paths)
    return paths


def scored(paths: TrainPaths, out: Path) -> dict[str, Any]:
    """metrics.json of a trained model."""
    outputs = Outputs(*(out / name for name in ("cases.parquet", "metrics.json", "results.md", "per_dataset.csv")))
    params = settings(Evaluate, threads=1, tts={"paths": 1, "perturbations": 1}, controls={"cases": 40})
    return evaluate(3, params, paths.model, paths.shards, paths.manifest, outputs, out / "work")


def test_a_model_trained_on_shuffled_images_is_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "tiny", Preset(smaller, identity_start=True))
    honest = scored(learnt(data, tmp_path / "honest"), tmp_path / "honest")
    assert not_shown_to_look(honest) == []
    with monkeypatch.context() as shuffled:
        image, manifest = ShardReader.image, read_manifest(data / "cot.parquet")
        places = list(zip(manifest["shard"], manifest["row"], strict=True))
        another = dict(zip(places, [*places[37:], *places[:37]], strict=True))
        shuffled.setattr(ShardReader, "image", lambda self, shard, row: image(self, *another[shard, row]))
        paths = learnt(data, tmp_path / "blind")
    blind = scored(paths, tmp_path / "blind")
    sentences = not_shown_to_look(blind)
    assert [sentence.partition(" is not")[0] for sentence in sentences] == [
        "generic: IoU of cases with a lesion",
        "generic: balanced accuracy",
    ], sentences
