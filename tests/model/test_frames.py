"""Images into the frames of LVLM and SAM: sizes, normalisation, padding, and what is refused."""

import numpy as np
import pytest
import torch

from sim4seg.errors import ModelError
from sim4seg.model.frames import Geometry, as_tensor, fit, letterbox, pack_places


@pytest.mark.parametrize(
    ("size", "fitted"),
    [((30, 60), (32, 64)), ((60, 30), (64, 32)), ((64, 64), (64, 64)), ((1, 1000), (1, 64)), ((3, 7), (27, 64))],
)
def test_the_longer_side_fills_the_square(size, fitted):
    assert fit(*size, 64) == fitted


def test_a_letterboxed_image_is_normalised_and_its_padding_is_zero():
    image = np.zeros((2, 4, 3), np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = 51, 102, 204
    square, extent = letterbox(as_tensor(image), 8, (0.1, 0.2, 0.3), (0.5, 0.25, 0.125))
    assert extent.tolist() == [0.5, 1.0]
    assert square.shape == (3, 8, 8)
    assert not square[:, 4:].any()
    for channel, expected in enumerate([(0.2 - 0.1) / 0.5, (0.4 - 0.2) / 0.25, (0.8 - 0.3) / 0.125]):
        np.testing.assert_allclose(square[channel, :4], expected, atol=1e-6)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4), np.float32),
        np.zeros((0, 4), np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
    ],
)
def test_what_is_not_one_image_of_bytes_is_refused(image):
    with pytest.raises(ModelError, match="one image a question"):
        as_tensor(image)


def test_geometry_is_read_packed_or_not_and_repeated_image_by_image():
    inputs = {
        "vision_grid": torch.tensor([[2, 3], [4, 5]]),
        "vision_affine": torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]]),
        "sam_extent": torch.tensor([[1.0, 0.5], [0.25, 1.0]]),
    }
    plain, packed = Geometry.of(inputs), Geometry.of(pack_places(inputs))
    assert plain.grids == packed.grids == [(2, 3), (4, 5)]
    assert torch.equal(plain.affine, packed.affine) and torch.equal(plain.affine, inputs["vision_affine"])
    assert torch.equal(plain.extent, packed.extent) and torch.equal(plain.extent, inputs["sam_extent"])
    twice = plain.repeated(2)
    assert twice.grids == [(2, 3), (2, 3), (4, 5), (4, 5)]
    assert twice.extent[:, 1].tolist() == [0.5, 0.5, 1.0, 1.0]
    assert torch.equal(twice.affine[::2], plain.affine) and torch.equal(twice.affine[1::2], plain.affine)
