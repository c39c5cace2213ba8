"""What a model must beat on real images: a plain U-Net for the masks, a plain classifier for the diagnoses.

    python benchmarks/plain_networks.py --sam models/mobile.safetensors --minutes 60 --classifier-minutes 20
    python benchmarks/plain_networks.py --minutes 2 --classifier-minutes 0    # no pretrained file, only the U-Net

Needs what `dvc repro ingest` makes. Both see the training split of all datasets at once, flipped, turned and scaled at
random, for so many minutes of this machine; the test split is scored by `sim4seg.evaluation.lesion_and_empty` as a
model is. The U-Net (MONAI's) starts from random weights and knows no question. The classifier is EfficientNet-lite0 as
ImageNet left it, trained whole, told the dataset: it chooses among that dataset's labels only, and draws all of them
equally often. Prints JSON: figures by dataset and their mean, fractions.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from monai.transforms import Compose, RandAdjustContrastd, RandAffined, RandFlipd
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from sim4seg.data.manifest import read_manifest
from sim4seg.data.shards import ShardReader
from sim4seg.device import best_device
from sim4seg.evaluation.lesion_and_empty import lesion_and_empty
from sim4seg.evaluation.metrics import overlap
from sim4seg.model.configuration import SAM_DEFAULTS
from sim4seg.model.frames import as_tensor
from sim4seg.model.mobile_encoder import SAM_MOBILE
from sim4seg.model.segmenter import Segmenter
from sim4seg.model.weights.sam import load_sam

SIDE = 256
BATCH = 16


@dataclass
class Split:
    """Images of one split, stretched to a square.

    Attributes:
        rows: their manifest rows, in the order of the tensors.
        images: (N, 3, S, S) uint8.
        masks: (N, 1, S, S) uint8 in {0, 1}.
    """

    rows: pd.DataFrame
    images: Tensor
    masks: Tensor


def read_split(data: Path, split: str) -> Split:
    """All of one split's samples, in the order of their ids."""
    manifest = read_manifest(data / "manifest.parquet")
    rows = manifest[manifest["split"] == split].sort_values("id").reset_index(drop=True)
    reader, images, masks = ShardReader(data / "shards"), [], []
    for shard, row in zip(rows["shard"], rows["row"], strict=True):
        image = as_tensor(reader.image(shard, row)).float()
        mask = torch.from_numpy(reader.mask(shard, row).copy())[None, None].float()
        stretched = F.interpolate(image, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
        images.append(stretched.round().clamp(0, 255).to(torch.uint8).expand(1, 3, SIDE, SIDE))
        masks.append((F.interpolate(mask, (SIDE, SIDE), mode="area") >= 0.5).to(torch.uint8))
    return Split(rows, torch.cat(images), torch.cat(masks))


def batches(split: Split, weights: NDArray[np.float64], seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For ever: numbers of rows (B,), images (B, 3, S, S) float32 on [-1, 1], masks (B, 1, S, S) float32."""
    draws = np.random.default_rng(seed)
    change = Compose([
        RandFlipd(("image", "mask"), prob=0.5, spatial_axis=1),
        RandAffined(("image", "mask"), prob=0.7, rotate_range=0.4, scale_range=0.2, translate_range=16,
                    mode=("bilinear", "nearest"), padding_mode="border"),
        RandAdjustContrastd("image", prob=0.3, gamma=(0.7, 1.5)),
    ])  # fmt: skip
    change.set_random_state(seed)
    while True:
        rows = draws.choice(len(split.rows), BATCH, p=weights / weights.sum())
        changed = [change({"image": split.images[row] / 255, "mask": split.masks[row]}) for row in rows]
        images = torch.stack([torch.as_tensor(sample["image"]) for sample in changed])
        masks = torch.stack([torch.as_tensor(sample["mask"]) for sample in changed]).float()
        yield torch.from_numpy(rows), 2 * images - 1, masks


def train(
    model: nn.Module,
    samples: Iterator[tuple[Tensor, Tensor, Tensor]],
    loss_of: Callable[[Tensor, Tensor, Tensor], Tensor],
    rate: float,
    minutes: float,
) -> int:
    """AdamW; the learning rate falls to zero over the minutes. Returns the steps."""
    model.to(best_device()).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    begun, steps = time.monotonic(), 0
    while (share := (time.monotonic() - begun) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (steps + 1) / 50) * (1 - share)
        rows, images, masks = next(samples)
        loss = loss_of(model(images.to(best_device())), masks.to(best_device()), rows)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        steps += 1
    model.eval()
    return steps


@torch.inference_mode()
def outputs(model: nn.Module, split: Split) -> Tensor:
    """What the network gives for each image of a split."""
    parts = [model((2 * (part / 255) - 1).to(best_device())).cpu() for part in torch.split(split.images, 2 * BATCH)]
    return torch.cat(parts)


def mask_cases(logits: Tensor, split: Split, data: Path) -> list[dict[str, Any]]:
    """One row an image: its mask, stretched back to the image's own size, against the true one."""
    reader, cases = ShardReader(data / "shards"), []
    for place, row in enumerate(split.rows.to_dict("records")):
        target = reader.mask(row["shard"], row["row"])
        full = F.interpolate(logits[place][None], target.shape, mode="bilinear", align_corners=False)[0, 0]
        met = overlap((full > 0).numpy(), target)
        cases.append({"dataset": row["dataset"], "lesion": bool(target.any()), **vars(met)})
    return cases


def unet(train_split: Split, test: Split, arguments: argparse.Namespace) -> tuple[int, list[dict[str, Any]]]:
    """The plain U-Net's steps and cases; each dataset is drawn as often as it has images."""
    torch.manual_seed(arguments.seed)
    network = UNet(2, 3, 1, (16, 32, 64, 128, 256), (2, 2, 2, 2), num_res_units=2)
    loss = DiceCELoss(sigmoid=True)
    samples = batches(train_split, np.ones(len(train_split.rows)), arguments.seed)
    steps = train(network, samples, lambda out, masks, _: loss(out, masks), 1e-3, arguments.minutes)
    return steps, mask_cases(outputs(network, test), test, arguments.data)


class Classifier(nn.Module):
    """EfficientNet-lite0's last features, averaged over the image, and one linear layer."""

    def __init__(self, features: nn.Module, channels: int, labels: int) -> None:
        super().__init__()
        self.features = features
        self.head = nn.Linear(channels, labels)

    def train(self, mode: bool = True) -> Classifier:
        """Batch statistics stay ImageNet's, as is usual with small batches of few images."""
        super().train(mode)
        self.features.train(False)
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) on [-1, 1] to (B, labels)."""
        logits: Tensor = self.head(self.features(pixels)[-1].mean((2, 3)))
        return logits


def classifier(train_split: Split, test: Split, arguments: argparse.Namespace) -> tuple[int, list[dict[str, Any]]]:
    """The plain classifier's steps and cases."""
    torch.manual_seed(arguments.seed)
    names = sorted({*zip(train_split.rows["dataset"], train_split.rows["label"], strict=True)})
    number = {name: place for place, name in enumerate(names)}
    segmenter = Segmenter({**SAM_DEFAULTS, **SAM_MOBILE})
    load_sam(segmenter, arguments.sam)
    network = Classifier(segmenter.image_encoder.lite, 320, len(names))
    # Of each dataset only its own labels may be answered.
    allowed = {d: torch.tensor([0.0 if name[0] == d else -1e4 for name in names]) for d in {d for d, _ in names}}
    keys = zip(train_split.rows["dataset"], train_split.rows["label"], strict=True)
    truth = torch.tensor([number[key] for key in keys])
    bound = torch.stack([allowed[dataset] for dataset in train_split.rows["dataset"]])
    counts = train_split.rows.groupby(["dataset", "label"])["id"].transform("count")
    sizes = train_split.rows.groupby("dataset")["id"].transform("count")
    samples = batches(train_split, (sizes / counts).to_numpy(np.float64), arguments.seed)

    def loss(out: Tensor, _: Tensor, rows: Tensor) -> Tensor:
        return F.cross_entropy(out + bound[rows].to(out.device), truth[rows].to(out.device))

    steps = train(network, samples, loss, 3e-4, arguments.classifier_minutes)
    chosen = (outputs(network, test) + torch.stack([allowed[d] for d in test.rows["dataset"]])).argmax(1)
    cases = [
        {"dataset": dataset, "label": label, "lesion": fraction > 0, "correct": names[place] == (dataset, label)}
        for dataset, label, fraction, place in zip(
            test.rows["dataset"], test.rows["label"], test.rows["mask_fraction"], chosen.tolist(), strict=True
        )
    ]
    return steps, cases


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--sam", type=Path, help="what `sim4seg make-mobile` wrote; needed for the classifier")
    parser.add_argument("--minutes", type=float, default=60.0, help="of the U-Net")
    parser.add_argument("--classifier-minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.classifier_minutes and not arguments.sam:
        parser.error("the classifier starts from the networks in --sam; --classifier-minutes 0 leaves it out")
    splits = read_split(arguments.data, "train"), read_split(arguments.data, "test")
    for name, minutes, run in (
        ("unet", arguments.minutes, unet),
        ("classifier", arguments.classifier_minutes, classifier),
    ):
        if minutes:
            steps, cases = run(*splits, arguments)
            figures = lesion_and_empty(pd.DataFrame(cases))
            print(json.dumps({"network": name, "minutes": minutes, "steps": steps, "figures": figures}), flush=True)


if __name__ == "__main__":
    main()
