"""What a new team stack needs once: buckets and the MLflow user. ``python -m infra.setup``; again is harmless.

Reads AWS_ENDPOINT_URL, MLFLOW_TRACKING_URI and the secrets of ``infra/.env.example`` from the environment.
"""

from __future__ import annotations

import os

from infra.identities import ADMIN, secret_name
from infra.local.object_store import client, create_buckets
from infra.local.servers import create_mlflow_user


def main() -> None:
    """Make what is missing."""
    create_buckets(client(os.environ["AWS_ENDPOINT_URL"], ADMIN, os.environ[secret_name(ADMIN)]))
    create_mlflow_user(os.environ["MLFLOW_TRACKING_URI"].rstrip("/"), os.environ)
    print("buckets and users are there")


if __name__ == "__main__":
    main()
