"""What a step sees over all processes and accumulation steps: the means of its losses are taken over this.

transformers scales a loss by the number of target tokens where the model takes ``num_items_in_batch``, and by the
number of accumulation steps where it does not. Neither is right for a sum of parts of which one is a mean over weighted
tokens, others over masks. Here each part of a batch's loss counts by its share of the whole step
(:meth:`Sim4SegForConditionalGeneration.loss_counts`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sim4seg.model.modeling import Sim4SegForConditionalGeneration
from sim4seg.training.processes import Processes
from sim4seg.training.word_dropout import drop_words

TEXTS = {"input_ids": 0, "labels": -100, "conclusion": 0}
"""What word dropout reads, and what fills it up to the length of the longest."""


class WholeStep:
    """Counts, shared words and fed words of one step of the optimizer.

    Args:
        model: unwrapped.
        batches: this process's batches of the step; ``idle`` in one means that it does not count.
        processes: with whom the step is shared.
        word_dropout: see :func:`drop_words`.
        blank: see :func:`drop_words`.
    """

    def __init__(
        self,
        model: Sim4SegForConditionalGeneration,
        batches: list[dict[str, Tensor]],
        processes: Processes,
        word_dropout: float,
        blank: int,
    ) -> None:
        self.processes, self.word_dropout, self.blank = processes, word_dropout, blank
        self.seg_token_id: int = model.config.seg_token_id
        self.seen = 0
        self.batches = batches
        own = [self._counts(model, batch) for batch in batches]
        self.names = sorted(own[0])
        table = torch.stack([torch.stack([counts[name].cpu() for name in self.names]) for counts in own])
        # Double, for counts beyond float32's 24 bits; 1 where there is nothing to be a mean over (no lesion at all).
        totals = processes.sum(table.double().sum(0)).clamp(min=1)
        self.shares = [dict(zip(self.names, row, strict=True)) for row in (table.double() / totals).tolist()]
        self.shared_words = self._shared_words(model) if model.config.loss["align"] else None
        self.texts = self._all_texts() if word_dropout else None
        self.fed: list[Tensor] = []

    def _counts(self, model: Sim4SegForConditionalGeneration, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        counts = model.loss_counts(batch)
        return {name: torch.zeros_like(n) if "idle" in batch else n for name, n in counts.items()}

    def _shared_words(self, model: Sim4SegForConditionalGeneration) -> Tensor:
        # Ones of an idle batch: it must not take a word away from those that all others have.
        presence = [
            torch.ones_like(words) if "idle" in batch else words
            for batch in self.batches
            for words in [model.shared_words(batch["labels"], batch.get("conclusion"))]
        ]
        return self.processes.least(torch.stack(presence).all(0).int()).bool()

    def _all_texts(self) -> list[tuple[list[int], dict[str, Tensor]]]:
        """For each pass the row counts by process, and the texts of all processes in the order of the step."""
        texts = []
        for batch in self.batches:
            # Without rows a process gathers all the same, since the others wait for it.
            rows = len(batch["labels"]) if "idle" not in batch else 0
            parts = {
                name: self.processes.gather(batch[name][:rows] if rows else batch[name][:0], fill)
                for name, fill in TEXTS.items()
            }
            sizes = [len(part) for part in parts["labels"]]
            texts.append((sizes, {name: torch.cat(list(part)) for name, part in parts.items()}))
        return texts

    def next_ids(self) -> Tensor:
        """Input ids of the next pass, its words disturbed as if one process had the whole step in one batch.

        Drawn at the first pass rather than when the batches were read: a Trainer that resumes sets its generators in
        between. All processes draw the same, for the whole step.
        """
        place, self.seen = self.seen, self.seen + 1
        ids = self.batches[place]["input_ids"]
        if self.texts is None:
            return ids
        if not self.fed:
            self.fed = self._draw(self.texts)
        # Drawn at the length of the step's longest text; the pass has its own.
        return ids if "idle" in self.batches[place] else self.fed[place][:, : ids.shape[1]]

    def _draw(self, texts: list[tuple[list[int], dict[str, Tensor]]]) -> list[Tensor]:
        length = max(part["labels"].shape[1] for _, part in texts)
        whole = {
            name: torch.cat([F.pad(part[name], (0, length - part[name].shape[1]), value=fill) for _, part in texts])
            for name, fill in TEXTS.items()
        }
        ids = drop_words(whole, self.seg_token_id, self.blank, self.word_dropout)
        own, at = [], 0
        for sizes, _ in texts:
            before = at + sum(sizes[: self.processes.rank])
            own.append(ids[before : before + sizes[self.processes.rank]])
            at += sum(sizes)
        return own

    def share(self, place: int, part: str) -> float:
        """How much a part of the loss of pass ``place`` weighs in the step."""
        # Parts without a count of their own are means over rows. The weighted parts are added up, never averaged.
        shares: dict[str, float] = self.shares[place]
        return shares.get(part, shares["rows"])

    def inputs(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        """What the model is to be given besides ``batch``."""
        device = batch["input_ids"].device
        extra: dict[str, Any] = {} if self.shared_words is None else {"shared_words": self.shared_words.to(device)}
        return {**extra, "input_ids": self.next_ids().to(device)}
