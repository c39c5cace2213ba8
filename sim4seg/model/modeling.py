"""The Sim4Seg model: M = M_LVLM + RVLS2M + M_SEG, with one mask path for training, scoring and generation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForImageTextToText, PreTrainedModel
from transformers.utils import ModelOutput

from sim4seg.errors import ModelError
from sim4seg.model import objective
from sim4seg.model.alignment import present_words
from sim4seg.model.configuration import Sim4SegConfig
from sim4seg.model.families import family_of
from sim4seg.model.frames import Geometry
from sim4seg.model.mask_path import predict_masks
from sim4seg.model.objective import Labels
from sim4seg.model.segmenter import ConvStem, Segmenter


@dataclass
class Sim4SegOutput(ModelOutput):  # type: ignore[misc]
    """What a forward pass gives.

    Attributes:
        loss: scalar, weighted sum of the parts; None without labels or masks.
        mask_logits: (B, P, P) in SAM's padded low-resolution frame (P = SAM's mask-prompt side).
        regions: (B, g, g) region matrix R, min-max normalised.
        predicted_iou: (B,).
        parts: unweighted losses by name, with gradients.
    """

    loss: Tensor | None = None
    mask_logits: Tensor | None = None
    regions: Tensor | None = None
    predicted_iou: Tensor | None = None
    parts: dict[str, Tensor] | None = None


class Sim4SegForConditionalGeneration(PreTrainedModel):  # type: ignore[misc]
    """LVLM whose ``[SEG]`` state and image-token similarities prompt Segment Anything (arXiv 2511.06665).

    Raises:
        ModelError: the LVLM's family, and so its grid of image tokens, is not known.
    """

    config_class = Sim4SegConfig
    base_model_prefix = "sim4seg"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _tied_weights_keys: ClassVar[dict[str, str]] = {}  # the LVLM declares its own
    # No ``num_items_in_batch`` from transformers' Trainer: what a part of the loss is a mean over, loss_counts says.
    accepts_loss_kwargs = False

    def __init__(self, config: Sim4SegConfig, lvlm: nn.Module | None = None) -> None:
        super().__init__(config)
        self.family = family_of(config.lvlm_config)
        self.lvlm: Any = lvlm or AutoModelForImageTextToText.from_config(config.lvlm_config)
        if config.vision_conv_stem:
            self._use_conv_stem()
        sam = cast(dict[str, Any], config.sam)
        self.segmenter = Segmenter(sam)
        hidden, dim = cast(Any, config.lvlm_config).text_config.hidden_size, sam["prompt_dim"]
        self.projection = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, dim))
        self.post_init()

    @property
    def language_model(self) -> Any:
        """The LVLM's language model without its output layer."""
        return self.family.language_model(self.lvlm)

    @property
    def lm_head(self) -> nn.Linear:
        """The LVLM's output layer."""
        return self.family.lm_head(self.lvlm)

    def _init_weights(self, module: nn.Module) -> None:
        """SAM's modules and the projection keep PyTorch's own initialisation, which their authors rely on."""

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """As the base class, but keys stay the modules' own names.

        By default LLaVA's part would be renamed to an older layout on saving; a Trainer that resumes, or goes back to
        its best checkpoint, loads by plain name and would silently leave the language model as it was.
        """
        super().save_pretrained(*args, **{"save_original_format": False, **kwargs})

    def _use_conv_stem(self) -> None:
        tower: Any = self.family.vision_tower(self.lvlm)
        embeddings = getattr(tower, "vision_model", tower).embeddings
        vision = self.config.lvlm_config.vision_config
        embeddings.patch_embedding = ConvStem(vision.hidden_size, vision.patch_size, channels_last=False)

    def image_kwargs(self, input_ids: Tensor, visual: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the LVLM's own ``forward`` and ``generate`` take for a batch's images.

        Args:
            input_ids: (B, L).
            visual: holds ``pixel_values`` and ``vision_grid`` of :meth:`Sim4SegProcessor.image_inputs`; rows as in
                ``input_ids``.
        """
        return self.family.image_kwargs(self.lvlm, input_ids, visual["pixel_values"], visual["vision_grid"])

    def states(self, input_ids: Tensor, attention_mask: Tensor, visual: Mapping[str, Tensor]) -> Tensor:
        """Last-layer hidden states of the LVLM, (B, L, H); ``visual`` as for :meth:`image_kwargs`."""
        states: Tensor = self._read(input_ids, attention_mask, visual).last_hidden_state
        return states

    def _read(
        self, input_ids: Tensor, attention_mask: Tensor, visual: Mapping[str, Tensor], attentions: bool = False
    ) -> Any:
        return self.lvlm.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            use_cache=False,
            output_attentions=attentions,
            **self.image_kwargs(input_ids, visual),
        )

    def is_image(self, input_ids: Tensor) -> Tensor:
        """(B, L) bool: the image tokens."""
        return input_ids == self.family.image_token_id(self.config.lvlm_config)

    def seg_and_image_states(self, states: Tensor, input_ids: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
        """E_seg (B, C) from the position before the first ``[SEG]``, and E_img (B, T, C) at the image tokens.

        Args:
            states: (B, L, H).
            input_ids: (B, L).
            grid: (B, 2) rows and columns of image tokens; T is the most of their products, shorter rows end in zeros.

        Raises:
            ModelError: a row has no ``[SEG]``, or not the image tokens of exactly one image of its grid.
        """
        is_seg = input_ids == self.config.seg_token_id
        if not bool(is_seg.any(1).all()):
            missing = (~is_seg.any(1)).nonzero().flatten().tolist()
            raise ModelError(
                f"the mask path needs [SEG] in every row; rows without [SEG]: {missing}",
                remedy="build the batch with Sim4SegProcessor, and train on texts that passed gate_cot",
            )
        rows = torch.arange(len(input_ids), device=input_ids.device)
        seg = self.projection(states[rows, is_seg.int().argmax(1) - 1])
        return seg, self.projection(self.image_states(states, input_ids, grid))

    def image_states(self, states: Tensor, input_ids: Tensor, grid: Tensor) -> Tensor:
        """States at the image tokens, (B, T, H); arguments and T as for :meth:`seg_and_image_states`.

        Raises:
            ModelError: a row has not the image tokens of exactly one image of its grid.
        """
        is_image = self.is_image(input_ids)
        counts, expected = is_image.sum(1).tolist(), grid.prod(1).tolist()
        if counts != expected:
            raise ModelError(
                f"the mask path needs one image in every row; image tokens: {counts}, of one image: {expected}",
                remedy="build the batch with Sim4SegProcessor, and ask about each image or tile on its own",
            )
        image = states[is_image]
        if len(set(counts)) == 1:
            return image.view(len(counts), counts[0], -1)
        return pad_sequence(list(torch.split(image, counts)), batch_first=True)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        pixel_values: Tensor,
        vision_grid: Tensor,
        vision_affine: Tensor,
        sam_extent: Tensor,
        sam_pixel_values: Tensor | None = None,
        sam_embeddings: Tensor | None = None,
        labels: Tensor | None = None,
        conclusion: Tensor | None = None,
        mask_labels: Tensor | None = None,
        shared_words: Tensor | None = None,
    ) -> Sim4SegOutput:
        """Score a batch whose texts hold ``[SEG]``; an input of any other name is refused.

        Args:
            input_ids, attention_mask: (B, L), image placeholders expanded to one id a token.
            pixel_values: (B, 3, V, V) or (B, N, D) for the LVLM.
            vision_grid, vision_affine, sam_extent: see :class:`sim4seg.model.frames.Geometry`.
            sam_pixel_values, sam_embeddings: see :meth:`image_embeddings`.
            labels, conclusion, mask_labels, shared_words: see :class:`sim4seg.model.objective.Labels`.
        """
        where = {"vision_grid": vision_grid, "vision_affine": vision_affine, "sam_extent": sam_extent}
        geometry, truth = Geometry.of(where), Labels(labels, conclusion, mask_labels, shared_words)
        visual = {"pixel_values": pixel_values, **where}
        attentions = truth.complete and self.attention_is_learnt()
        read = self._read(input_ids, attention_mask, visual, attentions)
        seg, image = self.seg_and_image_states(read.last_hidden_state, input_ids, vision_grid)
        embeddings = self.image_embeddings(sam_pixel_values, sam_embeddings)
        masks = predict_masks(self.segmenter, self.config.region, seg, image, geometry, embeddings)
        parts = objective.loss_parts(self, read, input_ids, masks, truth, geometry)
        return Sim4SegOutput(
            loss=objective.weighted_sum(parts, self.config.loss) if parts else None,
            mask_logits=masks.logits,
            regions=masks.regions.detach(),
            predicted_iou=masks.predicted_iou.detach(),
            parts=parts,
        )

    def image_embeddings(self, pixels: Tensor | None, embeddings: Tensor | None) -> Tensor:
        """What SAM's decoder reads of the images, (B, D, s, s): stored embeddings where there are, else encoded now.

        Args:
            pixels: (B, 3, S, S) normalised, image at the top left, padding 0.
            embeddings: (B, D, s, s) of SAM's image encoder (:mod:`sim4seg.embeddings`).

        Raises:
            ModelError: neither is given.
        """
        if embeddings is not None:
            return embeddings
        if pixels is None:
            raise ModelError(
                "a batch without sam_pixel_values and without sam_embeddings has no image for SAM",
                remedy="build the batch with Sim4SegProcessor.image_inputs",
            )
        return self.segmenter.encode(pixels)

    def loss_counts(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What each part of the loss of a batch is a mean over: weighted tokens, positions, or else ``rows``.

        With them, parts of several batches make the parts of all together: weighted by counts, not averaged.
        """
        labels = batch["labels"]
        scored, weights = objective.token_weights(labels, batch.get("conclusion"), self.config.loss["conclusion"])
        counts = {"rows": torch.tensor(float(len(labels)), device=labels.device), "text": weights[scored].sum()}
        if self.attention_is_learnt():
            coverage = objective.coverage_of(batch["mask_labels"], Geometry.of(batch))
            counts["attend"] = ((labels[:, 1:] != -100) & (coverage.amax(1, keepdim=True) > 0)).sum().float()
        return counts

    def shared_words(self, labels: Tensor, conclusion: Tensor | None) -> Tensor:
        """(2, V) bool: words that all rows have in their reasoning, and in their diagnosis; they tell nothing apart."""
        parts = objective.reasoning_and_diagnosis(labels, conclusion)
        words = self.lm_head.out_features  # of a weight that is shared among processes, none may lie here
        return torch.stack([present_words(labels.clamp(min=0), part, words).bool().all(0) for part in parts])

    def attention_is_learnt(self) -> bool:
        """Whether the attention loss is asked for, and the kernels give attention away (the fused ones do not)."""
        implementation = self.language_model.config._attn_implementation
        return bool(self.config.loss["attend"]) and implementation == "eager"
