"""What the plan counts against what a real step on the CPU does, as Markdown. `python benchmarks/plan_check.py`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from sim4seg.model.tokenizer import load_tokenizer, train_tokenizer
from sim4seg.plan.dry_run import make_batch, run_step
from tests.model.conftest import ANSWER, QUESTION
from tests.plan.test_plan import GRIDS, both, measured


def main() -> None:
    """Print a row a small preset and mode."""
    with tempfile.TemporaryDirectory() as folder:
        train_tokenizer([QUESTION, ANSWER], 400, Path(folder) / "tokenizer")
        tokenizer = load_tokenizer(Path(folder) / "tokenizer")
    print("| preset | activations | MFLOP planned | MFLOP measured | peak planned, kB | peak measured, kB |")
    print("|---|---|---|---|---|---|")
    for name in GRIDS:
        for checkpointing in (False, True):
            real, counted, lengths = both(name, tokenizer)
            step = run_step(counted, make_batch(counted, lengths, 3), checkpointing=checkpointing)
            peak, operations = measured(real, make_batch(real, lengths, 3, "cpu"), checkpointing)
            print(
                f"| `{name}` | {'checkpointed' if checkpointing else 'kept'} | {step.flops / 1e6:.1f} "
                f"| {operations / 1e6:.1f} | {step.activations / 1e3:.0f} | {peak / 1e3:.0f} |"
            )


if __name__ == "__main__":
    main()
