"""What turns frozen features into masks best: a convolutional head, SAM's decoder, or SAM's decoder with fusion.

    python benchmarks/mask_heads.py --data data --sam models/mobile.safetensors    # 45 images of each set, a CPU
    python benchmarks/mask_heads.py --data data --sam models/mobile.safetensors --each 600 --steps 2000    # a GPU

No language model takes part: the decoder's prompt is one learnt vector for each dataset. Images with a lesion only;
mean IoU on the test split. DATA holds shards/ and manifest.parquet as ingest wrote them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sim4seg.data.manifest import read_manifest
from sim4seg.data.shards import ShardReader
from sim4seg.device import best_device
from sim4seg.model.configuration import SAM_DEFAULTS
from sim4seg.model.frames import Frames, as_tensor, letterbox
from sim4seg.model.losses import bce_loss, dice_loss, in_frame, iou_of
from sim4seg.model.mobile_encoder import SAM_MOBILE, Level, unpack
from sim4seg.model.segmenter import Segmenter
from sim4seg.model.weights.sam import load_sam

SIDE = SAM_MOBILE["image_size"]
LITE, VIT = slice(1, 5), slice(5, 7)
"""Places of the two networks' levels in the packed features; SAM's embedding is the first."""


@dataclass
class Samples:
    """Features and true masks of one split.

    Attributes:
        packed: (N, C, 16, 16) float16 of the frozen networks.
        masks: (N, S, S) bool in SAM's frame.
        extent: (N, 2) share of the frame that the image fills.
        dataset: (N,) number of the dataset.
    """

    packed: Tensor
    masks: Tensor
    extent: Tensor
    dataset: Tensor

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features float32, masks float32, extent and dataset of some rows."""
        return self.packed[rows].float(), self.masks[rows].float(), self.extent[rows], self.dataset[rows]


class ConvHead(nn.Module):
    """The levels of one or both networks, stretched to a quarter of the frame, and three convolutions."""

    def __init__(self, levels: tuple[Level, ...], chosen: list[slice]) -> None:
        super().__init__()
        self.levels, self.chosen = levels, chosen
        used = [level for part in chosen for level in levels[part]]
        self.norms = nn.ModuleList([nn.GroupNorm(1, level.channels) for level in used])
        self.reduce = nn.ModuleList([nn.Conv2d(level.channels, 64, 1) for level in used])
        self.head = nn.Sequential(
            nn.GELU(), nn.Conv2d(64, 64, 3, padding=1), nn.GELU(), nn.Conv2d(64, 64, 3, padding=2, dilation=2),
            nn.GELU(), nn.Conv2d(64, 1, 1),
        )  # fmt: skip

    def forward(self, packed: Tensor, dataset: Tensor) -> Tensor:
        """(B, C, s, s) -> logits (B, 4s, 4s)."""
        parts, side = unpack(packed, self.levels), 4 * packed.shape[-1]
        used = [level for part in self.chosen for level in parts[part]]
        reduced = [
            F.interpolate(reduce(norm(level)), size=(side, side), mode="bilinear", align_corners=False)
            for norm, reduce, level in zip(self.norms, self.reduce, used, strict=True)
        ]
        logits: Tensor = self.head(torch.stack(reduced).sum(0))
        return logits[:, 0]


class DecoderHead(nn.Module):
    """SAM's decoder with a learnt prompt for each dataset; without fusion it sees SAM's embedding alone."""

    def __init__(self, segmenter: Segmenter, datasets: int, fused: bool) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.dim = segmenter.prompt_encoder.embed_dim
        if not fused:
            segmenter.fusion = None
        self.prompts = nn.Parameter(0.1 * torch.randn(datasets, self.dim))

    def forward(self, packed: Tensor, dataset: Tensor) -> Tensor:
        """(B, C, s, s) -> logits (B, 4s, 4s)."""
        seen = packed if self.segmenter.fusion is not None else packed[:, : self.dim]
        return self.segmenter.decode(seen, self.prompts[dataset], None)[0]


def published(sam: Path | None) -> Segmenter:
    """The segmenter as training begins with it; at random without a file."""
    segmenter = Segmenter({**SAM_DEFAULTS, **SAM_MOBILE})
    if sam:
        load_sam(segmenter, sam)
    for weight in segmenter.image_encoder.parameters():
        weight.requires_grad_(False)
    return segmenter.to(best_device())


