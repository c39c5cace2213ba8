"""Which attention kernels the LVLM uses."""

from __future__ import annotations

from transformers.utils import is_flash_attn_2_available

from sim4seg.errors import ConfigError
from sim4seg.model.modeling import Sim4SegForConditionalGeneration

KERNELS = {"eager": "eager", "sdpa": "sdpa", "flash": "flash_attention_2"}


def set_attention(model: Sim4SegForConditionalGeneration, name: str) -> None:
    """Use the kernels of that name in the LVLM, in place; not saved with the model.

    Raises:
        ConfigError: flash attention is not installed, or there is no GPU for it.
    """
    if name == "flash" and not is_flash_attn_2_available():
        raise ConfigError(
            "flash attention needs a CUDA GPU and the package flash-attn",
            where="train.attention",
            remedy="install flash-attn, or use sdpa: PyTorch's own kernels are nearly as quick",
        )
    model.lvlm.set_attn_implementation(KERNELS[name])
