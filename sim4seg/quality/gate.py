"""Run a suite over a manifest: report first, then refuse or issue the ticket that downstream depends on."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel

from sim4seg.atomic import atomic_directory, write_json, write_text
from sim4seg.data.manifest import read_manifest
from sim4seg.digest import digest_file
from sim4seg.errors import GateRefused
from sim4seg.offline import silence

silence()  # Great Expectations calls home when a context is made, unless told not to before.

import great_expectations as gx  # noqa: E402
from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult  # noqa: E402
from great_expectations.data_context.types.base import ProgressBarsConfig  # noqa: E402
from great_expectations.expectations.expectation import Expectation  # noqa: E402
from great_expectations.render.renderer import ValidationResultsPageRenderer  # noqa: E402
from great_expectations.render.view import DefaultJinjaPageView  # noqa: E402

SHOWN = 20
"""Offending rows named in a report."""

NAMED = 5
"""Offending rows named in the message."""


@dataclass(frozen=True)
class Check:
    """One expectation with the name that reports and messages use for it."""

    name: str
    expectation: Expectation


@dataclass(frozen=True)
class GatePaths:
    """Where a gate reads and writes."""

    manifest: Path
    report: Path
    docs: Path
    ticket: Path

    @classmethod
    def in_project(cls, gate: str, manifest: Path) -> GatePaths:
        """The places in a project folder that bear a gate's name."""
        return cls(manifest, Path(f"reports/{gate}.json"), Path(f"reports/{gate}"), Path(f"data/gates/{gate}.json"))


Suite = Callable[[pd.DataFrame, Any], tuple[pd.DataFrame, list[Check]]]
"""From manifest and thresholds to the frame that is validated (with derived columns) and the checks."""


def run_gate(name: str, suite: Suite, thresholds: BaseModel, paths: GatePaths) -> None:
    """Validate a manifest; write report and Data Docs; issue the ticket or refuse.

    The ticket holds the digest of what was checked and nothing of the thresholds: a changed threshold re-runs the
    gate, and what is downstream only if the data changed.

    Raises:
        GateRefused: an expectation failed; the message names it, what was found and the rows.
        DataError: the manifest cannot be read.
    """
    frame, checks = suite(read_manifest(paths.manifest), thresholds)
    result = _validate(frame, checks)
    outcomes = {_config(outcome).meta["check"]: outcome for outcome in result.results}
    summaries = [_summary(check, outcomes[check.name], len(frame)) for check in checks]
    report = {
        "success": all(one["success"] for one in summaries),
        "suite": name,
        "thresholds": thresholds.model_dump(mode="json"),
        "rows": len(frame),
        "expectations": summaries,
    }
    with atomic_directory(paths.docs) as docs:
        write_text(docs / "index.html", data_docs(result, name))
    write_json(paths.report, report)
    failed = [one for one in summaries if not one["success"]]
    if failed:
        raise GateRefused(refusal(name, failed), where=f"{paths.report}, {paths.docs}/index.html", remedy=_remedy(name))
    write_json(paths.ticket, {"passed": True, "data": digest_file(paths.manifest)})


def _remedy(name: str) -> str:
    return f"mend the rows named, or change the thresholds in the {name} section of params.yaml; then `dvc repro`"


def refusal(name: str, failed: list[dict[str, Any]]) -> str:
    """What a user reads when a gate refuses."""
    lines = [f"{name} refused: {len(failed)} expectation{'s' if len(failed) > 1 else ''} failed"]
    for one in failed:
        lines.append(f"  - {one['name']}: found {one['observed']}, expected {one['expected']}")
        if one["rows"]:
            more = f" … {one['unexpected_count']} in all" if one["unexpected_count"] > NAMED else ""
            lines.append(f"      rows: {', '.join(one['rows'][:NAMED])}{more}")
    return "\n".join(lines)


def _config(outcome: Any) -> Any:
    """The configuration of the expectation that an outcome belongs to."""
    return outcome.expectation_config


def _validate(frame: pd.DataFrame, checks: list[Check]) -> ExpectationSuiteValidationResult:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    asset = context.data_sources.add_pandas("manifest").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    for check in checks:
        # Results come back in another order than the expectations went in; the name is how they find each other.
        check.expectation.meta = {"check": check.name}
    suite = gx.ExpectationSuite(name="gate", expectations=[check.expectation for check in checks])
    form = {"result_format": "COMPLETE", "unexpected_index_column_names": ["place"], "include_unexpected_rows": False}
    result = batch.validate(suite, result_format=form)
    for outcome in result.results:
        value = (outcome.result or {}).get("observed_value")
        if isinstance(value, np.generic):
            outcome.result["observed_value"] = value.item()  # the page renderer knows Python numbers only
    return result


def _summary(check: Check, outcome: Any, rows: int) -> dict[str, Any]:
    """One line of the report; a broken expectation (its column is missing, say) counts as failed."""
    result = outcome.result or {}
    places = [str(item["place"]) for item in result.get("unexpected_index_list") or []]
    unexpected = int(result.get("unexpected_count") or 0)
    error = _exception(outcome)
    return {
        "name": check.name,
        "column": str(outcome.expectation_config.kwargs.get("column", "")),
        "success": bool(outcome.success),
        "expected": _expected(outcome.expectation_config.kwargs),
        "observed": error or _observed(result, unexpected, rows),
        "unexpected_count": unexpected,
        "rows": sorted(set(places))[:SHOWN],
    }


def _exception(outcome: Any) -> str:
    text = str(outcome.exception_info or "")
    match = re.search(r"'exception_message': ['\"](.+?)['\"],", text)
    return match.group(1).splitlines()[0][:200] if match and match.group(1) != "None" else ""


def _observed(result: dict[str, Any], unexpected: int, rows: int) -> str:
    value = result.get("observed_value")
    if value is not None:
        return f"{value:.4g}" if isinstance(value, float) and math.isfinite(value) else str(value)
    return f"{unexpected} of {rows} rows against it"


def _expected(kwargs: dict[str, Any]) -> str:
    shown = {k: v for k, v in kwargs.items() if k not in {"batch_id", "column", "column_list"} and v is not None}
    text = ", ".join(f"{k} {v}" for k, v in sorted(shown.items()))
    return text if len(text) < 300 else text[:297] + "…"


_STYLE = (
    "<style>body{font:14px system-ui,sans-serif;margin:2rem}table{border-collapse:collapse}"
    "td,th{border:1px solid #ccc;padding:.3rem .6rem;vertical-align:top}.hidden,.modal{display:none}</style>"
)


def data_docs(result: ExpectationSuiteValidationResult, name: str) -> str:
    """Great Expectations' own page, without anything it would load from elsewhere and without clock or run ids."""
    result.meta = {"great_expectations_version": result.meta.get("great_expectations_version", "")}
    page = DefaultJinjaPageView().render(ValidationResultsPageRenderer(run_info_at_end=True).render(result))
    page = re.sub(r"<script\b.*?</script>|<link\b[^>]*>|<img\b[^>]*>|<iframe\b.*?</iframe>", "", page, flags=re.S)
    page = re.sub(r"https?://[^\"'\s<>]+", "", page)
    page = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*(?:Z|[+-]\d\d:?\d\d)?|\d{8}T\d{6}[.\d]*Z", "", page)
    page = re.sub(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "", page)
    return page.replace("</head>", f"<title>{name}</title>{_STYLE}</head>")
