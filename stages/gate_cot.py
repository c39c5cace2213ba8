"""Stage gate_cot: refuses the reasoning texts, before training."""

from pathlib import Path

from sim4seg.config.params import Params
from stages.entry import run


def main(params: Params) -> None:
    """Check with the thresholds of the ``gate_cot`` section."""
    from sim4seg.quality.cot_suite import cot_suite
    from sim4seg.quality.gate import GatePaths, run_gate

    paths = GatePaths.in_project("gate_cot", Path("data/manifest_cot.parquet"))
    run_gate("gate_cot", cot_suite, params.gate_cot, paths)


if __name__ == "__main__":
    run("gate_cot", main)
