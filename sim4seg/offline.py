"""Switch off every call home of the libraries we use; import before any of them.

A value the user has already set wins. Hospital networks drop such calls, and a dropped call is a hang.
"""

from __future__ import annotations

import os

SILENT = {
    "GX_ANALYTICS_ENABLED": "False",
    "DVC_NO_ANALYTICS": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "MPLBACKEND": "Agg",
    "TOKENIZERS_PARALLELISM": "false",
    "NO_ALBUMENTATIONS_UPDATE": "1",
}


def silence() -> None:
    """Set the environment variables of :data:`SILENT` that are not set yet."""
    for name, value in SILENT.items():
        os.environ.setdefault(name, value)
