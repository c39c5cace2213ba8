"""Mask files, polygons, run lengths and crops to one bool mask on the canonical image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from skimage.draw import polygon as fill_polygon

from sim4seg.data.images import load_pixels, open_bounded
from sim4seg.data.mask_meaning import foreground
from sim4seg.data.run_lengths import decode_runs
from sim4seg.data.sample import MaskCrops, MaskFiles, MaskPolygons, MaskRuns, MaskSpec
from sim4seg.errors import BadSample

Mask = NDArray[np.bool_]

_ASPECT_TOLERANCE = 0.01
"""Relative. Exports round their sides to whole pixels, which changes the aspect a little."""
_MAX_POLYGON_POINTS = 200_000


def _upright(mask: Mask, orientation: int) -> Mask:
    picture = Image.fromarray(mask)
    picture.getexif()[0x0112] = orientation
    return np.asarray(ImageOps.exif_transpose(picture))


def _from_files(spec: MaskFiles, size: tuple[int, int], max_pixels: int) -> Mask:
    union = np.zeros((size[1], size[0]), dtype=bool)
    for path in spec.paths:
        with open_bounded(path, max_pixels) as image:
            try:
                mask = foreground(load_pixels(image, path), spec.lesion)
            except BadSample as error:
                raise BadSample(error.what, where=error.where or path.name, remedy=error.remedy) from error
        union |= _to_size(mask, size, path)
    return union


def _to_size(mask: Mask, size: tuple[int, int], path: Path) -> Mask:
    """The mask at ``size`` = (width, height): as it is, or resized if its aspect agrees.

    Raises:
        BadSample: the aspect differs, so nobody can say which part of the image it covers.
    """
    height, width = mask.shape
    if (width, height) == size:
        return mask
    if abs(width / height / (size[0] / size[1]) - 1) > _ASPECT_TOLERANCE:
        raise BadSample(
            f"mask of {width}x{height} px for an image of {size[0]}x{size[1]} px",
            where=path.name,
            remedy="export image and mask at one size (another scale of the same aspect is accepted)",
        )
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def _from_polygons(spec: MaskPolygons, size: tuple[int, int]) -> Mask:
    """Pixels whose centres lie inside a polygon; continuous coordinates, origin at the corner of the first pixel."""
    mask = np.zeros((size[1], size[0]), dtype=bool)
    if sum(map(len, spec.polygons)) > _MAX_POLYGON_POINTS:
        raise BadSample("polygon with too many points", remedy="simplify the annotation")
    declared = spec.size or size
    scale = size if spec.unit == "fraction" else (size[0] / declared[0], size[1] / declared[1])
    for points in spec.polygons:
        # Half a pixel less: for skimage the centre of the first pixel is at 0, here its corner is.
        corners = np.asarray(points, dtype=np.float64).reshape(-1, 2) * np.asarray(scale) - 0.5
        if len(corners) >= 3:
            rows, columns = fill_polygon(corners[:, 1], corners[:, 0], mask.shape)
            mask[rows, columns] = True
    return mask


def _from_runs(spec: MaskRuns, size: tuple[int, int], max_pixels: int) -> Mask:
    mask = _from_polygons(spec.polygons, size)
    for canvas, counts in spec.runs:
        if canvas[0] * canvas[1] > max_pixels:
            raise BadSample(
                f"run lengths of {canvas[0]}x{canvas[1]} px are too large", remedy="check the annotation's size"
            )
        mask |= _to_size(decode_runs(counts, canvas), size, Path("run lengths"))
    return mask


def _from_crops(spec: MaskCrops, size: tuple[int, int], max_pixels: int) -> Mask:
    width, height = spec.size
    if width * height > max_pixels:
        raise BadSample(f"mask canvas of {width}x{height} px is too large", remedy="check the annotation table")
    canvas = np.zeros((height, width), dtype=bool)
    for path, left, top in spec.crops:
        with open_bounded(path, max_pixels) as image:
            crop = np.asarray(load_pixels(image, path).convert("RGBA").convert("L")) > 0
        if left < 0 or top < 0 or top + crop.shape[0] > height or left + crop.shape[1] > width:
            raise BadSample("a mask crop does not fit its canvas", where=path.name, remedy="check the annotation table")
        canvas[top : top + crop.shape[0], left : left + crop.shape[1]] |= crop
    return _to_size(canvas, size, spec.crops[0][0]) if spec.crops else canvas


def decode_mask(
    spec: MaskSpec, stored: tuple[int, int], orientation: int, shape: tuple[int, int], max_pixels: int
) -> Mask:
    """The union of a target's masks on the canonical image.

    Args:
        spec: where the masks are.
        stored: (width, height) of the image file as stored, before EXIF orientation.
        orientation: EXIF orientation of the image, applied to the mask too.
        shape: (H, W) of the canonical image.
        max_pixels: bound on a mask file.

    Returns:
        (H, W) bool. All False only where the dataset says that there is no lesion (``MaskFiles(())``).

    Raises:
        BadSample: unreadable, of unclear meaning, of another aspect than the image, or empty though a lesion is
            claimed.
    """
    if isinstance(spec, MaskFiles):
        mask = _from_files(spec, stored, max_pixels)
    elif isinstance(spec, MaskPolygons):
        mask = _from_polygons(spec, stored)
    elif isinstance(spec, MaskRuns):
        mask = _from_runs(spec, stored, max_pixels)
    else:
        mask = _from_crops(spec, stored, max_pixels)
    # Annotations lie on the image as stored; where it was turned upright they must be turned with it.
    mask = _upright(mask, orientation) if orientation != 1 else mask
    if mask.shape != shape:
        # The image was reduced: a pixel is lesion where half of the area that it stands for was (128 of 255).
        share = Image.fromarray(mask).convert("L").resize((shape[1], shape[0]), Image.Resampling.BOX)
        mask = np.asarray(share) >= 128
    if not mask.any() and spec != MaskFiles(()):
        raise BadSample(
            "image with no mask: the annotation is empty though the dataset claims a lesion",
            remedy="annotate it, or mark the case as normal where the layout can say so",
        )
    return mask
