"""From images and questions to model inputs, and from mask logits back to the image."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from sim4seg.atomic import write_json
from sim4seg.errors import ModelError
from sim4seg.model.tokenizer import IMAGE_TOKEN, SEG_TOKEN, load_tokenizer

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Frames:
    """Sizes and normalisation of the two image inputs.

    Attributes:
        vision_size: side V of the LVLM's square input, pixels.
        vision_tokens: image tokens T of one image; a square number.
        sam_size: side S of SAM's square input, pixels.
        vision_mean, vision_std, sam_mean, sam_std: per channel, of values in [0, 1].
    """

    vision_size: int
    vision_tokens: int
    sam_size: int
    vision_mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
    vision_std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)
    sam_mean: tuple[float, ...] = (123.675 / 255, 116.28 / 255, 103.53 / 255)
    sam_std: tuple[float, ...] = (58.395 / 255, 57.12 / 255, 57.375 / 255)


def _as_tensor(image: Image) -> Tensor:
    """(H, W) or (H, W, 3) uint8 -> (1, 1 or 3, H, W) uint8."""
    pixels = torch.from_numpy(np.array(image))  # a copy: decoded images are read-only
    return (pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1))[None]


def _fit(height: int, width: int, side: int) -> tuple[int, int]:
    """Size of the image when its longer side becomes ``side``; no side below 1."""
    scale = side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _letterbox(pixels: Tensor, side: int, mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Resize the longer side to ``side``, normalise, pad right and bottom with zeros.

    Resized as bytes, for which PyTorch has a kernel four times as quick as for floats.

    Returns:
        (3, side, side) pixels and (2,) height and width share that the image fills.
    """
    height, width = _fit(pixels.shape[-2], pixels.shape[-1], side)
    resized = F.interpolate(pixels, size=(height, width), mode="bilinear", align_corners=False, antialias=True)[0]
    normal = (resized.float() / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    square = F.pad(normal, (0, side - width, 0, side - height))
    return square, torch.tensor([height / side, width / side])


class Sim4SegProcessor:
    """Builds batches. Image-token positions come from the ids, so nothing else need know the prompt's form."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, frames: Frames) -> None:
        self.tokenizer = tokenizer
        self.frames = frames
        self.seg_token_id: int = tokenizer.convert_tokens_to_ids(SEG_TOKEN)
        self.image_token_id: int = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)

    def save_pretrained(self, directory: Path | str) -> None:
        """Write tokenizer files and ``processor.json``."""
        self.tokenizer.save_pretrained(str(directory))
        write_json(Path(directory) / "processor.json", asdict(self.frames))

    @classmethod
    def from_pretrained(cls, directory: Path | str) -> Sim4SegProcessor:
        """Read what :meth:`save_pretrained` wrote."""
        values: dict[str, Any] = json.loads((Path(directory) / "processor.json").read_text(encoding="utf-8"))
        frames = Frames(**{k: cast(Any, tuple(v) if isinstance(v, list) else v) for k, v in values.items()})
        return cls(load_tokenizer(directory), frames)

    def prompt(self, question: str) -> str:
        """The text before the answer, with the image placeholders written out."""
        if not question.strip():
            raise ModelError("the question is empty", remedy="ask what to find, e.g. 'Where is the lesion?'")
        # A user's text must not smuggle in control tokens; they would shift every position.
        clean = question.replace(IMAGE_TOKEN, " ").replace(SEG_TOKEN, " ").strip()
        return f"USER: {IMAGE_TOKEN * self.frames.vision_tokens}\n{clean} ASSISTANT:"

    def image_inputs(self, images: list[Image]) -> dict[str, Tensor]:
        """Pixels of both frames and where the image lies in them; any size and aspect.

        Returns:
            pixel_values (B, 3, V, V), vision_affine (B, 4), sam_pixel_values (B, 3, S, S), sam_extent (B, 2).
        """
        frames = self.frames
        rows = []
        for image in images:
            pixels = _as_tensor(image)
            vision, share = _letterbox(pixels, frames.vision_size, frames.vision_mean, frames.vision_std)
            sam, extent = _letterbox(pixels, frames.sam_size, frames.sam_mean, frames.sam_std)
            affine = torch.tensor([float(share[1]), 0.0, float(share[0]), 0.0])
            rows.append((vision, affine, sam, extent))
        names = ("pixel_values", "vision_affine", "sam_pixel_values", "sam_extent")
        return {name: torch.stack(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}

    def text_inputs(self, questions: list[str], answers: list[str] | None = None) -> dict[str, Tensor]:
        """Token ids; with answers padded on the right and with labels, without them on the left (to be continued).

        Returns:
            input_ids and attention_mask (B, L); with answers also labels (B, L), -100 outside the answer, and
            conclusion (B, L), 1 on the tokens of the diagnosis (after the last ": ") and the end token.
        """
        prompts = [self._ids(self.prompt(question)) for question in questions]
        if answers is None:
            return self._pad(prompts, left=True)
        eos = self.tokenizer.eos_token_id
        full = [ids + self._ids(" " + text) + [eos] for ids, text in zip(prompts, answers, strict=True)]
        batch = self._pad(full, left=False)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        conclusion = torch.zeros(labels.shape)
        for row, (ids, answer) in enumerate(zip(prompts, answers, strict=True)):
            labels[row, : len(ids)] = -100
            diagnosis = 1 + len(self._ids(" " + answer.rpartition(": ")[2]))
            conclusion[row, len(full[row]) - diagnosis : len(full[row])] = 1
        return {**batch, "labels": labels, "conclusion": conclusion}

    def text_until_seg(self, questions: list[str], answers: list[list[int]]) -> dict[str, Tensor]:
        """Prompts followed by generated ids up to their first ``[SEG]``, which is appended where it is missing.

        Returns:
            input_ids and attention_mask (B, L), padded on the right.
        """
        rows = []
        for question, ids in zip(questions, answers, strict=True):
            known = [i for i in ids if i != self.image_token_id]
            end = known.index(self.seg_token_id) if self.seg_token_id in known else len(known)
            rows.append(self._ids(self.prompt(question)) + known[:end] + [self.seg_token_id])
        return self._pad(rows, left=False)

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]  # type: ignore[no-any-return]

    def _pad(self, rows: list[list[int]], *, left: bool) -> dict[str, Tensor]:
        length = max(map(len, rows))
        pad = self.tokenizer.pad_token_id
        ids = [[pad] * (length - len(r)) + r if left else r + [pad] * (length - len(r)) for r in rows]
        mask = [
            [0] * (length - len(r)) + [1] * len(r) if left else [1] * len(r) + [0] * (length - len(r)) for r in rows
        ]
        return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}

    def mask_labels(self, masks: list[NDArray[np.bool_]]) -> Tensor:
        """True masks (H, W) bool laid into SAM's frame: (B, S, S) in {0, 1}."""
        side = self.frames.sam_size
        rows = []
        for mask in masks:
            height, width = _fit(mask.shape[0], mask.shape[1], side)
            pixels = torch.from_numpy(np.ascontiguousarray(mask)).float()[None, None]
            share = F.interpolate(pixels, size=(height, width), mode="bilinear", antialias=True)[0, 0]
            rows.append(F.pad((share >= 0.5).float(), (0, side - width, 0, side - height)))
        return torch.stack(rows)

    def probabilities(self, logits: Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
        """Mask logits (P, P) in SAM's padded frame to foreground probability (H, W) of the image itself."""
        side = self.frames.sam_size
        height, width = _fit(size[0], size[1], side)
        full = F.interpolate(logits[None, None].float(), size=(side, side), mode="bilinear", align_corners=False)
        own = F.interpolate(full[..., :height, :width], size=size, mode="bilinear", align_corners=False)
        return own[0, 0].sigmoid().numpy()
