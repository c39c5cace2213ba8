"""Image files to canonical pixels: bounded before decoding, upright, 8 bits, grey or RGB, no metadata."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from sim4seg.data.dicom import decode_dicom, is_dicom
from sim4seg.errors import BadSample

# Our own bound is checked on the header, before a pixel is decoded; Pillow's would only warn, and at another size.
Image.MAX_IMAGE_PIXELS = None


def open_bounded(path: Path, max_pixels: int) -> Image.Image:
    """Open an image file and read its header only.

    Raises:
        BadSample: missing, not an image, or it declares more than ``max_pixels`` pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(path)
    except FileNotFoundError as error:
        raise BadSample("the file is missing", where=path.name, remedy="restore it or drop its entry") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise BadSample(f"unreadable image: {error}", where=path.name, remedy="export it again") from error
    width, height = image.size
    if width * height > max_pixels:
        image.close()
        raise BadSample(
            f"image of {width}x{height} px is larger than ingest.max_pixels ({max_pixels})",
            where=path.name,
            remedy="reduce the image, or raise ingest.max_pixels if it is genuine and memory allows",
        )
    return image


def load_pixels(image: Image.Image, name: str) -> Image.Image:
    """Decode the pixels of an opened image.

    Raises:
        BadSample: truncated or damaged.
    """
    try:
        image.load()
    except (OSError, ValueError, SyntaxError, EOFError, IndexError) as error:
        raise BadSample(
            f"unreadable image: {error}", where=name, remedy="export it again; it may be cut short"
        ) from error
    return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """Any mode to L or RGB. Deep grey is stretched over its own range: scanners leave most of the range unused."""
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        # float64 holds 32-bit whole numbers exactly, and their differences do not overflow.
        values = np.asarray(image, dtype=np.float64)
        low, high = float(values.min()), float(values.max())
        # An image of one value has no range to stretch: it becomes black.
        scale = 255 / (high - low) if high > low else 0.0
        return Image.fromarray(np.rint((values - low) * scale).astype(np.uint8))
    if image.mode in {"L", "RGB"}:
        return image
    if image.mode in {"1", "LA", "La"}:
        return image.convert("L")
    if image.mode in {"P", "RGBA", "PA", "RGBa"}:
        opaque = image.convert("RGBA")
        black = Image.new("RGBA", opaque.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, opaque).convert("RGB")
    return image.convert("RGB")


def decode_image(path: Path, *, max_pixels: int, max_side: int) -> NDArray[np.uint8]:
    """Pixels of an image file, upright (EXIF), reduced so that no side exceeds ``max_side``.

    CMYK and palette images become RGB, transparency lies on black, 16-bit grey is stretched to 8 bits.

    Returns:
        (H, W) or (H, W, 3) uint8.

    Raises:
        BadSample: unreadable, or larger than ``max_pixels`` by its own header.
    """
    try:
        dicom = is_dicom(path)
    except OSError as error:
        raise BadSample(f"cannot be read: {error.strerror}", where=path.name, remedy="restore the file") from error
    if dicom:
        picture = Image.fromarray(decode_dicom(path, max_pixels))
    else:
        with open_bounded(path, max_pixels) as image:
            # Turned first: a picture that is made from an array has lost its EXIF.
            picture = _eight_bits(ImageOps.exif_transpose(load_pixels(image, path.name)))
    if max(picture.size) > max_side:
        scale = max_side / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(picture)


def stored_size(path: Path, max_pixels: int) -> tuple[tuple[int, int], int]:
    """((width, height) as stored, EXIF orientation 1 to 8) of an image file."""
    if is_dicom(path):
        height, width = decode_dicom(path, max_pixels).shape[:2]
        return (width, height), 1
    with open_bounded(path, max_pixels) as image:
        return image.size, int(image.getexif().get(0x0112, 1))


def encode_png(pixels: NDArray[np.uint8] | NDArray[np.bool_]) -> bytes:
    """PNG bytes without any metadata; a bool mask becomes grey 0 and 255."""
    values = pixels.astype(np.uint8) * 255 if pixels.dtype == np.bool_ else pixels
    buffer = io.BytesIO()
    # Fixed, because ids of samples are digests of these bytes: another level would change them.
    Image.fromarray(values).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()
