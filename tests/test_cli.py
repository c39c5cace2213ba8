"""The command line, in process and once as a real process."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from sim4seg.cli.app import SUBJECTS, app
from sim4seg.cli.predict import parse_tts
from sim4seg.doctor import Check, check_libraries, check_params, check_snapshot, examine
from sim4seg.errors import Sim4SegError
from tests.model.conftest import built, tokenizer  # noqa: F401

RUNNER = CliRunner()
KEYS = {"diagnosis", "text", "confidence", "mask", "overlay", "similarity", "model_version", "seconds"}
COMMANDS = [command.__name__.replace("_", "-") for commands in SUBJECTS.values() for command in commands]
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def model(built, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    folder = tmp_path_factory.mktemp("model")
    for part in built:
        part.save_pretrained(folder)
    return folder


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "scan.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 90, 3)).astype(np.uint8)).save(path)
    return path


def test_predict_prints_json_and_nothing_else(model: Path, image: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sim4seg.cli", "predict", str(image), "Where is it?"]
    command += ["--model", str(model), "--out", "p", "--json"]
    done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert set(report) == KEYS
    for name in ("mask", "overlay", "similarity"):
        with Image.open(tmp_path / report[name]) as picture:
            assert picture.size == (90, 70)
    assert re.fullmatch(r"sha256:[0-9a-f]{12}", report["model_version"])
    assert 0 <= report["confidence"] <= 1


def test_predict_for_people(model: Path, image: Path, tmp_path: Path) -> None:
    call = ["predict", str(image), "Where is it?", "--model", str(model), "--out", str(tmp_path / "p"), "--tts", "2x2"]
    done = RUNNER.invoke(app, call)
    assert done.exit_code == 0, done.output
    for word in ("diagnosis", "confidence", "scan_mask.png", "scan_overlay.png", "scan_similarity.png"):
        assert word in done.output
    assert len(list((tmp_path / "p").iterdir())) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.png", "Where?"], "no such image"),
        (["IMAGE", " "], "question is empty"),
        (["IMAGE", "Where?", "--tts", "2by2"], "cannot read '2by2'"),
        (["IMAGE", "Where?", "--tts", "0x2"], "cannot read '0x2'"),
        (["IMAGE", "Where?", "--model", "nowhere"], "not a Sim4Seg model"),
        (["TEXT", "Where?", "--model", "MODEL"], "notes.png"),
    ],
)
def test_mistakes_are_explained(model: Path, image: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "notes.png").write_text("not an image")
    places = {"IMAGE": str(image), "TEXT": str(tmp_path / "notes.png"), "MODEL": str(model)}
    done = RUNNER.invoke(app, ["predict", *(places.get(argument, argument) for argument in arguments)])
    assert done.exit_code != 0
    assert done.stdout == ""
    assert message in done.stderr and "remedy:" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_examples(command: str) -> None:
    done = RUNNER.invoke(app, [command, "--help"])
    assert done.exit_code == 0
    assert "Examples:" in done.output and f"sim4seg {command}" in done.output


def test_help_waits_for_no_other_part_of_the_project() -> None:
    """What a command needs, of the project and of libraries, is imported by the command that needs it."""
    code = (
        "import sys; from typer.testing import CliRunner; from sim4seg.cli import app\n"
        "print(CliRunner().invoke(app, ['--help']).exit_code, *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    exit_code, *modules = done.stdout.split()
    ours = {name for name in modules if name.startswith("sim4seg.") and not name.startswith("sim4seg.cli")}
    assert exit_code == "0" and ours == {"sim4seg.errors", "sim4seg.loopback", "sim4seg.offline"}
    assert not {"torch", "mlflow", "transformers", "pandas", "numpy", "monai", "yaml"} & set(modules)


def test_snapshot_lists_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIM4SEG_SOURCE_ROOT", "/nowhere")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "data" / "generic").mkdir(parents=True)
    (tmp_path / "data" / "generic" / "a.txt").write_text("abc")
    done = RUNNER.invoke(app, ["snapshot", "--source", "local", "--root", "data"])
    assert done.exit_code == 0, done.output
    assert "1 objects" in done.stdout and "fetch.source to local" in done.stdout
    entry = json.loads((tmp_path / "source.snapshot.json").read_text())["objects"][0]
    assert entry == {"key": "generic/a.txt", "size": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}
    refused = RUNNER.invoke(app, ["snapshot", "--source", "tape"])
    assert refused.exit_code == 1 and "no such kind of source: 'tape'" in refused.stderr


def test_phantoms_are_painted_the_same_twice(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        done = RUNNER.invoke(app, ["phantoms", str(tmp_path / name), "--key", "busi", "--columns", "2", "--size", "96"])
        assert done.exit_code == 0, done.output
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    done = RUNNER.invoke(app, ["phantoms", str(tmp_path / "three.png"), "--key", "bsui"])
    assert done.exit_code == 1 and "no such sub-dataset: bsui" in done.stderr and "busi" in done.stderr


@pytest.mark.parametrize(("text", "numbers"), [("2x3", (2, 3)), ("1X16", (1, 16)), (" 4x1 ", (4, 1))])
def test_tts_is_read(text: str, numbers: tuple[int, int]) -> None:
    assert parse_tts(text) == numbers


@pytest.mark.parametrize("text", ["", "2", "x", "2x", "2x2x2", "17x1", "-1x2", "²x2", "1e1x2"])
def test_other_tts_is_refused(text: str) -> None:
    with pytest.raises(Sim4SegError, match="cannot read"):
        parse_tts(text)


def verdicts(root: Path) -> dict[str, Check]:
    return {check.name: check for check in examine(root)}


def test_doctor_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = RUNNER.invoke(app, ["doctor", "--json"])
    assert done.exit_code == 1
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    for name in ("git", "dvc", "params.yaml"):
        assert checks[name]["state"] == "fail" and checks[name]["remedy"]
    assert checks["python"]["state"] == checks["libraries"]["state"] == "ok"


def test_doctor_checks_params_and_snapshot(tmp_path: Path) -> None:
    shipped = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(shipped.replace("source: phantoms", "source: local"))
    (tmp_path / "source.snapshot.json").write_text('{"kind": "phantoms"}')
    valid, params = check_params(tmp_path)
    assert valid.state == "ok" and params is not None
    assert check_snapshot(tmp_path, params).state == "fail"
    assert "sim4seg snapshot --source local" in check_snapshot(tmp_path, params).remedy
    (tmp_path / "source.snapshot.json").write_text('{"kind": "local", "objects": []}')
    assert check_snapshot(tmp_path, params).state == "ok"
    (tmp_path / "source.snapshot.json").write_text("{")
    assert check_snapshot(tmp_path, params).state == "fail"
    wrong = shipped.replace("source: phantoms", "source: nowhere").replace("epochs: 3.25", "epochs: 0")
    (tmp_path / "params.yaml").write_text(wrong)
    broken, _ = check_params(tmp_path)
    assert broken.state == "fail" and "2 mistakes" in broken.message


def test_doctor_finds_a_broken_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brokenlibrary.py").write_text("raise ImportError('no symbol')")
    monkeypatch.syspath_prepend(tmp_path)
    found = check_libraries(("brokenlibrary",), ("typer",))
    assert found.state == "fail" and "no symbol" in found.message
    assert check_libraries((), ("typer",)).state == "ok"


def test_history_promote_and_rollback_say_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    assert "no promotion yet" in RUNNER.invoke(app, ["history"]).output
    for command in (["promote"], ["promote", "--decline", "--why", "x"], ["rollback", "1"]):
        refused = RUNNER.invoke(app, command)
        assert refused.exit_code != 0
        assert "error:" in refused.output
