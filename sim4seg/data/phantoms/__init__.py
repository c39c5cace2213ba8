"""Phantoms: procedural images of five modalities for the ten sub-datasets, so that everything runs without data."""

from sim4seg.data.phantoms.catalogue import KEYS, paint_case, paint_dataset

__all__ = ["KEYS", "paint_case", "paint_dataset"]
