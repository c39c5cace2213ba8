"""The policy files, enforced by the store: every role tries everything on every bucket."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from infra.identities import ADMIN, BUCKETS, ROLES
from infra.local import object_store
from infra.local.stack import Stack
from tests.infra.test_files import ALLOWED

pytestmark = pytest.mark.slow


def tried(call, **arguments) -> str:
    """``done``, or the error's code."""
    try:
        answer = call(**arguments)
        if "Body" in answer:
            answer["Body"].read()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "done"


@pytest.mark.parametrize("role", ROLES)
def test_a_role_does_what_it_may_and_nothing_else(stack: Stack, role: str):
    admin, store = stack.s3(ADMIN), stack.s3(role)
    own, writes, deletes = ALLOWED[role]
    for bucket in BUCKETS:
        admin.put_object(Bucket=bucket, Key="there", Body=b"x")
        here = bucket == own
        expected = {
            "get": here,
            "list": here,
            "put": here and writes,
            "parts": here and writes,
            "delete": here and deletes,
            "rules": False,
            "bucket": False,
        }
        seen = {
            "get": tried(store.get_object, Bucket=bucket, Key="there"),
            "list": tried(store.list_objects_v2, Bucket=bucket),
            "put": tried(store.put_object, Bucket=bucket, Key=f"by-{role}", Body=b"y"),
            "parts": tried(store.create_multipart_upload, Bucket=bucket, Key=f"parts-{role}"),
            "delete": tried(store.delete_object, Bucket=bucket, Key="there"),
            "rules": tried(store.put_bucket_policy, Bucket=bucket, Policy='{"Version":"2012-10-17","Statement":[]}'),
            "bucket": tried(store.delete_bucket, Bucket=bucket),
        }
        assert seen == {what: "done" if may else "AccessDenied" for what, may in expected.items()}, (role, bucket)
    assert tried(store.create_bucket, Bucket=f"new-{role}") == "AccessDenied"


def test_wrong_keys_are_refused(stack: Stack):
    for key, secret, code in (("reader", "wrong", "SignatureDoesNotMatch"), ("nobody", "x", "InvalidAccessKeyId")):
        store = object_store.client(stack.endpoint, key, secret)
        assert tried(store.get_object, Bucket="data", Key="there") == code


def test_studies_and_champions_keep_old_versions(stack: Stack):
    admin = stack.s3(ADMIN)
    kept = {b for b in BUCKETS if admin.get_bucket_versioning(Bucket=b).get("Status") == "Enabled"}
    assert kept == {"data", "champion"}
