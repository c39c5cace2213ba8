"""Two small pretrained networks as SAM's image encoder: MobileSAM's TinyViT and EfficientNet-lite0, both frozen.

TinyViT (Wu et al. 2022, arXiv 2207.10666) was distilled from SAM's own encoder by MobileSAM (Zhang et al. 2023,
arXiv 2306.14289) and gives the embedding that SAM's decoder knows. EfficientNet-lite0 knows ImageNet. Both networks are
timm's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

from sim4seg.errors import ConfigError

SAM_MOBILE: dict[str, Any] = {
    "image_size": 256,
    "prompt_dim": 256,
    "pretrained_pair": {
        "widths": [64, 128, 160, 320],
        "depths": [2, 2, 6, 2],
        "heads": [2, 4, 5, 10],
        "windows": [7, 7, 14, 7],
    },
}
"""MobileSAM at a quarter of its own side: its windows and positions take any, and 1024 px cost twelve times as much."""
STRIDE = 16
"""Pixels a side that one place of the embedding stands for."""
NORM_START = 1e-5
"""A norm of timm's that is to change nothing has a variance of 1 less this, which it adds."""
SAM_MEAN, SAM_STD = (123.675 / 255, 116.28 / 255, 103.53 / 255), (58.395 / 255, 57.12 / 255, 57.375 / 255)
"""How SAM's input is normalised, of values in [0, 1]."""
LITE_STRIDES = (4, 8, 16, 32)
LITE_CHANNELS = (24, 40, 112, 320)
VIT_STRIDES = (4, 8)


@dataclass(frozen=True)
class Level:
    """One level of features within the packed output.

    Attributes:
        channels: of the level itself.
        stride: pixels of the input a side that one place stands for.
    """

    channels: int
    stride: int

    @property
    def packed(self) -> int:
        """Channels that the level takes in the packed output."""
        return self.channels * max(1, STRIDE // self.stride) ** 2


def levels_of(sizes: dict[str, Any], dim: int) -> tuple[Level, ...]:
    """What :class:`MobileEncoder` packs: SAM's embedding, lite0's four levels, TinyViT's first two stages."""
    lite = [Level(channels, stride) for channels, stride in zip(LITE_CHANNELS, LITE_STRIDES, strict=True)]
    vit = [Level(channels, stride) for channels, stride in zip(sizes["widths"], VIT_STRIDES, strict=False)]
    return (Level(dim, STRIDE), *lite, *vit)


def unpack(packed: Tensor, levels: tuple[Level, ...]) -> list[Tensor]:
    """Take the output of :class:`MobileEncoder` apart.

    Args:
        packed: (B, C, s, s).
        levels: what lies in it, in order.

    Returns:
        A tensor a level: (B, channels, s * 16 / stride, s * 16 / stride) of those finer than the embedding, else
        (B, channels, s, s).
    """
    parts = torch.split(packed, [level.packed for level in levels], dim=1)
    return [F.pixel_shuffle(part, max(1, STRIDE // level.stride)) for part, level in zip(parts, levels, strict=True)]


class MobileEncoder(nn.Module):
    """Pixels in SAM's frame to all that the decoder may look at, as one tensor, so that it can be stored as one.

    Levels finer than the embedding are folded into channels, which loses nothing; the coarser one is stretched.

    Raises:
        ConfigError: timm is not installed.
    """

    def __init__(self, sizes: dict[str, Any], dim: int) -> None:
        super().__init__()
        self.levels = levels_of(sizes, dim)
        self.vit = _tiny_vit(sizes)
        self.neck = nn.Sequential(
            nn.Conv2d(sizes["widths"][-1], dim, 1, bias=False),
            LayerNorm2d(dim),
            nn.Conv2d(dim, dim, 3, padding=1, bias=False),
            LayerNorm2d(dim),
        )
        self.lite = _timm()("tf_efficientnet_lite0", features_only=True, out_indices=(1, 2, 3, 4))
        self.eval()

    @property
    def channels(self) -> int:
        """C of the output."""
        return sum(level.packed for level in self.levels)

    def train(self, mode: bool = True) -> MobileEncoder:
        """Batch statistics of a few medical images would undo what the networks know; they always run as in use."""
        super().train(False)
        return self

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) normalised as SAM's input -> (B, C, S / 16, S / 16); no gradient goes through."""
        fine = self._stages(pixels)
        lite = self.lite(_as_imagenet(pixels))
        size = fine[-1].shape[-2:]
        coarse = F.interpolate(lite[3], size=size, mode="bilinear", align_corners=False)
        whole = [self.neck(fine[-1]), *lite[:3], coarse, *fine[:2]]
        return torch.cat([F.pixel_unshuffle(part, part.shape[-1] // size[-1]) for part in whole], dim=1)

    def _stages(self, pixels: Tensor) -> list[Tensor]:
        """TinyViT's four stages."""
        features, stages = self.vit.patch_embed(pixels), []
        for stage in self.vit.stages:
            features = stage(features)
            stages.append(features)
        return stages


def _timm() -> Any:
    """What makes timm's models."""
    try:
        from timm import create_model
    except ImportError as error:
        raise ConfigError(
            "this preset needs the package timm", where="train.preset", remedy='pip install "sim4seg[smol]"'
        ) from error
    return create_model


def _tiny_vit(sizes: dict[str, Any]) -> Any:
    """TinyViT as MobileSAM has it: no head for ImageNet's classes, and a last stage that keeps the grid (stride 16)."""
    network = _timm()(
        "tiny_vit_5m_224",
        num_classes=0,
        embed_dims=sizes["widths"],
        depths=sizes["depths"],
        num_heads=sizes["heads"],
        window_sizes=sizes["windows"],
    )
    del network.head
    network.stages[-1].downsample.conv2.conv.stride = (1, 1)
    for module in network.modules():
        if hasattr(module, "attention_bias_idxs"):
            # Saved with the weights: a model that is loaded is built without memory first, and would lose them.
            module.register_buffer("attention_bias_idxs", module.attention_bias_idxs)
    return network


def _as_imagenet(pixels: Tensor) -> Tensor:
    """Pixels normalised for SAM as TensorFlow's EfficientNets were trained: on [-1, 1]."""
    mean, std = (pixels.new_tensor(values)[:, None, None] for values in (SAM_MEAN, SAM_STD))
    return 2 * (pixels * std + mean) - 1
