"""The model in Hugging Face conventions: configuration, processor, modeling, presets."""

from sim4seg.model.loading import load

__all__ = ["load"]
