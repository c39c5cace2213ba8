"""LoRA as the authors use it: r 8, alpha 16, dropout 0.05 on q_proj and v_proj of the language model (paper, Training).

Trained besides: ``lm_head`` and ``embed_tokens`` (``[SEG]`` is new), the projection, SAM's mask decoder.
"""

from __future__ import annotations

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer

from sim4seg.model.modeling import Sim4SegForConditionalGeneration

TRAINED_WHOLE = ("lm_head", "embed_tokens", "projection", "segmenter.mask_decoder")


def add_lora(model: Sim4SegForConditionalGeneration) -> None:
    """Put adapters into the language model and freeze what the paper freezes, in place."""
    config = LoraConfig(r=8, lora_alpha=16, lora_dropout=0.05, target_modules=list(model.family.lora_targets))
    inject_adapter_in_model(config, model.language_model)
    # Nothing in the weights of a checkpoint says alpha, and `sim4seg merge-lora` needs it.
    model.config.lora = {"r": config.r, "alpha": config.lora_alpha, "dropout": config.lora_dropout}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name or any(part in name for part in TRAINED_WHOLE))


def merge_lora(model: Sim4SegForConditionalGeneration) -> None:
    """Fold the adapters into the weights and take them out, in place; a model without adapters stays as it is."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, LoraLayer):
                child.merge()
                setattr(module, name, child.get_base_layer())
    if hasattr(model.config, "lora"):
        del model.config.lora