@torch.no_grad()
def encoded(split: str, each: int, arguments: argparse.Namespace, segmenter: Segmenter) -> Samples:
    """The first images with a lesion of each dataset, by their number's digest in the manifest's order."""
    rows = read_manifest(arguments.data / "manifest.parquet")
    rows = rows[(rows["split"] == split) & rows["dataset"].isin(arguments.datasets)]
    reader, parts, counts = ShardReader(arguments.data / "shards"), [], dict.fromkeys(arguments.datasets, 0)
    frames = Frames(sam_size=SIDE, vision_patch=16)
    for row in rows.sort_values("id").to_dict("records"):
        mask = reader.mask(row["shard"], row["row"])
        if counts[row["dataset"]] >= each or not mask.any():
            continue
        counts[row["dataset"]] += 1
        pixels = as_tensor(reader.image(row["shard"], row["row"]))
        square, extent = letterbox(pixels, SIDE, frames.sam_mean, frames.sam_std)
        height, width = (int(x) for x in (extent * SIDE).round())
        share = F.interpolate(torch.from_numpy(mask.copy())[None, None].float(), (height, width), mode="area")[0, 0]
        whole = F.pad(share >= 0.5, (0, SIDE - width, 0, SIDE - height))
        packed = segmenter.encode(square[None].expand(1, 3, SIDE, SIDE).to(best_device())).half()
        parts.append((packed, whole[None], extent[None], torch.tensor([arguments.datasets.index(row["dataset"])])))
    return Samples(*(torch.cat(column).to(best_device()) for column in zip(*parts, strict=True)))


def train(model: nn.Module, samples: Samples, rate: float, arguments: argparse.Namespace) -> None:
    """AdamW with warm-up and linear decay, the losses of the pipeline."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 30) * (1 - step / arguments.steps)
    )
    draws = torch.Generator().manual_seed(arguments.seed)
    for _ in range(arguments.steps):
        rows = torch.randint(len(samples.dataset), (arguments.batch,), generator=draws).to(samples.dataset.device)
        packed, masks, extent, dataset = samples.batch(rows)
        full, valid = in_frame(model(packed, dataset), extent, SIDE)
        loss = 2 * bce_loss(full, masks, valid) + 0.5 * dice_loss(full, masks, valid)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()


@torch.no_grad()
def scores(model: nn.Module, samples: Samples, names: list[str]) -> dict[str, float]:
    """Mean IoU by dataset, and their mean."""
    parts = []
    for rows in torch.arange(len(samples.dataset), device=samples.dataset.device).split(32):
        packed, masks, extent, dataset = samples.batch(rows)
        parts.append(iou_of(*_framed(model(packed, dataset), masks, extent)))
    iou = torch.cat(parts)
    means = {name: float(iou[samples.dataset == number].mean()) for number, name in enumerate(names)}
    return {**means, "mean": sum(means.values()) / len(means)}


def _framed(logits: Tensor, masks: Tensor, extent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    full, valid = in_frame(logits, extent, SIDE)
    return full, masks, valid


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--sam", type=Path, help="what `sim4seg make-mobile` wrote; left out: networks at random")
    parser.add_argument("--datasets", nargs="+", default=["busi", "ddti", "isic", "kvasir"])
    parser.add_argument("--each", type=int, default=45, help="training images of a dataset")
    parser.add_argument("--each-test", type=int, default=25)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rates", nargs="+", type=float, default=[1e-3])
    parser.add_argument("--heads", nargs="+", default=["conv-lite", "conv-vit", "conv-both", "decoder", "fused"])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    segmenter = published(arguments.sam)
    training, test = (
        encoded(split, count, arguments, segmenter)
        for split, count in (("train", arguments.each), ("test", arguments.each_test))
    )
    levels, count = segmenter.image_encoder.levels, len(arguments.datasets)
    heads: dict[str, Callable[[], nn.Module]] = {
        "conv-lite": lambda: ConvHead(levels, [LITE]),
        "conv-vit": lambda: ConvHead(levels, [slice(0, 1), VIT]),
        "conv-both": lambda: ConvHead(levels, [slice(0, 1), LITE, VIT]),
        "decoder": lambda: DecoderHead(published(arguments.sam), count, fused=False),
        "fused": lambda: DecoderHead(published(arguments.sam), count, fused=True),
    }
    for name in arguments.heads:
        for rate in arguments.rates:
            torch.manual_seed(arguments.seed)
            begun, model = time.process_time(), heads[name]().to(best_device())
            train(model, training, rate, arguments)
            figures = {key: round(value, 3) for key, value in scores(model, test, arguments.datasets).items()}
            record = {"head": name, "rate": rate, **figures, "cpu_seconds": round(time.process_time() - begun)}
            print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
