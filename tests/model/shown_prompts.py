"""A segmenter that gives back what it is prompted with, and inputs for the mask path to prompt it."""

import numpy as np
import torch

from sim4seg.model.configuration import SAM_DEFAULTS
from sim4seg.model.segmenter import Segmenter
from tests.parity import formulas

SAM_SIDE, PROMPT, WIDTH, CELLS = 64, 16, 4, 5
SHAPES = [(60, 96), (96, 36), (50, 50)]
"""Of the images; where they lie in the squares no pixel's centre falls on a border of cells."""
TOKENS = 6
"""A side of the LVLM's token grid."""


class PromptShown(Segmenter):
    """Gives back what it is prompted with: the dense prompt as the mask, embedding and ``[SEG]`` state as the IoU."""

    def decode(self, image_embeddings, seg, mask_prompt):
        shown = torch.full((len(seg), PROMPT, PROMPT), -1.0) if mask_prompt is None else mask_prompt[:, 0]
        number = image_embeddings[:, 0, 0, 0].repeat_interleave(len(seg) // len(image_embeddings))
        return shown, 100 * number + seg[:, 0]


def inputs(answers=1, seed=0):
    """E_seg (B * answers, C), E_img (B, T, C), embeddings (B, 1, 1, 1) that number the images, and the geometry."""
    rng = np.random.default_rng(seed)
    seg, image = rng.normal(size=(len(SHAPES) * answers, WIDTH)), rng.normal(size=(len(SHAPES), TOKENS**2, WIDTH))
    shares = [[size / TOKENS / 10 for size in formulas.letterboxed(*shape, TOKENS * 10)] for shape in SHAPES]
    geometry = {
        "vision_grid": torch.full((len(SHAPES), 2), TOKENS),
        "vision_affine": torch.tensor([[width, 0, height, 0] for height, width in shares]),
        "sam_extent": torch.tensor([formulas.letterboxed(*shape, SAM_SIDE) for shape in SHAPES]) / SAM_SIDE,
    }
    embeddings = torch.arange(len(SHAPES)).float().view(-1, 1, 1, 1)
    return torch.tensor(seg).float(), torch.tensor(image).float(), embeddings, geometry


def settings_of(top_n=5, enabled=True):
    return {"enabled": enabled, "grid": CELLS, "rule": "top_n", "top_n": top_n, "mass": 0.5}


def prompt_shown() -> PromptShown:
    """One of SAM's smallest sizes."""
    small = {"image_size": SAM_SIDE, "patch_size": 16, "embed_dim": 8, "depth": 1, "num_heads": 2, "prompt_dim": 8}
    rest = {"global_attn_indexes": [0], "window_size": 2, "decoder_depth": 1, "decoder_mlp_dim": 8, "decoder_heads": 1}
    return PromptShown({**SAM_DEFAULTS, **small, **rest})
