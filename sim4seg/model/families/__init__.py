"""LVLM families with a known image grid."""

from __future__ import annotations

from typing import Any

import sim4seg.model.efficientnet_lite  # noqa: F401  # a vision tower that transformers does not know by itself
from sim4seg.errors import ModelError
from sim4seg.model.families.base import Family
from sim4seg.model.families.llava import Llava
from sim4seg.model.families.qwen2_5_vl import Qwen25VL

FAMILIES: dict[str, Family] = {family.model_type: family for family in (Llava(), Qwen25VL())}


def family_named(model_type: str, where: str = "") -> Family:
    """The family of a model type.

    Raises:
        ModelError: none is known; the message names those that are.
    """
    if model_type not in FAMILIES:
        raise ModelError(
            f"no token grid is known for an LVLM of type {model_type!r}; known: {', '.join(sorted(FAMILIES))}",
            where=where,
            remedy="use an LVLM of a known family, or add its family (sim4seg/model/families)",
        )
    return FAMILIES[model_type]


def family_of(lvlm_config: Any) -> Family:
    """The family of an LVLM's configuration.

    Raises:
        ModelError: the family is unknown, or this member of it has an unknown token grid.
    """
    family = family_named(lvlm_config.model_type)
    family.check(lvlm_config)
    return family
