"""From images and questions to model inputs, and from mask logits back to the image."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from sim4seg.atomic import write_json
from sim4seg.cot.contract import SEG_TOKEN
from sim4seg.errors import ModelError
from sim4seg.model.families import family_named
from sim4seg.model.frames import Frames, Image, as_tensor, fit, letterbox
from sim4seg.model.tokenizer import check_tokenizer, load_tokenizer

__all__ = ["Frames", "Image", "Sim4SegProcessor"]


class Sim4SegProcessor:
    """Builds batches. Image-token positions come from the ids, so nothing else need know the prompt's form."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, frames: Frames) -> None:
        check_tokenizer(tokenizer, (SEG_TOKEN, frames.image_token))
        self.tokenizer = tokenizer
        self.frames = frames
        self.family = family_named(frames.family)
        self.seg_token_id: int = tokenizer.convert_tokens_to_ids(SEG_TOKEN)
        self.image_token_id: int = tokenizer.convert_tokens_to_ids(frames.image_token)
        self._control = sorted({*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}, key=len, reverse=True)

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

    def prompt(self, question: str, tokens: int | None = None) -> str:
        """The text before the answer, with one placeholder for each of the image's ``tokens``.

        Args:
            question: a user's words.
            tokens: image tokens; may be left out where every image has equally many.

        Raises:
            ModelError: the question is empty, or the number of tokens depends on the image and is not given.
        """
        if not question.strip():
            raise ModelError("the question is empty", remedy="ask what to find, e.g. 'Where is the lesion?'")
        # A user's text must not smuggle in control tokens; they would shift every position.
        for token in self._control:
            question = question.replace(token, " ")
        return self.family.prompt(question.strip(), tokens or self._tokens(), self.frames)

    def _tokens(self) -> int:
        grid = self.family.fixed_grid(self.frames)
        if grid is None:
            raise ModelError(
                f"how many image tokens a prompt holds depends on the image in the family {self.frames.family!r}",
                remedy="give vision_grid of image_inputs",
            )
        return grid[0] * grid[1]

    def image_inputs(self, images: list[Image]) -> dict[str, Tensor]:
        """Pixels of both frames and where the image lies in them; any size and aspect, one image a question.

        Returns:
            pixel_values (B, 3, V, V) or (B, N, D) by family; vision_grid (B, 2) int64, rows and columns of image
            tokens; vision_affine (B, 4); sam_pixel_values (B, 3, S, S); sam_extent (B, 2).

        Raises:
            ModelError: not one image a question.
        """
        frames = self.frames
        seen, sam = [], []
        for image in images:
            pixels = as_tensor(image)
            seen.append(self.family.see(pixels, frames))
            sam.append(letterbox(pixels, frames.sam_size, frames.sam_mean, frames.sam_std))
        return {
            "pixel_values": pad_sequence([s.pixels for s in seen], batch_first=True),
            "vision_grid": torch.tensor([s.grid for s in seen]),
            "vision_affine": torch.tensor([s.affine for s in seen]),
            "sam_pixel_values": torch.stack([pixels for pixels, _ in sam]),
            "sam_extent": torch.stack([extent for _, extent in sam]),
        }

    def text_inputs(
        self, questions: list[str], answers: list[str] | None = None, grid: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Token ids; with answers padded on the right and with labels, without them on the left (to be continued).

        Args:
            questions, answers: B each.
            grid: (B, 2), ``vision_grid`` of :meth:`image_inputs`; it decides how many image tokens a prompt holds.
                May be left out where every image has equally many.

        Returns:
            input_ids and attention_mask (B, L); with answers also labels (B, L), -100 outside the answer, and
            conclusion (B, L), 1 on the tokens of the diagnosis (after the last ": ") and the end token.
        """
        prompts = self._prompts(questions, grid)
        if answers is None:
            return self._pad(prompts, left=True)
        eos, start = self.tokenizer.eos_token_id, self.frames.answer_start
        full = [ids + self._ids(start + text) + [eos] for ids, text in zip(prompts, answers, strict=True)]
        batch = self._pad(full, left=False)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        conclusion = torch.zeros(labels.shape)
        for row, (ids, answer) in enumerate(zip(prompts, answers, strict=True)):
            labels[row, : len(ids)] = -100
            diagnosis = 1 + len(self._ids(" " + answer.rpartition(": ")[2]))
            conclusion[row, len(full[row]) - diagnosis : len(full[row])] = 1
        return {**batch, "labels": labels, "conclusion": conclusion}

    def text_until_seg(
        self, questions: list[str], answers: list[list[int]], grid: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Prompts followed by generated ids up to their first ``[SEG]``, which is appended where it is missing.

        Returns:
            input_ids and attention_mask (B, L), padded on the right.
        """
        rows = []
        for prompt, ids in zip(self._prompts(questions, grid), answers, strict=True):
            known = [i for i in ids if i != self.image_token_id]
            end = known.index(self.seg_token_id) if self.seg_token_id in known else len(known)
            rows.append(prompt + known[:end] + [self.seg_token_id])
        return self._pad(rows, left=False)

    def _prompts(self, questions: list[str], grid: Tensor | None) -> list[list[int]]:
        tokens = [self._tokens()] * len(questions) if grid is None else grid.prod(1).tolist()
        return [self._ids(self.prompt(question, count)) for question, count in zip(questions, tokens, strict=True)]

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
            height, width = fit(mask.shape[0], mask.shape[1], side)
            pixels = torch.from_numpy(np.ascontiguousarray(mask)).float()[None, None]
            share = F.interpolate(pixels, size=(height, width), mode="bilinear", antialias=True)[0, 0]
            rows.append(F.pad((share >= 0.5).float(), (0, side - width, 0, side - height)))
        return torch.stack(rows)

    def probabilities(self, logits: Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
        """Mask logits (P, P) in SAM's padded frame to foreground probability (H, W) of the image itself."""
        side = self.frames.sam_size
        height, width = fit(size[0], size[1], side)
        full = F.interpolate(logits[None, None].float(), size=(side, side), mode="bilinear", align_corners=False)
        own = F.interpolate(full[..., :height, :width], size=size, mode="bilinear", align_corners=False)
        return own[0, 0].sigmoid().numpy()
