"""Real images and weights packed small for a machine without a network, and unpacked there into the same shards.

    python benchmarks/gpu_pack.py pack --raw RAW --data DATA --out work/gpu-pack [--add FILE …]
    python benchmarks/gpu_pack.py unpack --packs work/gpu-pack-* --out work/gpu-data

DATA is what ingest wrote (shards/, manifest.parquet, tokenizer/), RAW what it read. Shards hold PNG, three times as
large as the JPEG that most of it came from: packed are the source files, and unpacking decodes them again by the same
code, and writes the reasoning texts (manifest_cot.parquet). Each image's digest tells whether the same bytes came out;
how many did not is printed. Volumes are folders OUT-1, OUT-2, …, each below its limit; files given by --add come last.
"""

from __future__ import annotations

import argparse
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from sim4seg.config.params import load_params  # noqa: E402
from sim4seg.cot.generate import generate_cot  # noqa: E402
from sim4seg.data.adapters import find_adapters  # noqa: E402
from sim4seg.data.images import decode_image, encode_png  # noqa: E402
from sim4seg.data.manifest import read_manifest  # noqa: E402
from sim4seg.data.shards import ROWS_A_GROUP, ShardReader  # noqa: E402
from sim4seg.digest import digest_bytes  # noqa: E402

PIXELS = "pixels.parquet"
SCHEMA = pa.schema(
    [("shard", pa.string()), ("row", pa.int32()), ("suffix", pa.string()), ("source", pa.binary()),
     ("mask", pa.binary()), ("sha256", pa.string())]
)  # fmt: skip
"""``source``: the image's file as it was ingested; ``sha256``: of the PNG that ingest made of it; ``mask``: PNG."""
_CELL = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SHARD = pa.schema([("image", _CELL), ("mask", _CELL)])
TEXTS = ("manifest.parquet", "tokenizer")


def sources(raw: Path) -> dict[tuple[str, str], Path]:
    """Image file of each sample by dataset and key."""
    images = {}
    for adapter in find_adapters(raw):
        for sample in adapter.read(adapter.directory(raw)):
            images[adapter.key, sample.key] = sample.image
    return images


def packed_rows(raw: Path, data: Path) -> Iterator[dict[str, Any]]:
    """Rows of :data:`SCHEMA`, in the order of the shards."""
    files, reader = sources(raw), ShardReader(data / "shards")
    manifest = read_manifest(data / TEXTS[0]).sort_values(["shard", "row"])
    for row in manifest.to_dict("records"):
        file, shard, place = files[row["dataset"], row["key"]], str(row["shard"]), int(row["row"])
        yield {
            "shard": shard,
            "row": place,
            "suffix": file.suffix,
            "source": file.read_bytes(),
            "mask": reader.bytes(shard, place, "mask"),
            "sha256": digest_bytes(reader.bytes(shard, place)),
        }


def pack(raw: Path, data: Path, out: Path, volumes: list[int], added: list[Path]) -> list[Path]:
    """Write the volumes; their folders."""
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        pixels, whole = Path(folder) / PIXELS, Path(folder) / "whole.tar"
        table = pa.Table.from_pylist(list(packed_rows(raw, data)), schema=SCHEMA)
        pq.write_table(table, pixels, compression="none", use_dictionary=False, row_group_size=ROWS_A_GROUP)
        with tarfile.open(whole, "w") as tar:
            for name in TEXTS:
                tar.add(data / name, f"data/{name}")
            tar.add(pixels, f"data/{PIXELS}")
            for file in added:
                tar.add(file, f"added/{file.name}")
        return _cut(whole, out, volumes)


def _cut(whole: Path, out: Path, volumes: list[int]) -> list[Path]:
    """Cut a file into volumes of these most bytes; the last number is that of all that follow."""
    folders: list[Path] = []
    with whole.open("rb") as stream:
        while part := stream.read(volumes[min(len(folders), len(volumes) - 1)]):
            folders.append(out.with_name(f"{out.name}-{len(folders) + 1}"))
            folders[-1].mkdir(parents=True, exist_ok=True)
            (folders[-1] / "volume").write_bytes(part)
    return folders


class Joined:
    """The volumes as one stream, for reading from front to back.

    Args:
        files: in order; the stream ends with the last.
    """

    def __init__(self, files: list[Path]) -> None:
        self.files, self.open = list(files), files[0].open("rb")

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes; none at the end."""
        piece = self.open.read(size)
        while not piece and self.files[1:]:
            self.open.close()
            self.files = self.files[1:]
            self.open = self.files[0].open("rb")
            piece = self.open.read(size)
        return piece


def in_number_order(folders: list[Path]) -> list[Path]:
    """Volumes by the number that ends their folders' names."""
    return sorted((folder / "volume" for folder in folders), key=lambda file: int(file.parent.name.rpartition("-")[2]))


def unpack(folders: list[Path], out: Path, workers: int) -> int:
    """Write shards/, manifest_cot.parquet, tokenizer/ and what was added below ``out``.

    Returns how many images' PNG bytes are not those that were packed.
    """
    stream: Any = Joined(in_number_order(folders))
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            member.name = member.name.removeprefix("data/")
            tar.extract(member, out, filter="data")
    (out / "shards").mkdir(exist_ok=True)
    names = sorted(set(pq.read_table(out / PIXELS, columns=["shard"])["shard"].to_pylist()))
    with ProcessPoolExecutor(workers) as pool:
        different = sum(pool.map(partial(_rebuild, out), names))
    params = load_params(ROOT / "params.yaml")
    paths = out / TEXTS[0], out / "shards", out / "manifest_cot.parquet", out / "cot.json"
    generate_cot(params.base.seed, params.generate_cot, *paths, workers)
    return different


def _rebuild(out: Path, shard: str) -> int:
    rows = pq.read_table(out / PIXELS, filters=[("shard", "==", shard)]).sort_by("row").to_pylist()
    different = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        pq.ParquetWriter(out / "shards" / shard, SHARD, compression="none", use_dictionary=False) as writer,
    ):
        for start in range(0, len(rows), ROWS_A_GROUP):
            cells = []
            for row in rows[start : start + ROWS_A_GROUP]:
                image = _as_png(row, Path(folder))
                different += digest_bytes(image) != row["sha256"]
                cells.append({"image": {"bytes": image, "path": None}, "mask": {"bytes": row["mask"], "path": None}})
            writer.write_table(pa.Table.from_pylist(cells, schema=SHARD))
    return different


def _as_png(row: dict[str, Any], folder: Path) -> bytes:
    params, file = load_params(ROOT / "params.yaml").ingest, folder / f"image{row['suffix']}"
    file.write_bytes(row["source"])
    return encode_png(decode_image(file, max_pixels=params.max_pixels, max_side=params.max_side))


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["pack", "unpack"])
    parser.add_argument("--raw", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--add", type=Path, nargs="*", default=[], help="files or folders beside the images")
    parser.add_argument("--packs", type=Path, nargs="*", default=[])
    parser.add_argument("--volumes", type=int, nargs="+", default=[33, 58], help="most 10^6 bytes of volumes")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.what == "pack":
        for folder in pack(
            arguments.raw, arguments.data, arguments.out, [10**6 * most for most in arguments.volumes], arguments.add
        ):
            print(folder, (folder / "volume").stat().st_size)
    else:
        arguments.out.mkdir(parents=True, exist_ok=True)
        print(f"{unpack(arguments.packs, arguments.out, arguments.workers)} images differ from those that were packed")


if __name__ == "__main__":
    main()
