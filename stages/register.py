"""Stage register: the scored model becomes a version in the registry, with the alias ``candidate``."""

from pathlib import Path

from sim4seg.config.params import Params
from stages.entry import run


def main(params: Params) -> None:
    """Register with the ``register`` section."""
    from sim4seg.registry.registration import register_model

    done = register_model(params.register_, model_dir=Path("models/sim4seg"), out=Path("reports/register.json"))
    print(f"{done.name} version {done.version}, sha256 {done.digest[:12]}, is the candidate")


if __name__ == "__main__":
    run("register", main)
