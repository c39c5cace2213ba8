"""Outages of the model registry are told from refusals: closed ports, failing servers, a locked database."""

import sqlite3

import pytest

from sim4seg.config.register import Register
from sim4seg.errors import RegistryError, Unreachable
from sim4seg.registry import promote, resolve
from tests.ports import free_port
from tests.settings import settings
from tests.storage.test_outages import answering  # noqa: F401


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (503, "out of order", Unreachable),
        (502, "", Unreachable),
        (500, '{"error_code": "INTERNAL_ERROR", "message": "database gone"}', Unreachable),
        (401, "who are you", RegistryError),
        (403, '{"error_code": "PERMISSION_DENIED", "message": "no"}', RegistryError),
        (200, "this is no registry", RegistryError),
    ],
)
def test_what_a_server_answers(answering, monkeypatch, tmp_path, status, body, kind):  # noqa: F811
    monkeypatch.setenv("MLFLOW_TRACKING_URI", answering(status, body))
    with pytest.raises(kind) as caught:
        resolve("models:/sim4seg@champion", tmp_path)
    assert caught.value.exit_code == (75 if kind is Unreachable else 1)
    with pytest.raises(kind):
        promote(settings(Register), 1, tmp_path)


def test_a_closed_port(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Unreachable, match="cannot be reached"):
        resolve("models:/sim4seg/1", tmp_path)


@pytest.mark.parametrize(
    ("text", "outage"),
    [
        ("connection refused", True),
        ("server closed the connection unexpectedly", True),
        ('password authentication failed for user "x"', False),
        ('database "x" does not exist', False),
    ],
)
def test_a_database_server(text, outage):
    from sqlalchemy.exc import OperationalError

    from sim4seg.registry.store_errors import explained

    with pytest.raises(Unreachable if outage else RegistryError), explained("postgresql://"):
        raise OperationalError("select 1", {}, Exception(text))


def test_a_locked_file_is_an_outage_and_a_broken_one_is_not(monkeypatch):
    from sqlalchemy.exc import OperationalError

    from sim4seg.registry.store_errors import explained

    for text, kind in (("database is locked", Unreachable), ("no such table: runs", RegistryError)):
        with pytest.raises(kind), explained("mlflow.db"):
            raise OperationalError("select 1", {}, sqlite3.OperationalError(text))
