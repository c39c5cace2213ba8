"""Stage evaluate: the trained model, running free on the test split."""

from pathlib import Path

from sim4seg.config.params import Params
from stages.entry import run


def main(params: Params) -> None:
    """Score with the ``evaluate`` section and print the results table."""
    from sim4seg.evaluation.evaluate import Outputs, evaluate

    outputs = Outputs(
        cases=Path("reports/cases.parquet"),
        metrics=Path("reports/metrics.json"),
        results=Path("reports/results.md"),
        per_dataset=Path("reports/per_dataset.csv"),
    )
    evaluate(
        params.base.seed,
        params.evaluate,
        model=Path("models/sim4seg"),
        shards=Path("data/shards"),
        manifest=Path("data/manifest_cot.parquet"),
        outputs=outputs,
        work=Path("work"),
        embeddings=Path("data/embeddings"),
    )
    print(outputs.results.read_text(encoding="utf-8"))


if __name__ == "__main__":
    run("evaluate", main)
