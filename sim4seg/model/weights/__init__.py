"""Weights in and out: published checkpoints read with suspicion, adapters kept apart or folded in, models sent out."""
