"""The project itself, copied whole into another folder with parameters that make every stage a matter of seconds."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from flows.dvc_runner import DVC
from sim4seg.config.overlay import laid_over
from sim4seg.lineage.dvc_graph import read_graph

ROOT = Path(__file__).parents[2]
COPIED = (
    "sim4seg", "stages", "flows", "dvc.yaml", "params.yaml", "prefect.yaml", "source.snapshot.json", ".dvcignore",
    ".gitignore",
)  # fmt: skip
SMALL: dict[str, Any] = {
    "base": {"workers": 1},
    "fetch": {"phantoms": {"train": 3, "val": 1, "test": 1, "size": 96}},
    "ingest": {"vocabulary_size": 600},
    "train": {"epochs": 1.0, "batch_size": 8, "checkpoints": 2, "threads": 1, "bf16": "off"},
    "evaluate": {"batch_size": 8, "max_new_tokens": 16, "threads": 1, "controls": {"cases": 1}},
}


class Project:
    """A copy of the project in ``folder``, under git and DVC, nothing run yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(source, folder / name)
        (folder / ".dvc").mkdir()
        for name in ("config", ".gitignore"):
            shutil.copyfile(ROOT / ".dvc" / name, folder / ".dvc" / name)
        file = folder / "params.yaml"
        file.write_text(yaml.safe_dump(laid_over(yaml.safe_load(file.read_text()), SMALL), sort_keys=False))
        self.run("git", "init", "-q")
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", "start")

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_TRACKING")}
        return {**kept, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(self.folder)}

    def start(self, *command: str) -> subprocess.Popen[str]:
        """A process in a session of its own, so that it can be killed with all its children."""
        out = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=out, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip

    def run(self, *command: str) -> None:
        """Run to the end; it must end well."""
        child = self.start(*command)
        said, _ = child.communicate(timeout=600)
        assert child.returncode == 0, said

    def repro(self, stage: str) -> None:
        """As the flow does it."""
        self.run(*DVC, "repro", "--single-item", stage)

    def kill(self, seconds: float, *command: str) -> bool:
        """Start, wait, kill -9 the process and its children; False if it had ended before."""
        child = self.start(*command)
        time.sleep(seconds)
        alive = child.poll() is None
        if alive:
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        return alive

    def digests(self) -> dict[str, str]:
        """MD5 of every output by path, as dvc.lock records them."""
        lock = yaml.safe_load((self.folder / "dvc.lock").read_text())
        return {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage["outs"]}


def stages() -> list[str]:
    """The stages in the order in which they run."""
    return list(read_graph(ROOT / "dvc.yaml"))
