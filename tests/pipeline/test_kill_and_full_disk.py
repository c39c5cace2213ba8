"""Every stage of the real graph, run through DVC: killed, out of disk, run again, and the same bytes at the end."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.dvc_runner import DVC
from tests.pipeline.project import Project, stages

pytestmark = pytest.mark.slow

FULL_DISK = """
import hashlib, json, subprocess, sys
from pathlib import Path
folder, stage = Path(sys.argv[1]), sys.argv[2]

def mount(*options):
    subprocess.run(["mount", *options], check=True)

def outputs():
    files = [p for name in ("data", "models", "reports") for p in (disk / name).rglob("*") if p.is_file()]
    return {str(p.relative_to(disk)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

# The stage's outputs, scratch included, on a disk of their own that has no room left.
disk = folder.parent / "disk"
disk.mkdir(exist_ok=True)
mount("-t", "tmpfs", "-o", "size=512m", "none", str(disk))
for name in ("data", "models", "reports", "work", "mlartifacts", "registry"):
    (folder / name).mkdir(exist_ok=True)
    subprocess.run(["cp", "-a", str(folder / name), str(disk / name)], check=True)
    mount("--bind", str(disk / name), str(folder / name))
used = sum(f.stat().st_blocks * 512 for f in disk.rglob("*"))
mount("-o", f"remount,size={used + 8192}", str(disk))
before = outputs()
done = subprocess.run([sys.executable, "-m", f"stages.{stage}"], cwd=folder, capture_output=True, text=True)
left = sorted(str(p.relative_to(disk)) for p in disk.rglob("*") if p.name.endswith(".partial"))
after = outputs()
lost = sorted(name for name in before if after.get(name) != before[name])
print(json.dumps({"code": done.returncode, "said": done.stdout + done.stderr, "left": left, "lost": lost}))
"""


def can_mount() -> bool:
    """Whether this machine lets a process mount a small disk of its own."""
    command = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs none /mnt"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, float]]:
    """A project run to its end, and how long each stage took."""
    project = Project(tmp_path_factory.mktemp("undisturbed") / "project")
    seconds = {}
    for stage in stages():
        begun = time.monotonic()
        project.repro(stage)
        seconds[stage] = time.monotonic() - begun
    return project, seconds


def test_killed_in_every_stage(undisturbed: tuple[Project, dict[str, float]], tmp_path: Path) -> None:
    """kill -9 in each stage, late, in the middle and early, DVC and all; then the same command again."""
    whole, seconds = undisturbed
    project, killed = Project(tmp_path / "project"), dict.fromkeys(stages(), 0)
    for stage in stages():
        for share in (0.8, 0.5, 0.3, 0.15, 0.05):
            if killed[stage] < 2:  # a machine that is quicker now ends before the kill
                command = (*DVC, "repro", "--force", "--single-item", stage)
                killed[stage] += project.kill(share * seconds[stage], *command)
        project.repro(stage)
    assert all(killed.values()), killed
    assert project.digests() == whole.digests()
    assert not [p for p in (project.folder / "data").rglob("*") if p.name.endswith((".partial", ".old"))]


@pytest.mark.skipif(not can_mount(), reason="a small disk of one's own needs `unshare -rm`")
@pytest.mark.parametrize("stage", [stage for stage in stages() if stage != "embed"])  # off: its output is a line
def test_disk_full_in_every_stage(undisturbed: tuple[Project, dict[str, float]], tmp_path: Path, stage: str) -> None:
    """No room for the stage's outputs: a message that says what, where and what to do, and nothing half done."""
    whole, _ = undisturbed
    folder = tmp_path / "project"
    shutil.copytree(whole.folder, folder, symlinks=True)
    (folder / "reports/register.json").unlink()
    for made in ("mlflow.db", "mlartifacts", "registry", "work"):
        path = folder / made
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    command = ["unshare", "-rm", sys.executable, "-c", FULL_DISK, str(folder), stage]
    environment = {**whole.environment, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["code"] == 1, result["said"]
    assert "disk" in result["said"] and "remedy" in result["said"] and "Traceback" not in result["said"], result["said"]
    assert not result["left"]
    assert not result["lost"], "earlier outputs are there as they were"
