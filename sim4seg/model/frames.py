"""The frames in which the LVLM and SAM see an image, and resizing into them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sim4seg.errors import ModelError

PLACES = ("vision_affine", "sam_extent")
"""Inputs that say where an image lies; engines that compute in bfloat16 round every float that goes into a model."""

Image = NDArray[np.uint8]
Fit = Literal["corner", "centre", "crop", "any"]

QUESTION, IMAGE = "{question}", "{image}"
"""Where a prompt's template takes the question and the image tokens."""


@dataclass(frozen=True)
class Frames:
    """How images and questions become inputs: sizes, normalisation, the prompt's words. Saved as ``processor.json``.

    Attributes:
        sam_size: side S of SAM's square input, pixels.
        vision_patch: side in pixels of what becomes one image token of the LVLM.
        vision_size: side V of the LVLM's square input, pixels; 0 for a family that takes any size.
        vision_fit: how an image comes into the square. ``corner``: whole, padded right and below. ``centre``: whole,
            padded on both sides (LLaVA 1.5). ``crop``: the middle square (CLIP, LISA). ``any``: no square.
        vision_resample: interpolation, antialiased.
        vision_pixels: least and most pixels of the LVLM's input where ``vision_fit`` is ``any``.
        family: key of :data:`sim4seg.model.families.FAMILIES`.
        image_token: the tokenizer's placeholder for one image token.
        template: the prompt, with ``{image}`` and ``{question}``.
        answer_start: what stands between prompt and answer.
        vision_mean: of each channel, of values in [0, 1]; what the LVLM's input is normalised by.
        vision_std: the same.
        sam_mean: of each channel, of values in [0, 1]; what SAM's input is normalised by.
        sam_std: the same.
    """

    sam_size: int
    vision_patch: int
    vision_size: int = 0
    vision_fit: Fit = "corner"
    vision_resample: Literal["bilinear", "bicubic"] = "bilinear"
    vision_pixels: tuple[int, int] = (0, 0)
    family: str = "llava"
    image_token: str = "<image>"
    template: str = f"USER: {IMAGE}\n{QUESTION} ASSISTANT:"
    answer_start: str = " "
    vision_mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
    vision_std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)
    sam_mean: tuple[float, ...] = (123.675 / 255, 116.28 / 255, 103.53 / 255)
    sam_std: tuple[float, ...] = (58.395 / 255, 57.12 / 255, 57.375 / 255)


def pack_places(inputs: dict[str, Any]) -> dict[str, Any]:
    """A model's inputs with :data:`PLACES` as the bits of their floats: int32, same shape, which nobody rounds."""
    return {name: value.float().view(torch.int32) if name in PLACES else value for name, value in inputs.items()}


def unpack_place(value: Tensor) -> Tensor:
    """One of :data:`PLACES` as float32, whether it was packed or not."""
    return value.view(torch.float32) if value.dtype == torch.int32 else value.float()


@dataclass(frozen=True)
class Geometry:
    """Where the images of a batch lie in the inputs of LVLM and SAM (frames: :mod:`sim4seg.model.rvls2m`).

    Attributes:
        grids: rows and columns of each image's LVLM tokens, B pairs.
        affine: (B, 4) float32 scale_u, offset_u, scale_v, offset_v from image points to the LVLM's input.
        extent: (B, 2) float32 height and width share of SAM's square that the image fills.
    """

    grids: list[tuple[int, int]]
    affine: Tensor
    extent: Tensor

    @classmethod
    def of(cls, inputs: Mapping[str, Tensor]) -> Geometry:
        """That of a model's inputs.

        Args:
            inputs: holds ``vision_grid`` (B, 2), and ``vision_affine`` (B, 4) and ``sam_extent`` (B, 2), packed by
                :func:`pack_places` or not.
        """
        grids = [(rows, columns) for rows, columns in inputs["vision_grid"].tolist()]
        return cls(grids, unpack_place(inputs["vision_affine"]), unpack_place(inputs["sam_extent"]))

    def repeated(self, times: int) -> Geometry:
        """Each image ``times`` times, one after the other."""
        if times == 1:
            return self
        grids = [grid for grid in self.grids for _ in range(times)]
        return Geometry(grids, self.affine.repeat_interleave(times, 0), self.extent.repeat_interleave(times, 0))


@dataclass(frozen=True)
class Seen:
    """One image as the LVLM gets it.

    Attributes:
        pixels: (3, V, V) or (N, D) flattened patches, float32.
        grid: rows and columns of image tokens.
        affine: scale_u, offset_u, scale_v, offset_v from image points to the input (:mod:`sim4seg.model.rvls2m`).
    """

    pixels: Tensor
    grid: tuple[int, int]
    affine: tuple[float, float, float, float]


def as_tensor(image: Image) -> Tensor:
    """(H, W) or (H, W, 3) uint8 -> (1, 1 or 3, H, W) uint8.

    Raises:
        ModelError: anything else; several images or tiles in one prompt have no single frame to point into.
    """
    array = np.asarray(image)
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)) or not array.size:
        raise ModelError(
            f"one image a question, (H, W) or (H, W, 3) uint8, and this is {array.shape} {array.dtype}",
            remedy="ask about each image or tile on its own",
        )
    pixels = torch.from_numpy(array.copy())  # decoded images are read-only
    return (pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1))[None]


def fit(height: int, width: int, side: int) -> tuple[int, int]:
    """Size of the image when its longer side becomes ``side``; no side below 1."""
    scale = side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize(
    pixels: Tensor,
    size: tuple[int, int],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    mode: Literal["bilinear", "bicubic"] = "bilinear",
) -> Tensor:
    """(1, 1 or 3, H, W) uint8 to (3, height, width) normalised float32.

    Resized as bytes, for which PyTorch has a kernel four times as quick as for floats.
    """
    # align_corners=False maps edges to edges, as `affine` and `extent` do; True would map centres of the outer pixels.
    resized = F.interpolate(pixels, size=size, mode=mode, align_corners=False, antialias=True)[0]
    # Against the three means a grey image becomes three channels.
    return (resized.float() / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def letterbox(pixels: Tensor, side: int, mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Resize the longer side to ``side``, normalise, pad right and bottom with zeros.

    Returns:
        (3, side, side) pixels and (2,) height and width share that the image fills.
    """
    height, width = fit(pixels.shape[-2], pixels.shape[-1], side)
    # Padded when it is normalised, as SAM does it: the padding has the mean colour and is not black.
    square = F.pad(resize(pixels, (height, width), mean, std), (0, side - width, 0, side - height))
    # Of the rounded size: where the pixels lie, and not what the aspect would give.
    return square, torch.tensor([height / side, width / side])
