"""A team's servers on loopback, a clone of the project that works against them, and what a user would do there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from infra.identities import ADMIN
from infra.local.stack import Stack
from infra.local.web import request
from sim4seg.config.overlay import laid_over
from sim4seg.git import git
from tests.pipeline.project import SMALL, Project
from tests.ports import PORTS
from tests.settings import settings

REAL = "SIM4SEG_REAL_IMAGES"
"""Folder with real sub-datasets in their original layouts; phantoms stand in for them where it is not set."""
BUCKET = "s3://data/studies"
TERMINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
SETTINGS: dict[str, Any] = {
    "fetch": {"source": "s3", "root": BUCKET},
    "gate_data": {"max_label_share": 1.0, "min_rows": 4},
    "train": {"epochs": 1.0, "word_dropout": 0.0},
    "evaluate": {"tts": {"paths": 1, "perturbations": 1}},
    "register": {"beat_baselines": False, "margin": 1.0, "subgroup_margin": 1.0},
    "retrain": {"git_remote": "origin", "retries": 2, "retry_seconds": 1.0},
}
"""A few training steps make no model that is better by rules; what is tested is the road."""


def images(folder: Path) -> list[Path]:
    """Files of one sub-dataset in its original layout below ``folder``, sorted."""
    real = os.environ.get(REAL)
    if real:
        root, name = Path(real), "Dataset_BUSI_with_GT"
    else:
        root, name = folder, "Dataset_BUSI_with_GT"
        if not (root / name).is_dir():
            _paint(root)
    return sorted(p for p in (root / name).rglob("*") if p.is_file() and p.suffix == ".png")


def _paint(root: Path) -> None:
    """Phantoms of one sub-dataset, as `fetch` would write them."""
    from sim4seg.config.base import Base
    from sim4seg.config.fetch import PhantomCounts
    from sim4seg.data.sources.phantoms import PhantomSource

    source = PhantomSource(
        settings(Base, seed=17, workers=1), settings(PhantomCounts, train=24, val=4, test=8, size=96)
    )
    everything = root.with_name("painted")
    everything.mkdir(parents=True)
    source.fetch(source.take_snapshot(), everything)
    shutil.copytree(everything / "Dataset_BUSI_with_GT", root / "Dataset_BUSI_with_GT")


class Team:
    """Servers, bucket, git remote, a clone and a worker.

    Args:
        folder: holds everything.
        changes: to the parameters, over :data:`SETTINGS`.
    """

    def __init__(self, folder: Path, changes: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        self.project = Project(folder / "project")
        self.workspace = self.project.folder
        self.stack = Stack(folder / "stack", workspace=self.workspace, ports=PORTS)
        self._configure(laid_over(SETTINGS, dict(changes or {})))
        self._uploaded = 0

    def _configure(self, changes: dict[str, Any]) -> None:
        file = self.workspace / "params.yaml"
        values = laid_over(laid_over(yaml.safe_load(file.read_text()), SMALL), changes)
        file.write_text(yaml.safe_dump(values, sort_keys=False))
        remote = self.folder / "remote.git"
        subprocess.run(["git", "init", "-q", "--bare", str(remote)], check=True)
        git(self.workspace, "config", "user.name", "t")
        git(self.workspace, "config", "user.email", "t@localhost")
        git(self.workspace, "remote", "add", "origin", str(remote))
        git(self.workspace, "add", "-A")
        git(self.workspace, "commit", "-qm", "Parameters of the team")

    def up(self) -> None:
        """All servers, the DVC remote, the deployments, then the worker."""
        worker = self.stack.services.pop("worker")
        self.stack.up()
        for arguments in (
            ("remote", "add", "--local", "-d", "team", "s3://dvc/cache"),
            ("remote", "modify", "--local", "team", "endpointurl", self.stack.endpoint),
            ("remote", "modify", "--local", "team", "profile", "dvc"),
        ):
            self.run("dvc", *arguments)
        self.run("prefect", "work-pool", "create", "sim4seg", "--type", "process", "--overwrite")
        self.run("prefect", "work-pool", "create", "sim4seg-gpu", "--type", "process", "--overwrite")
        self.run("prefect", "--no-prompt", "deploy", "--all")
        worker.environment = {**worker.environment, **self.environment}
        self.stack.services["worker"] = worker
        worker.start()

    @property
    def environment(self) -> dict[str, str]:
        """What the worker and a user's shell have set."""
        return {
            **self.project.environment,
            **self.stack.env(),
            "SIM4SEG_WORKSPACE": str(self.workspace),
            "SIM4SEG_WORKSPACE_NAME": "ward",
            "SIM4SEG_EXPORT": "s3://champion/sim4seg",
            "SIM4SEG_EXPORT_PROFILE": "exporter",
        }

    def run(self, *command: str, code: int = 0, **environment: str) -> str:
        """A command as a user types it, in the project's folder, with ``environment`` over what is set."""
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.workspace,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def upload(self, count: int) -> int:
        """Put up to ``count`` further images, with their masks, into the bucket; how many files there are now."""
        files = images(self.folder / "painted-busi")
        store = self.stack.s3(ADMIN)
        stems = sorted({file.name.split("_mask")[0].removesuffix(".png") for file in files}, key=_interleaved)
        chosen = set(stems[self._uploaded : self._uploaded + count])
        for file in files:
            if file.name.split("_mask")[0].removesuffix(".png") in chosen:
                key = f"studies/Dataset_BUSI_with_GT/{file.parent.name}/{file.name}"
                store.put_object(Bucket="data", Key=key, Body=file.read_bytes())
        self._uploaded += len(chosen)
        return self._uploaded

    def api(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """A call of the Prefect server's API."""
        env = self.stack.env()
        for attempt in range(4):
            try:
                return request(f"{env['PREFECT_API_URL']}/{path}", login=env["PREFECT_API_AUTH_STRING"], body=body)
            except TimeoutError:  # a busy machine; nothing that is asked here does harm twice
                if attempt == 3:
                    raise
        raise AssertionError("not reached")

    def schedule(self, seconds: float) -> None:
        """Give the retraining's deployment an interval in place of its nightly schedule."""
        found = self.api("deployments/name/sim4seg-retrain/scheduled")
        self._drop_schedules(found)
        self.api(
            f"deployments/{found['id']}/schedules",
            [{"active": True, "schedule": {"interval": seconds, "anchor_date": "2026-01-01T00:00:00Z"}}],  # type: ignore[arg-type]
        )

    def _drop_schedules(self, deployment: dict[str, Any]) -> None:
        env = self.stack.env()
        for old in self.api(f"deployments/{deployment['id']}")["schedules"]:
            place = f"{env['PREFECT_API_URL']}/deployments/{deployment['id']}/schedules/{old['id']}"
            request(place, login=env["PREFECT_API_AUTH_STRING"], method="DELETE")

    def stop_schedule(self) -> None:
        """Pause the retraining's deployment and wait until nothing is at work; runs are then started by hand."""
        found = self.api("deployments/name/sim4seg-retrain/scheduled")
        self.api(f"deployments/{found['id']}/pause_deployment", {})
        open_states = {"RUNNING", "PENDING"}
        self.wait(lambda: not any(run["state"]["type"] in open_states for run in self.runs()))
        self.api(f"deployments/{found['id']}/resume_deployment", {})
        self._drop_schedules(found)

    def resume(self, run: str, answer: dict[str, Any]) -> None:
        """Answer a suspended run, as the page's form does."""
        said = self.api(f"flow_runs/{run}/resume", {"run_input": answer})
        assert said["status"] == "ACCEPT", said

    def start(self, *command: str) -> subprocess.Popen[str]:
        """A command in the background."""
        return subprocess.Popen(
            [sys.executable, "-m", *command], cwd=self.workspace, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def versions(self) -> list[dict[str, str]]:
        """Number and snapshot of every registered version."""
        code = (
            "from mlflow import MlflowClient as C; import json; print('@' + json.dumps([{'version': str(v.version), "
            "'snapshot': v.tags['sim4seg.snapshot_sha256']} for v in C().search_model_versions(\"name='sim4seg'\")]))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=self.workspace, env=self.environment, capture_output=True, text=True
        )
        return list(json.loads(done.stdout.partition("@")[2]))

    def start_run(self, deployment: str = "sim4seg-retrain/scheduled", **parameters: Any) -> str:
        """Start a flow run now, as the page's button does; its id."""
        found = self.api(f"deployments/name/{deployment}")
        return str(self.api(f"deployments/{found['id']}/create_flow_run", {"parameters": parameters})["id"])

    def runs(self, flow: str = "sim4seg-retrain") -> list[dict[str, Any]]:
        """Flow runs, oldest first."""
        found = self.api("flow_runs/filter", {"flows": {"name": {"any_": [flow]}}, "sort": "EXPECTED_START_TIME_ASC"})
        return [run for run in found if run["state"]]

    def wait(self, what: Callable[[], Any], seconds: float = 420) -> Any:
        """Poll until ``what`` gives something true."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = what()
            if found:
                return found
            time.sleep(1)
        raise AssertionError(f"not within {seconds} s; runs: {[(r['name'], r['state']['name']) for r in self.runs()]}")

    def ended(self, run: str) -> dict[str, Any]:
        """The state in which a flow run ended."""

        def over() -> Any:
            state = self.api(f"flow_runs/{run}")["state"]
            return state if state["type"] in TERMINAL else None

        return dict(self.wait(over))

    def history(self) -> list[dict[str, Any]]:
        """The promotion log."""
        return list(json.loads(self.run("sim4seg.cli", "history", "--json")))

    def logs(self) -> Iterator[Path]:
        """Every log of the servers."""
        yield from sorted((self.stack.folder / "logs").glob("*.log"))


def _interleaved(stem: str) -> tuple[str, str]:
    """Sort key that mixes the labels: "benign (3)" by its number first."""
    label, _, number = stem.partition(" ")
    return number, label
