"""Bytes at the peak of a step beyond weights and gradients, for any number of samples from a few dry runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sim4seg.model.modeling import Sim4SegForConditionalGeneration
from sim4seg.plan.dry_run import Lengths, Step, make_batch, run_step

FEW, MANY = (2, 3), (8, 16)
"""Numbers of samples of the dry runs that give the lines."""


@dataclass(frozen=True)
class Line:
    """``fixed + each * B`` bytes."""

    fixed: int
    each: int

    @classmethod
    def through(cls, peaks: Mapping[int, int]) -> Line:
        """From the peaks of two numbers of samples."""
        (few, low), (many, high) = sorted(peaks.items())
        each = (high - low) // (many - few)
        return cls(low - few * each, each)


@dataclass(frozen=True)
class Activations:
    """The peak as a function of the samples.

    SAM's encoder sees two images at once however many there are, so that with few samples it is the peak and with many
    the language model's way back is: the larger of two lines.

    Attributes:
        one: bytes for one sample.
        few, many: from two samples on, with SAM's encoder at its peak and without.
    """

    one: int
    few: Line
    many: Line

    def of(self, samples: int) -> int:
        """Bytes."""
        if samples == 1:
            return self.one
        return max(line.fixed + line.each * samples for line in (self.few, self.many))

    def largest(self, free: float) -> int:
        """Samples that fit into so many bytes; 0 = not even one."""
        if self.one > free:
            return 0
        return max(1, min(int((free - line.fixed) // max(1, line.each)) for line in (self.few, self.many)))


def count_activations(
    model: Sim4SegForConditionalGeneration, lengths: Lengths, one: Step, *, checkpointing: bool, autocast: bool
) -> Activations:
    """Run steps of some numbers of samples; arguments as for :func:`sim4seg.plan.dry_run.run_step`.

    Args:
        model: on ``meta``.
        lengths: of a sample.
        one: the step of one sample.
    """
    # The encoder's images one after the other would take a minute, and nothing of a frozen one is kept.
    stored = not any(weight.requires_grad for weight in model.segmenter.image_encoder.parameters())

    def peak(samples: int, stored: bool) -> int:
        batch = make_batch(model, lengths, samples, stored=stored)
        step = run_step(model, batch, checkpointing=checkpointing, autocast=autocast)
        return step.activations + (batch["sam_embeddings"].nbytes if stored else 0)

    few = Line.through({samples: peak(samples, False) for samples in FEW})
    return Activations(one.activations, few, Line.through({samples: peak(samples, stored) for samples in MANY}))
