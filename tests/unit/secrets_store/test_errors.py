import inspect
from collections.abc import Iterator

import grpc
import pytest

from secrets_store import errors

Code = errors.Code
CAUSE = errors.ProviderFailed("rpc error: code = Unavailable desc = x", code=Code.UNAVAILABLE)
CASES: list[tuple[errors.DriverError, Code, str, str]] = [
    (errors.InvalidRequest("a rule"), Code.INVALID_ARGUMENT, "FailedToMount", "a rule"),
    (
        errors.PathRejected("/a/../b", "must be clean"),
        Code.INVALID_ARGUMENT,
        "FailedToMount",
        "invalid target path '/a/../b': must be clean",
    ),
    (errors.ClassNotNamed(), Code.UNKNOWN, "FailedToMount", "secretProviderClass is not set"),
    (
        errors.ClassMissing("team", "db", "not found"),
        Code.UNKNOWN,
        "SecretProviderClassNotFound",
        "failed to get secretproviderclass team/db, error: not found",
    ),
    (
        errors.ClassUnreadable("team", "db", "timed out"),
        Code.UNAVAILABLE,
        "SecretProviderClassNotFound",
        "failed to get secretproviderclass team/db, error: timed out",
    ),
    (
        errors.ClassInvalid("provider not set in team/db"),
        Code.UNKNOWN,
        "FailedToMount",
        "provider not set in team/db",
    ),
    (
        errors.ProviderMissing("kms", ("/a/kms.sock", "/b/kms.sock")),
        Code.UNKNOWN,
        "ProviderNotFound",
        'error connecting to provider "kms": provider not found: provider "kms" '
        "(looked at /a/kms.sock, /b/kms.sock)",
    ),
    (
        errors.ProviderMissing("k/s", allowed=False),
        Code.UNKNOWN,
        "ProviderNotFound",
        'error connecting to provider "k/s": invalid provider: provider "k/s"',
    ),
    (CAUSE, Code.UNAVAILABLE, "GRPCProviderError", "rpc error: code = Unavailable desc = x"),
    (
        errors.ProviderFailed("provider error code Nope", error_code="Nope"),
        Code.UNKNOWN,
        "ProviderError",
        "provider error code Nope",
    ),
    (errors.PayloadRejected("invalid path"), Code.UNKNOWN, "FileWriteError", "invalid path"),
    (
        errors.FileFailure("a/b", "No space left on device"),
        Code.UNKNOWN,
        "FileWriteError",
        "failed to write a/b: No space left on device",
    ),
    (
        errors.MountFailure("mount tmpfs at", "/a/b", "Permission denied"),
        Code.INTERNAL,
        "FailedToEnsureMountPoint",
        "failed to mount tmpfs at /a/b, err: Permission denied",
    ),
    (
        errors.VolumeBusy("/a/b"),
        Code.ABORTED,
        "FailedToMount",
        "volume at /a/b: another operation is in progress",
    ),
    (
        errors.VolumeBusy("/a/b", "the pod is going away"),
        Code.ABORTED,
        "FailedToMount",
        "volume at /a/b: the pod is going away",
    ),
    (errors.VolumeMismatch("other id"), Code.ALREADY_EXISTS, "FailedToMount", "other id"),
    (errors.VolumeAbsent("no volume"), Code.NOT_FOUND, "FailedToMount", "no volume"),
    (errors.Stopping(), Code.UNAVAILABLE, "FailedToMount", "the driver is shutting down"),
    (
        errors.MountFailed("team", "web-0", CAUSE),
        Code.UNAVAILABLE,
        "GRPCProviderError",
        "failed to mount secrets store objects for pod team/web-0, "
        "err: rpc error: code = Unavailable desc = x",
    ),
    (
        errors.StatusFailed("team", "web-0", errors.Conflict("old", status=409)),
        Code.ABORTED,
        "StatusWriteError",
        "failed to create secret provider class pod status for pod team/web-0, err: old",
    ),
    (
        errors.SecretRejected("team/db", "db", "secret type is empty"),
        Code.UNKNOWN,
        "SecretSyncError",
        "failed to sync secret team/db of spc db, err: secret type is empty",
    ),
    (
        errors.SecretForeign("team/db", "db", "it is somebody else's"),
        Code.UNKNOWN,
        "SecretConflict",
        "failed to sync secret team/db of spc db, err: it is somebody else's",
    ),
    (
        errors.SecretNotWritten("team/db", "db", "503", errors.Unavailable("503", status=503)),
        Code.UNAVAILABLE,
        "SecretSyncError",
        "failed to sync secret team/db of spc db, err: 503",
    ),
    (errors.ApiError("odd"), Code.UNKNOWN, "APIServerError", "odd"),
    (errors.NotFound("no", status=404), Code.UNKNOWN, "APIServerError", "no"),
    (errors.AlreadyExists("is", status=409), Code.UNKNOWN, "APIServerError", "is"),
    (errors.Conflict("old", status=409), Code.ABORTED, "APIServerError", "old"),
    (errors.Gone("gone", status=410), Code.UNKNOWN, "APIServerError", "gone"),
    (errors.Forbidden("may not"), Code.PERMISSION_DENIED, "APIServerError", "may not"),
    (errors.Rejected("bad", reason="Invalid"), Code.UNKNOWN, "APIServerError", "bad"),
    (errors.Unavailable("503", retry_after_s=1), Code.UNAVAILABLE, "APIServerError", "503"),
    (errors.ConfigurationError("bad flag"), Code.UNKNOWN, "FailedToMount", "bad flag"),
]


