"""The stack's files, as far as they can be checked without docker and without a cluster."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.identities import BUCKETS, ROLES
from infra.local.secrets import NAMES
from sim4seg.offline import SILENT

INFRA = Path(__file__).parents[2] / "infra"
COMPOSE = yaml.safe_load((INFRA / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
ONE_SHOT = {"setup"}
PINNED = re.compile(r"[a-z0-9./-]+:v?\d+\.\d+[\w.-]*")
DOCKERFILE = (INFRA / "docker/Dockerfile").read_text()


def interpolated(text: str) -> str:
    """Compose's ``${NAME:-default}`` with nothing set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_pinned_restarted_and_checked(name: str):
    service = SERVICES[name]
    assert PINNED.fullmatch(interpolated(service["image"])), service["image"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "inside" in service["networks"]
    if name in ONE_SHOT:
        assert service["restart"].startswith("on-failure")
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_on_loopback_but_for_the_proxy(name: str):
    ports = SERVICES[name].get("ports", [])
    assert ports == ["443:443"] if name == "caddy" else all(port.startswith("127.0.0.1:") for port in ports)
    assert name != "postgres" or not ports


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_needs_is_there(name: str):
    service = SERVICES[name]
    for other, condition in service.get("depends_on", {}).items():
        wanted = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
        assert condition == {"condition": wanted} and other in SERVICES
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith("."):
            assert (INFRA / source).is_file()
        elif not source.startswith("$"):
            assert source in COMPOSE["volumes"]


def secret_words(node: Any, path: str = "") -> list[str]:
    """Places where something named like a secret has a value of its own and not a reference."""
    if isinstance(node, dict):
        return [one for key, value in node.items() for one in secret_words(value, f"{path}/{key}")]
    if isinstance(node, list):
        return [one for value in node for one in secret_words(value, path)]
    name, value = path.rpartition("/")[2], str(node)
    named = re.search(r"PASSWORD|SECRET|AUTH_STRING|TOKEN", name) and not re.search(r"STRING_SECRET_(NAME|KEY)$", name)
    return [path] if named and not re.match(r"(admin:)?\$[({]", value) else []


def test_no_secret_is_in_the_files():
    assert secret_words(COMPOSE["services"]) == []
    assert secret_words({"A_PASSWORD": "hunter2", "B": [{"API_AUTH_STRING": "admin:x"}]}) == [
        "/A_PASSWORD",
        "/B/API_AUTH_STRING",
    ]
    example = dict(
        line.split("=", 1) for line in (INFRA / ".env.example").read_text().splitlines() if line[:1].isupper()
    )
    assert {name for name in NAMES if example.get(name) != ""} == set()
    asked = set(re.findall(r"\$\{(\w+)", (INFRA / "compose.yaml").read_text())) - {"AWS_CREDENTIALS"}
    assert asked == set(example)
    ignored = subprocess.run(
        ["git", "check-ignore", "infra/.env", "infra/aws-credentials"], cwd=INFRA.parent, capture_output=True, text=True
    )
    assert len(ignored.stdout.split()) == 2
    for file in INFRA.rglob("*"):
        if file.is_file() and file.suffix != ".pyc":
            assert not re.search(
                rb"AKIA[0-9A-Z]{16}|BEGIN [A-Z ]*PRIVATE KEY|://[^/\s:]+:[^@\s/$\"{\]]+@", file.read_bytes()
            )


def test_the_image_is_locked_calls_nobody_and_is_not_root():
    lines = re.sub(r"\\\n", " ", DOCKERFILE).splitlines()
    words = {line.split()[0] for line in lines if line and not line.startswith("#")}
    assert words <= {"ARG", "FROM", "ENV", "RUN", "COPY", "WORKDIR", "USER", "CMD"}
    stages = [line.split()[3] for line in lines if line.startswith("FROM")]
    assert {"cpu", "cuda"} <= set(stages)
    for line in (line for line in lines if line.startswith("COPY --from=")):
        assert line.split("=")[1].split()[0] in stages
    for target in ("cuda", "cpu"):
        part = DOCKERFILE.split(f" AS {target}\n")[1].split("\nFROM")[0]
        assert part.index("USER 10001") < part.index("CMD")
    assert PINNED.fullmatch(re.search(r"^ARG BASE=(.*)$", DOCKERFILE, re.M)[1])
    installs = [line for line in lines if "pip install" in line]
    assert all("requirements.lock" in one or "--no-deps" in one for one in installs)
    assert {name for name, value in SILENT.items() if f"{name}={value}" not in DOCKERFILE} == set()


def test_both_copies_of_mlflow_s_login_settings_agree():
    copies = [(INFRA / where / "mlflow-auth.ini").read_text() for where in ("docker", "kubernetes/base")]
    assert copies[0] == copies[1] and "password" not in copies[0].split("[mlflow]")[1]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize(("folder", "pool"), [("base", "sim4seg-kubernetes"), ("overlays/gpu", "sim4seg-gpu")])
def test_the_manifests_build(folder: str, pool: str):
    built = subprocess.run(
        ["kubectl", "kustomize", str(INFRA / "kubernetes" / folder)], capture_output=True, text=True, check=True
    ).stdout
    objects = list(yaml.safe_load_all(built))
    assert {o["metadata"].get("namespace") for o in objects} == {"sim4seg"}
    maps = {o["metadata"]["name"]: o for o in objects if o["kind"] == "ConfigMap"}
    assert not [o for o in objects if o["kind"] == "Secret"]
    for deployment in (o for o in objects if o["kind"] == "Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 10001
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert {"readinessProbe", "livenessProbe"} <= set(container)
        assert PINNED.fullmatch(container["image"])
        assert all(v["configMap"]["name"] in maps for v in pod["volumes"] if "configMap" in v)
        assert container["envFrom"][0]["configMapRef"]["name"] in maps
        assert secret_words({e["name"]: e.get("value", "${") for e in container["env"]}) == []
    worker = next(o for o in objects if o["kind"] == "Deployment" and o["metadata"]["name"] == "worker")
    assert f"--pool={pool}" in worker["spec"]["template"]["spec"]["containers"][0]["command"]
    template = next(m for name, m in maps.items() if name.startswith("job-template"))["data"]["job-template.json"]
    check_template(json.loads(template), gpu=pool == "sim4seg-gpu")


def check_template(template: dict[str, Any], gpu: bool) -> None:
    """Each placeholder is a variable and each variable is used, as Prefect's work pools want it."""
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(template["job_configuration"])))
    assert used == set(template["variables"]["properties"])
    pod = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    assert ("nvidia.com/gpu" in pod["containers"][0]["resources"]["limits"]) == gpu
    assert pod["restartPolicy"] == "Never" and pod["securityContext"]["runAsNonRoot"]


WRITES = ("s3:PutObject", "s3:AbortMultipartUpload")
ALLOWED = {  # role: its bucket, and whether it may write and delete there
    "reader": ("data", False, False),
    "dvc": ("dvc", True, False),
    "mlflow": ("mlflow", True, True),
    "exporter": ("champion", True, False),
}


@pytest.mark.parametrize("role", ROLES)
def test_policies_give_each_role_one_bucket(role: str):
    policy = json.loads((INFRA / "policies" / f"{role}.json").read_text())
    bucket, writes, deletes = ALLOWED[role]
    assert policy["Version"] == "2012-10-17" and bucket in BUCKETS
    actions = [action for statement in policy["Statement"] for action in statement["Action"]]
    assert not any("*" in action for action in actions)
    assert any(one in WRITES for one in actions) == writes
    assert [one for one in actions if "Delete" in one] == (["s3:DeleteObject"] if deletes else [])
    for statement in policy["Statement"]:
        objects = all("Object" in a or a.endswith("Upload") or a.endswith("Parts") for a in statement["Action"])
        assert statement["Effect"] == "Allow"
        assert statement["Resource"] == f"arn:aws:s3:::{bucket}{'/*' if objects else ''}"
