"""Model registry: register, assess, promote by rules, decline, roll back, resolve.

MLflow is imported by the first call, not before.
"""

from sim4seg.errors import NotPromoted
from sim4seg.registry.assessment import Assessment, assess
from sim4seg.registry.known_versions import Known, decision, find_version, find_versions
from sim4seg.registry.promotion import Promotion, decline, history, promote, refuse, rollback
from sim4seg.registry.promotion_log import Entry
from sim4seg.registry.registration import Registration, register_model
from sim4seg.registry.resolution import resolve

__all__ = [
    "Assessment",
    "Entry",
    "Known",
    "NotPromoted",
    "Promotion",
    "Registration",
    "assess",
    "decision",
    "decline",
    "find_version",
    "find_versions",
    "history",
    "promote",
    "refuse",
    "register_model",
    "resolve",
    "rollback",
]
