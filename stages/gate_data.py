"""Stage gate_data: refuses the manifest, before anything is made of it."""

from pathlib import Path

from sim4seg.config.params import Params
from stages.entry import run


def main(params: Params) -> None:
    """Check with the thresholds of the ``gate_data`` section."""
    from sim4seg.quality.data_suite import data_suite
    from sim4seg.quality.gate import GatePaths, run_gate

    paths = GatePaths.in_project("gate_data", Path("data/manifest.parquet"))
    run_gate("gate_data", data_suite, params.gate_data, paths)


if __name__ == "__main__":
    run("gate_data", main)
