"""What is packed for a machine without a network comes out as it was, whatever the volumes."""

import shutil

import pytest
from PIL import Image

from benchmarks.gpu_pack import in_number_order, pack, unpack
from sim4seg.config.base import Base
from sim4seg.config.ingest import Ingest
from sim4seg.data.manifest import read_manifest
from sim4seg.data.shards import ShardReader
from sim4seg.ingest.ingest import IngestPaths, ingest
from tests.data.pictures import generic, texture
from tests.settings import settings

BYTES = 8_000


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Twelve samples ingested, a JPEG among them, in a folder laid out as the pipeline's ``data``."""
    root = tmp_path_factory.mktemp("data")
    raw = generic(root / "raw")
    (raw / "images/003.png").unlink()
    Image.fromarray(texture(3)).save(raw / "images/003.jpg")
    labels = raw / "labels.csv"
    labels.write_text(labels.read_text().replace("003.png", "003.jpg"))
    paths = IngestPaths(root / "raw", root / "shards", root / "manifest.parquet", root / "tokenizer", root / "r.json")
    ingest(settings(Base, workers=1), settings(Ingest, vocabulary_size=400), paths)
    return root


@pytest.fixture
def volumes(data, tmp_path):
    (tmp_path / "weights.bin").write_bytes(bytes(range(256)) * 300)
    return pack(data / "raw", data, tmp_path / "pack", [BYTES, 2 * BYTES], [tmp_path / "weights.bin"])


def test_it_comes_out_as_it_was(data, volumes, tmp_path):
    sizes = [(folder / "volume").stat().st_size for folder in volumes]
    assert sizes[0] == BYTES and set(sizes[1:-1]) == {2 * BYTES} and len(sizes) > 10
    out = tmp_path / "out"
    assert unpack(sorted(volumes, key=str), out, 1) == 0
    manifest, was, now = (
        read_manifest(data / "manifest.parquet"),
        ShardReader(data / "shards"),
        ShardReader(out / "shards"),
    )
    assert len(manifest) == 12
    for row in manifest.to_dict("records"):
        for column in ("image", "mask"):
            place = row["shard"], row["row"], column
            assert now.bytes(*place) == was.bytes(*place)
    texts = read_manifest(out / "manifest_cot.parquet")
    assert texts["id"].tolist() == manifest["id"].tolist() and texts["cot"].str.contains("[SEG]", regex=False).all()
    assert (out / "added/weights.bin").read_bytes() == (tmp_path / "weights.bin").read_bytes()
    assert (out / "tokenizer/tokenizer.json").read_bytes() == (data / "tokenizer/tokenizer.json").read_bytes()


def test_an_image_that_decodes_otherwise_is_counted(data, tmp_path):
    other = tmp_path / "raw"
    shutil.copytree(data / "raw", other)
    Image.fromarray(texture(99)).save(other / "generic/images/005.png")
    folders = pack(other, data, tmp_path / "pack", [10**6], [])
    assert unpack(folders, tmp_path / "out", 1) == 1


def test_the_tenth_volume_comes_after_the_ninth(tmp_path):
    folders = [tmp_path / f"pack-{number}" for number in (10, 9, 1)]
    assert [file.parent.name for file in in_number_order(folders)] == ["pack-1", "pack-9", "pack-10"]
