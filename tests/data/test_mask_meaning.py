"""Mask files as labelling tools write them: read right, or refused with what was found."""

import numpy as np
import pytest
from PIL import Image

from sim4seg.data.adapters import ADAPTERS, ReadLog
from sim4seg.data.masks import decode_mask
from sim4seg.data.sample import MaskFiles
from sim4seg.errors import BadSample

PARTS = [np.zeros((48, 64), dtype=bool) for _ in range(3)]
for part, (top, left) in zip(PARTS, [(4, 4), (4, 40), (28, 20)], strict=True):
    part[top : top + 14, left : left + 15] = True
LESION = PARTS[0] | PARTS[1] | PARTS[2]


def painted(values, dtype, background=0):
    """A picture with each part in its value (a number or a colour)."""
    picture = np.full((48, 64, *np.shape(background)), background, dtype=dtype)
    for part, value in zip(PARTS, values, strict=True):
        picture[part] = value
    return picture


def decode(path, picture, lesion=(), **options):
    picture.save(path, **options)
    return decode_mask(MaskFiles((path,), lesion), (64, 48), 1, (48, 64), 10**6)


def indexed(values, colours):
    picture = Image.fromarray(painted(values, np.uint8)).convert("L")
    picture = Image.frombytes("P", picture.size, picture.tobytes())
    picture.putpalette([number for colour in colours for number in colour])
    return picture


CLEAR = {
    "labels": painted((1, 2, 3), np.uint8),
    "instances": painted((1, 20, 40), np.uint8),
    "instances, two of a kind": painted((1, 1, 200), np.uint8),
    "instances of 16 bits": painted((1, 300, 700), np.uint16),
    "scaled 16 bits": painted((65535,) * 3, np.uint16),
    "not from zero": painted((30, 30, 30), np.uint8, 20),
    "bright, not from zero": painted((250, 250, 250), np.uint8, 200),
    "VOC colours": painted(((128, 0, 0), (0, 128, 0), (0, 0, 128)), np.uint8, (0, 0, 0)),
    "two colours": painted(((255, 255, 0),) * 3, np.uint8, (0, 0, 90)),
    "white on transparent": painted(((255, 255, 255, 255),) * 3, np.uint8, (255, 255, 255, 0)),
    "black on transparent": painted(((0, 0, 0, 255),) * 3, np.uint8, (0, 0, 0, 0)),
    "red on transparent": painted(((255, 0, 0, 255),) * 3, np.uint8, (0, 0, 0, 0)),
}


@pytest.mark.parametrize("name", CLEAR)
def test_what_is_clear_is_read(name, tmp_path):
    assert np.array_equal(decode(tmp_path / "m.png", Image.fromarray(CLEAR[name])), LESION)


def test_probabilities_and_palettes(tmp_path):
    floats = painted((0.9, 0.5, 0.4), np.float32, 0.1)
    assert np.array_equal(decode(tmp_path / "p.tif", Image.fromarray(floats)), PARTS[0] | PARTS[1])
    colours = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (0, 0, 128)]
    assert np.array_equal(decode(tmp_path / "p.png", indexed((1, 2, 3), colours)), LESION)


def test_noise_and_soft_edges_are_no_labels(tmp_path):
    white = Image.fromarray(painted((255, 255, 255), np.uint8))
    soft = white.resize((32, 24), Image.Resampling.BOX).resize((64, 48), Image.Resampling.BILINEAR)
    assert np.array_equal(decode(tmp_path / "soft.png", soft), np.asarray(soft) > 127)
    assert np.count_nonzero(decode(tmp_path / "m.jpg", white, quality=30) != LESION) <= 30
    colours = Image.fromarray(painted(((255, 0, 0),) * 3, np.uint8, (0, 0, 0)))
    assert np.count_nonzero(decode(tmp_path / "c.jpg", colours, quality=90) != LESION) <= 120


