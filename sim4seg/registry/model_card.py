"""The model card that goes with a registered version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sim4seg.comparison.differences import FIGURES
from sim4seg.registry.rules import MODE, figure, not_shown_to_look


def model_card(name: str, tags: Mapping[str, str], metrics: Mapping[str, Any]) -> str:
    """Markdown: what the model is for and not for, how it scored, what it was made from."""
    scores = [f"| {title} | {figure(metrics, MODE, 'mean', key):.4f} |" for key, title in FIGURES.items()]
    origin = [f"| {key.removeprefix('sim4seg.')} | `{value}` |" for key, value in sorted(tags.items())]
    return "\n".join(
        [
            f"# {name}",
            "",
            "From a medical image and a question to a lesion mask, a reasoning and a diagnosis (Sim4Seg, AAAI 2026).",
            "",
            "For research. Not a medical device; nothing here has been validated for care. The confidence is a ranking",
            "aid, not a calibrated probability.",
            "",
            "## Scores on the test split, without test-time scaling, mean over sub-datasets",
            "",
            "| figure | value |",
            "|---|---|",
            *scores,
            "",
            "## Where it is not shown that it looks at the image",
            "",
            *[f"- {sentence}" for sentence in not_shown_to_look(metrics) or ["nowhere"]],
            "",
            "## Origin",
            "",
            "| what | value |",
            "|---|---|",
            *origin,
            "",
        ]
    )
