"""Decoding: every mode to canonical pixels, every bad file to a message with cause and remedy."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from sim4seg.data.decoding import decoding
from sim4seg.data.images import decode_image, encode_png, stored_size
from sim4seg.errors import BadSample
from tests.data.pictures import bomb, dicom, texture

LIMITS = {"max_pixels": 10**6, "max_side": 512}


def test_sixteen_bit_grey_is_stretched(tmp_path):
    values = np.linspace(1000, 3000, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    got = decode_image(tmp_path / "deep.png", **LIMITS)
    assert got.dtype == np.uint8
    np.testing.assert_allclose(got, (values - 1000.0) / 2000 * 255, atol=0.51)


def test_cmyk_and_palette_become_rgb(tmp_path):
    rgb = np.zeros((32, 32, 3), np.uint8)
    rgb[:16] = (200, 40, 40)
    Image.fromarray(rgb).convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    Image.fromarray(rgb).quantize(4).save(tmp_path / "palette.png")
    for name, tolerance in (("print.jpg", 12), ("palette.png", 0)):
        got = decode_image(tmp_path / name, **LIMITS)
        assert got.shape == (32, 32, 3)
        assert np.abs(got[4, 4].astype(int) - (200, 40, 40)).max() <= tolerance


def test_transparency_lies_on_black(tmp_path):
    pixels = np.full((8, 8, 4), 255, np.uint8)
    pixels[:4, :, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "clear.png")
    got = decode_image(tmp_path / "clear.png", **LIMITS)
    assert got[0].max() == 0
    assert got[7].min() == 255


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    upright = texture(1, (20, 30, 3))
    undo = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: a[::-1, ::-1],
        4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    picture = Image.fromarray(np.ascontiguousarray(undo(upright)))
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(decode_image(tmp_path / "turned.png", **LIMITS), upright)


def test_long_images_are_reduced(tmp_path):
    Image.fromarray(texture(2, (300, 900, 3))).save(tmp_path / "long.png")
    assert decode_image(tmp_path / "long.png", max_pixels=10**6, max_side=90).shape == (30, 90, 3)


def test_a_bomb_is_refused_by_its_header_before_decoding(tmp_path):
    bomb(tmp_path / "bomb.png")
    with pytest.raises(BadSample, match="30000x30000 px is larger than ingest.max_pixels") as caught:
        decode_image(tmp_path / "bomb.png", max_pixels=64_000_000, max_side=1024)
    assert caught.value.where == "bomb.png"
    assert "raise ingest.max_pixels" in caught.value.remedy


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"])
def test_unreadable_files_are_named(tmp_path, content):
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(BadSample, match="unreadable image") as caught:
        decode_image(tmp_path / "broken.png", **LIMITS)
    assert caught.value.where == "broken.png"


def test_truncated_jpeg_is_unreadable(tmp_path):
    Image.fromarray(texture(3, (200, 200, 3))).save(tmp_path / "cut.jpg")
    whole = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadSample, match="cut short"):
        decode_image(tmp_path / "cut.jpg", **LIMITS)


def test_metadata_does_not_survive(tmp_path):
    picture = Image.fromarray(texture(4))
    exif = picture.getexif()
    exif[0x010E] = "PATIENT DOE^JANE"
    picture.save(tmp_path / "named.jpg", exif=exif)
    assert b"DOE^JANE" in (tmp_path / "named.jpg").read_bytes()
    assert b"DOE^JANE" not in encode_png(decode_image(tmp_path / "named.jpg", **LIMITS))


def test_dicom_window_and_monochrome1(tmp_path):
    pixels = np.arange(64 * 64).reshape(64, 64)
    dicom(tmp_path / "a.dcm", pixels, WindowCenter=2000, WindowWidth=1000, PatientName="DOE^JANE")
    dicom(tmp_path / "b.dcm", pixels, "MONOCHROME1")
    windowed = decode_image(tmp_path / "a.dcm", **LIMITS).ravel()
    assert windowed[1400] == 0
    assert windowed[2600] == 255
    assert 120 <= windowed[2000] <= 135
    inverted = decode_image(tmp_path / "b.dcm", **LIMITS)
    assert (inverted[0, 0], inverted[-1, -1]) == (255, 0)


def test_dicom_refusals(tmp_path):
    dicom(tmp_path / "film.dcm", np.zeros((3, 8, 8)), frames=3)
    (tmp_path / "fake.dcm").write_bytes(b"nothing")
    with pytest.raises(BadSample, match="3 frames"):
        decode_image(tmp_path / "film.dcm", **LIMITS)
    with pytest.raises(BadSample, match="unreadable DICOM"):
        decode_image(tmp_path / "fake.dcm", **LIMITS)
    dicom(tmp_path / "big.dcm", np.zeros((40, 40)))
    with pytest.raises(BadSample, match=r"larger than ingest\.max_pixels"):
        decode_image(tmp_path / "big.dcm", max_pixels=1000, max_side=512)


def test_every_half_of_a_picture_is_refused_by_its_name(tmp_path):
    """A PNG's EXIF is asked for before its pixels are, which decodes it."""
    Image.fromarray(texture(3, (200, 200, 3))).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    for name, content in (("cut.png", whole[: len(whole) // 2]), ("bit.png", bytes(damaged))):
        (tmp_path / name).write_bytes(content)
        for read in (lambda path: decode_image(path, **LIMITS), lambda path: stored_size(path, 10**6)):
            with pytest.raises(BadSample, match="unreadable image") as caught:
                read(tmp_path / name)
            assert caught.value.where == name


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.mark.parametrize(
    "odd", [chunk(b"eXIf", b"nonsense"), chunk(b"tEXt", b"Raw profile type exif\0\nexif\n  9\nxyz")]
)
def test_metadata_that_cannot_be_read_ends_nothing(tmp_path, odd):
    Image.fromarray(texture(3)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[:33] + odd + whole[33:])
    try:
        assert np.array_equal(decode_image(tmp_path / "a.png", **LIMITS), texture(3))
        stored_size(tmp_path / "a.png", 10**6)
    except BadSample as refused:
        assert refused.where == "a.png"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_black_and_change_no_other(tmp_path, value):
    values = np.tile(np.linspace(-1, 1, 64), (48, 1)).astype(np.float32)
    Image.fromarray(values).save(tmp_path / "whole.tif")
    values[0, -1] = value
    Image.fromarray(values).save(tmp_path / "a.tif")
    got, whole = decode_image(tmp_path / "a.tif", **LIMITS), decode_image(tmp_path / "whole.tif", **LIMITS)
    assert got[0, -1] == 0 and whole[0, -1] == 255
    assert np.array_equal(got[1:], whole[1:])
    Image.fromarray(np.full((8, 8), value, np.float32)).save(tmp_path / "none.tif")
    with pytest.raises(BadSample, match="without a finite value"):
        decode_image(tmp_path / "none.tif", **LIMITS)


def test_what_is_clear_is_black_in_every_mode(tmp_path):
    """Of each pixel its value times its opacity; grey stays grey."""
    grey, alpha = texture(1, (32, 32)), np.where(np.arange(32) < 16, 0, 255).astype(np.uint8)[None].repeat(32, 0)
    Image.fromarray(np.stack([grey, alpha], 2)).save(tmp_path / "la.png")
    assert np.array_equal(decode_image(tmp_path / "la.png", **LIMITS), np.where(alpha, grey, 0))
    two = np.where(alpha, 200, 90).astype(np.uint8)
    Image.fromarray(two).save(tmp_path / "grey.png", transparency=90)
    assert np.array_equal(decode_image(tmp_path / "grey.png", **LIMITS), np.where(alpha, 200, 0))
    Image.fromarray(np.stack([two] * 3, 2)).save(tmp_path / "rgb.png", transparency=(90, 90, 90))
    assert np.array_equal(decode_image(tmp_path / "rgb.png", **LIMITS)[..., 1], np.where(alpha, 200, 0))


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_sixteen_bit_colour_is_refused_since_half_of_it_would_be_lost(tmp_path, kind, channels):
    values = np.full((8, 8, channels), 4095, ">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    header = struct.pack(">IIBBBBB", 8, 8, 16, kind, 0, 0, 0)
    png = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + png)
    with pytest.raises(BadSample, match="16 bits a colour"):
        decode_image(tmp_path / "a.png", **LIMITS)


@pytest.mark.parametrize("name", ["pages.tif", "frames.png"])
def test_several_pages_are_refused(tmp_path, name):
    pages = [Image.fromarray(texture(seed)) for seed in (1, 2, 3)]
    pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    with pytest.raises(BadSample, match="several pages or frames"):
        decode_image(tmp_path / name, **LIMITS)
    pages[0].save(tmp_path / name)
    assert np.array_equal(decode_image(tmp_path / name, **LIMITS), texture(1))


@pytest.mark.parametrize("kind", ["GIF", "ICO", "WEBP", "PPM", "EPS"])
def test_other_formats_are_not_opened_whatever_they_are_called(tmp_path, kind):
    Image.fromarray(texture(1, (48, 48, 3))).save(tmp_path / "a.png", kind)
    with pytest.raises(BadSample, match="unreadable image"):
        decode_image(tmp_path / "a.png", **LIMITS)


def test_a_reason_is_the_same_in_two_runs(tmp_path):
    class Odd(Exception):
        def __str__(self):
            return f"cannot identify {object()!r}"

    with pytest.raises(BadSample) as caught, decoding("image", tmp_path / "a.png"):
        raise Odd
    assert caught.value.what == "unreadable image: cannot identify <object object>"
    with pytest.raises(BadSample, match="unreadable image: ZeroDivisionError"), decoding("image", tmp_path / "a.png"):
        raise ZeroDivisionError
    with pytest.raises(KeyboardInterrupt), decoding("image", tmp_path / "a.png"):
        raise KeyboardInterrupt
