"""The model in Hugging Face conventions: configuration, processor, modeling, presets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim4seg.model.modeling import Sim4SegForConditionalGeneration
    from sim4seg.model.processing import Sim4SegProcessor


def load(directory: Path | str, device: str = "cpu") -> tuple[Sim4SegForConditionalGeneration, Sim4SegProcessor]:
    """Load a finished model and its processor from a directory, ready for inference.

    Raises:
        ModelError: the directory does not hold a Sim4Seg model (the message lists what is missing).
    """
    from sim4seg.errors import ModelError
    from sim4seg.model.modeling import Sim4SegForConditionalGeneration
    from sim4seg.model.processing import Sim4SegProcessor

    folder = Path(directory)
    missing = [
        name
        for name in ("config.json", "model.safetensors", "processor.json", "tokenizer.json")
        if not (folder / name).is_file()
    ]
    if missing:
        raise ModelError(
            f"not a Sim4Seg model: {', '.join(missing)} missing",
            where=str(folder),
            remedy="run `dvc repro train`, or give the folder that a training run wrote",
        )
    model = Sim4SegForConditionalGeneration.from_pretrained(folder, use_safetensors=True)
    for parameter in model.parameters():
        # Weights mapped from the file lie at odd addresses, for which some kernels sum in another order;
        # copies lie where freshly built ones do, so that a loaded model answers to the last bit as the saved one did.
        parameter.data = parameter.data.clone()
    return model.to(device).eval(), Sim4SegProcessor.from_pretrained(folder)
