"""The whole of params.yaml: read, checked, every mistake reported at once."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from sim4seg.config.base import Base
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
from sim4seg.errors import ConfigError


class Params(Section):
    """The whole of params.yaml."""

    base: Base = Base()
    fetch: Fetch = Fetch()
    ingest: Ingest = Ingest()
    gate_data: GateData = GateData()
    generate_cot: GenerateCot = GenerateCot()
    gate_cot: GateCot = GateCot()
    embed: Embed = Embed()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    register_: Register = Field(default=Register(), alias="register")
    retrain: Retrain = Retrain()


def _line_of(node: yaml.Node | None, path: tuple[int | str, ...]) -> int:
    """1-based line of the deepest node on ``path`` that exists in the composed document."""
    line = 1
    for key in path:
        if not isinstance(node, yaml.MappingNode):
            break
        for key_node, value_node in node.value:
            if key_node.value == key:
                line, node = key_node.start_mark.line + 1, value_node
                break
        else:
            break
    return line


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and check the whole parameter file.

    Raises:
        ConfigError: the file is missing, is not YAML, or has mistakes; all of them are listed with their lines.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text) or {}
    except OSError as error:
        raise ConfigError(
            f"cannot read the parameters: {error.strerror}",
            where=str(file),
            remedy="run from the project's folder, where params.yaml is",
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML: {error}", where=str(file), remedy="mend the syntax") from error
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        found = []
        for item in error.errors():
            keys = tuple(item["loc"])
            name = ".".join(str(key) for key in keys) or "(top level)"
            found.append(f"  line {_line_of(root, keys)}: {name}: {item['msg']} (got {item['input']!r})")
        raise ConfigError(
            f"{len(found)} mistake{'s' if len(found) > 1 else ''} in the parameters:\n" + "\n".join(sorted(found)),
            where=str(file),
            remedy="mend every line listed; sim4seg/config documents each key, one file a section",
        ) from error
