"""A project of a few lines under the real git and the real DVC, with the stage names and paths of the real one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data.test_s3 import server, store  # noqa: F401  fixtures

ROOT = Path(__file__).parents[2]
IDENTITY = {f"GIT_{who}_{what}": "t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def clear(monkeypatch):
    """git knows who commits; nothing of the developer's own shell decides where a registry or a store is."""
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_DEFAULT_ARTIFACT_ROOT", "SIM4SEG_REGISTRY_DIR", "SIM4SEG_SOURCE_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """For every test here."""
    clear(monkeypatch)


def run(folder, *command, **environment):
    """Run to the end; it must end well."""
    done = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="package")
def project(tmp_path_factory):
    """Made once; a test that changes it puts it back."""
    from tests.lineage.small import SmallProject

    with pytest.MonkeyPatch.context() as patch:
        clear(patch)
        return SmallProject(tmp_path_factory.mktemp("lineage") / "project")
