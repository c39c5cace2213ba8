"""Features of several networks and strides added to what SAM's decoder works with (after HQ-SAM, arXiv 2306.01567)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sim4seg.model.mobile_encoder import STRIDE, Level, unpack

FINE_STRIDE = 4
"""Pixels a side of a place of the decoder's upscaled features, from which masks are made."""
WIDTH = 64


class ChannelNorm(nn.Module):
    """Layer norm over channels at each place: networks differ by orders of magnitude in what they give."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> the same."""
        normal: Tensor = self.norm(features.permute(0, 2, 3, 1))
        return normal.permute(0, 3, 1, 2)


class FeatureFusion(nn.Module):
    """Adds pretrained features to SAM's embedding and to its decoder's upscaled features; begins by adding nothing.

    SAM's embedding alone has lost the fine lines (its masks are made from a grid of 16 x 16) and knows objects rather
    than lesions. Both additions are learnt; their last layers begin at zero, so that the decoder starts as published.
    """

    def __init__(self, levels: tuple[Level, ...], dim: int) -> None:
        super().__init__()
        self.levels = levels
        others = levels[1:]  # the first is SAM's embedding itself
        self.norms = nn.ModuleList([ChannelNorm(level.channels) for level in others])
        self.reduce = nn.ModuleList([nn.Conv2d(level.channels, WIDTH, 1) for level in others])
        coarse = sum(level.channels for level in others if level.stride >= STRIDE)
        self.to_embedding = nn.Sequential(
            nn.Conv2d(coarse, dim, 1), nn.GELU(), _zero(nn.Conv2d(dim, dim, 3, padding=1))
        )
        self.to_fine = nn.Sequential(
            nn.GELU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.GELU(),
            _zero(nn.Conv2d(WIDTH, dim // 8, 3, padding=1)),
        )

    def forward(self, packed: Tensor) -> tuple[Tensor, Tensor]:
        """Packed features (B, C, s, s) to SAM's embedding (B, dim, s, s) and what to add at (B, dim / 8, 4s, 4s)."""
        embedding, *others = unpack(packed, self.levels)
        normal = [norm(level) for norm, level in zip(self.norms, others, strict=True)]
        coarse = [part for part, level in zip(normal, self.levels[1:], strict=True) if level.stride >= STRIDE]
        side = packed.shape[-1] * STRIDE // FINE_STRIDE
        # Reduced before they are stretched: the same sum at a sixteenth of the cost.
        reduced = [_stretched(reduce(part), side) for reduce, part in zip(self.reduce, normal, strict=True)]
        fine = self.to_fine(torch.stack(reduced).sum(0))
        return embedding + self.to_embedding(torch.cat(coarse, dim=1)), fine


def _stretched(features: Tensor, side: int) -> Tensor:
    if features.shape[-1] == side:
        return features
    return F.interpolate(features, size=(side, side), mode="bilinear", align_corners=False)


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
