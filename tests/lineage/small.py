"""A project of a few lines with the stage names and paths of the real one: real git, DVC, fetch and registry."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from typer.testing import CliRunner

from sim4seg.cli import app
from tests.settings import params

DVC = (sys.executable, "-m", "dvc")
GRAPH = """stages:
  fetch:
    cmd: python stage.py fetch
    deps: [stage.py, source.snapshot.json]
    params: [fetch]
    outs: [data/raw: {cache: false}]
  ingest:
    cmd: python stage.py ingest
    deps: [stage.py, data/raw]
    outs: [data/shards, reports/ingest.json: {cache: false}]
  generate_cot:
    cmd: python stage.py generate_cot
    deps: [stage.py, data/shards]
    outs: [data/manifest_cot.parquet]
  gate_cot:
    cmd: python stage.py gate_cot
    deps: [stage.py, data/manifest_cot.parquet]
    outs: [data/gates/gate_cot.json, reports/gate_cot.json: {cache: false}, reports/gate_data.json: {cache: false}]
  train:
    cmd: python stage.py train
    deps: [stage.py, code, data/shards, data/manifest_cot.parquet, data/gates/gate_cot.json]
    params: [base.seed, train]
    outs: [models/sim4seg]
  evaluate:
    cmd: python stage.py evaluate
    deps: [stage.py, models/sim4seg, data/shards]
    outs: [reports/cases.parquet]
    metrics: [reports/metrics.json: {cache: false}]
  register:
    cmd: python stage.py register
    deps: [stage.py, models/sim4seg, reports/metrics.json]
    outs: [reports/register.json: {cache: false}]
"""
PARAMS = params(fetch={"source": "local", "root": "raw"}, train={"epochs": 1.0, "bf16": "off"})
IGNORED = """/data/
/models/
/work/
/raw/
/mlflow.db*
/mlartifacts/
/registry/
/reports/register.json
/reports/cases.parquet
__pycache__/
"""
STAGES = '''"""Each stage in a line or two; what comes out depends on all that goes in."""
import hashlib, json, os, sys
from pathlib import Path
import yaml

params = yaml.safe_load(open("params.yaml"))

def write(name, data):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())

def number(*names):
    return hashlib.sha256(b"".join(Path(name).read_bytes() for name in names)).digest()[0] / 255

def fetch():
    from sim4seg.config.base import Base
    from sim4seg.config.fetch import Fetch
    from sim4seg.data.fetch import fetch
    given = Base(**params["base"]), Fetch(**params["fetch"])
    fetch(*given, snapshot=Path("source.snapshot.json"), out=Path("data/raw"), work=Path("work"))

def ingest():
    files = sorted(p for p in Path("data/raw").rglob("*") if p.is_file())
    write("data/shards/one.bin", b"".join(p.read_bytes() for p in files))
    write("data/shards/two.bin", b"two")
    write("reports/ingest.json", {"rows": len(files)})

def generate_cot():
    import pyarrow, pyarrow.parquet
    said = {name: ["a", "b"] for name in ("id", "split", "dataset", "modality", "label")}
    table = pyarrow.table({**said, "x": [number("data/shards/one.bin"), 1.0]})
    pyarrow.parquet.write_table(table, "data/manifest_cot.parquet")

def gate_cot():
    data = hashlib.sha256(Path("data/manifest_cot.parquet").read_bytes()).hexdigest()
    write("data/gates/gate_cot.json", {"passed": True, "data": data})
    write("reports/gate_cot.json", {"success": True})
    write("reports/gate_data.json", {"success": True, "suite": "data"})

def train():
    import numpy
    from safetensors.numpy import save
    weight = number("data/shards/one.bin", "code/model.py") * params["train"]["epochs"]
    weight += float(os.environ.get("ANOTHER_MACHINE", 0))
    write("models/sim4seg/config.json", {"preset": "none"})
    write("models/sim4seg/model.safetensors", save({"w": numpy.full(9, weight), "b": numpy.zeros(2)}))

def evaluate():
    import pyarrow, pyarrow.parquet
    giou = number("models/sim4seg/model.safetensors")
    scores = {"giou": giou, "ciou": 0.5, "dice": 0.5, "acc": 0.5, "n": 2}
    pyarrow.parquet.write_table(pyarrow.table({"id": ["a", "b"], "giou": [giou, 0.5]}), "reports/cases.parquet")
    write("reports/metrics.json", {"single": {"mean": scores}, "baselines": {}})

def register():
    from sim4seg.config.register import Register
    from sim4seg.registry import register_model
    register_model(Register(**params["register"]), model_dir=Path("models/sim4seg"), out=Path("reports/register.json"))

globals()[sys.argv[1]]()
'''


class SmallProject:
    """The project in ``folder``, run to its end, committed, and its model registered as version 1.

    Args:
        folder: to make.
        repository: a folder around it that is the git repository; None = it is one itself.
    """

    def __init__(self, folder: Path, repository: Path | None = None) -> None:
        self.folder = folder
        for name in ("images", "masks"):
            (folder / "raw/generic" / name).mkdir(parents=True)
            for number in range(3):
                (folder / "raw/generic" / name / f"{number}.png").write_bytes(f"{name} {number}".encode())
        entries = [
            {"key": key, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for key, data in sorted((str(p.relative_to(folder / "raw")), p.read_bytes()) for p in self.sources())
        ]
        (folder / "source.snapshot.json").write_text(json.dumps({"kind": "local", "objects": entries}))
        for name, text in {
            "dvc.yaml": GRAPH,
            "params.yaml": yaml.safe_dump(PARAMS.model_dump(mode="json", by_alias=True), sort_keys=False),
            "stage.py": STAGES,
            "code/model.py": "# code\n",
            ".gitignore": IGNORED,
            ".dvcignore": "__pycache__\n",
            ".dvc/config": "[core]\n    analytics = false\n    autostage = false\n",
            ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
        }.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        self.run("git", "init", "-q", str(repository or folder))
        self.run(*DVC, "repro", "evaluate")
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", "model")
        self.run(*DVC, "repro", "register")

    def sources(self) -> list[Path]:
        return sorted(p for p in (self.folder / "raw").rglob("*") if p.is_file())

    def run(self, *command: str) -> str:
        """Run to the end; it must end well."""
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def sim4seg(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error of the command line, in this process."""
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            done = CliRunner().invoke(app, list(arguments))
        finally:
            os.chdir(before)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.stdout, done.stderr

    def stored(self, name: str) -> Path:
        """A file of the registered version."""
        return next((self.folder / "mlartifacts").rglob(name))

    def state(self) -> dict[str, str]:
        """Digest of everything that is not scratch: what a reproduction must leave alone."""
        kept = [
            p
            for p in self.folder.rglob("*")
            if p.is_file() and not {".git", "tmp", "work"} & set(p.parts[len(self.folder.parts) :])
        ]
        return {str(p.relative_to(self.folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in kept}

    def forget(self, *names: str) -> None:
        for name in names:
            shutil.rmtree(self.folder / name)
