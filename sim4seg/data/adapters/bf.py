"""Bone Fracture: X-rays with fracture types as YOLO segmentation polygons."""

from __future__ import annotations

from sim4seg.data.adapters.base import register
from sim4seg.data.adapters.yolo import YoloAdapter


@register
class BoneFracture(YoloAdapter):
    """Bone Fracture (Roboflow Universe; a sub-dataset of M3DS, Sim4Seg, arXiv 2511.06665).

    Class names are read from ``data.yaml``; an image with several types gives a sample for each.
    """

    key = "bf"
    folder = "BoneFracture"
    aliases = ("Bone_Fracture", "Bone Fracture", "BF")
    modality = "X-ray"
    title = "Bone Fracture"
    target = "bone fracture"
    written_names = ("comminuted fracture", "oblique fracture", "spiral fracture", "transverse fracture")
