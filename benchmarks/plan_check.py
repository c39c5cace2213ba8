"""What the plan counts against what a real step on the CPU does, as Markdown. `python benchmarks/plan_check.py`."""

from __future__ import annotations

import sys
import tempfile
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from sim4seg.model.tokenizer import load_tokenizer, train_tokenizer
from sim4seg.plan.dry_run import make_batch, run_step
from tests.model.conftest import ANSWER, QUESTION
from tests.plan.test_plan import GRIDS, HELD, both, measured

NAMES = {"float32": "float32", "autocast": "float32, autocast", "bfloat16": "bfloat16, autocast"}


def main() -> None:
    """Print a row a small preset, precision and mode."""
    with tempfile.TemporaryDirectory() as folder:
        train_tokenizer([QUESTION, ANSWER], 400, Path(folder) / "tokenizer")
        tokenizer = load_tokenizer(Path(folder) / "tokenizer")
    print("| preset | frozen weights | activations | MFLOP planned | measured | peak planned, kB | measured, kB |")
    print("|---|---|---|---|---|---|---|")
    for name, precision, checkpointing in product(GRIDS, HELD, (False, True)):
        frozen, autocast = HELD[precision]
        real, counted, lengths = both(name, tokenizer, frozen)
        batch = make_batch(counted, lengths, 3)
        step = run_step(counted, batch, checkpointing=checkpointing, autocast=autocast)
        peak, operations = measured(real, make_batch(real, lengths, 3, "cpu"), checkpointing, autocast)
        print(
            f"| `{name}` | {NAMES[precision]} | {'checkpointed' if checkpointing else 'kept'} | {step.flops / 1e6:.1f} "
            f"| {operations / 1e6:.1f} | {step.activations / 1e3:.0f} | {peak / 1e3:.0f} |"
        )


if __name__ == "__main__":
    main()
