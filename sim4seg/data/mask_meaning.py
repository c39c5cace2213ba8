"""Which pixels of a mask picture are lesion: decided where the picture says so, refused where it does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from sim4seg.errors import BadSample

Mask = NDArray[np.bool_]
_Values = NDArray[Any]

_NOISE = 32
"""Up to here grey values of a JPEG are noise, and those of other files may be numbers of labels."""
_FEW = 8
_MANY_COLOURS = 64
_PLATEAU_SHARE = 0.05
"""Flat areas between black and white of more than this share of the lesion are no soft edges."""
_SAY = (
    "say in labels.csv which values are lesion (column mask_values, such as 1;2), or export it as black and white PNG"
)


def _ambiguous(what: str) -> BadSample:
    return BadSample(f"what the mask means is not clear: {what}", remedy=_SAY)


def foreground(image: Image.Image, lesion: Sequence[int] = ()) -> Mask:
    """The lesion in a decoded mask picture, (H, W) bool.

    With ``lesion``, the pixels that have one of these values (of an index image, these indices). Without:

    - two values: the higher one; probabilities from 0 to 1: half and more;
    - black and white with JPEG noise or soft edges: above half of the brightest value;
    - label and instance maps, numbered from a small number on, 0 around them: all but 0;
    - index images whose index 0 is the darkest: all other indices; colours on black: all but black;
    - one colour of varying transparency: where it is opaque.

    Raises:
        BadSample: several pages, or any other picture; the message says what was found.
    """
    lossy = image.format in {"JPEG", "MPO"}
    if (pages := _pages(image)) > 1:
        raise BadSample(f"a mask file of {pages} pages", remedy="export each page, or all united, as a file")
    if lesion:
        return _of_values(image, lesion, lossy)
    if image.mode == "P":
        return _of_palette(image)
    if image.mode in {"RGBA", "LA", "PA"}:
        return _of_alpha(image.convert("RGBA"))
    if image.mode in {"RGB", "CMYK", "YCbCr"}:
        return _of_colours(image, lossy)
    return _of_numbers(np.asarray(image), lossy)


def _pages(image: Image.Image) -> int:
    if image.format == "MPO":  # what cameras and phones add to a JPEG
        return 1
    try:
        return int(getattr(image, "n_frames", 1))
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise BadSample(f"unreadable image: {error}", remedy="export it again; it may be cut short") from error


def _of_values(image: Image.Image, lesion: Sequence[int], lossy: bool) -> Mask:
    if lossy:
        raise BadSample("mask_values for a JPEG, which does not keep values", remedy="export the mask as PNG")
    values = np.asarray(image)
    if image.mode == "1":
        values = values.astype(np.uint8)
    if values.ndim == 3:
        colours = values[..., :3] if image.mode in {"RGB", "RGBA"} else values[..., :1]
        if (colours != colours[..., :1]).any():
            raise BadSample("mask_values for a mask in colours", remedy="export the mask as grey or index PNG")
        values = colours[..., 0]
    return np.isin(values, lesion)


def _of_palette(image: Image.Image) -> Mask:
    palette = np.asarray(image.getpalette() or [], dtype=np.int64).reshape(-1, 3)
    if not len(palette) or (palette == palette[:, :1]).all():
        used = np.unique(np.asarray(image))
        if len(palette) and not (np.diff(palette[used[used < len(palette)], 0]) > 0).all():
            raise _ambiguous("a grey palette that gets darker")
        return _of_numbers(np.asarray(image.convert("L")), lossy=False)
    indices = np.asarray(image)
    used = np.unique(indices)
    brightness = palette.sum(axis=1)
    if len(used) > 1 and (used[0] != 0 or brightness[0] > brightness[used[used < len(palette)]].min()):
        shown = ", ".join(f"{index} {tuple(palette[index].tolist())}" for index in used[:_FEW] if index < len(palette))
        raise _ambiguous(f"an index image whose index 0 is not its darkest colour: {shown}")
    return np.asarray(indices > 0)


def _of_alpha(image: Image.Image) -> Mask:
    pixels = np.asarray(image)
    opaque = pixels[..., 3] >= 128
    varies = bool((pixels[..., 3] != pixels[0, 0, 3]).any())
    if varies and (pixels[..., :3] == pixels[0, 0, :3]).all():
        return np.asarray(opaque)
    mask = _of_colours(image.convert("RGB"), lossy=False)
    if varies and not np.array_equal(mask, opaque):
        raise _ambiguous("its colours and its transparency show different areas")
    return mask


def _of_colours(image: Image.Image, lossy: bool) -> Mask:
    pixels = np.asarray(image.convert("RGB")).astype(np.int16)
    if int(np.ptp(pixels, axis=2).max(initial=0)) <= _NOISE:
        return _of_numbers(np.asarray(image.convert("L")), lossy)
    colours = np.unique(pixels.reshape(-1, 3), axis=0)
    if lossy or len(colours) > _MANY_COLOURS:
        return _of_numbers(pixels.max(axis=2), lossy=True)
    if len(colours) == 2:
        return np.asarray((pixels == colours[colours.sum(axis=1).argmax()]).all(axis=2))
    if colours[0].any():
        raise _ambiguous(f"{len(colours)} colours and none of them black")
    return np.asarray(pixels.any(axis=2))


def _of_numbers(values: _Values, lossy: bool) -> Mask:
    if values.dtype == np.bool_:
        return values
    if not np.isfinite(values).all():
        raise _ambiguous("it holds values that are no numbers")
    found = np.unique(values)
    low, top = found[0].item(), found[-1].item()
    if low < 0:
        raise _ambiguous(f"values from {low:g} to {top:g}")
    if top == 0:
        return np.zeros(values.shape, dtype=bool)
    if lossy and top < _NOISE:
        raise BadSample(
            f"image with no mask, or with one of 0 and 1 that JPEG has blurred: its brightest value is {top:g}",
            remedy="annotate it, or export the mask as PNG",
        )
    if len(found) <= 2:
        return np.asarray(values > low) if len(found) == 2 else np.ones(values.shape, dtype=bool)
    if top <= 1:
        return np.asarray(values >= 0.5)
    if (found % 1).any():
        raise _ambiguous(f"fractions from {low:g} to {top:g}, which are no probabilities")
    return _of_whole_numbers(values, found, lossy)


def _of_whole_numbers(values: _Values, found: _Values, lossy: bool) -> Mask:
    """Three values or more: labels, or black and white with noise and soft edges."""
    low, second, top = found[0].item(), found[1].item(), found[-1].item()
    numbered = not lossy and low == 0 and second < _NOISE and top not in {254, 255, 65535}
    if numbered and (top < _NOISE or len(found) <= _FEW):
        return np.asarray(values > 0)
    if not lossy and top < _NOISE:
        raise _ambiguous(f"values from {low} to {top} and no 0")
    if _plateaus(values, top) > _PLATEAU_SHARE * np.count_nonzero(values > top / 8):
        if numbered:
            return np.asarray(values > 0)
        shown = ", ".join(str(value) for value in found[:_FEW].tolist()) + (", …" if len(found) > _FEW else "")
        raise _ambiguous(f"{len(found)} values ({shown}, up to {top}), some between black and white in flat areas")
    return np.asarray(values > top / 2)


def _plateaus(values: _Values, top: int) -> int:
    """How many pixels lie, all their neighbours equal, well between black and the brightest value."""
    whole = values.astype(np.int64)
    flat = ndimage.maximum_filter(whole, 3) == ndimage.minimum_filter(whole, 3)
    return int(np.count_nonzero(flat & (whole > top / 8) & (whole < top * 7 / 8)))
