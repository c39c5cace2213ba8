"""The Sim4Seg model: M = M_LVLM + RVLS2M + M_SEG, with one mask path for training, scoring and generation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForImageTextToText, PreTrainedModel
from transformers.utils import ModelOutput

from sim4seg.errors import ModelError
from sim4seg.model import rvls2m
from sim4seg.model.alignment import alignment_loss, attention_loss, token_coverage, word_bags
from sim4seg.model.configuration import Sim4SegConfig
from sim4seg.model.losses import bce_loss, dice_loss, iou_of
from sim4seg.model.segmenter import ConvStem, Segmenter


@dataclass
class Sim4SegOutput(ModelOutput):  # type: ignore[misc]
    """What a forward pass gives.

    Attributes:
        loss: scalar, weighted sum of the parts; None without labels or masks.
        mask_logits: (B, P, P) in SAM's padded low-resolution frame (P = SAM's mask-prompt side).
        regions: (B, g, g) region matrix R, min-max normalised.
        predicted_iou: (B,).
        parts: unweighted losses by name, detached.
    """

    loss: Tensor | None = None
    mask_logits: Tensor | None = None
    regions: Tensor | None = None
    predicted_iou: Tensor | None = None
    parts: dict[str, Tensor] | None = None


class Sim4SegForConditionalGeneration(PreTrainedModel):  # type: ignore[misc]
    """LVLM whose ``[SEG]`` state and image-token similarities prompt Segment Anything (arXiv 2511.06665)."""

    config_class = Sim4SegConfig
    base_model_prefix = "sim4seg"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _tied_weights_keys: ClassVar[dict[str, str]] = {}  # the LVLM declares its own

    def __init__(self, config: Sim4SegConfig) -> None:
        super().__init__(config)
        self.lvlm = AutoModelForImageTextToText.from_config(config.lvlm_config)
        if config.vision_conv_stem:
            self._use_conv_stem()
        sam = cast(dict[str, Any], config.sam)
        self.segmenter = Segmenter(sam)
        hidden, dim = cast(Any, config.lvlm_config).text_config.hidden_size, sam["prompt_dim"]
        self.projection = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, dim))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """SAM's modules and the projection keep PyTorch's own initialisation, which their authors rely on."""

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """As the base class, but keys stay the modules' own names.

        By default LLaVA's part would be renamed to an older layout on saving; a Trainer that resumes, or goes back to
        its best checkpoint, loads by plain name and would silently leave the language model as it was.
        """
        super().save_pretrained(*args, **{"save_original_format": False, **kwargs})

    def _use_conv_stem(self) -> None:
        tower = self.lvlm.model.vision_tower
        embeddings = getattr(tower, "vision_model", tower).embeddings
        vision = self.config.lvlm_config.vision_config
        embeddings.patch_embedding = ConvStem(vision.hidden_size, vision.patch_size, channels_last=False)

    def states(self, input_ids: Tensor, attention_mask: Tensor, pixel_values: Tensor) -> Tensor:
        """Last-layer hidden states of the LVLM, (B, L, H)."""
        return self._read(input_ids, attention_mask, pixel_values)[0]

    def _read(
        self, input_ids: Tensor, attention_mask: Tensor, pixel_values: Tensor, attentions: bool = False
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Hidden states (B, L, H), the image features (B, T, H) given to the language model, and its attentions."""
        output = self.lvlm.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            pixel_values=pixel_values,
            use_cache=False,
            output_attentions=attentions,
        )
        states = output.last_hidden_state
        features = output.image_hidden_states.reshape(len(states), -1, states.shape[-1])
        return states, features, list(output.attentions) if attentions else []

    def seg_and_image_states(self, states: Tensor, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        """E_seg (B, C) from the position before the first ``[SEG]``, and E_img (B, T, C) at the image tokens.

        Raises:
            ModelError: a row has no ``[SEG]``, or the rows differ in their number of image tokens.
        """
        is_seg = input_ids == self.config.seg_token_id
        is_image = input_ids == self.config.lvlm_config.image_token_id
        counts = is_image.sum(1)
        if not bool(is_seg.any(1).all()) or int(counts.min()) != int(counts.max()):
            missing = (~is_seg.any(1)).nonzero().flatten().tolist()
            raise ModelError(
                f"the mask path needs one [SEG] and equally many image tokens in every row; rows without [SEG]: "
                f"{missing}; image tokens: {counts.tolist()}",
                remedy="build the batch with Sim4SegProcessor, and train on texts that passed gate_cot",
            )
        rows = torch.arange(len(input_ids), device=input_ids.device)
        seg = self.projection(states[rows, is_seg.int().argmax(1) - 1])
        image = self.projection(states[is_image].view(len(input_ids), int(counts[0]), -1))
        return seg, image

    def region_scores(self, seg: Tensor, image: Tensor, affine: Tensor) -> Tensor:
        """Region matrix R before normalisation, (B, g, g): similarities resampled to image cells."""
        side = int(image.shape[1] ** 0.5)
        scores = rvls2m.similarity(image, seg).view(len(image), side, -1)
        return rvls2m.to_region_matrix(scores, affine, self.config.region["grid"])

    def mask_prompt(self, regions: Tensor, extent: Tensor) -> Tensor | None:
        """SAM's dense prompt (B, 1, P, P) from a normalised region matrix; None when RVLS2M is off."""
        if not self.config.region["enabled"]:
            return None
        chosen = rvls2m.select_top(regions, self.config.region["top_n"])
        # Straight-through: the prompt is binary, its gradient is that of the similarities.
        return rvls2m.to_mask_prompt(chosen + regions - regions.detach(), extent, self.segmenter.prompt_size)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        pixel_values: Tensor,
        vision_affine: Tensor,
        sam_pixel_values: Tensor,
        sam_extent: Tensor,
        labels: Tensor | None = None,
        conclusion: Tensor | None = None,
        mask_labels: Tensor | None = None,
        **_: Any,
    ) -> Sim4SegOutput:
        """Score a batch whose texts hold ``[SEG]``.

        Args:
            input_ids, attention_mask: (B, L), image placeholders expanded to one id a token.
            pixel_values: (B, 3, V, V) for the LVLM.
            vision_affine: (B, 4), see :mod:`sim4seg.model.rvls2m`.
            sam_pixel_values: (B, 3, S, S), image at the top left, padding 0.
            sam_extent: (B, 2) height and width share of the image in SAM's square.
            labels: (B, L), -100 where no text loss is taken.
            conclusion: (B, L), 1 on the tokens of the diagnosis; they count ``loss.conclusion`` times.
            mask_labels: (B, S, S) in {0, 1} in SAM's frame.
        """
        looks = labels is not None and mask_labels is not None and self._attention_is_learnt()
        states, features, attentions = self._read(input_ids, attention_mask, pixel_values, looks)
        seg, image = self.seg_and_image_states(states, input_ids)
        scores = self.region_scores(seg, image, vision_affine)
        regions = rvls2m.normalise(scores)
        logits, predicted_iou = self.segmenter.decode(
            self.segmenter.encode(sam_pixel_values), seg, self.mask_prompt(regions, sam_extent)
        )
        parts: dict[str, Tensor] = {}
        if labels is not None:
            parts["text"] = self._text_loss(states, labels, conclusion)
        if mask_labels is not None:
            parts |= self._mask_losses(logits, predicted_iou, scores, mask_labels, sam_extent)
        if labels is not None and mask_labels is not None:
            side = int(features.shape[1] ** 0.5)
            coverage = token_coverage(mask_labels, vision_affine, sam_extent, side).flatten(1)
            if self.config.loss["align"]:
                parts["align"] = self._align_loss(features, coverage, labels, conclusion)
            if looks:
                parts["attend"] = self._attend_loss(attentions, input_ids, labels, coverage)
        loss = sum(self.config.loss[name] * part for name, part in parts.items()) if parts else None
        return Sim4SegOutput(
            loss=loss,
            mask_logits=logits,
            regions=regions.detach(),
            predicted_iou=predicted_iou.detach(),
            parts={name: part.detach() for name, part in parts.items()},
        )

    def _text_loss(self, states: Tensor, labels: Tensor, conclusion: Tensor | None) -> Tensor:
        """Next-token cross entropy over the answer only; logits are computed only where they are scored."""
        target = labels[:, 1:]
        scored = target != -100
        logits = self.lvlm.lm_head(states[:, :-1][scored])
        losses = F.cross_entropy(logits.float(), target[scored], reduction="none")
        if conclusion is None:
            return losses.mean()
        weights = 1 + (self.config.loss["conclusion"] - 1) * conclusion[:, 1:][scored]
        loss: Tensor = (losses * weights).sum() / weights.sum()
        return loss

    def _align_loss(self, features: Tensor, coverage: Tensor, labels: Tensor, conclusion: Tensor | None) -> Tensor:
        words = self.lvlm.lm_head.weight
        answer = labels != -100
        diagnosis = answer & (conclusion > 0) if conclusion is not None else answer
        # The reasoning's bag also holds its wording, which no image can tell: it counts less.
        parts = ((0.3, answer & ~diagnosis), (2.0, diagnosis))
        bags = [(weight, word_bags(labels.clamp(min=0), part, len(words))) for weight, part in parts]
        normal = self.lvlm.model.language_model.norm(features)
        return alignment_loss(normal, words, self.config.seg_token_id, coverage, bags)

    def _attention_is_learnt(self) -> bool:
        """Whether the attention loss is asked for, and the kernels give attention away (the fused ones do not)."""
        implementation = self.lvlm.model.language_model.config._attn_implementation
        return bool(self.config.loss["attend"]) and implementation == "eager"

    def _attend_loss(self, attentions: list[Tensor], input_ids: Tensor, labels: Tensor, coverage: Tensor) -> Tensor:
        is_image = input_ids == self.config.lvlm_config.image_token_id
        writes = F.pad(labels[:, 1:] != -100, (0, 1))
        found = [attention_loss(layer[:, 0], is_image, writes, coverage) for layer in attentions[1:]]
        return torch.stack(found).mean()

    def _mask_losses(
        self, logits: Tensor, predicted_iou: Tensor, scores: Tensor, target: Tensor, extent: Tensor
    ) -> dict[str, Tensor]:
        size = target.shape[-1]
        full = F.interpolate(logits[:, None].float(), size=(size, size), mode="bilinear", align_corners=False)[:, 0]
        target = target.float()
        valid = rvls2m.inside_image(extent, size)
        parts = {"bce": bce_loss(full, target, valid), "dice": dice_loss(full, target, valid)}
        if self.config.loss["region"]:
            cells = self._target_cells(target, extent)
            every = torch.ones_like(cells)
            parts["region"] = bce_loss(scores, cells, every) + dice_loss(scores, cells, every)
        if self.config.loss["iou"]:
            parts["iou"] = F.mse_loss(predicted_iou.float(), iou_of(full, target, valid))
        return parts

    def _target_cells(self, target: Tensor, extent: Tensor) -> Tensor:
        """Share of each image cell that the true mask covers, (B, g, g)."""
        zero = torch.zeros_like(extent[:, 0])
        affine = torch.stack((extent[:, 1], zero, extent[:, 0], zero), dim=1)
        return rvls2m.to_region_matrix(target, affine, self.config.region["grid"])
