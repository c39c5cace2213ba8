"""COCO's run lengths, against values written out by hand and an encoder of their definition."""

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim4seg.data.masks import decode_mask
from sim4seg.data.run_lengths import decode_runs, uncompressed
from sim4seg.data.sample import MaskPolygons, MaskRuns
from sim4seg.errors import BadSample


def counts_of(mask: np.ndarray) -> list[int]:
    """Column by column, one pixel at a time; background comes first, with 0 where the first pixel is lesion."""
    pixels = [bool(mask[row, column]) for column in range(mask.shape[1]) for row in range(mask.shape[0])]
    counts = [len(list(run)) for _, run in groupby(pixels)]
    return [0, *counts] if pixels[0] else counts


def compressed(counts: list[int]) -> str:
    """Numbers as two's complement in digits of base 32, from Python's own binary text."""
    text = ""
    for index, count in enumerate(counts):
        number = count - counts[index - 2] if index > 2 else count
        digits = next(n for n in range(1, 9) if -(2 ** (5 * n - 1)) <= number < 2 ** (5 * n - 1))
        bits = format(number % 2 ** (5 * digits), f"0{5 * digits}b")
        groups = [bits[i : i + 5] for i in range(0, len(bits), 5)][::-1]
        text += "".join(chr(48 + int(group, 2) + 32 * (n < digits - 1)) for n, group in enumerate(groups))
    return text


def test_a_mask_written_out_by_hand():
    expected = [[0, 1, 0], [0, 1, 0], [1, 0, 0], [1, 0, 0]]
    assert decode_runs([2, 4, 6], (3, 4)).astype(int).tolist() == expected
    # 100 = 0b00011_00100: digit 4 with "more follows" (chr(48 + 4 + 32)), then 3.
    assert uncompressed("T3") == (100,)
    assert uncompressed("O") == (-1,)  # 0b11111
    assert uncompressed("5443") == (5, 4, 4, 7)  # the fourth is a difference to the second


@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_any_mask_comes_back(height, width, seed):
    mask = np.random.default_rng(seed).random((height, width)) < 0.02 + seed % 7 / 10
    counts = counts_of(mask)
    assert uncompressed(compressed(counts)) == tuple(counts)
    assert np.array_equal(decode_runs(counts, (width, height)), mask)


@pytest.mark.parametrize("text", ["é", "b", " ", "oooooooooooo0", "/"])
def test_what_is_no_compressed_text_is_refused(text):
    with pytest.raises(ValueError, match="run length"):
        uncompressed(text)


@pytest.mark.parametrize("counts", [[], [11], [13], [14, -2], [10**12]])
def test_counts_must_cover_the_image(counts):
    with pytest.raises(ValueError, match="of an image of 3x4 px"):
        decode_runs(counts, (3, 4))


def test_run_lengths_are_united_with_polygons_and_bounded():
    mask = np.zeros((48, 64), dtype=bool)
    mask[3:9, 40:50] = True
    polygon = ((10.0, 5.0), (20.0, 5.0), (20.0, 20.0), (10.0, 20.0))
    spec = MaskRuns((((64, 48), tuple(counts_of(mask))),), MaskPolygons((polygon,), "pixel", (64, 48)))
    expected = mask.copy()
    expected[5:20, 10:20] = True
    assert np.array_equal(decode_mask(spec, (64, 48), 1, (48, 64), 10**4), expected)
    huge = MaskRuns((((10**6, 10**6), (10**12,)),), MaskPolygons((), "pixel", (64, 48)))
    with pytest.raises(BadSample, match="too large"):
        decode_mask(huge, (64, 48), 1, (48, 64), 10**4)
