"""Fetch and ingest end to end on small folders, with every bad input of a user's first day."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sim4seg.config.base import Base
from sim4seg.config.fetch import Fetch, PhantomCounts
from sim4seg.config.ingest import Ingest
from sim4seg.data.fetch import fetch
from sim4seg.data.manifest import read_manifest
from sim4seg.data.shards import ShardReader
from sim4seg.data.snapshot import Snapshot, read_snapshot, write_snapshot
from sim4seg.data.sources.local import LocalSource
from sim4seg.digest import digest_directory, digest_file
from sim4seg.errors import ConfigError, DataError, SourceError
from sim4seg.ingest.ingest import IngestPaths, ingest
from tests.data.pictures import bomb, dicom, generic, square, texture
from tests.settings import settings


def paths(root: Path, name: str = "out") -> IngestPaths:
    out = root / name
    return IngestPaths(root / "raw", out / "shards", out / "m.parquet", out / "tokenizer", out / "report.json")


def run(root: Path, name: str = "out", workers: int = 1, **changes: object) -> IngestPaths:
    where = paths(root, name)
    ingest(settings(Base, workers=workers), settings(Ingest, vocabulary_size=400, **changes), where)
    return where


def report(where: IngestPaths) -> dict:
    return json.loads(where.report.read_text())


def test_pixels_and_rows_come_back(tmp_path):
    generic(tmp_path / "raw")
    where = run(tmp_path)
    frame, reader = read_manifest(where.manifest), ShardReader(where.shards)
    assert len(frame) == 12
    assert set(frame["split"]) == {"train", "val", "test"}
    for row in frame.to_dict("records"):
        index = int(row["key"].split("/")[1][:3])
        assert np.array_equal(reader.image(row["shard"], row["row"]), texture(index))
        mask = square(at=(5 + index % 20, 10 + index % 30)) > 0
        assert np.array_equal(reader.mask(row["shard"], row["row"]), mask)
        assert row["mask_fraction"] == mask.mean()
        assert row["label"] == ("benign", "malignant")[index % 2]


def test_the_shards_open_as_a_hugging_face_dataset(tmp_path):
    import datasets

    generic(tmp_path / "raw")
    where = run(tmp_path)
    loaded = datasets.load_dataset(str(where.shards), cache_dir=str(tmp_path / "cache"))
    assert sum(len(split) for split in loaded.values()) == 12
    assert loaded["train"][0]["image"].size == (64, 48)
    assert loaded["train"][0]["mask"].mode == "L"


@pytest.mark.slow
def test_bytes_do_not_depend_on_workers_or_on_the_run(tmp_path):
    generic(tmp_path / "raw", 30)
    first, second = run(tmp_path, "one", workers=1), run(tmp_path, "two", workers=2)
    for name in ("shards", "tokenizer"):
        assert digest_directory(getattr(first, name)) == digest_directory(getattr(second, name))
    assert digest_file(first.manifest) == digest_file(second.manifest)
    assert first.report.read_bytes() == second.report.read_bytes()


def test_large_splits_become_several_shards(tmp_path):
    folder = generic(tmp_path / "raw", 10)
    for index in range(10):
        noise = np.random.default_rng(index).integers(0, 255, (400, 500, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / "images" / f"{index:03d}.png")
        Image.fromarray(square((400, 500))).save(folder / "masks" / f"{index:03d}.png")
    where = run(tmp_path, shard_megabytes=1)
    assert len(list(where.shards.glob("train-*-of-*.parquet"))) > 2
    frame, reader = read_manifest(where.manifest), ShardReader(where.shards)
    assert all(reader.image(s, r).shape == (400, 500, 3) for s, r in zip(frame["shard"], frame["row"], strict=True))


def spoil(folder: Path, kind: str) -> str:
    """Make one sample bad (or, for accepted oddities, odd); what the report must say, or "" if it is accepted."""
    image, mask = folder / "images/003.png", folder / "masks/003.png"
    if kind == "unreadable":
        image.write_bytes(b"garbage")
        return "unreadable image"
    if kind == "no mask":
        mask.unlink()
        return "missing"
    if kind == "empty mask":
        Image.fromarray(np.zeros((48, 64), np.uint8)).save(mask)
        return "image with no mask"
    if kind == "mask size":
        Image.fromarray(square((64, 48))).save(mask)
        return "mask of 48x64 px for an image of 64x48 px"
    if kind == "bomb":
        bomb(image)
        return "30000x30000 px is larger than ingest.max_pixels"
    if kind == "16 bit":
        Image.fromarray(texture(3, (48, 64)).astype(np.uint16) * 100).save(image)
    if kind == "cmyk":
        image.unlink()
        Image.fromarray(texture(3)).convert("CMYK").save(folder / "images/003.jpg")
        table = folder / "labels.csv"
        table.write_text(table.read_text().replace("003.png", "003.jpg"))
    return ""


@pytest.mark.parametrize("kind", ["unreadable", "no mask", "empty mask", "mask size", "bomb", "16 bit", "cmyk"])
def test_a_bad_file_is_quarantined_with_its_reason(tmp_path, kind):
    reason = spoil(generic(tmp_path / "raw"), kind)
    where = run(tmp_path, max_bad_fraction=0.1)
    found = report(where)["quarantined"]
    assert found["count"] == len(found["files"]) == (1 if reason else 0)
    assert len(read_manifest(where.manifest)) == (11 if reason else 12)
    if reason:
        assert reason in found["files"][0]["reason"]
        assert "003" in found["files"][0]["key"]


def test_too_many_bad_files_stop_the_stage_and_leave_no_output(tmp_path):
    folder = generic(tmp_path / "raw")
    spoil(folder, "unreadable")
    with pytest.raises(DataError, match=r"1 of 12 samples are unusable \(8\.3%; allowed 2\.0%\)") as caught:
        run(tmp_path)
    assert "images/003.png" in caught.value.what
    assert "max_bad_fraction" in caught.value.remedy
    assert not paths(tmp_path).shards.exists()


def test_unknown_label_names_what_is_allowed(tmp_path):
    busi = tmp_path / "raw/Kvasir-SEG"
    for name in ("images", "masks"):
        (busi / name).mkdir(parents=True)
    Image.fromarray(texture(0)).save(busi / "images/a.jpg")
    Image.fromarray(square()).save(busi / "masks/a.jpg")
    box = {"label": "martian", "xmin": 20, "ymin": 10, "xmax": 32, "ymax": 22}
    (busi / "kavsir_bboxes.json").write_text(json.dumps({"a": {"height": 48, "width": 64, "bbox": [box]}}))
    with pytest.raises(DataError, match=r"unknown label 'martian' in dataset kvasir .*vocabulary/kvasir\.yaml"):
        run(tmp_path)


def test_empty_sources_say_what_to_put_where(tmp_path):
    (tmp_path / "raw").mkdir()
    with pytest.raises(DataError, match="source is empty") as caught:
        run(tmp_path)
    assert "Kvasir-SEG" in caught.value.remedy
    with pytest.raises(SourceError, match="source is empty"):
        LocalSource(tmp_path / "raw").take_snapshot()
    with pytest.raises(ConfigError, match="unknown dataset nonsense"):
        run(tmp_path, datasets=["nonsense"])


def test_a_dataset_that_gives_no_sample_is_said_though_others_do(tmp_path):
    generic(tmp_path / "raw")
    kvasir = tmp_path / "raw/Kvasir-SEG"
    (kvasir / "images").mkdir(parents=True)
    Image.fromarray(texture(0)).save(kvasir / "images/a.jpg")
    (kvasir / "kavsir_bboxes.json").write_text('{"a": {"height": 48, "width": 64, "bbox": []}}')
    with pytest.raises(DataError, match=r"kvasir gives not one sample \(1 x no label\)") as caught:
        run(tmp_path)
    assert caught.value.where == str(kvasir) and "leave kvasir out" in caught.value.remedy
    assert not paths(tmp_path).shards.exists()
    assert len(read_manifest(run(tmp_path, datasets=["generic"]).manifest)) == 12


def test_the_same_image_twice_is_dropped_and_near_duplicates_share_a_group(tmp_path):
    folder = generic(tmp_path / "raw", 30)
    shutil.copy(folder / "images/004.png", folder / "images/026.png")
    shutil.copy(folder / "masks/004.png", folder / "masks/026.png")
    near = np.clip(texture(5).astype(int) + 9, 0, 255).astype(np.uint8)
    Image.fromarray(near).save(folder / "images/027.png")
    where = run(tmp_path)
    assert report(where)["duplicates"]["files"][0]["same_as"].startswith("images/004")
    frame = read_manifest(where.manifest).set_index("key")
    pair = [k for k in frame.index if "/005." in k or "/027." in k]
    assert frame.loc[pair, "group"].nunique() == 1
    assert frame.loc[pair, "split"].nunique() == 1


def test_dicom_images_are_read_and_no_patient_name_leaves(tmp_path):
    folder = generic(tmp_path / "raw")
    (folder / "images/003.png").unlink()
    dicom(
        folder / "images/003.dcm", texture(3, (48, 64)).astype(int) * 9, "MONOCHROME1", PatientName="DOE^JANE^PLANTED"
    )
    table = folder / "labels.csv"
    table.write_text(table.read_text().replace("003.png", "003.dcm"))
    where = run(tmp_path)
    assert len(read_manifest(where.manifest)) == 12
    for file in where.shards.parent.rglob("*"):
        assert file.is_dir() or b"PLANTED" not in file.read_bytes()


# fetch


def local(tmp_path: Path) -> tuple[Fetch, Path]:
    generic(tmp_path / "source")
    file = tmp_path / "snapshot.json"
    write_snapshot(file, LocalSource(tmp_path / "source").take_snapshot())
    return settings(Fetch, source="local", root=str(tmp_path / "source")), file


def bring(tmp_path: Path, params: Fetch, file: Path) -> Path:
    fetch(settings(Base, workers=1), params, snapshot=file, out=tmp_path / "raw", work=tmp_path / "work")
    return tmp_path / "raw"


def test_fetch_brings_exactly_the_snapshot(tmp_path):
    params, file = local(tmp_path)
    (tmp_path / "source/generic/images/late.png").write_bytes(b"came later")
    raw = bring(tmp_path, params, file)
    assert not (raw / "generic/images/late.png").exists()
    assert len([f for f in raw.rglob("*") if f.is_file()]) == len(read_snapshot(file).objects) == 25


@pytest.mark.parametrize("what", ["changed", "missing"])
def test_fetch_names_a_file_that_is_not_what_it_was(tmp_path, what):
    params, file = local(tmp_path)
    victim = tmp_path / "source/generic/images/005.png"
    victim.write_bytes(b"other") if what == "changed" else victim.unlink()
    with pytest.raises(SourceError, match=what) as caught:
        bring(tmp_path, params, file)
    assert caught.value.where.endswith("005.png")
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize("key", ["../outside.txt", "/etc/hostname", "a/../../b"])
def test_keys_do_not_lead_out_of_the_workspace(tmp_path, key):
    params, file = local(tmp_path)
    content = json.loads(file.read_text())
    content["objects"][0]["key"] = key
    file.write_text(json.dumps(content))
    with pytest.raises(SourceError, match="unsafe key"):
        bring(tmp_path, params, file)


def test_snapshot_and_parameters_must_agree(tmp_path):
    params, file = local(tmp_path)
    write_snapshot(file, Snapshot(kind="phantoms"))
    with pytest.raises(SourceError, match="kind 'phantoms', but fetch.source is 'local'") as caught:
        bring(tmp_path, params, file)
    assert "sim4seg snapshot" in caught.value.remedy
    file.write_text("{")
    with pytest.raises(SourceError, match="damaged"):
        read_snapshot(file)
    with pytest.raises(SourceError, match="no source snapshot"):
        read_snapshot(tmp_path / "none.json")
    file.write_text('{"kind": "s3", "objects": [{"key": "a", "size": 1, "etag": "x"}]}')
    with pytest.raises(SourceError, match="not a snapshot of kind s3"):
        read_snapshot(file)


CHILD = """
import sys
from pathlib import Path
from sim4seg.config.base import Base
from sim4seg.config.fetch import Fetch, PhantomCounts
from sim4seg.config.ingest import Ingest
from sim4seg.data.fetch import fetch
from sim4seg.ingest.ingest import IngestPaths, ingest
from tests.settings import settings
if __name__ == "__main__":
    root = Path(sys.argv[1])
    params = settings(Fetch, phantoms=settings(PhantomCounts, train=3, val=1, test=1, size=96))
    fetch(settings(Base, workers=1), params, snapshot=root / "s.json", out=root / "raw", work=root / "work")
    out = root / "out"
    ingest(settings(Base, workers=1), settings(Ingest, vocabulary_size=400),
           IngestPaths(root / "raw", out / "shards", out / "m.parquet", out / "tokenizer", out / "report.json"))
