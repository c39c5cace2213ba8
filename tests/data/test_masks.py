"""Masks in all the forms that datasets have."""

import numpy as np
import pytest
from PIL import Image

from sim4seg.data.masks import decode_mask
from sim4seg.data.sample import MaskCrops, MaskFiles, MaskPolygons
from sim4seg.errors import BadSample
from tests.data.pictures import square

SHAPE = (48, 64)
SIZE = (64, 48)


def decode(spec, stored=SIZE, orientation=1, shape=SHAPE):
    return decode_mask(spec, stored, orientation, shape, 10**6)


def save(path, picture):
    picture.save(path)
    return MaskFiles((path,))


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "I;16", "P grey", "P colour", "zero-one", "jpg"])
def test_every_mode_gives_the_same_mask(tmp_path, mode):
    grey = square()
    picture = Image.fromarray(grey)
    path = tmp_path / "mask.png"
    if mode in {"1", "RGB", "RGBA"}:
        picture = picture.convert(mode)
    elif mode == "I;16":
        picture = Image.fromarray(grey.astype(np.uint16) * 200)
    elif mode == "P grey":
        picture = picture.convert("P")
        picture.putpalette([v for i in range(256) for v in (i, i, i)])
    elif mode == "P colour":
        picture = Image.fromarray((grey > 0).astype(np.uint8), mode="P")
        picture.putpalette([10, 0, 0, 0, 90, 0])
    elif mode == "zero-one":
        picture = Image.fromarray((grey > 0).astype(np.uint8))
    elif mode == "jpg":
        path = tmp_path / "mask.jpg"
    got = decode(save(path, picture))
    wrong = np.count_nonzero(got != (grey > 0))
    assert wrong <= (6 if mode == "jpg" else 0)


def test_several_masks_are_united(tmp_path):
    first, second = square(), square(at=(30, 40))
    Image.fromarray(first).save(tmp_path / "a.png")
    Image.fromarray(second).convert("RGB").save(tmp_path / "b.png")
    got = decode(MaskFiles((tmp_path / "a.png", tmp_path / "b.png")))
    assert np.array_equal(got, (first | second) > 0)


def test_another_scale_is_resized_and_another_aspect_refused(tmp_path):
    double = np.kron(square(), np.ones((2, 2), np.uint8))
    assert np.array_equal(decode(save(tmp_path / "big.png", Image.fromarray(double))), square() > 0)
    with pytest.raises(BadSample, match="mask of 48x64 px for an image of 64x48 px") as caught:
        decode(save(tmp_path / "turned.png", Image.fromarray(square().T)))
    assert caught.value.where == "turned.png"
    assert "one size" in caught.value.remedy


def test_an_empty_mask_is_refused_unless_the_dataset_says_normal(tmp_path):
    with pytest.raises(BadSample, match="image with no mask"):
        decode(save(tmp_path / "black.png", Image.fromarray(np.zeros(SHAPE, np.uint8))))
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 9, SHAPE, dtype=np.uint8))
    with pytest.raises(BadSample, match="image with no mask"):
        decode(save(tmp_path / "noise.jpg", noise))
    assert not decode(MaskFiles(())).any()
    with pytest.raises(BadSample, match="missing"):
        decode(MaskFiles((tmp_path / "gone.png",)))


def test_polygons_hold_the_pixels_whose_centres_are_inside():
    polygon = ((10.2, 5.3), (40.7, 8.1), (30.0, 40.9))
    got = decode(MaskPolygons((polygon,), "pixel", SIZE))
    for row in range(48):
        for column in range(64):
            x, y = column + 0.5, row + 0.5
            sides = [
                (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)
                for (x1, y1), (x2, y2) in zip(polygon, polygon[1:] + polygon[:1], strict=True)
            ]
            if min(abs(s) for s in sides) > 1e-6:
                assert got[row, column] == (all(s > 0 for s in sides) or all(s < 0 for s in sides))
    fraction = tuple((x / 64, y / 48) for x, y in polygon)
    assert np.array_equal(decode(MaskPolygons((fraction,), "fraction")), got)


def test_crops_are_pasted_and_must_fit(tmp_path):
    crop = np.zeros((10, 8, 4), np.uint8)
    crop[2:, :, :3] = 90
    crop[..., 3] = 255
    Image.fromarray(crop).save(tmp_path / "crop.png")
    got = decode(MaskCrops(((tmp_path / "crop.png", 20, 5),), SIZE))
    assert got.sum() == 64
    assert got[7:15, 20:28].all()
    with pytest.raises(BadSample, match="does not fit"):
        decode(MaskCrops(((tmp_path / "crop.png", 60, 5),), SIZE))


def test_mask_turns_with_its_image(tmp_path):
    spec = save(tmp_path / "m.png", Image.fromarray(square()))
    turned = decode(spec, orientation=6, shape=(64, 48))
    assert np.array_equal(turned, np.rot90(square() > 0, -1))
