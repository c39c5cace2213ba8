"""Image files to canonical pixels: bounded before decoding, upright, 8 bits, grey or RGB, no metadata."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sim4seg.data.decoding import decoding, regular_file
from sim4seg.data.dicom import decode_dicom, is_dicom
from sim4seg.errors import BadSample

# Our own bound is checked on the header, before a pixel is decoded; Pillow's would only warn, and at another size.
Image.MAX_IMAGE_PIXELS = None

FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
"""By content, whatever the file is called. Pillow's others include some that start programs (EPS) or hold hundreds of
pictures (ICO, ICNS)."""
GREY = {"1", "L", "LA", "La"}
DEEP = "I;16"
"""How Pillow's modes of 16-bit grey begin."""


def open_bounded(path: Path, max_pixels: int) -> Image.Image:
    """Open an image file and read its header only.

    Raises:
        BadSample: missing, no regular file, none of :data:`FORMATS`, or it declares more than ``max_pixels`` pixels.
    """
    regular_file(path)
    with decoding("image", path):
        image = Image.open(path, formats=FORMATS)
    width, height = image.size
    if width * height > max_pixels:
        image.close()
        raise BadSample(
            f"image of {width}x{height} px is larger than ingest.max_pixels ({max_pixels})",
            where=path.name,
            remedy="reduce the image, or raise ingest.max_pixels if it is genuine and memory allows",
        )
    return image


def load_pixels(image: Image.Image, path: Path) -> Image.Image:
    """Decode the pixels of an opened image.

    Raises:
        BadSample: truncated or damaged.
    """
    with decoding("image", path):
        image.load()
    return image


def refuse_several(image: Image.Image, path: Path) -> None:
    """Refuse an image of several pages or frames: nobody said which one was annotated.

    A phone's JPEG that holds further views of the same scene (MPO) is its first.

    Raises:
        BadSample: there is more than one.
    """
    if image.format == "MPO":
        return
    with decoding("image", path):
        try:
            # Not `n_frames`, which goes through all of them.
            image.seek(1)
        except EOFError:
            image.seek(0)
            return
    raise BadSample("an image of several pages or frames", where=path.name, remedy="export the one that was annotated")


def _refuse_deep_colour(image: Image.Image, path: Path) -> None:
    """Refuse 16-bit colour, of which Pillow reads the upper 8 bits: of 12 bits nearly nothing would be left."""
    tiles: list[Any] = getattr(image, "tile", [])
    layouts = [str(part) for tile in tiles for part in (tile[3] if isinstance(tile[3], tuple) else (tile[3],))]
    if not image.mode.startswith(DEEP) and any(";16" in layout for layout in layouts):
        raise BadSample(
            "an image with 16 bits a colour or with 16-bit transparency",
            where=path.name,
            remedy="export it with 8 bits a channel, or as 16-bit grey",
        )


def _eight_bits(image: Image.Image, path: Path) -> Image.Image:
    """Any mode to L or RGB. Deep grey is stretched over its own range: scanners leave most of the range unused."""
    if image.mode in {"I", "F"} or image.mode.startswith(DEEP):
        # float64 holds 32-bit whole numbers exactly, and their differences do not overflow.
        return Image.fromarray(_stretched(np.asarray(image, dtype=np.float64), path))
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        flat = Image.alpha_composite(Image.new("RGBA", opaque.size, (0, 0, 0, 255)), opaque).convert("RGB")
        return flat.convert("L") if image.mode in GREY else flat
    if image.mode in {"L", "RGB"}:
        return image
    return image.convert("L" if image.mode in GREY else "RGB")


def _stretched(values: NDArray[np.float64], path: Path) -> NDArray[np.uint8]:
    """Values over their own range, (H, W) uint8; what is not finite is black.

    Raises:
        BadSample: no value is finite.
    """
    finite = np.isfinite(values)
    if not finite.any():
        raise BadSample("an image without a finite value", where=path.name, remedy="export it again")
    low, high = float(values[finite].min()), float(values[finite].max())
    # An image of one value has no range to stretch: it becomes black.
    scale = 255 / (high - low) if high > low else 0.0
    return np.rint((np.where(finite, values, low) - low) * scale).astype(np.uint8)


def decode_image(path: Path, *, max_pixels: int, max_side: int) -> NDArray[np.uint8]:
    """Pixels of an image file, upright (EXIF), reduced so that no side exceeds ``max_side``.

    CMYK and palette images become RGB, transparency lies on black, 16-bit grey is stretched to 8 bits.

    Returns:
        (H, W) or (H, W, 3) uint8.

    Raises:
        BadSample: unreadable, of several pages, with 16 bits a colour, or larger than ``max_pixels`` by its own header.
    """
    picture = Image.fromarray(decode_dicom(path, max_pixels)) if is_dicom(path) else _decode_picture(path, max_pixels)
    if max(picture.size) > max_side:
        scale = max_side / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(picture)


def _decode_picture(path: Path, max_pixels: int) -> Image.Image:
    with open_bounded(path, max_pixels) as image:
        refuse_several(image, path)
        _refuse_deep_colour(image, path)
        load_pixels(image, path)
        with decoding("image", path):
            # Turned first: a picture that is made from an array has lost its EXIF.
            return _eight_bits(ImageOps.exif_transpose(image), path)


def stored_size(path: Path, max_pixels: int) -> tuple[tuple[int, int], int]:
    """((width, height) as stored, EXIF orientation 1 to 8) of an image file.

    Raises:
        BadSample: as :func:`decode_image`.
    """
    if is_dicom(path):
        height, width = decode_dicom(path, max_pixels).shape[:2]
        return (width, height), 1
    with open_bounded(path, max_pixels) as image, decoding("image", path):
        return image.size, int(image.getexif().get(0x0112, 1))


def encode_png(pixels: NDArray[np.uint8] | NDArray[np.bool_]) -> bytes:
    """PNG bytes without any metadata; a bool mask becomes grey 0 and 255."""
    values = pixels.astype(np.uint8) * 255 if pixels.dtype == np.bool_ else pixels
    buffer = io.BytesIO()
    # Fixed, because ids of samples are digests of these bytes: another level would change them.
    Image.fromarray(values).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()
