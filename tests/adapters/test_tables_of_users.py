"""``labels.csv`` as spreadsheets, pandas and Macs leave it."""

from __future__ import annotations

import logging
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sim4seg.data.adapters import ADAPTERS, ReadLog
from sim4seg.data.adapters.base import NO_LABEL
from sim4seg.data.adapters.cell_words import yes
from sim4seg.data.sample import MaskFiles, RawSample
from sim4seg.errors import DataError


def read(root: Path, table: str | bytes, *names: str) -> tuple[list[RawSample], ReadLog]:
    for name in names:
        for folder in ("images", "masks"):
            path = root / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((8, 10), dtype=np.uint8)).save(path)
    (root / "labels.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    log = ReadLog()
    return list(ADAPTERS["generic"].read(root, log)), log


@pytest.mark.parametrize(
    "table",
    [
        "image;label\na.png;Läsion, gut\n",
        "image\tlabel\na.png\tLäsion, gut\n",
        'image, label\na.png,"Läsion, gut"\n',
        'sep=;\r\nimage;label\r\na.png;"Läsion, gut"\r\n',
        ',image,label\n0,a.png,"Läsion, gut"\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_delimiters_and_encodings(table: str, encoding: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        (sample,), log = read(tmp_path, table.encode(encoding), "a.png")
    assert sample.label == "Läsion, gut" and not log.unusable and not log.passed_over
    assert ("Windows-1252" in caplog.text and "Läsion" in caplog.text) == (encoding == "cp1252")


@pytest.mark.parametrize("table", [b"image,label\na.png,L\x81sion\n", "image,label\na.png,x\n".encode("utf-16-le")])
def test_another_encoding_is_refused(table: bytes, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither UTF-8, UTF-16 nor Windows-1252") as caught:
        read(tmp_path, table, "a.png")
    assert "UTF-8" in caught.value.remedy


@pytest.mark.parametrize(("table", "disk"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_composed_or_apart_name_the_same_file(table: str, disk: str, tmp_path: Path) -> None:
    name, written = (unicodedata.normalize(form, "Möller/ä.png") for form in (disk, table))
    (sample,), log = read(tmp_path, f"image,label\n{written},x\n", name)
    assert sample.image == tmp_path / "images" / name and not log.passed_over
    assert sample.mask == MaskFiles((tmp_path / "masks" / name,))


@pytest.mark.parametrize("word", ["1", "1.0", "True", "TRUE", "yes"])
def test_normal_is_said_in_many_ways(word: str, tmp_path: Path) -> None:
    samples, _ = read(tmp_path, f"image,label,normal\na.png,x,{word}\nb.png,x,0.0\nc.png,x,nan\n", "a.png", "b.png")
    assert [s.mask == MaskFiles(()) for s in samples] == [True, False]
    with pytest.raises(ValueError, match="neither yes"):
        yes("perhaps")


@pytest.mark.parametrize("word", ["nan", "NULL", "NA", "None", "", "NaN"])
def test_words_for_nothing_are_no_values(word: str, tmp_path: Path) -> None:
    rows = f"image,label,group,mask,target,split\na.png,{word},,,,\nb.png,x,{word},{word},{word},{word}\n"
    (sample,), log = read(tmp_path, rows, "a.png", "b.png")
    assert log.passed_over == {NO_LABEL: 1} and not log.unusable
    assert (sample.group, sample.target, sample.split) == ("b", "lesion", None)


def test_subfolders_have_their_own_masks_keys_and_groups(tmp_path: Path) -> None:
    samples, _ = read(tmp_path, "image,label\np1/001.png,x\np2/001,y\n", "p1/001.png", "p2/001.png")
    assert [s.mask for s in samples] == [MaskFiles((tmp_path / f"masks/{p}/001.png",)) for p in ("p1", "p2")]
    assert [s.key.split("#")[0] for s in samples] == ["images/p1/001.png", "images/p2/001.png"]
    assert [s.group for s in samples] == ["p1/001", "p2/001"]


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ("x,later,,", "split 'later' is none of valid, train, val, test"),
        ("x,,CT,", "modality 'CT' is none of X-ray, dermoscopy"),
        ("x,,,perhaps", "normal 'perhaps' is neither yes"),
        ("x,,,,in situ", "more cells than the first line has ('in situ')"),
    ],
)
def test_a_bad_row_says_what_is_allowed(cells: str, said: str, tmp_path: Path) -> None:
    samples, log = read(tmp_path, f"image,label,split,modality,normal\na.png,{cells}\n", "a.png")
    assert not samples and said in log.unusable[0][1]


def test_a_header_that_lacks_a_column_is_shown(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column image, label; its first line is 'Image \| Label'"):
        read(tmp_path, "Image;Label\na.png;x\n", "a.png")


def test_only_line_ends_end_a_row(tmp_path: Path) -> None:
    (sample,), _ = read(tmp_path, "image,label\na.png,a\u2028b\x85c\n", "a.png")
    assert sample.label == "a\u2028b\x85c"
