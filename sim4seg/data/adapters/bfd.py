"""Bone Fracture Detection: X-rays with seven classes as YOLO boxes or polygons."""

from __future__ import annotations

from sim4seg.data.adapters.base import register
from sim4seg.data.adapters.yolo import YoloAdapter


@register
class BoneFractureDetection(YoloAdapter):
    """Bone Fracture Detection: A Computer Vision Project (Darabi P. K., Kaggle 2024; Roboflow Universe, veda).

    Most images of the full set have an empty label file: no target, passed over. The published splits share source
    photographs, which is why samples are grouped by photograph.
    """

    key = "bfd"
    folder = "BoneFractureYolo8"
    aliases = ("bone fracture detection.v4-v4.yolov8",)
    modality = "X-ray"
    title = "Bone Fracture Detection"
    target = "bone fracture"
    written_names = (
        "elbow positive",
        "fingers positive",
        "forearm fracture",
        "humerus fracture",
        "humerus",
        "shoulder fracture",
        "wrist positive",
    )
