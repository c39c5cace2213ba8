"""Model registry: register, promote by rules, roll back, resolve. MLflow is imported by the first call, not before."""

from sim4seg.registry.journal import Entry
from sim4seg.registry.promotion import Promotion, history, promote, rollback
from sim4seg.registry.registration import Registration, register_model
from sim4seg.registry.resolution import resolve

__all__ = ["Entry", "Promotion", "Registration", "history", "promote", "register_model", "resolve", "rollback"]
