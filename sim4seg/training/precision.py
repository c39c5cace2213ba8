"""In how many bits weights are held while a model is trained, and what of them comes out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sim4seg.config.train import Train
from sim4seg.errors import ConfigError
from sim4seg.training.arguments import wants_bf16


def check_precision(params: Train) -> None:
    """Refuse bfloat16 weights where they would do harm, or nothing.

    Raises:
        ConfigError: nothing is frozen, or the computation is not in bfloat16.
    """
    if params.weights.dtype == "float32":
        return
    for met, what, remedy in (
        (params.lora, "nothing is frozen", "set train.lora: true, or leave the weights in float32"),
        (wants_bf16(params.bf16), "the computation is in float32", "set train.bf16: on"),
    ):
        if not met:
            raise ConfigError(
                f"frozen weights are to be held in bfloat16, and {what}", where="train.weights.dtype", remedy=remedy
            )


def cast_weights(model: nn.Module, frozen: torch.dtype, trained: torch.dtype = torch.float32) -> None:
    """Hold frozen and trained weights in these element types, in place; buffers stay.

    Most updates of a trained weight are smaller than bfloat16's rounding of it, and would be lost: another type than
    float32 is for counting what an engine does that keeps float32 copies of its own.
    """
    for weight in model.parameters():
        weight.data = weight.data.to(trained if weight.requires_grad else frozen)


def take_trained(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Put what was trained into a model as training began with it, in place; its frozen weights stay as published.

    Args:
        model: with the trainable set already chosen.
        weights: of the trained model, whose frozen weights an engine may have rounded.

    Raises:
        KeyError: a trained weight is not there.
    """
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.requires_grad:
                weight.copy_(weights[name])
