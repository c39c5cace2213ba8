"""What published copies have beyond the plain layout, and what is wrong in broken ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sim4seg.data.adapters import ADAPTERS, ReadLog
from sim4seg.data.adapters.base import MISSING_IMAGE, NO_LABEL, NO_TARGET
from sim4seg.data.adapters.yolo import parse_labels, photograph
from sim4seg.data.sample import MaskCrops, MaskFiles, MaskPolygons, MaskRuns, RawSample
from sim4seg.errors import DataError


def put(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((8, 10), dtype=np.uint8)).save(path)


def text(root: Path, name: str, content: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(content, encoding="utf-8")


def read(key: str, root: Path) -> tuple[list[RawSample], ReadLog]:
    log = ReadLog()
    return list(ADAPTERS[key].read(root, log)), log


def test_yolo_lines_are_boxes_or_polygons() -> None:
    found = parse_labels("1 0.5 0.5 0.2 0.4\n\n0 0 0 1 0 1 1\n", 2)
    assert list(found) == [0, 1]
    assert found[0] == [((0, 0), (1, 0), (1, 1))]
    np.testing.assert_allclose(found[1][0], [(0.4, 0.3), (0.6, 0.3), (0.6, 0.7), (0.4, 0.7)])


@pytest.mark.parametrize(
    "line",
    [
        "0 0.1 0.2 0.3",
        "0 0.1 0.2 0.3 0.4 0.5",
        "2 0 0 1 1",
        "-1 0 0 1 1",
        "0 nan 0 1 1",
        "0 inf 0 1 1",
        "0 1e308 0 1 1",
        "a b",
        "0",
    ],
)
def test_malformed_yolo_lines_are_refused(line: str) -> None:
    with pytest.raises(ValueError, match="line 2"):
        parse_labels(f"0 0 0 1 1\n{line}", 2)


@pytest.mark.parametrize("number", ["1", "1.0", "1.000000000000000000e+00", "01", "\ufeff1"])
def test_a_yolo_class_is_any_whole_number(number: str) -> None:
    assert parse_labels(f"{number} 0.5 0.5 0.2 0.4", 2) == parse_labels("1 0.5 0.5 0.2 0.4", 2)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1.5 0.5 0.5 0.2 0.4", "names class '1.5', which is no whole number"),
        ("nan 0.5 0.5 0.2 0.4", "names class 'nan'"),
        ("3.0 0.5 0.5 0.2 0.4", "names class 3.0, data.yaml has 2"),
        ("1,0.5,0.5,0.2,0.4", "blanks between: '1,0.5,0.5,0.2,0.4'"),
        ("1 0.5 0.5 0.2 0.4 0.93", "5 numbers after the class"),
        ("1 0.5 0.5 0.2 64", "has 64 where a fraction"),
    ],
)
def test_a_bad_yolo_line_says_what_is_wrong(line: str, said: str) -> None:
    with pytest.raises(ValueError, match="line 1") as caught:
        parse_labels(line, 2)
    assert said in str(caught.value)


def test_a_yolo_file_may_begin_with_a_mark_of_its_encoding(tmp_path: Path) -> None:
    text(tmp_path, "data.yaml", "names: [wrist positive, humerus]")
    put(tmp_path, "train/images/a.jpg")
    text(tmp_path, "train/labels/a.txt", "\ufeff1 0.5 0.5 0.2 0.4\r\n")
    samples, log = read("bfd", tmp_path)
    assert [s.label for s in samples] == ["humerus"] and not log.unusable


def test_a_photograph_is_named_before_rf() -> None:
    assert photograph("image1_0_png.rf.99862308d714bff3f9c410adf5ca93ac") == "image1_0"
    assert photograph("plain_png") == "plain_png"


@pytest.mark.parametrize("layout", ["val/{}", "valid/{}", "{}/val", "{}/valid"])
def test_bfd_reads_both_names_and_both_orders_of_the_validation_folder(layout: str, tmp_path: Path) -> None:
    images, labels = layout.format("images"), layout.format("labels")
    text(tmp_path, "data.yaml", "names: {0: wrist positive, 1: humerus}")
    put(tmp_path, f"{images}/a.jpg", f"{images}/b.jpg", f"{images}/c.jpg")
    text(tmp_path, f"{labels}/a.txt", "0 0.2 0.5 0.1 0.1\n1 0.8 0.5 0.1 0.1")
    text(tmp_path, f"{labels}/b.txt", "")
    text(tmp_path, f"{labels}/c.txt", "7 0.8 0.5 0.1 0.1")
    text(tmp_path, f"{labels}/gone.txt", "0 0.2 0.5 0.1 0.1")
    samples, log = read("bfd", tmp_path)
    assert [(s.label, s.split, s.where) for s in samples] == [
        ("wrist positive", "val", "on the left side of the image"),
        ("humerus", "val", "on the right side of the image"),
    ]
    assert log.passed_over == {NO_TARGET: 1, MISSING_IMAGE: 1}
    assert log.unusable == [(f"{labels}/c.txt", "line 1 names class 7, data.yaml has 2")]


@pytest.mark.parametrize("content", ["nc: 3", "names: {0: a, 2: b}", "names: []", "[", "a list"])
def test_yolo_without_class_names_is_refused(content: str, tmp_path: Path) -> None:
    text(tmp_path, "data.yaml", content)
    with pytest.raises(DataError, match="class names|cannot be read"):
        read("bf", tmp_path)


@pytest.mark.parametrize("header", ["", "img_id,Label\n"])
def test_isic_labels_of_isbi_with_and_without_header(header: str, tmp_path: Path) -> None:
    text(
        tmp_path,
        "ISBI2016_ISIC_Part3_Training_GroundTruth.csv",
        header + "ISIC_0000000,benign\nISIC_0000009,malignant\n",
    )
    images = "ISIC2018_Task1-2_Training_Input"
    put(tmp_path, f"{images}/ISIC_0000000.jpg", f"{images}/ISIC_0000001.jpg", f"{images}/ISIC_0000000_superpixels.png")
    samples, log = read("isic", tmp_path)
    assert [(s.image.name, s.label) for s in samples] == [("ISIC_0000000.jpg", "benign")]
    assert log.passed_over == {NO_LABEL: 1}


def test_isic_rows_without_a_single_class_have_no_label(tmp_path: Path) -> None:
    table = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\nI1,0.0,1.0,0.0,0.0,0.0,0.0,0.0\nI2,1,1,0,0,0,0,0\n"
    text(tmp_path, "ISIC2018_Task3_Training_GroundTruth.csv", table)
    put(tmp_path, "ISIC2018_Task1-2_Training_Input/I1.jpg", "ISIC2018_Task1-2_Training_Input/I2.jpg")
    samples, log = read("isic", tmp_path)
    assert [s.label for s in samples] == ["NV"] and log.passed_over == {NO_LABEL: 1}


def test_isic_takes_the_table_that_knows_its_images(tmp_path: Path) -> None:
    images = "ISIC2018_Task1-2_Training_Input"
    put(tmp_path, f"{images}/ISIC_0000000.jpg", f"{images}/ISIC_0000001.jpg")
    task3 = "ISIC2018_Task3_Training_GroundTruth"
    rows = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\nISIC_0024306,0.0,1.0,0.0,0.0,0.0,0.0,0.0\n"
    text(tmp_path, f"{task3}/{task3}.csv", rows)
    with pytest.raises(
        DataError, match=r"any of the 2 images \(ISIC_0000000 to ISIC_0000001\): .*ISIC_0024306"
    ) as caught:
        read("isic", tmp_path)
    assert "ISBI2016" in caught.value.remedy and caught.value.where == str(tmp_path)
    text(tmp_path, "ISBI2016_ISIC_Part3_Training_GroundTruth.csv", "ISIC_0000000,benign\nISIC_0000001,malignant\n")
    samples, log = read("isic", tmp_path)
    assert [s.label for s in samples] == ["benign", "malignant"] and not log.passed_over


def test_isic_without_any_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no table of labels"):
        read("isic", tmp_path)


def test_a_missing_mask_is_left_for_ingest_to_refuse(tmp_path: Path) -> None:
    put(
        tmp_path,
        "benign/benign (1).png",
        "benign/benign (2).png",
        "benign/benign (2)_mask.png",
        "normal/normal (1).png",
    )
    samples, _ = read("busi", tmp_path)
    assert [s.mask for s in samples] == [
        MaskFiles((tmp_path / "benign/benign (1)_mask.png",)),
        MaskFiles((tmp_path / "benign/benign (2)_mask.png",)),
        MaskFiles(()),
    ]


def test_kvasir_images_without_a_box_have_no_label(tmp_path: Path) -> None:
    put(tmp_path, "images/a.jpg", "images/b.jpg")
    text(tmp_path, "kavsir_bboxes.json", json.dumps({"a": {"bbox": [{"label": "polyp"}]}, "b": {"bbox": []}}))
    samples, log = read("kvasir", tmp_path)
    assert [s.label for s in samples] == ["polyp"] and log.passed_over == {NO_LABEL: 1}


def test_tn3k_without_tables_has_no_labels(tmp_path: Path) -> None:
    put(tmp_path, "trainval-image/0003.jpg", "test-image/0000.jpg")
    samples, _ = read("tn3k", tmp_path)
    assert [(s.label, s.split) for s in samples] == [(None, "train"), (None, "test")]
    text(tmp_path, "tn3k-trainval-fold0.json", '{"val": ["x"]}')
    with pytest.raises(DataError, match="fold file"):
        read("tn3k", tmp_path)


def test_fives_names_without_a_letter_are_unusable(tmp_path: Path) -> None:
    put(tmp_path, "test/Original/1_A.png", "test/Original/2.png")
    samples, log = read("fives", tmp_path)
    assert [s.label for s in samples] == ["A"]
    assert [file for file, _ in log.unusable] == ["test/Original/2.png"]


def chest(*entries: Mapping[str, object]) -> str:
    return json.dumps(list(entries))


def test_chestx_det_passes_over_what_is_normal_and_notes_what_is_wrong(tmp_path: Path) -> None:
    square = [[1, 1], [6, 1], [6, 6], [1, 6]]
    good = {"file_name": "a.png", "syms": ["Mass", "Effusion"], "polygons": [square, square]}
    text(
        tmp_path,
        "ChestX_Det_train.json",
        chest(
            good,
            {"file_name": "n.png", "syms": [], "polygons": []},
            {"file_name": "gone.png", "syms": ["Mass"], "polygons": [square]},
            {"file_name": "bad.png", "syms": ["Mass"], "polygons": []},
            {"file_name": "thin.png", "syms": ["Mass"], "polygons": [square[:2]]},
            {"file_name": "../../a.png", "syms": ["Mass"], "polygons": [square]},
        ),
    )
    text(tmp_path, "ChestX_Det_test.json", "[]")
    put(tmp_path, "train_data/a.png", "train_data/n.png")
    samples, log = read("cxd", tmp_path)
    assert [(s.label, s.where.split(" one ")[0]) for s in samples] == [
        ("Effusion", "that is the larger"),
        ("Mass", "that is the smaller"),
    ]
    assert isinstance(samples[0].mask, MaskPolygons) and samples[0].mask.size == (10, 8)
    assert log.passed_over == {MISSING_IMAGE: 1, NO_TARGET: 1}
    assert len(log.unusable) == 3


@pytest.mark.parametrize("content", ["{", '{"a": 1}', "[1]"])
def test_a_broken_annotation_file_stops_the_dataset(content: str, tmp_path: Path) -> None:
    text(tmp_path, "ChestX_Det_train.json", content)
    with pytest.raises(DataError) as caught:
        read("cxd", tmp_path)
    assert "ChestX_Det_train.json" in caught.value.where and "restore" in caught.value.remedy


def fracatlas(root: Path, rows: str, annotations: object) -> None:
    text(root, "dataset.csv", f"image_id,fractured\n{rows}")
    text(root, "Annotations/COCO JSON/COCO_fracture_masks.json", json.dumps(annotations))


def test_fracatlas_reads_a_partial_copy(tmp_path: Path) -> None:
    images = [{"id": 1, "width": 10, "height": 8, "file_name": "a.jpg"}]
    annotations = [
        {"image_id": 1, "segmentation": [[1, 1, 6, 1, 6, 6]]},
        {"image_id": 1, "segmentation": [[7, 7, 8, 7, 8, 8]]},
    ]
    fracatlas(
        tmp_path,
        "n.jpg,0\na.jpg,1\nunmarked.jpg,1\ngone.jpg,1\n../a.jpg,1\nx.jpg,maybe\n",
        {"images": images, "annotations": annotations},
    )
    text(tmp_path, "Utilities/Fracture Split/valid.csv", "image_id\na.jpg\n")
    put(tmp_path, "images/Fractured/a.jpg", "images/Fractured/unmarked.jpg", "images/Non_fractured/n.jpg")
    samples, log = read("fracatlas", tmp_path)
    assert [(s.image.name, s.label, s.split) for s in samples] == [
        ("a.jpg", "fractured", "val"),
        ("n.jpg", "non-fractured", None),
    ]
    assert isinstance(samples[0].mask, MaskPolygons) and len(samples[0].mask.polygons) == 2
    assert samples[1].mask == MaskFiles(())
    assert log.passed_over == {MISSING_IMAGE: 1, NO_TARGET: 1} and len(log.unusable) == 2


def test_fracatlas_with_broken_files_is_refused(tmp_path: Path) -> None:
    fracatlas(tmp_path, "", {"images": []})
    with pytest.raises(DataError, match="COCO"):
        read("fracatlas", tmp_path)
    fracatlas(tmp_path, "", {"images": [], "annotations": []})
    text(tmp_path, "dataset.csv", "name,label\n")
    with pytest.raises(DataError, match="no column image_id, fractured"):
        read("fracatlas", tmp_path)
    (tmp_path / "dataset.csv").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        read("fracatlas", tmp_path)


SQUARE = [[1, 1, 6, 1, 6, 6]]


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        ({"counts": [10, 20, 50], "size": [8, 10]}, ""),
        ({"counts": ":d0b1", "size": [8, 10]}, ""),
        ({"counts": [10, 20], "size": [8, 10]}, "cover 30 px of an image of 10x8 px"),
        ({"counts": "b", "size": [8, 10]}, "cut short"),
        ({"counts": [10, "20", 50], "size": [8, 10]}, "neither whole numbers nor a text"),
        ({"counts": [80]}, "size"),
        ([[1, 1, 6, 1, 6]], "even number"),
        ([[1, 1], [6, 1], [6, 6]], "three points"),
        ([[1, 1, 6, 1, 6, "six"]], "could not convert"),
        ([[1, 1, 6, 1, 6, float("nan")]], "no image has"),
        (None, "neither a list of polygons nor run lengths"),
    ],
)
def test_a_coco_annotation_is_read_or_costs_its_image_only(segmentation: object, reason: str, tmp_path: Path) -> None:
    images = [{"id": n, "width": 10, "height": 8, "file_name": f"{n}.jpg"} for n in (1, 2)]
    annotations = [
        {"image_id": 1, "segmentation": SQUARE},
        {"image_id": 2, "segmentation": SQUARE},
        {"image_id": 2, "segmentation": segmentation},
    ]
    fracatlas(tmp_path, "1.jpg,1\n2.jpg,1\n", {"images": images, "annotations": annotations})
    put(tmp_path, "images/Fractured/1.jpg", "images/Fractured/2.jpg")
    samples, log = read("fracatlas", tmp_path)
    assert [s.image.name for s in samples] == (["1.jpg"] if reason else ["1.jpg", "2.jpg"])
    if reason:
        ((file, said),) = log.unusable
        assert file == "images/Fractured/2.jpg" and "annotation 3" in said and reason in said
    else:
        mask = samples[1].mask
        assert isinstance(mask, MaskRuns) and mask.runs == (((10, 8), (10, 20, 50)),)
        assert len(mask.polygons.polygons) == 1 and not log.unusable


def test_coco_images_are_named_by_texts_and_by_paths_and_strays_are_noted(tmp_path: Path) -> None:
    images = [{"id": "I1", "width": 10, "height": 8, "file_name": "images/Fractured/a.jpg"}, {"id": 2}]
    annotations = [{"image_id": "I1", "segmentation": SQUARE}, {"image_id": 9, "segmentation": SQUARE}, 5]
    fracatlas(tmp_path, "a.jpg,1\n", {"images": images, "annotations": annotations})
    put(tmp_path, "images/Fractured/a.jpg")
    (sample,), log = read("fracatlas", tmp_path)
    assert isinstance(sample.mask, MaskPolygons) and sample.mask.size == (10, 8)
    assert [file for file, _ in log.unusable] == ["Annotations/COCO JSON/COCO_fracture_masks.json"] * 3


def test_covid_places_crops_and_groups_by_patient(tmp_path: Path) -> None:
    text(tmp_path, "metadata.csv", "patientid,finding,filename\n7,COVID-19,a.png\n8,todo,b.png\n7,SARS,c.png\n")
    rows = [
        "COVID-19 Left Lung,a.png,masks/1.png,10x8,1,2",
        "COVID-19 Left Lung,a.png,masks/2.png,10x8,3,4",
        "COVID-19 Nosogastric Tube,a.png,,10x8,3,4",
        "COVID-19 Left Lung,b.png,masks/1.png,10x8,1,2",
        "COVID-19 Left Lung,gone.png,masks/1.png,10x8,1,2",
        "COVID-19 Left Lung,c.png,../1.png,10x8,1,2",
        "COVID-19 Airways,c.png,masks/1.png,ten,1,2",
    ]
    text(tmp_path, "structure.csv", "Class,Filename,Mask,Resolution,Top,Left\n" + "\n".join(rows))
    put(tmp_path, "images/a.png", "images/b.png", "images/c.png")
    (sample,), log = read("covid", tmp_path)
    assert (sample.target, sample.label, sample.group) == ("left lung", "COVID-19", "7")
    masks = tmp_path / "masks"
    assert sample.mask == MaskCrops(((masks / "1.png", 2, 1), (masks / "2.png", 4, 3)), (10, 8))
    assert log.passed_over == {NO_TARGET: 1, NO_LABEL: 1, MISSING_IMAGE: 1} and len(log.unusable) == 2


def test_ddti_never_reads_its_forged_categories(tmp_path: Path) -> None:
    put(tmp_path, "image/1.PNG", "mask/1.PNG")
    text(tmp_path, "category.csv", "1.PNG,1\n")
    (sample,), _ = read("ddti", tmp_path)
    assert sample.label == sample.target == "thyroid nodule"


def test_generic_takes_a_users_table(tmp_path: Path) -> None:
    put(tmp_path, "images/a.jpg", "images/b.png", "images/n.png", "masks/a.png", "masks/a_cyst.png", "masks/b.tif")
    rows = [
        "image,label,target,mask,normal,group,split",
        "a.jpg,Tumour A,,,,p1,TEST",
        "a.jpg,Cyst,cyst,a_cyst.png,,p1,test",
        "b,Tumour B,,,,,",
        "n.png,healthy,,,1,,train",
        "gone.png,x,,,,,",
        "b.png,,,,,,",
        "../x.png,x,,,,,",
        "b.png,x,,/etc/passwd,,,",
        "b.png,x,,,,,later",
    ]
    text(tmp_path, "labels.csv", "\n".join(rows))
    samples, log = read("generic", tmp_path)
    masks = tmp_path / "masks"
    assert [(s.label, s.target, s.mask, s.group, s.split) for s in samples] == [
        ("Tumour A", "lesion", MaskFiles((masks / "a.png",)), "p1", "test"),
        ("Cyst", "cyst", MaskFiles((masks / "a_cyst.png",)), "p1", "test"),
        ("Tumour B", "lesion", MaskFiles((masks / "b.tif",)), "b", None),
        ("healthy", "lesion", MaskFiles(()), "n", "train"),
    ]
    assert log.passed_over == {MISSING_IMAGE: 1, NO_LABEL: 1} and len(log.unusable) == 3
