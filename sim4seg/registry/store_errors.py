"""The store's own errors in words, outages told apart from refusals."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sim4seg.errors import RegistryError, Sim4SegError, Unreachable

REMEDY = "check the address in MLFLOW_TRACKING_URI, or, for the local registry, mlflow.db and mlartifacts/"
LATER = "check that the model registry and its database run and can be reached, then run the same command again"
BUSY_CODES = ("TEMPORARILY_UNAVAILABLE", "DEADLINE_EXCEEDED", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED")
LASTING_DATABASE = re.compile(r"authentication failed|does not exist|no password supplied|permission denied")
OUTAGE_WORDS = re.compile(
    r"error code (429|50[0234])|too many 5\d\d error responses|Could not connect to the endpoint|SlowDown|"
    r"Service ?Unavailable|InternalError|Connection refused|Connection reset|Connection aborted|Read timed out|"
    r"Max retries exceeded"
)
"""MLflow gathers the failures of several downloads into one text, without the errors themselves."""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_outage(error: BaseException) -> bool | None:
    """Whether one error of a chain is an outage; None if it does not say."""
    from mlflow.exceptions import MlflowException, RestException
    from requests.exceptions import ConnectionError as NoConnection
    from requests.exceptions import HTTPError, RetryError, SSLError, Timeout
    from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

    if isinstance(error, DBAPIError):
        text = str(error.orig)
        if type(error.orig).__module__.startswith("sqlite3"):
            return "database is locked" in text
        lost = isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated
        return lost and not LASTING_DATABASE.search(text)
    if isinstance(error, SSLError):
        return False
    if isinstance(error, NoConnection | Timeout | RetryError | ConnectionError | TimeoutError):
        return True
    if isinstance(error, HTTPError) and error.response is not None:
        return error.response.status_code == 429 or error.response.status_code in (500, 502, 503, 504)
    if isinstance(error, RestException) and error.get_http_status_code() in (429, 500, 502, 503, 504):
        return True
    if isinstance(error, MlflowException) and OUTAGE_WORDS.search(str(error)):
        return True
    return None


def translated(error: Exception, where: str) -> Sim4SegError:
    """What to raise in place of an error of MLflow, its database or its connection."""
    from mlflow.exceptions import MlflowException

    outage = next((verdict for one in _chain(error) if (verdict := _is_outage(one)) is not None), None)
    if outage is None:
        outage = isinstance(error, MlflowException) and error.error_code in BUSY_CODES
    line = (str(error).splitlines() or [type(error).__name__])[0]
    if outage:
        return Unreachable(f"the model registry cannot be reached: {line}", where=where, remedy=LATER)
    return RegistryError(f"the model registry failed: {line}", where=where, remedy=REMEDY)


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn the store's own errors into ones with a remedy.

    Raises:
        Unreachable: server, database or artifact store is out of reach, timed out, or says that it is out of order.
        RegistryError: anything else that it refused.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except Sim4SegError:
        raise
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise translated(error, where) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("botocore", "boto3", "s3transfer"):
            raise
        from sim4seg.storage.client import explained as explained_by_storage

        with explained_by_storage(where, kind=RegistryError):
            raise
