"""RVLS2M: region-aware vision-language similarity to mask (paper, Model: RVLS2M). No weights.

Coordinates. An *image point* is (u, v) in [0, 1]^2 of the original image, u right, v down. The LVLM saw the image
through an affine map of each axis, ``vision = scale * image + offset``, again in [0, 1] of its square input; resize,
crop and padding are all of this form. SAM saw it in the top left ``extent`` = (height, width) share of its square.
The published code assumes the two frames are equal and loses the right and bottom borders; nothing is assumed here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sim4seg.device import without_autocast


def similarity(image_tokens: Tensor, seg: Tensor) -> Tensor:
    """Scaled dot products ``E_img . E_seg / sqrt(C)``.

    Args:
        image_tokens: (B, T, C) projected hidden states at the image-token positions.
        seg: (B, C) projected hidden state that predicts ``[SEG]``.

    Returns:
        (B, T), same dtype. The scale does not change the order of the tokens.
    """
    scores: Tensor = torch.einsum("btc,bc->bt", image_tokens, seg)
    return scores.div(math.sqrt(image_tokens.shape[-1]))


def _cell_points(grid: int, points: int, like: Tensor) -> Tensor:
    """Centres of ``points`` sub-intervals of each of ``grid`` cells on [0, 1]; (grid * points,)."""
    count = grid * points
    return (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) / count


def to_region_matrix(scores: Tensor, affine: Tensor, grid: int) -> Tensor:
    """Resample token scores to the image and average them over a ``grid`` x ``grid`` partition of it.

    Args:
        scores: (B, h, w) on the LVLM's token grid.
        affine: (B, 4) scale_u, offset_u, scale_v, offset_v from image points to the LVLM's input.
        grid: cells a side; the cells cover the whole image, whatever its size and aspect.

    Returns:
        (B, grid, grid) in float32. Parts of the image that the LVLM did not see take the value of the nearest
        part that it saw.
    """
    height, width = scores.shape[-2:]
    # Rounded up: two points or more to a token where the image fills the LVLM's input, so that none is stepped over.
    points = -(-2 * max(height, width) // grid)
    affine = affine.float()
    across = _axis_weights(affine[:, 0:1], affine[:, 1:2], width, grid, points)
    down = _axis_weights(affine[:, 2:3], affine[:, 3:4], height, grid, points)
    # Two matrix products, and not grid_sample: that has no deterministic gradient on a GPU. In full precision, since
    # the order of near-equal cells decides which are chosen.
    with without_autocast(scores.device):
        return down @ scores.float() @ across.transpose(1, 2)


def _axis_weights(scale: Tensor, offset: Tensor, tokens: int, grid: int, points: int) -> Tensor:
    """What each token gives to each cell's mean along one axis: linear between centres, constant beyond the outermost.

    Args:
        scale: (B, 1) float32, of the affine map along this axis.
        offset: (B, 1) float32, of the same.
        tokens: T.
        grid: G cells.
        points: of which a cell's mean is taken.

    Returns:
        (B, G, T) float32, rows sum to 1.
    """
    # Half a token less, since the centre of token k is at (k + 0.5) / tokens: its place is k then.
    place = ((scale * _cell_points(grid, points, scale) + offset) * tokens - 0.5).clamp(0, tokens - 1)
    distance = (place[:, :, None] - torch.arange(tokens, device=scale.device)).abs()
    return (1 - distance).clamp(min=0).view(-1, grid, points, tokens).mean(2)


def region_matrices(scores: Tensor, grids: list[tuple[int, int]], affine: Tensor, grid: int) -> Tensor:
    """As :func:`to_region_matrix`, for images whose token grids may differ.

    Args:
        scores: (B, T) in reading order, what is beyond a row's own tokens is ignored.
        grids: rows and columns of each image's tokens, rows * columns <= T.
        affine: (B, 4).
        grid: cells a side.

    Returns:
        (B, grid, grid) float32.
    """
    if len(set(grids)) == 1:
        height, width = grids[0]
        return to_region_matrix(scores[:, : height * width].view(-1, height, width), affine, grid)
    rows = [
        to_region_matrix(scores[row : row + 1, : height * width].view(1, height, width), affine[row : row + 1], grid)
        for row, (height, width) in enumerate(grids)
    ]
    return torch.cat(rows)


def normalise(regions: Tensor) -> Tensor:
    """Min-max to [0, 1] for each image; a constant map becomes 0. (B, g, g) -> (B, g, g)."""
    low = regions.amin(dim=(-2, -1), keepdim=True)
    span = regions.amax(dim=(-2, -1), keepdim=True) - low
    return (regions - low) / torch.where(span > 0, span, torch.ones_like(span))


def select_top(regions: Tensor, top_n: int) -> Tensor:
    """Binary region mask: the ``top_n`` best cells of each image; ties go to the earlier cell in reading order.

    Args:
        regions: (B, g, g).
        top_n: cells kept, clipped to g * g.

    Returns:
        (B, g, g), 0 or 1, same dtype.
    """
    flat = regions.flatten(1)
    # Not topk, which leaves open which of equal cells it takes, and may take others on another device.
    order = torch.argsort(flat, dim=1, descending=True, stable=True)[:, :top_n]
    return torch.zeros_like(flat).scatter_(1, order, 1.0).view_as(regions)


def straight_through(mask: Tensor, regions: Tensor) -> Tensor:
    """The region mask in value and the region matrix in gradient, which the choice of cells does not have.

    Straight-through estimator of Bengio et al. 2013 (arXiv 1308.3432).

    Args:
        mask: (B, g, g) without a gradient.
        regions: (B, g, g), what the mask was made of.

    Returns:
        (B, g, g), same dtype; equal to ``mask`` to rounding.
    """
    return mask + regions - regions.detach()


def to_mask_prompt(regions: Tensor, extent: Tensor, size: int) -> Tensor:
    """Lay the cells over the part of SAM's frame that holds the image; the padding gets 0.

    A pixel takes the cell in which its centre lies; a centre on a border belongs to what is right of or below it.

    Args:
        regions: (B, g, g) values of the cells.
        extent: (B, 2) height and width share of SAM's square that the image fills.
        size: side of SAM's mask prompt in pixels (256 for SAM at 1024 px).

    Returns:
        (B, 1, size, size), same dtype.
    """
    grid = regions.shape[-1]
    centres = _cell_points(size, 1, extent.float())
    rows = centres / extent[:, 0:1].float() * grid
    columns = centres / extent[:, 1:2].float() * grid
    inside = (rows < grid)[:, :, None] & (columns < grid)[:, None, :]
    # In the padding the clamp gives just any cell, to have one to read; `inside` makes it 0.
    row, column = rows.long().clamp(max=grid - 1), columns.long().clamp(max=grid - 1)
    batch = torch.arange(len(regions), device=regions.device)[:, None, None]
    return (regions[batch, row[:, :, None], column[:, None, :]] * inside)[:, None]


def inside_image(extent: Tensor, size: int) -> Tensor:
    """1 where SAM's frame holds the image and 0 in the padding; what :func:`to_mask_prompt` makes of cells of 1.

    Args:
        extent: (B, 2) height and width share of SAM's square that the image fills.
        size: side of the frame in pixels.

    Returns:
        (B, size, size) float32.
    """
    centres = _cell_points(size, 1, extent.float())
    rows, columns = (centres < extent[:, side : side + 1].float() for side in (0, 1))
    return (rows[:, :, None] & columns[:, None, :]).float()


def perturb(regions: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """A stochastic variant of normalised regions for test-time scaling: Gumbel noise moves cells across the threshold.

    Args:
        regions: (B, g, g) in [0, 1].
        strength: scale of the noise; 0 returns the input.
        generator: CPU random generator.
    """
    # Drawn on the CPU, so that all devices get the same; clamped, since rand may be 0, where the noise is infinite.
    uniform = torch.rand(regions.shape, generator=generator).clamp(1e-6, 1 - 1e-6)
    return regions + strength * -torch.log(-torch.log(uniform)).to(regions)
