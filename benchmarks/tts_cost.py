"""What test-time scaling costs: m x n answers against one greedy answer.

    python benchmarks/tts_cost.py                                    # random weights, answers of a fixed length
    python benchmarks/tts_cost.py --model models/sim4seg --batch 32  # a trained model, answers of its own length

Trains nothing and needs no data. Both ways take turns. Prints minimum, median and maximum over the repeats, of wall
time and of the process's CPU time, and of their ratios within a pair; on a machine that is busy with other work only
CPU time with --threads 1 says much.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn

from sim4seg.offline import silence

silence()

from sim4seg.config.params import load_params  # noqa: E402
from sim4seg.inference.tts import answer_batch  # noqa: E402
from sim4seg.model import load  # noqa: E402
from sim4seg.model.presets import build  # noqa: E402
from sim4seg.model.tokenizer import load_tokenizer, train_tokenizer  # noqa: E402

QUESTION = "Where is the lesion in this image, and what is the diagnosis?"
TEMPERATURE = 0.7


def random_model(preset: str) -> tuple[Any, Any]:
    """A model whose head never writes the end token, so that every answer has the full length."""
    with tempfile.TemporaryDirectory() as folder:
        train_tokenizer([QUESTION, "Sure, it is [SEG]. Finally: benign"], 1024, Path(folder) / "tokenizer")
        tokenizer = load_tokenizer(Path(folder) / "tokenizer")
    train = load_params().train
    model, processor = build(preset, tokenizer, train.region, train.loss, seed=0)
    plain = model.lvlm.lm_head
    head = nn.Linear(plain.in_features, plain.out_features)
    head.weight.data = plain.weight.data.clone()
    nn.init.zeros_(head.bias)
    head.bias.data[tokenizer.eos_token_id] = -1e4
    model.lvlm.lm_head = head
    return model.eval(), processor


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a trained model; without it random weights")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--tts", default="2x2", metavar="MxN")
    parser.add_argument("--batch", type=int, default=1, help="images at a time")
    parser.add_argument("--length", type=int, default=100, help="tokens of an answer; at most, for a trained model")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model, processor = load(arguments.model) if arguments.model else random_model(arguments.preset)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (256, 256, 3), dtype=np.uint8) for _ in range(arguments.batch)]
    paths, perturbations = map(int, arguments.tts.split("x"))

    def seconds(m: int, n: int) -> tuple[float, float]:
        begun = time.perf_counter(), time.process_time()
        answer_batch(
            model,
            processor,
            images,
            [QUESTION] * arguments.batch,
            paths=m,
            perturbations=n,
            temperature=TEMPERATURE,
            max_new_tokens=arguments.length,
            seeds=list(range(arguments.batch)),
        )
        return time.perf_counter() - begun[0], time.process_time() - begun[1]

    seconds(paths, perturbations)  # warm up
    pairs = [(seconds(1, 1), seconds(paths, perturbations)) for _ in range(arguments.repeats)]
    print(f"{arguments.batch} image(s), {arguments.length} tokens, {arguments.repeats} repeats: min / median / max")
    for clock, kind in enumerate(("wall", "CPU")):
        rows = {
            f"one greedy answer, {kind} s": [one[clock] for one, _ in pairs],
            f"TTS {arguments.tts}, {kind} s": [many[clock] for _, many in pairs],
            f"ratio of {kind} times": [many[clock] / one[clock] for one, many in pairs],
        }
        for name, values in rows.items():
            print(f"{name:<28}{min(values):8.3f}{median(values):8.3f}{max(values):8.3f}")


if __name__ == "__main__":
    main()