UNCLEAR = {
    "trimap": (Image.fromarray(painted((127, 255, 255), np.uint8)), r"3 values \(0, 127, 255"),
    "ignored": (Image.fromarray(painted((1, 40, 255), np.uint8)), r"4 values \(0, 1, 40, 255"),
    "reversed palette": (indexed((1, 1, 1), [(255, 0, 0), (0, 0, 0)]), r"darkest colour: 0 \(255, 0, 0\)"),
    "reversed greys": (indexed((1, 1, 1), [(255, 255, 255), (0, 0, 0)]), "grey palette that gets darker"),
    "no zero": (Image.fromarray(painted((2, 3, 2), np.uint8, 1)), "no 0"),
    "no black": (
        Image.fromarray(painted(((255, 0, 0), (0, 255, 0), (9, 9, 9)), np.uint8, (1, 1, 1))),
        "4 colours and none of them black",
    ),
    "alpha and colour": (
        Image.fromarray(painted(((255, 0, 0, 255), (255, 0, 0, 0), (255, 0, 0, 0)), np.uint8, (0, 0, 0, 255))),
        "different areas",
    ),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_what_is_unclear_is_refused_with_a_remedy(name, tmp_path):
    picture, said = UNCLEAR[name]
    with pytest.raises(BadSample, match=said) as caught:
        decode(tmp_path / "m.png", picture)
    assert caught.value.where == "m.png" and "mask_values" in caught.value.remedy


def test_pages_fractions_and_blurred_labels_are_refused(tmp_path):
    pages = [Image.fromarray(painted(values, np.uint8)) for values in ((255, 0, 0), (0, 255, 0))]
    with pytest.raises(BadSample, match="2 pages"):
        decode(tmp_path / "m.tif", pages[0], save_all=True, append_images=pages[1:])
    for values, said in (((0.5, 2.5, 3), "no probabilities"), ((-1, 2, 3), "from -1"), ((np.nan, 1, 1), "no numbers")):
        with pytest.raises(BadSample, match=said):
            decode(tmp_path / "f.tif", Image.fromarray(painted(values, np.float32)))
    with pytest.raises(BadSample, match="JPEG has blurred"):
        decode(tmp_path / "m.jpg", Image.fromarray(painted((1, 1, 1), np.uint8)))


def test_named_values_decide(tmp_path):
    grey = Image.fromarray(painted((127, 255, 255), np.uint8))
    assert np.array_equal(decode(tmp_path / "a.png", grey, (127,)), PARTS[0])
    assert np.array_equal(decode(tmp_path / "a.png", grey, (127, 255)), LESION)
    assert np.array_equal(decode(tmp_path / "b.png", grey.convert("RGB"), (127,)), PARTS[0])
    reverse = indexed((1, 1, 1), [(255, 0, 0), (0, 0, 0)])
    assert np.array_equal(decode(tmp_path / "c.png", reverse, (0,)), ~LESION)
    with pytest.raises(BadSample, match="JPEG"):
        decode(tmp_path / "d.jpg", grey, (127,))
    with pytest.raises(BadSample, match="in colours"):
        decode(tmp_path / "e.png", Image.fromarray(CLEAR["VOC colours"]), (1,))


def test_the_table_names_values(tmp_path):
    (tmp_path / "images").mkdir()
    Image.fromarray(painted((1, 2, 3), np.uint8)).save(tmp_path / "images/a.png")
    rows = "image,label,target,mask_values\na.png,x,cyst,1;2\na.png,x,stone,3.0\na.png,x,all,\na.png,x,z,white\n"
    (tmp_path / "labels.csv").write_text(rows)
    log = ReadLog()
    samples = list(ADAPTERS["generic"].read(tmp_path, log))
    assert {s.target: s.mask.lesion for s in samples} == {"cyst": (1, 2), "stone": (3,), "all": ()}
    assert len({s.key for s in samples}) == 3
    assert "mask_values 'white' is no list of whole numbers such as 1;2" in log.unusable[0][1]
