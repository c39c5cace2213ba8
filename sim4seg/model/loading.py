"""Loading a finished model, and refusing one whose file does not hold exactly its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim4seg.errors import ModelError

if TYPE_CHECKING:
    from sim4seg.model.modeling import Sim4SegForConditionalGeneration
    from sim4seg.model.processing import Sim4SegProcessor


def load(directory: Path | str, device: str | None = None) -> tuple[Sim4SegForConditionalGeneration, Sim4SegProcessor]:
    """Load a finished model and its processor from a directory, ready for inference.

    Args:
        directory: folder of the model.
        device: where it shall run; None = :func:`sim4seg.device.best_device`.

    Raises:
        ModelError: the directory does not hold a Sim4Seg model (the message lists what is missing), or its weights are
            damaged or not those of its configuration.
    """
    from sim4seg.device import best_device
    from sim4seg.model.modeling import Sim4SegForConditionalGeneration
    from sim4seg.model.processing import Sim4SegProcessor
    from sim4seg.model.weights.checkpoint import open_checkpoint

    folder = Path(directory)
    missing = [name for name in ("config.json", "processor.json", "tokenizer.json") if not (folder / name).is_file()]
    if not any((folder / name).is_file() for name in ("model.safetensors", "model.safetensors.index.json")):
        missing.insert(0, "model.safetensors")
    if missing:
        raise ModelError(
            f"not a Sim4Seg model: {', '.join(missing)} missing",
            where=str(folder),
            remedy="run `dvc repro train`, or give the folder that a training run wrote",
        )
    open_checkpoint(folder)  # transformers would follow a name that leads out, and not say what is wrong with a file
    model, report = Sim4SegForConditionalGeneration.from_pretrained(
        folder, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True
    )
    refuse_uneven(report, folder)
    for parameter in model.parameters():
        # Weights mapped from the file lie at odd addresses, for which some kernels sum in another order;
        # copies lie where freshly built ones do, so that a loaded model answers to the last bit as the saved one did.
        parameter.data = parameter.data.clone()
    return model.to(device or best_device()).eval(), Sim4SegProcessor.from_pretrained(folder)


def refuse_uneven(report: dict[str, Any], folder: Path) -> None:
    """Raise where the loader filled what is missing at random and went on; such a model must not answer."""
    unexpected, missing = sorted(report["unexpected_keys"]), sorted(report["missing_keys"])
    shapes = [f"{name}: stored {list(a)}, wanted {list(b)}" for name, a, b in sorted(report["mismatched_keys"])]
    parts = {"not of this model": unexpected, "missing": missing, "of another shape": shapes}
    texts = [f"{len(names)} weights {what} ({'; '.join(names[:5])})" for what, names in parts.items() if names]
    if texts:
        adapters = any("lora_" in name for name in unexpected)
        raise ModelError(
            ", ".join(texts),
            where=str(folder),
            remedy="fold the adapters in with `sim4seg merge-lora`"
            if adapters
            else "give config.json and weights of one model",
        )
