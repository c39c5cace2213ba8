"""Who may do what in the S3 store: the policies of ``infra/policies`` as SeaweedFS reads them.

    python -m infra.identities OUT

writes SeaweedFS's configuration from the secrets in the environment (``S3_ADMIN_SECRET``, ``S3_READER_SECRET`` and so
on); on AWS the same policy files go to IAM users or roles as they are.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sim4seg.errors import Sim4SegError

POLICIES = Path(__file__).parent / "policies"
ROLES = ("reader", "dvc", "mlflow", "exporter")
"""Identities with a policy file each; the name is the access key too."""
BUCKETS = ("data", "dvc", "mlflow", "champion")
VERSIONED = ("data", "champion")
"""Buckets that keep overwritten objects: what the studies were, what the champion was."""
ADMIN = "admin"


class IdentityError(Sim4SegError):
    """A secret is missing."""


def secret_name(identity: str) -> str:
    """Environment variable that holds the identity's secret key."""
    return f"S3_{identity.upper()}_SECRET"


def identities(secrets: Mapping[str, str]) -> dict[str, Any]:
    """SeaweedFS's ``-s3.config``: an administrator, and the roles with nothing but their policies.

    Raises:
        IdentityError: a secret is missing or empty.
    """
    missing = [secret_name(one) for one in (ADMIN, *ROLES) if not secrets.get(secret_name(one))]
    if missing:
        raise IdentityError(
            f"secrets are missing: {', '.join(missing)}",
            where="environment",
            remedy="set them, see infra/.env.example",
        )
    users: list[dict[str, Any]] = [
        {
            "name": one,
            "credentials": [{"accessKey": one, "secretKey": secrets[secret_name(one)]}],
            **({"actions": ["Admin", "Read", "Write", "List"]} if one == ADMIN else {"policyNames": [one]}),
        }
        for one in (ADMIN, *ROLES)
    ]
    policies = [{"name": one, "content": (POLICIES / f"{one}.json").read_text(encoding="utf-8")} for one in ROLES]
    return {"identities": users, "policies": policies}


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, from its first byte on."""
    partial = path.with_name(f".{path.name}.part")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
    partial.replace(path)


if __name__ == "__main__":
    try:
        write_private(Path(sys.argv[1]), json.dumps(identities(os.environ), indent=1))
    except (IdentityError, IndexError) as error:
        sys.exit(str(error) if isinstance(error, IdentityError) else __doc__)
