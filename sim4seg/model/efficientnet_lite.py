"""EfficientNet-lite as an LVLM's vision tower: an ImageNet network small enough for a CPU (Tan & Le, arXiv 1905.11946).

The network is timm's; here its features become a square grid of tokens, in the form that LLaVA asks for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, LlamaConfig, LlavaConfig, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from sim4seg.errors import ConfigError

LEVELS = (3, 4)
"""timm's feature levels that are used: strides 16 and 32."""
CHANNELS = 112 + 320


class EfficientNetLiteConfig(PretrainedConfig):  # type: ignore[misc]
    """Sizes of the tower.

    Attributes:
        image_size: side of the square input, pixels; a multiple of 32.
        patch_size: pixels a side that one token stands for; the network's stride 16.
        hidden_size: channels of a token.
    """

    model_type = "efficientnet_lite0"

    image_size: int = 224
    patch_size: int = 16
    hidden_size: int = CHANNELS


class EfficientNetLite(PreTrainedModel):  # type: ignore[misc]
    """EfficientNet-lite0 without its head; always frozen statistics, also while the rest is trained.

    Raises:
        ConfigError: timm is not installed.
    """

    config_class = EfficientNetLiteConfig
    base_model_prefix = "efficientnet_lite"
    main_input_name = "pixel_values"

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__(config)
        try:
            from timm import create_model
        except ImportError as error:
            raise ConfigError(
                "the preset smol needs the package timm", where="train.preset", remedy='pip install "sim4seg[smol]"'
            ) from error
        self.network = create_model("tf_efficientnet_lite0", features_only=True, out_indices=LEVELS).eval()
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Timm's own initialisation stays."""

    def train(self, mode: bool = True) -> EfficientNetLite:
        """Batch statistics of a few medical images would undo what the network knows; it always runs as in use."""
        super().train(False)
        return self

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutputWithPooling:
        """(B, 3, V, V) -> one hidden state (B, (V / 16)^2, 432), rows of tokens from the top left.

        The finer level says where, the coarser one, stretched over it, says what.
        """
        fine, coarse = self.network(pixel_values)
        coarse = F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        tokens = torch.cat((fine, coarse), dim=1).flatten(2).transpose(1, 2)
        return BaseModelOutputWithPooling(last_hidden_state=tokens, hidden_states=(tokens,))


AutoConfig.register(EfficientNetLiteConfig.model_type, EfficientNetLiteConfig, exist_ok=True)
AutoModel.register(EfficientNetLiteConfig, EfficientNetLite, exist_ok=True)


def llava_config(vision: EfficientNetLiteConfig, text: LlamaConfig, image: int) -> LlavaConfig:
    """A LLaVA whose vision tower is an EfficientNet-lite.

    Args:
        vision: the tower.
        text: the language model.
        image: id of the placeholder of one image token.
    """
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=image,
        image_seq_length=(vision.image_size // vision.patch_size) ** 2,
        vision_feature_layer=-1,
        # The tower has no class token that would have to go.
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
    )
