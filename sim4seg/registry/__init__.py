"""Model registry: register, assess, promote by rules, decline, roll back, resolve.

MLflow is imported by the first call, not before.
"""

from sim4seg.errors import NotPromoted
from sim4seg.registry.assessment import Assessment, assess
from sim4seg.registry.known_versions import KnownVersion, decision, newest_of_snapshot, versions_of_snapshot
from sim4seg.registry.promotion import Promotion, decline, history, promote, refuse, rollback
from sim4seg.registry.promotion_log import LogEntry
from sim4seg.registry.registration import Registration, register_model
from sim4seg.registry.resolution import params_beside, resolve

__all__ = [
    "Assessment",
    "KnownVersion",
    "LogEntry",
    "NotPromoted",
    "Promotion",
    "Registration",
    "assess",
    "decision",
    "decline",
    "history",
    "newest_of_snapshot",
    "params_beside",
    "promote",
    "refuse",
    "register_model",
    "resolve",
    "rollback",
    "versions_of_snapshot",
]
