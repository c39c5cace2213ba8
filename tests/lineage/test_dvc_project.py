"""DVC's settings as this project reads them, against what DVC itself says."""

import os
import subprocess
import sys

import pytest

from sim4seg.lineage.dvc_lock import LineageError
from sim4seg.lineage.dvc_project import default_remote, run_dvc
from tests.lineage.conftest import run

pytestmark = pytest.mark.slow

REMOTE = "[core]\n    remote = {0}\n['remote \"{0}\"']\n    url = ../../store\n"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A DVC project without a remote, and no settings of the user's."""
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "user"))
    monkeypatch.setenv("DVC_SYSTEM_CONFIG_DIR", str(tmp_path / "system"))
    (tmp_path / "project/.dvc").mkdir(parents=True)
    return tmp_path / "project"


def said_by_dvc(folder):
    return run(folder, sys.executable, "-m", "dvc", "config", "core.remote").strip()


@pytest.mark.parametrize("place", ["project/.dvc/config", "project/.dvc/config.local", "user/config", "system/config"])
def test_the_default_remote_is_the_one_that_dvc_uses(project, place):
    assert default_remote(project) is None
    file = project.parent / place
    file.parent.mkdir(exist_ok=True)
    file.write_text(REMOTE.format("near"))
    assert default_remote(project) == "near" == said_by_dvc(project)


def test_the_nearer_setting_wins(project):
    (project.parent / "user").mkdir()
    (project.parent / "user/config").write_text(REMOTE.format("far"))
    (project / ".dvc/config.local").write_text(REMOTE.format("near"))
    assert default_remote(project) == "near" == said_by_dvc(project)


def test_settings_that_cannot_be_read(project):
    (project / ".dvc/config").write_text("[co")
    with pytest.raises(LineageError, match="DVC's settings cannot be read"):
        default_remote(project)


def test_what_a_killed_dvc_left_half_written_does_not_stop_the_next(tmp_path):
    """As when a reproduction is killed and started again."""
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    run(tmp_path, sys.executable, "-m", "dvc", "init", "-q")
    (tmp_path / "dvc.yaml").write_text("stages:\n  one:\n    cmd: echo made > one.txt\n    outs: [one.txt]\n")
    said = []
    for torn in (".dvc/tmp/rwlock", "dvc.lock"):
        (tmp_path / torn).write_text("")
        run_dvc(tmp_path, os.environ, "repro", "--force", show=said.append)
    assert sum("left half written" in line for line in said) == 2, said
    assert (tmp_path / "one.txt").read_text() == "made\n"
