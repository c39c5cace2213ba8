"""Tables and annotations of any content end in samples, notes or a DataError, and never lead out of the dataset."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from sim4seg.data.adapters import ADAPTERS, ReadLog
from sim4seg.data.adapters.base import listed_file
from sim4seg.data.adapters.yolo import parse_labels
from sim4seg.errors import DataError

number = st.floats() | st.integers()
points = st.lists(st.tuples(number, number).map(list) | number, max_size=5)
anything = st.recursive(st.none() | number | st.text(), lambda inner: st.lists(inner, max_size=3), max_leaves=4)


@pytest.mark.slow
@given(st.text() | st.sampled_from(["../x", "a/../../x", "/etc/passwd", "..", "a\\..\\b", "x\0", ".", "", "é" * 200]))
def test_a_listed_file_stays_below_its_folder(name: str) -> None:
    folder = Path("/some/folder")
    path = listed_file(folder, name)
    if path is not None:
        assert path.is_relative_to(folder) and path != folder and ".." not in path.parts
        assert path.is_file() is False  # the file system takes the name


@given(st.text(alphabet="0123456789.eE-+naif \n") | st.text())
@example("0 1e308 1e308 1e308 1e308")
@example("0 nan nan nan nan nan nan")
def test_any_label_file_is_read_or_refused(content: str) -> None:
    try:
        found = parse_labels(content, 3)
    except ValueError as error:
        assert str(error).startswith("line ")
    else:
        assert set(found) <= {0, 1, 2}


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"file_name": st.sampled_from(["a.png", "../a.png", ""]) | anything},
            optional={
                "syms": st.lists(st.sampled_from(["Mass", "Nodule"]) | anything, max_size=3) | anything,
                "polygons": st.lists(points, max_size=3) | anything,
            },
        ),
        max_size=4,
    )
)
def test_any_chest_annotation_is_read_or_noted(entries: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        root, log = Path(name), ReadLog()
        (root / "train_data").mkdir()
        Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(root / "train_data" / "a.png")
        (root / "ChestX_Det_train.json").write_text(json.dumps(entries))
        (root / "ChestX_Det_test.json").write_text("[]")
        samples = list(ADAPTERS["cxd"].read(root, log))
        assert all(sample.image == root / "train_data" / "a.png" for sample in samples)
        noted = len(log.unusable) + sum(log.passed_over.values())
        assert len({sample.key for sample in samples}) > 0 or noted == len(entries)


@settings(max_examples=60, deadline=None)
@given(anything, anything, anything)
def test_any_coco_file_is_read_or_refused(images: Any, annotations: Any, polygons: Any) -> None:
    entry = [{"image_id": 1, "segmentation": polygons}]
    good = [{"id": 1, "width": 4, "height": 4, "file_name": "a.jpg"}]
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "Annotations" / "COCO JSON").mkdir(parents=True)
        (root / "dataset.csv").write_text("image_id,fractured\na.jpg,1\n")
        for value in ({"images": images, "annotations": annotations}, {"images": good, "annotations": entry}, images):
            (root / "Annotations" / "COCO JSON" / "COCO_fracture_masks.json").write_text(json.dumps(value))
            try:
                assert list(ADAPTERS["fracatlas"].read(root)) == []  # the image is not there
            except DataError as error:
                assert "COCO" in error.where
