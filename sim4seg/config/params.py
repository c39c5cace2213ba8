"""The whole of params.yaml: read, checked, every mistake reported at once."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from sim4seg.config.augment import AUGMENT_OR_EMBED
from sim4seg.config.base import Base
from sim4seg.config.document import checked, read_document
from sim4seg.config.embed import Embed
from sim4seg.config.evaluate import Evaluate
from sim4seg.config.fetch import Fetch
from sim4seg.config.gate_cot import GateCot
from sim4seg.config.gate_data import GateData
from sim4seg.config.generate_cot import GenerateCot
from sim4seg.config.ingest import Ingest
from sim4seg.config.register import Register
from sim4seg.config.retrain import Retrain
from sim4seg.config.section import Section
from sim4seg.config.train import Train


class Params(Section):
    """The whole of params.yaml."""

    base: Base
    fetch: Fetch
    ingest: Ingest
    gate_data: GateData
    generate_cot: GenerateCot
    gate_cot: GateCot
    embed: Embed
    train: Train
    evaluate: Evaluate
    register_: Register = Field(alias="register")
    retrain: Retrain

    @model_validator(mode="after")
    def _images_are_as_embedded(self) -> Params:
        if self.embed.enabled and self.train.augment.enabled:
            raise ValueError(
                "train.augment changes the images that embed.enabled encodes once, as they are: " + AUGMENT_OR_EMBED
            )
        return self


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and check the whole parameter file.

    Raises:
        ConfigError: the file is missing, is not YAML, or has mistakes; all of them are listed with their lines.
    """
    return checked(Params, read_document(Path(path)))
