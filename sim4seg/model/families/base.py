"""What this project has to know of an LVLM family; everything else of it is transformers' business."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from sim4seg.model.frames import IMAGE, QUESTION, Frames, Seen


class Family(ABC):
    """One answer a question; a new family is one file with these answers and an entry in ``FAMILIES``."""

    model_type: ClassVar[str]
    """Of the LVLM's configuration in transformers."""
    lora_targets: ClassVar[tuple[str, ...]] = ("q_proj", "v_proj")
    """Linear layers of the language model that get adapters (paper, Training)."""

    @abstractmethod
    def check(self, config: Any) -> None:
        """Refuse a configuration of this family whose token grid is not known.

        Raises:
            ModelError: says which.
        """

    @abstractmethod
    def see(self, pixels: Tensor, frames: Frames) -> Seen:
        """One image, (1, 1 or 3, H, W) uint8, as the LVLM gets it, with the grid of its tokens and where it lies."""

    def fixed_grid(self, frames: Frames) -> tuple[int, int] | None:
        """Rows and columns of image tokens where they are the same for every image, else None."""
        count = frames.vision_size // frames.vision_patch
        return (count, count) if count else None

    @abstractmethod
    def image_kwargs(self, lvlm: Any, input_ids: Tensor, pixel_values: Tensor, grid: Tensor) -> dict[str, Tensor]:
        """What ``forward`` and ``generate`` of the LVLM take for the images of a batch.

        Args:
            lvlm: the model.
            input_ids: (B, L).
            pixel_values: (B, 3, V, V), or (B, N, D) patches padded to the longest row.
            grid: (B, 2) rows and columns of image tokens.
        """

    @abstractmethod
    def pixels_shape(self, config: Any, grid: tuple[int, int]) -> tuple[int, ...]:
        """Shape of one image's ``pixel_values`` for a grid of tokens."""

    def prompt(self, question: str, tokens: int, frames: Frames) -> str:
        """The text before the answer, with the placeholder written once for each of an image's ``tokens``."""
        before, _, after = frames.template.partition(QUESTION)
        return before.replace(IMAGE, frames.image_token * tokens) + question + after

    def image_token_id(self, config: Any) -> int:
        """The placeholder's id in the LVLM's configuration."""
        return int(config.image_token_id)

    def language_model(self, lvlm: Any) -> nn.Module:
        """The language model without its output layer."""
        return cast(nn.Module, lvlm.model.language_model)

    def layers(self, lvlm: Any) -> nn.ModuleList:
        """Its transformer layers."""
        return cast(nn.ModuleList, lvlm.model.language_model.layers)

    def embed_tokens(self, lvlm: Any) -> nn.Embedding:
        """Its word embeddings."""
        return cast(nn.Embedding, lvlm.get_input_embeddings())

    def lm_head(self, lvlm: Any) -> nn.Linear:
        """Its output layer."""
        return cast(nn.Linear, lvlm.get_output_embeddings())

    @abstractmethod
    def vision_tower(self, lvlm: Any) -> nn.Module:
        """What turns pixels into features; never trained here."""

    def image_features(self, output: Any) -> Tensor | None:
        """(images, T, H) features given to the language model, from the output of the LVLM without its output layer.

        None where the family does not return them; the auxiliary alignment loss cannot be had then.
        """
        return cast("Tensor | None", getattr(output, "image_hidden_states", None))
