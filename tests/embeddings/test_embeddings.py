"""Embeddings computed once: the encoder's own to bfloat16, the same losses, refused where they would not be true."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from sim4seg.config.embed import Embed
from sim4seg.data.manifest import read_manifest
from sim4seg.data.shards import ShardReader
from sim4seg.digest import digest_directory
from sim4seg.embeddings.embed import EmbedPaths, embed, work_folder
from sim4seg.embeddings.index import shard_name, write_disabled
from sim4seg.embeddings.keys import check_encoder, encoder_key, image_key
from sim4seg.embeddings.store import open_store
from sim4seg.errors import ConfigError, DataError, ModelError
from sim4seg.inference import tts
from sim4seg.training.dataset import Collator, SplitDataset
from sim4seg.training.lora import add_lora
from sim4seg.training.train import starting_model, train
from sim4seg.training.train_paths import TrainPaths
from tests.settings import plain_train, settings
from tests.training.conftest import data  # noqa: F401

pytestmark = pytest.mark.slow

SMALL = settings(Embed, enabled=True, batch_size=3, shard_images=5)


@pytest.fixture(scope="module")
def paths(data, tmp_path_factory):  # noqa: F811
    out = tmp_path_factory.mktemp("embedded")
    return EmbedPaths(data / "out/shards", data / "cot.parquet", out / "embeddings", out / "work")


def training_paths(paths: EmbedPaths, out: Path) -> TrainPaths:
    tokenizer = paths.shards.parent / "tokenizer"
    files = (out / "model", out / "train.json", out / "curve.csv", out / "work")
    return TrainPaths(paths.shards, paths.manifest, tokenizer, *files, embeddings=paths.embeddings)


@pytest.fixture(scope="module")
def frozen(paths, tmp_path_factory):
    """A model whose encoder does not learn, and its embeddings."""
    model, processor = starting_model(3, plain_train(), training_paths(paths, tmp_path_factory.mktemp("out")))
    embed(SMALL, model, processor, paths)
    add_lora(model)
    return model.eval(), processor


def test_every_image_has_the_encoders_own_embedding_once(paths, frozen):
    model, processor = frozen
    store, reader = open_store(paths.embeddings), ShardReader(paths.shards)
    rows = read_manifest(paths.manifest).to_dict("records")
    images = [reader.image(row["shard"], row["row"]) for row in rows]
    assert set(store.places) == {image_key(image) for image in images}
    with torch.no_grad():
        pixels = processor.image_inputs(images)["sam_pixel_values"]
        wanted = torch.cat([model.segmenter.encode(each[None]) for each in pixels])
    torch.testing.assert_close(store.read(images), wanted, rtol=2**-8, atol=1e-6)
    assert sum(file.stat().st_size for file in paths.embeddings.glob("*.safetensors")) < len(images) * 2**16 + 4096
    with pytest.raises(DataError, match="no embedding of image"):
        store.read([images[0][:-1]])


def test_losses_and_answers_are_those_of_the_encoder_to_rounding(paths, frozen):
    model, processor = frozen
    dataset = SplitDataset(read_manifest(paths.manifest), "train", paths.shards)
    samples = [dataset[place] for place in range(4)]
    store = open_store(paths.embeddings)
    plain, stored = Collator(processor)(samples), Collator(processor, store)(samples)
    assert "sam_pixel_values" not in stored
    with torch.no_grad():
        first, second = model(**plain), model(**stored)
    assert {n: float(v) for n, v in second.parts.items()} == pytest.approx(
        {n: float(v) for n, v in first.parts.items()}, rel=2e-3, abs=2e-4
    )
    images, ask = [s["image"] for s in samples[:2]], [s["question"] for s in samples[:2]]
    told = {"temperature": 0.7, "max_new_tokens": 4, "seeds": [0, 0]}
    answers = [
        tts.answer_batch(model, processor, images, ask, **told, sam_embeddings=known)
        for known in (None, store.read(images))
    ]
    for (one,), (other,) in zip(*answers, strict=True):
        assert one.text == other.text
        assert abs(one.probability - other.probability).max() < 0.01


def test_training_reads_them_and_keeps_the_encoder(paths, frozen, tmp_path):
    key = encoder_key(frozen[0])
    few = plain_train(epochs=2.5, batch_size=2, checkpoints=1, lora=True, threads=2)
    train(3, few, training_paths(paths, tmp_path))
    from sim4seg.model import load

    assert encoder_key(load(tmp_path / "model")[0]) == key == open_store(paths.embeddings).encoder


def test_a_trained_or_other_encoder_is_refused(paths, frozen, tmp_path):
    with pytest.raises(ModelError, match="image encoder is trained with these settings"):
        train(3, plain_train(), training_paths(paths, tmp_path))
    with pytest.raises(ModelError, match="of another image encoder"):
        train(4, plain_train(lora=True), training_paths(paths, tmp_path))
    check_encoder(frozen[0], encoder_key(frozen[0]), "here")


def test_what_a_killed_run_leaves_is_taken_up_to_the_same_bytes(paths, frozen, tmp_path):
    again = EmbedPaths(paths.shards, paths.manifest, tmp_path / "embeddings", tmp_path / "work")
    folder = work_folder(SMALL, encoder_key(frozen[0]), again)
    folder.mkdir(parents=True)
    whole, cut = (paths.embeddings / shard_name(number) for number in (0, 1))
    shutil.copy2(whole, folder / whole.name)
    (folder / cut.name).write_bytes(cut.read_bytes()[:-100])
    kept = (folder / whole.name).stat().st_ino
    embed(SMALL, *frozen, again)
    assert digest_directory(again.embeddings) == digest_directory(paths.embeddings)
    assert (again.embeddings / whole.name).stat().st_ino == kept, "the finished shard was computed again"


def test_room_is_checked_before_anything_is_computed(paths, frozen, tmp_path):
    again = EmbedPaths(paths.shards, paths.manifest, tmp_path / "embeddings", tmp_path / "work")
    with pytest.raises(ConfigError, match="more than embed.max_gigabytes"):
        embed(SMALL.model_copy(update={"max_gigabytes": 0.0001}), *frozen, again)
    assert not again.embeddings.exists() and not list(tmp_path.rglob("*.safetensors"))


def test_off_is_an_index_that_says_so_and_damage_is_named(paths, frozen, tmp_path):
    write_disabled(tmp_path / "off")
    assert json.loads((tmp_path / "off/index.json").read_text()) == {"enabled": False}
    assert open_store(tmp_path / "off") is None and open_store(tmp_path / "missing") is None
    shutil.copytree(paths.embeddings, tmp_path / "bad")
    (tmp_path / "bad" / shard_name(0)).unlink()
    reader, first = ShardReader(paths.shards), read_manifest(paths.manifest).sort_values(["shard", "row"]).iloc[0]
    image = reader.image(first["shard"], int(first["row"]))
    with pytest.raises(DataError, match="cannot read embeddings"):
        open_store(tmp_path / "bad").read([image])
    (tmp_path / "bad/index.json").write_text('{"enabled": tr')
    with pytest.raises(DataError, match="cannot read the index"):
        open_store(tmp_path / "bad")