@pytest.mark.parametrize(
    ("error", "code", "label", "text"), CASES, ids=[type(case[0]).__name__ for case in CASES]
)
def test_code_label_and_sentence(
    error: errors.DriverError, code: Code, label: str, text: str
) -> None:
    assert (error.status_code, error.metric_type, str(error)) == (code, label, text)


def tree(base: type[errors.DriverError] = errors.DriverError) -> Iterator[type[errors.DriverError]]:
    for child in base.__subclasses__():
        yield child
        yield from tree(child)


def test_every_class_of_the_tree_is_in_the_table() -> None:
    ours = {kind for kind in tree() if kind.__module__ == errors.__name__}

    assert ours == {type(case[0]) for case in CASES}


@pytest.mark.parametrize("kind", sorted(tree(), key=str))
def test_every_class_has_a_code_and_a_label(kind: type[errors.DriverError]) -> None:
    assert isinstance(kind.code, Code)
    assert isinstance(kind.error_type, str)
    assert kind.error_type
    assert kind.provider == ""
    assert inspect.getdoc(kind)


def test_the_codes_are_grpc_s() -> None:
    named = {code.name: code.value[0] for code in grpc.StatusCode}

    assert {code.name: int(code) for code in Code} == {
        name: number for name, number in named.items() if name != "OK"
    }


def test_a_retry_s_time_comes_along() -> None:
    assert errors.ProviderFailed("x", retry_after_s=2.5).retry_after_s == 2.5
    assert errors.Unavailable("x", status=429, retry_after_s=7.0).retry_after_s == 7.0


def test_what_kubelet_takes_for_still_running_is_only_what_may_be() -> None:
    not_final = {
        type(error).__name__
        for error, code, _, _ in CASES
        if code
        in {
            Code.CANCELLED,
            Code.DEADLINE_EXCEEDED,
            Code.UNAVAILABLE,
            Code.RESOURCE_EXHAUSTED,
            Code.ABORTED,
        }
    }

    assert not_final == {
        "ClassUnreadable",
        "Conflict",
        "MountFailed",
        "ProviderFailed",
        "SecretNotWritten",
        "StatusFailed",
        "Stopping",
        "Unavailable",
        "VolumeBusy",
    }
