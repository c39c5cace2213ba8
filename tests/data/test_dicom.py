"""DICOM to grey and colour: what a viewer shows, computed another way; and what is refused, by name."""

import os
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_windowing
from pydicom.uid import DeflatedExplicitVRLittleEndian

from sim4seg.data.images import decode_image
from sim4seg.errors import BadSample
from tests.data.pictures import dicom

LIMITS = {"max_pixels": 10**7, "max_side": 10**4}
SHIPPED = Path(pydicom.__file__).parent / "data/test_files"
"""Files that come with pydicom, of many makers and transfer syntaxes."""
RAMP = np.linspace(0, 4095, 128 * 128).reshape(128, 128).astype(np.uint16)


def decoded(path):
    return decode_image(path, **LIMITS)


def test_a_window_is_taken_as_given(tmp_path):
    dicom(tmp_path / "a.dcm", np.clip(RAMP, 1000, 2000), WindowCenter=2048, WindowWidth=4096)
    got = decoded(tmp_path / "a.dcm")
    # (x - 2047.5) / 4095 + 0.5 of 1000 and of 2000, times 255.
    assert (got.min(), got.max()) == (62, 125)


@pytest.mark.parametrize(
    ("centre", "width", "function"),
    [(2048, 4096, "LINEAR"), (1000, 500, "LINEAR"), (300.5, 1, "LINEAR"), (1000, 500, "LINEAR_EXACT"),
     (2000.25, 0.5, "LINEAR_EXACT"), (1500, 900, "SIGMOID")],
)  # fmt: skip
def test_windows_are_pydicoms(tmp_path, centre, width, function):
    tags = {"WindowCenter": centre, "WindowWidth": width, "VOILUTFunction": function}
    dicom(tmp_path / "a.dcm", RAMP, **tags, BitsStored=16, HighBit=15)
    header = pydicom.dcmread(tmp_path / "a.dcm")
    top = 2**header.BitsStored - 1
    expected = np.rint(255 * apply_windowing(RAMP.astype(np.float64), header) / top)
    np.testing.assert_allclose(decoded(tmp_path / "a.dcm"), expected, atol=1)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"WindowCenter": 2048, "WindowWidth": 0}, "a window of width 0"),
        ({"WindowCenter": 0.456, "WindowWidth": 0.913, "RescaleSlope": 0.0002, "RescaleIntercept": 0}, "1 or more"),
        ({"WindowCenter": 2048, "WindowWidth": 0, "VOILUTFunction": "LINEAR_EXACT"}, "more than 0"),
        ({"WindowCenter": 2048, "WindowWidth": 4096, "VOILUTFunction": "BOGUS"}, "none of the standard's"),
    ],
)
def test_windows_that_say_nothing_are_refused_by_name(tmp_path, tags, said):
    dicom(tmp_path / "a.dcm", RAMP, **tags)
    with pytest.raises(BadSample, match=said) as caught:
        decoded(tmp_path / "a.dcm")
    assert caught.value.where == "a.dcm"


def test_rescaling_that_is_empty_changes_nothing_and_half_of_it_counts(tmp_path):
    dicom(tmp_path / "plain.dcm", RAMP)
    dicom(tmp_path / "empty.dcm", RAMP, RescaleSlope="", RescaleIntercept="")
    assert np.array_equal(decoded(tmp_path / "empty.dcm"), decoded(tmp_path / "plain.dcm"))
    dicom(tmp_path / "half.dcm", RAMP, RescaleIntercept=-1000, WindowCenter=1048, WindowWidth=4096)
    dicom(tmp_path / "moved.dcm", RAMP, WindowCenter=2048, WindowWidth=4096)
    assert np.array_equal(decoded(tmp_path / "half.dcm"), decoded(tmp_path / "moved.dcm"))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("limit", [None, 65000])
def test_padding_is_black_and_has_no_part_in_the_range(tmp_path, photometric, limit):
    inside = np.hypot(*(np.mgrid[:128, :128] - 64)) < 60
    tissue = 1000 + np.linspace(0, 400, 128)[None].repeat(128, 0)
    tags = {"PixelPaddingValue": 65535} | ({"PixelPaddingRangeLimit": limit} if limit else {})
    outside = np.where(np.arange(128)[None] % 2, 65535, limit or 65535)
    dicom(tmp_path / "a.dcm", np.where(inside, tissue, outside), photometric, **tags)
    got = decoded(tmp_path / "a.dcm")
    assert (got[inside].min(), got[inside].max()) == (0, 255)
    assert (got[~inside] == 0).all()
    left, right = got[64, 10], got[64, 118]
    assert left < right if photometric == "MONOCHROME2" else left > right


