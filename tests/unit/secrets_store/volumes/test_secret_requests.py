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


@pytest.mark.parametrize(
    ("resource", "status", "told"),
    [
        (
            "secrets",
            403,
            "failed to patch secrets: no (the right to patch secrets comes with ClusterRole "
            "secretprovidersyncing-role)",
        ),
        (
            "pods",
            403,
            "failed to patch pods: no (the right to patch pods comes with ClusterRole "
            "secretproviderclasses-role)",
        ),
        ("secrets", 401, "failed to patch secrets: no"),
    ],
)
def test_reason_names_the_right(resource: str, status: int, told: str) -> None:
    error = errors.Forbidden("no", status=status)
    assert secret_requests.Refused("patch", error, resource=resource).reason == told