"""


def start(root: Path) -> subprocess.Popen:
    root.mkdir(exist_ok=True)
    (root / "child.py").write_text(CHILD)
    write_snapshot(root / "s.json", Snapshot(kind="phantoms"))
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen([sys.executable, root / "child.py", root], env=env, start_new_session=True)


def test_killed_at_any_moment_a_rerun_ends_in_the_same_bytes(tmp_path):
    begun = time.monotonic()
    assert start(tmp_path / "whole").wait() == 0
    whole = time.monotonic() - begun
    for share in (0.45, 0.6, 0.75, 0.9):
        child = start(tmp_path / "killed")
        time.sleep(share * whole)
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    assert start(tmp_path / "killed").wait() == 0
    for name in ("raw", "out"):
        assert digest_directory(tmp_path / "whole" / name) == digest_directory(tmp_path / "killed" / name)


@pytest.mark.slow
def test_phantoms_do_not_depend_on_workers(tmp_path):
    params = settings(Fetch, phantoms=settings(PhantomCounts, train=2, val=1, test=1, size=96))
    write_snapshot(tmp_path / "s.json", Snapshot(kind="phantoms"))
    for workers in (1, 2):
        fetch(
            settings(Base, workers=workers),
            params,
            snapshot=tmp_path / "s.json",
            out=tmp_path / f"raw{workers}",
            work=tmp_path / "w",
        )
    assert digest_directory(tmp_path / "raw1") == digest_directory(tmp_path / "raw2")
