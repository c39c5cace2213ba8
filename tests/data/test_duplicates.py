"""Near-duplicates: the hash against its definition in loops, and pairs at the borders of both conditions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.fft import idctn

from sim4seg.data import duplicates
from sim4seg.data.duplicates import MIN_CORRELATION, near_pairs, perceptual_hash


def unit(angle: float) -> NDArray[np.float32]:
    """(2,) a thumbnail of unit length; two of them agree by the cosine of the angle between them."""
    return np.array([math.cos(angle), math.sin(angle)], dtype=np.float32)


def pairs(codes: list[int], thumbnails: list[NDArray[np.float32]], bits: int) -> set[tuple[int, int]]:
    return set(near_pairs(np.array(codes, dtype=np.uint64), np.stack(thumbnails), bits))


def hashed(grey: NDArray[np.uint8]) -> int:
    """pHash of a (32, 32) image by the sums that define the DCT-II, orthonormal."""
    bits = []
    low = np.empty((8, 8))
    for u in range(8):
        for v in range(8):
            total = 0.0
            for y in range(32):
                for x in range(32):
                    wave = math.cos(math.pi * (2 * y + 1) * u / 64) * math.cos(math.pi * (2 * x + 1) * v / 64)
                    total += float(grey[y, x]) * wave
            low[u, v] = total * math.sqrt((1 if u else 0.5) * (1 if v else 0.5)) / 16
    middle = sorted(low.ravel().tolist())
    median = (middle[31] + middle[32]) / 2
    bits = ["1" if value > median else "0" for value in low.ravel().tolist()]
    return int("".join(bits), 2)


@pytest.mark.parametrize("seed", [0, 5, 7])
def test_the_hash_is_its_definition(seed: int) -> None:
    grey = np.random.default_rng(seed).integers(0, 256, (32, 32)).astype(np.uint8)
    code, thumbnail = perceptual_hash(grey)
    assert code == hashed(grey)
    blocks = [[grey[y : y + 2, x : x + 2].astype(float).mean() for x in range(0, 32, 2)] for y in range(0, 32, 2)]
    expected = np.array(blocks).ravel() - np.mean(blocks)
    expected /= math.sqrt(float((expected**2).sum()))
    assert thumbnail.shape == (256,) and thumbnail.dtype == np.float32
    assert np.abs(thumbnail - expected).max() < 2e-3  # Pillow rounds each block to a whole grey level


def test_a_flat_image_has_nothing_above_the_median_but_its_mean() -> None:
    assert perceptual_hash(np.full((9, 9), 7, np.uint8))[0] == 1 << 63


def test_colour_is_reduced_to_grey_and_a_flat_image_has_no_thumbnail() -> None:
    grey = np.random.default_rng(5).integers(0, 256, (40, 60)).astype(np.uint8)
    assert perceptual_hash(np.stack([grey] * 3, axis=-1))[0] == perceptual_hash(grey)[0]
    assert not perceptual_hash(np.full((9, 9), 7, np.uint8))[1].any()


def test_a_thumbnail_is_of_unit_length_however_faint_the_picture() -> None:
    grey = np.full((16, 16), 80, dtype=np.uint8)
    grey[3, 5] += 1  # before it is scaled, the thumbnail is shorter than 1
    _, thumbnail = perceptual_hash(grey)
    assert float(np.linalg.norm(thumbnail)) == pytest.approx(1)
    assert float(thumbnail.mean()) == pytest.approx(0, abs=1e-6)


def test_pictures_of_one_hash_are_duplicates_only_if_their_thumbnails_agree() -> None:
    angle = math.acos(MIN_CORRELATION)
    near, far = unit(0.97 * angle), unit(1.03 * angle)
    assert pairs([9, 9], [unit(0.0), near], 4) == {(0, 1)}
    assert pairs([9, 9], [unit(0.0), far], 4) == set()
    assert pairs([9, 9], [unit(0.0), -unit(0.0)], 4) == set()


def test_pictures_of_other_contrasts_collide_and_are_told_apart_by_their_thumbnails() -> None:
    """Low frequencies of the same signs and other strengths: by the hash alone they would be one photograph."""
    rng = np.random.default_rng(4)
    signs = np.append(1.0, rng.permutation([1.0] * 31 + [-1.0] * 32)).reshape(8, 8)  # the median lies at zero
    codes, thumbnails = [], []
    for _ in range(2):
        waves = np.zeros((32, 32))
        waves[:8, :8] = signs * rng.uniform(30, 150, (8, 8))
        waves[0, 0] = 32 * 128  # the mean grey
        picture = np.round(idctn(waves, norm="ortho"))
        assert picture.min() >= 0 and picture.max() <= 255
        code, thumbnail = perceptual_hash(picture.astype(np.uint8))
        codes.append(code)
        thumbnails.append(thumbnail)
    assert codes[0] == codes[1] and float(thumbnails[0] @ thumbnails[1]) < MIN_CORRELATION
    assert pairs(codes, thumbnails, 4) == set()
    assert pairs(codes, [thumbnails[0]] * 2, 4) == {(0, 1)}


def test_hashes_differ_in_at_most_so_many_bits() -> None:
    same = [unit(0.0)] * 3
    assert pairs([0, 0b1111, 0b11111], same, 4) == {(0, 1), (1, 2)}
    assert pairs([0, 0b1111, 0b11111], same, 5) == {(0, 1), (0, 2), (1, 2)}
    assert pairs([0, 0, 1 << 63], same, 0) == {(0, 1)}


@pytest.mark.parametrize("block", [1, 2, 3, 100])
def test_blocks_change_nothing(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_BLOCK", block)
    rng = np.random.default_rng(3)
    codes = [int(code) for code in rng.integers(0, 2**6, 8)]
    thumbnails = [unit(float(angle)) for angle in rng.uniform(0, 0.5, 8)]
    expected = {
        (i, j)
        for i in range(8)
        for j in range(i + 1, 8)
        if bin(codes[i] ^ codes[j]).count("1") <= 2 and float(thumbnails[i] @ thumbnails[j]) > MIN_CORRELATION
    }
    found = list(near_pairs(np.array(codes, dtype=np.uint64), np.stack(thumbnails), 2))
    assert expected and set(found) == expected and len(found) == len(expected)
