"""Single-frame DICOM to 8-bit pixels. Only pixels leave this module: no header field is kept."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import get_frame
from pydicom.filereader import read_file_meta_info
from pydicom.pixels import apply_color_lut, apply_modality_lut
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from sim4seg.data.decoding import decoding, regular_file
from sim4seg.data.grey_window import windowed
from sim4seg.errors import BadSample

PREAMBLE, MARK = 128, b"DICM"
GROUP_LENGTH = 12
"""Bytes of the element that says how long the other elements about the file are."""
HEADERS = 64 * 1024 * 1024
"""Bytes that may be inflated besides the pixels."""
BYTES_A_PIXEL = 16
"""The most that one pixel takes: four samples of 32 bits."""


def is_dicom(path: Path) -> bool:
    """Whether the file has a DICOM suffix or the DICM mark at byte 128.

    Raises:
        BadSample: no regular file, or it cannot be read.
    """
    regular_file(path)
    with decoding("file", path):
        return path.suffix.lower() in {".dcm", ".dicom"} or _is_marked(path)


def _is_marked(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(PREAMBLE + len(MARK))[PREAMBLE:] == MARK


def decode_dicom(path: Path, max_pixels: int) -> NDArray[np.uint8]:
    """Pixels of a single-frame image as a viewer shows them, in the order of the standard (PS3.4 N.2).

    Modality LUT or rescale; the first VOI LUT or window, as given, else the full range of what is not padding;
    MONOCHROME1 inverted; palette and YBR to RGB. Padding is black.

    Returns:
        (H, W) or (H, W, 3) uint8.

    Raises:
        BadSample: not DICOM, no pixels, several frames, too many pixels, a window that says nothing, a transfer syntax
            without a decoder.
    """
    with decoding("DICOM", path):
        _refuse_bomb(path, max_pixels)
        # Older files have no preamble; anything else that is not DICOM has no Rows either.
        header = pydicom.dcmread(path, force=True)
        _check_sizes(header, path, max_pixels)
        if "TransferSyntaxUID" not in header.file_meta:
            implicit, _ = header.original_encoding
            header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        pixels = header.pixel_array
        if header.PhotometricInterpretation == "PALETTE COLOR":
            return _upper_byte(apply_color_lut(pixels, header))
        if pixels.ndim == 3:
            return np.asarray(pixels) if pixels.dtype == np.uint8 else _upper_byte(pixels, int(header.BitsStored))
        return _grey(pixels, header, path)


def _refuse_bomb(path: Path, max_pixels: int) -> None:
    """Refuse a deflated file that would inflate beyond what its pixels may take; what is inflated here is not kept."""
    if not _is_marked(path):
        return  # nothing says that it is deflated, so it will not be inflated
    about = read_file_meta_info(path)
    if about.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    inflate, room = zlib.decompressobj(-zlib.MAX_WBITS), HEADERS + BYTES_A_PIXEL * max_pixels
    with path.open("rb") as stream:
        stream.seek(PREAMBLE + len(MARK) + GROUP_LENGTH + int(about.FileMetaInformationGroupLength))
        while chunk := stream.read(1 << 16):
            while chunk:
                room -= len(inflate.decompress(chunk, 1 << 20))
                chunk = inflate.unconsumed_tail
                if room < 0:
                    raise BadSample("a deflated DICOM that is too large", where=path.name, remedy="reduce the image")


def _check_sizes(header: Any, path: Path, max_pixels: int) -> None:
    """Refuse several frames, too many pixels, and compressed pixels of another size than the header says."""
    if "SOPClassUID" not in header:
        raise BadSample("unreadable DICOM: it does not say what it is", where=path.name, remedy="export it again")
    if "Rows" not in header or "Columns" not in header:
        raise BadSample("DICOM without an image", where=path.name, remedy="it may be a report or a plan: leave it out")
    rows, columns = int(header.Rows), int(header.Columns)
    frames = int(header.get("NumberOfFrames", 1) or 1)
    if frames != 1:
        raise BadSample(f"DICOM with {frames} frames", where=path.name, remedy="export the frame that was annotated")
    if rows * columns > max_pixels:
        raise BadSample(
            f"image of {columns}x{rows} px is larger than ingest.max_pixels", where=path.name, remedy="reduce it"
        )
    syntax = header.file_meta.get("TransferSyntaxUID")
    if syntax is None or not syntax.is_encapsulated:
        return
    try:
        inside = Image.open(
            io.BytesIO(get_frame(header.PixelData, 0, number_of_frames=1)), formats=("JPEG", "JPEG2000")
        )
    except (OSError, ValueError, SyntaxError):
        return  # RLE and JPEG-LS, whose decoders take the sizes from the header
    if inside.size != (columns, rows):
        raise BadSample(
            f"compressed pixels of {inside.width}x{inside.height} px in an image of {columns}x{rows} px",
            where=path.name,
            remedy="export it again",
        )


def _upper_byte(values: NDArray[Any], bits: int = 16) -> NDArray[np.uint8]:
    """Colours of ``bits`` bits a sample as 8; those of a palette that fit into 8 bits stay."""
    if values.dtype == np.uint8 or (bits == 16 and int(values.max()) < 256):
        return values.astype(np.uint8)
    return np.asarray(values >> max(0, bits - 8)).astype(np.uint8)


def _grey(pixels: NDArray[Any], header: Any, path: Path) -> NDArray[np.uint8]:
    padding = _padding(pixels, header)
    for name in ("RescaleSlope", "RescaleIntercept"):
        # An empty value says nothing, as an absent one.
        if name in header and header[name].is_empty:
            del header[name]
    if ("RescaleSlope" in header) != ("RescaleIntercept" in header):
        header.RescaleSlope, header.RescaleIntercept = header.get("RescaleSlope", 1), header.get("RescaleIntercept", 0)
    values = np.asarray(apply_modality_lut(pixels, header), dtype=np.float64)
    grey = windowed(values, ~padding, header, path)
    if header.PhotometricInterpretation == "MONOCHROME1":
        grey = 255 - grey
    return np.where(padding, np.uint8(0), grey)


def _padding(pixels: NDArray[Any], header: Any) -> NDArray[np.bool_]:
    """Where the scanner filled up what it did not see, (H, W) bool; nowhere if that would be the whole image."""
    value = header.get("PixelPaddingValue")
    if value is None or value == "":
        return np.zeros(pixels.shape, bool)
    ends = sorted((int(value), int(header.get("PixelPaddingRangeLimit", value))))
    padding = (pixels.astype(np.int64) >= ends[0]) & (pixels.astype(np.int64) <= ends[1])
    return np.zeros(pixels.shape, bool) if padding.all() else padding
