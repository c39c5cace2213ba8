"""What an embedding belongs to: the pixels of an image and the weights of an encoder."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from sim4seg.digest import digest_bytes
from sim4seg.errors import ModelError
from sim4seg.model.modeling import Sim4SegForConditionalGeneration


def image_key(image: NDArray[np.uint8]) -> str:
    """Hex SHA-256 of decoded pixels (H, W) or (H, W, 3) and their shape, however they were stored."""
    return digest_bytes(json.dumps(image.shape).encode(), np.ascontiguousarray(image).tobytes())


def encoder_key(model: Sim4SegForConditionalGeneration) -> str:
    """Hex SHA-256 of the names, shapes and values of SAM's image encoder, and of the size of its input.

    The same values in fewer bits are the same encoder.
    """
    parts = [str(model.segmenter.image_size).encode()]
    for name, value in sorted(model.segmenter.image_encoder.state_dict().items()):
        described = json.dumps([name, list(value.shape)]).encode()
        parts += [described, value.detach().cpu().float().contiguous().numpy().tobytes()]
    return digest_bytes(*parts)


def check_encoder(model: Sim4SegForConditionalGeneration, key: str, folder: str) -> None:
    """Refuse embeddings that this model's encoder would not give.

    Raises:
        ModelError: the encoder is trained, or is another one.
    """
    if any(weight.requires_grad for weight in model.segmenter.image_encoder.parameters()):
        raise ModelError(
            "SAM's image encoder is trained with these settings, so embeddings stored before would go out of date",
            where=folder,
            remedy="set embed.enabled: false, or choose a preset (or train.lora) that freezes the encoder",
        )
    check_same(model, key, folder)


def check_same(model: Sim4SegForConditionalGeneration, key: str, folder: str) -> None:
    """Refuse embeddings of another encoder.

    Raises:
        ModelError: the encoder is another one.
    """
    if encoder_key(model) != key:
        raise ModelError(
            "these embeddings are of another image encoder than this model's",
            where=folder,
            remedy="run `dvc repro embed` after a change of train.preset, of start weights or of base.seed",
        )
