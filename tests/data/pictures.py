"""Small image files made by the tests."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid


def texture(seed: int, shape: tuple[int, ...] = (48, 64, 3)) -> np.ndarray:
    """A smooth random picture: no two seeds are near-duplicates."""
    rng = np.random.default_rng(seed)
    low = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize((shape[1], shape[0]), 3)
    return np.asarray(low) if len(shape) == 3 else np.asarray(low.convert("L"))


def square(shape: tuple[int, int] = (48, 64), at: tuple[int, int] = (10, 20), side: int = 12) -> np.ndarray:
    mask = np.zeros(shape, dtype=np.uint8)
    mask[at[0] : at[0] + side, at[1] : at[1] + side] = 255
    return mask


def generic(root: Path, count: int = 12, labels: tuple[str, ...] = ("benign", "malignant")) -> Path:
    """A dataset in the `generic` layout below ``root``."""
    folder = root / "generic"
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    rows = ["image,label,group"]
    for index in range(count):
        Image.fromarray(texture(index)).save(folder / "images" / f"{index:03d}.png")
        Image.fromarray(square(at=(5 + index % 20, 10 + index % 30))).save(folder / "masks" / f"{index:03d}.png")
        rows.append(f"{index:03d}.png,{labels[index % len(labels)]},p{index}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def bomb(path: Path, side: int = 30_000) -> None:
    """A PNG of a few hundred bytes that declares side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def dicom(path: Path, pixels: np.ndarray, photometric: str = "MONOCHROME2", frames: int = 1, **tags: object) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    header.SOPClassUID, header.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    header.Rows, header.Columns = pixels.shape[-2:]
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, photometric
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit, header.PixelRepresentation = 15, 0
    if frames > 1:
        header.NumberOfFrames = frames
    for name, value in tags.items():
        setattr(header, name, value)
    header.PixelData = pixels.astype(np.uint16).tobytes()
    header.save_as(path, enforce_file_format=True)
