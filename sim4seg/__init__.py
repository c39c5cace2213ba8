"""Sim4Seg: medical diagnosis segmentation as a reproducible pipeline (AAAI 2026, arXiv 2511.06665)."""

__version__ = "0.1.0"