def test_an_image_of_nothing_but_the_padding_value_is_not_padding(tmp_path):
    dicom(tmp_path / "a.dcm", np.full((8, 8), 7), PixelPaddingValue=7, WindowCenter=7, WindowWidth=2)
    assert decoded(tmp_path / "a.dcm").min() > 100


def test_a_palette_gives_its_colours():
    header = pydicom.dcmread(SHIPPED / "examples_palette.dcm")
    expected = apply_color_lut(header.pixel_array, header) // 256
    got = decoded(SHIPPED / "examples_palette.dcm")
    assert np.array_equal(got, expected) and np.ptp(got.astype(int), axis=2).max() > 20


def test_a_voi_table_is_used(tmp_path):
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [4, 0, 8])
    table.add_new("LUTData", "OW", bytes([250, 0, 100, 0, 50, 0, 0, 0]))
    dicom(tmp_path / "a.dcm", np.array([[0, 1], [2, 3]]), VOILUTSequence=[table])
    assert decoded(tmp_path / "a.dcm").tolist() == [[250, 100], [50, 0]]


@pytest.mark.parametrize(
    "name",
    ["MR_small_jpeg_ls_lossless.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_bigendian.dcm"],
)
def test_lossless_compression_loses_nothing(name):
    assert np.array_equal(decoded(SHIPPED / name), decoded(SHIPPED / "MR_small.dcm"))


def test_a_file_without_preamble_is_read(tmp_path):
    dicom(tmp_path / "a.dcm", RAMP)
    whole = pydicom.dcmread(tmp_path / "a.dcm")
    bare = Dataset(whole)
    bare.save_as(tmp_path / "bare.dcm", implicit_vr=True, little_endian=True)
    assert np.array_equal(decoded(tmp_path / "bare.dcm"), decoded(tmp_path / "a.dcm"))


def test_what_is_no_image_is_named():
    for name in ("reportsi.dcm", "rtplan.dcm"):
        with pytest.raises(BadSample, match="DICOM without an image"):
            decoded(SHIPPED / name)


def test_every_file_that_comes_with_pydicom_is_read_or_refused():
    read = 0
    for path in sorted(SHIPPED.rglob("*.dcm")):
        try:
            got = decoded(path)
        except BadSample as refused:
            assert refused.where == path.name and refused.remedy
        else:
            read += 1
            assert got.dtype == np.uint8
    assert read == 50


def deflated(path, pixels, inside):
    dicom(path, pixels)
    header = pydicom.dcmread(path)
    header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    header.save_as(path)
    packer = zlib.compressobj(9, wbits=-15)
    start = 128 + 4 + 12 + pydicom.dcmread(path).file_meta.FileMetaInformationGroupLength
    before = path.read_bytes()[:start]
    path.write_bytes(before + packer.compress(bytes(inside)) + packer.flush())


def test_a_deflated_bomb_is_refused_before_it_is_inflated(tmp_path):
    deflated(tmp_path / "bomb.dcm", RAMP, 300_000_000)
    assert (tmp_path / "bomb.dcm").stat().st_size < 400_000
    with pytest.raises(BadSample, match="deflated DICOM that is too large"):
        decode_image(tmp_path / "bomb.dcm", max_pixels=10**6, max_side=512)


def test_compressed_pixels_of_another_size_are_refused(tmp_path):
    header = pydicom.dcmread(SHIPPED / "SC_rgb_jpeg_dcmtk.dcm")
    header.Rows = 50
    header.save_as(tmp_path / "a.dcm")
    with pytest.raises(BadSample, match="compressed pixels of 100x100 px in an image of 100x50 px"):
        decoded(tmp_path / "a.dcm")


@pytest.mark.parametrize("change", [{"Rows": 0}, {"BitsAllocated": 7}, {"SamplesPerPixel": 9}])
def test_damaged_headers_are_refused(tmp_path, change):
    dicom(tmp_path / "a.dcm", RAMP)
    header = pydicom.dcmread(tmp_path / "a.dcm")
    for name, value in change.items():
        header[name]._value = value
    header.save_as(tmp_path / "b.dcm")
    with pytest.raises(BadSample):
        decoded(tmp_path / "b.dcm")


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "a.dcm")
    os.mkfifo(tmp_path / "b.png")
    for name in ("a.dcm", "b.png"):
        with pytest.raises(BadSample, match="not a regular file"):
            decoded(tmp_path / name)
