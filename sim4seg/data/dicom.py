"""Single-frame DICOM to 8-bit pixels. Only pixels leave this module: no header field is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_rescale, apply_voi_lut

from sim4seg.errors import BadSample


def is_dicom(path: Path) -> bool:
    """Whether the file has a DICOM suffix or the DICM mark at byte 128."""
    if path.suffix.lower() in {".dcm", ".dicom"}:
        return True
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def decode_dicom(path: Path, max_pixels: int) -> NDArray[np.uint8]:
    """Pixels of a single-frame image: rescale, window (or VOI LUT, or full range), MONOCHROME1 inverted.

    Returns:
        (H, W) or (H, W, 3) uint8.

    Raises:
        BadSample: not DICOM, no pixels, several frames, too many pixels, a transfer syntax without a decoder.
    """
    where = path.name
    try:
        header = pydicom.dcmread(path)
        rows, columns = int(header.Rows), int(header.Columns)
        frames = int(header.get("NumberOfFrames", 1) or 1)
        if frames != 1:
            raise BadSample(f"DICOM with {frames} frames", where=where, remedy="export the frame that was annotated")
        if rows * columns > max_pixels:
            raise BadSample(
                f"image of {columns}x{rows} px is larger than ingest.max_pixels", where=where, remedy="reduce it"
            )
        pixels = header.pixel_array
    except (InvalidDicomError, AttributeError, NotImplementedError, RuntimeError, ValueError, EOFError, OSError) as bad:
        raise BadSample(f"unreadable DICOM: {bad}", where=where, remedy="export it again, uncompressed") from bad
    if pixels.ndim == 3:
        return _to_bytes(pixels.astype(np.float64)) if pixels.dtype != np.uint8 else np.asarray(pixels)
    values = np.asarray(apply_voi_lut(apply_rescale(pixels, header), header), dtype=np.float64)
    grey = _to_bytes(values)
    return 255 - grey if header.get("PhotometricInterpretation") == "MONOCHROME1" else grey


def _to_bytes(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    low, high = float(values.min()), float(values.max())
    scale = 255 / (high - low) if high > low else 0.0
    return np.rint((values - low) * scale).astype(np.uint8)
