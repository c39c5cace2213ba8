"""LoRA as the authors use it: r 8, alpha 16, dropout 0.05 on q_proj and v_proj of the language model (paper, Training).

What is trained whole besides is the preset's to say (:class:`sim4seg.model.presets.Preset`).
"""

from __future__ import annotations

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from sim4seg.model.modeling import Sim4SegForConditionalGeneration
from sim4seg.model.presets.preset import TRAINED_WITH_ADAPTERS

ONLY_ROW = "only_row"
"""Attribute of a weight of which one row is trained; weight decay must leave it alone."""


def add_lora(
    model: Sim4SegForConditionalGeneration,
    trained: tuple[str, ...] = TRAINED_WITH_ADAPTERS,
    seg_row_only: bool = False,
) -> None:
    """Put adapters into the language model and freeze the rest, in place.

    Args:
        model: without adapters.
        trained: parts of the names of the weights that are trained whole.
        seg_row_only: of the word embeddings, train the row of ``[SEG]`` alone.
    """
    config = LoraConfig(r=8, lora_alpha=16, lora_dropout=0.05, target_modules=list(model.family.lora_targets))
    inject_adapter_in_model(config, model.language_model)
    # Nothing in the weights of a checkpoint says alpha, and `sim4seg merge-lora` needs it.
    model.config.lora = {"r": config.r, "alpha": config.lora_alpha, "dropout": config.lora_dropout}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name or any(part in name for part in trained))
    if seg_row_only:
        _train_one_row(model.family.embed_tokens(model.lvlm).weight, model.config.seg_token_id)


def freeze(model: nn.Module, parts: tuple[str, ...]) -> None:
    """Train no weight whose name holds one of ``parts``, in place."""
    for name, parameter in model.named_parameters():
        if any(part in name for part in parts):
            parameter.requires_grad_(False)


def _train_one_row(weight: Tensor, row: int) -> None:
    """Let gradients reach one row only; AdamW without decay then leaves the others as they are, to the last bit."""

    def only_that_row(gradient: Tensor) -> Tensor:
        only = gradient.new_zeros(gradient.shape)
        only[row] = gradient[row]
        return only

    weight.register_hook(only_that_row)  # type: ignore[no-untyped-call]
    setattr(weight, ONLY_ROW, row)


def fold_adapters_in(model: Sim4SegForConditionalGeneration) -> None:
    """Fold the adapters into the weights and take them out, in place; a model without adapters stays as it is."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, LoraLayer):
                child.merge()
                setattr(module, name, child.get_base_layer())
    if hasattr(model.config, "lora"):
        del model.config.lora


def trained_count(model: nn.Module) -> int:
    """How many numbers training may change."""
    return sum(
        parameter.shape[1] if hasattr(parameter, ONLY_ROW) else parameter.numel()
        for parameter in model.parameters()
        if parameter.requires_grad
    )
