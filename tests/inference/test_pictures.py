"""Pictures: what is where, and that nothing but pixels is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sim4seg.errors import Sim4SegError
from sim4seg.inference.pictures import TINT, draw_overlay, draw_similarity, write_pictures


@pytest.fixture
def mask() -> np.ndarray:
    mask = np.zeros((60, 80), bool)
    mask[20:40, 30:60] = True
    return mask


@pytest.mark.parametrize("shape", [(60, 80), (60, 80, 3)])
@pytest.mark.parametrize("grey", [0, 128, 255])
def test_overlay_marks_the_mask_and_leaves_the_rest(mask: np.ndarray, shape: tuple[int, ...], grey: int) -> None:
    image = np.full(shape, grey, np.uint8)
    picture = draw_overlay(image, mask)
    assert picture.shape == (60, 80, 3)
    assert (picture[:15] == grey).all()
    assert (picture[30, 45] != grey).any()
    line = picture[30, 20:31]
    assert (line == TINT).all(axis=1).any(), "the bright outline shows on any background"
    assert (line == 0).all(axis=1).any(), "the dark outline shows on any background"


@pytest.mark.parametrize(("height", "width"), [(60, 1), (1000, 4)])
def test_the_tint_is_weak_and_the_outline_is_one_in_250_of_the_longer_side(height: int, width: int) -> None:
    mask = np.zeros((height, 50), bool)
    mask[20:40, 20:40] = True
    line = draw_overlay(np.full((height, 50), 100, np.uint8), mask)[30]
    assert line[20:40].tolist() == [[78, 122, 134]] * 20  # 78 % of 100 and 22 % of the tint
    assert line[20 - width : 20].tolist() == [list(TINT)] * width
    assert line[20 - 2 * width : 20 - width].tolist() == [[0, 0, 0]] * width
    assert line[: 20 - 2 * width].tolist() == [[100, 100, 100]] * (20 - 2 * width)


@pytest.mark.parametrize(("similarity", "colour"), [(0.0, (0, 0, 4)), (1.0, (252, 255, 164)), (7.0, (252, 255, 164))])
def test_heat_is_45_percent_of_the_colour_map(similarity: float, colour: tuple[int, ...]) -> None:
    """Inferno's first and last colour; what is above 1 is shown as 1."""
    picture = draw_similarity(np.full((6, 8), 100, np.uint8), np.full((2, 2), similarity, np.float32))
    assert picture.shape == (6, 8, 3)
    np.testing.assert_allclose(picture, np.broadcast_to(55 + 0.45 * np.array(colour), (6, 8, 3)), atol=1)


@pytest.mark.parametrize("fill", [False, True])
def test_overlay_of_nothing_and_of_everything(fill: bool) -> None:
    image = np.full((20, 30), 100, np.uint8)
    changed = draw_overlay(image, np.full((20, 30), fill)) != 100
    assert changed.any() == fill


def test_heat_is_brightest_where_the_similarity_is(mask: np.ndarray) -> None:
    similarity = np.zeros((4, 4), np.float32)
    similarity[1, 2] = 1
    picture = draw_similarity(np.full((40, 80), 50, np.uint8), similarity).sum(axis=2)
    row, column = np.unravel_index(picture.argmax(), picture.shape)
    assert 10 <= row < 20 and 40 <= column < 60


def test_files_hold_pixels_only_and_are_the_same_twice(mask: np.ndarray, tmp_path: Path) -> None:
    image = np.arange(60 * 80, dtype=np.uint8).reshape(60, 80)
    similarity = np.eye(4, dtype=np.float32)
    first = write_pictures(tmp_path / "one", "name", image, mask, similarity)
    again = write_pictures(tmp_path / "two", "name", image, mask, similarity)
    for one, two in zip(vars(first).values(), vars(again).values(), strict=True):
        assert one.read_bytes() == two.read_bytes()
        chunks = {one.read_bytes()[i : i + 4] for i in range(one.stat().st_size)}
        assert not chunks & {b"tEXt", b"iTXt", b"zTXt", b"tIME", b"eXIf"}
        with Image.open(one) as opened:
            assert opened.size == (80, 60) and opened.info == {}
    assert np.array_equal(np.asarray(Image.open(first.mask)) == 255, mask)


def test_a_folder_that_cannot_be_written_is_named(mask: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Sim4SegError, match="cannot make the folder") as caught:
        write_pictures(tmp_path / "file", "name", mask.astype(np.uint8), mask, np.eye(4, dtype=np.float32))
    assert str(tmp_path / "file") in str(caught.value)
