"""What a refused request says and means; the requests themselves: tests/apiserver/test_sync.py."""

import pytest

from secrets_store import errors
from secrets_store.volumes import secret_requests


@pytest.mark.parametrize(
    ("verb", "error", "overtaken"),
    [
        ("patch", errors.Conflict("old"), True),
        ("create", errors.AlreadyExists("there"), True),
        ("patch", errors.NotFound("gone"), True),
        ("create", errors.NotFound("no namespace"), False),
        ("patch", errors.Rejected("no"), False),
        ("patch", errors.Forbidden("no"), False),
        ("get", errors.Unavailable("away"), False),
    ],
)
def test_another_look_is_worth_it_only_where_somebody_else_was_faster(
    verb: str, error: errors.ApiError, overtaken: bool
) -> None:
    assert secret_requests.Refused(verb, error).overtaken is overtaken


RIGHT = 'secrets is forbidden: User "driver" cannot patch resource "secrets" in namespace "shop"'
QUOTA = 'secrets "app" is forbidden: exceeded quota: all, requested: count/secrets=1'
ENDING = 'secrets "app" is forbidden: unable to create new content in namespace shop'


@pytest.mark.parametrize(
    ("resource", "error", "role"),
    [
        ("secrets", errors.Forbidden(RIGHT, status=403), "secretprovidersyncing-role"),
        ("pods", errors.Forbidden(RIGHT, status=403), "secretproviderclasses-role"),
        # Admission refuses with the same status; no role would help.
        ("secrets", errors.Forbidden(QUOTA, status=403), ""),
        ("secrets", errors.Forbidden(ENDING, status=403), ""),
        ("secrets", errors.Forbidden("Unauthorized", status=401), ""),
        ("secrets", errors.Rejected("cannot be", status=422), ""),
    ],
)
def test_reason_names_the_right_where_one_is_missing(
    resource: str, error: errors.ApiError, role: str
) -> None:
    told = secret_requests.Refused("patch", error, resource=resource).reason

    hint = f" (the right to patch {resource} comes with ClusterRole {role})" if role else ""
    assert told == f"failed to patch {resource}: {error}{hint}"
    assert secret_requests.is_denial(error) is bool(role)
