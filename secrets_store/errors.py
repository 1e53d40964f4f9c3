"""Everything that can go wrong, as one tree of classes.

A class fixes the gRPC code that kubelet sees and the ``error_type`` label that the metrics carry;
an instance carries facts. Its sentence names the object and the rule and never holds a secret.
kubelet reads CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE, RESOURCE_EXHAUSTED and ABORTED as "may
still be running" and keeps the target directory; every other code is final.

This module is imported by the pure model, so it knows neither grpc nor the operating system.
Source: gRPC status codes; upstream's codes and texts are those of the v1.6 driver.
"""

import enum
from typing import ClassVar


class Code(enum.IntEnum):
    """gRPC status codes, by their wire number."""

    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class DriverError(Exception):
    """Base of the tree; never raised itself.

    Attributes:
        provider: Name of the provider a publish had come to, for the metrics; empty before.
    """

    provider = ""
    code: ClassVar[Code] = Code.UNKNOWN
    error_type: ClassVar[str] = "FailedToMount"

    @property
    def status_code(self) -> Code:
        """The gRPC code of this instance; most classes fix it."""
        return self.code

    @property
    def metric_type(self) -> str:
        """The ``error_type`` label of this instance, from a closed set."""
        return self.error_type


class InvalidRequest(DriverError):
    """A request breaks a rule of CSI or of this driver."""

    code = Code.INVALID_ARGUMENT


class ClassNotNamed(DriverError):
    """The volume attributes do not name a SecretProviderClass."""

    def __str__(self) -> str:
        return "secretProviderClass is not set"


class ClassMissing(DriverError):
    """The SecretProviderClass could not be read."""

    error_type = "SecretProviderClassNotFound"

    def __init__(self, namespace: str, name: str, reason: str) -> None:
        super().__init__(namespace, name, reason)
        self.namespace, self.name, self.reason = namespace, name, reason

    def __str__(self) -> str:
        return (
            f"failed to get secretproviderclass {self.namespace}/{self.name}, error: {self.reason}"
        )


class ClassUnreadable(ClassMissing):
    """The API server could not be asked for the class in time; kubelet may try again."""

    code = Code.UNAVAILABLE


class ClassInvalid(DriverError):
    """The SecretProviderClass lacks something or breaks a rule."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule

    def __str__(self) -> str:
        return self.rule


class ProviderMissing(DriverError):
    """No socket of that name in the provider directories, or the name is not allowed."""

    error_type = "ProviderNotFound"

    def __init__(self, name: str, places: tuple[str, ...] = (), *, allowed: bool = True) -> None:
        super().__init__(name, places)
        self.name, self.places, self.allowed = name, places, allowed

    def __str__(self) -> str:
        what = "provider not found" if self.allowed else "invalid provider"
        where = f" (looked at {', '.join(self.places)})" if self.places else ""
        return f'error connecting to provider "{self.name}": {what}: provider "{self.name}"{where}'


class ProviderFailed(DriverError):
    """The provider answered with an error, or with nothing usable in time.

    Attributes:
        answered: The provider's own gRPC code, or what the channel made of its absence.
        error_code: ``MountResponse.error.code``, if that is how it failed.
        retry_after_s: From google.rpc.RetryInfo, if the provider sent one.
    """

    error_type = "GRPCProviderError"

    def __init__(
        self,
        message: str,
        *,
        code: Code = Code.UNKNOWN,
        error_code: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.answered = message, code
        self.error_code, self.retry_after_s = error_code, retry_after_s

    @property
    def status_code(self) -> Code:
        return self.answered

    @property
    def metric_type(self) -> str:
        # Upstream puts the provider's own word here, which any provider could make unbounded.
        return "ProviderError" if self.error_code else self.error_type

    def __str__(self) -> str:
        return self.message


class PayloadRejected(DriverError):
    """The files in a provider's answer break a rule; nothing was written."""

    error_type = "FileWriteError"


class FileFailure(DriverError):
    """A file inside a volume could not be written or read."""

    error_type = "FileWriteError"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"failed to write {self.path}: {self.reason}"


class MountFailure(DriverError):
    """mount, umount, mkdir, rmdir or stat of a target path failed."""

    code = Code.INTERNAL
    error_type = "FailedToEnsureMountPoint"

    def __init__(self, action: str, path: str, reason: str) -> None:
        super().__init__(action, path, reason)
        self.action, self.path, self.reason = action, path, reason

    def __str__(self) -> str:
        return f"failed to {self.action} {self.path}, err: {self.reason}"


class PathRejected(InvalidRequest):
    """A target path is not one this driver may touch."""

    def __init__(self, path: str, rule: str) -> None:
        super().__init__(path, rule)
        self.path, self.rule = path, rule

    def __str__(self) -> str:
        return f"invalid target path {self.path!r}: {self.rule}"


class VolumeBusy(DriverError):
    """Another operation on the same volume has not ended, or the volume is going away."""

    code = Code.ABORTED

    def __init__(self, path: str, reason: str = "another operation is in progress") -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"volume at {self.path}: {self.reason}"


class VolumeMismatch(DriverError):
    """The target holds another volume than the one the request names."""

    code = Code.ALREADY_EXISTS


class VolumeAbsent(DriverError):
    """No volume of this driver is mounted at the path."""

    code = Code.NOT_FOUND


class Stopping(DriverError):
    """The process is shutting down and takes no new work."""

    code = Code.UNAVAILABLE

    def __str__(self) -> str:
        return "the driver is shutting down"


class MountFailed(DriverError):
    """A publish failed; wraps the cause in upstream's sentence and keeps its code and label."""

    def __init__(self, namespace: str, pod: str, cause: DriverError) -> None:
        super().__init__(namespace, pod, cause)
        self.namespace, self.pod, self.cause = namespace, pod, cause

    @property
    def status_code(self) -> Code:
        return self.cause.status_code

    @property
    def metric_type(self) -> str:
        return self.cause.metric_type

    def __str__(self) -> str:
        return (
            f"failed to mount secrets store objects for pod {self.namespace}/{self.pod}, "
            f"err: {self.cause}"
        )


class StatusFailed(MountFailed):
    """The SecretProviderClassPodStatus could not be written."""

    error_type = "StatusWriteError"

    @property
    def metric_type(self) -> str:
        return self.error_type

    def __str__(self) -> str:
        return (
            "failed to create secret provider class pod status for pod "
            f"{self.namespace}/{self.pod}, err: {self.cause}"
        )


class SecretRejected(DriverError):
    """A Secret of ``secretObjects`` breaks a rule; it stays as it is until somebody acts.

    Attributes:
        secret: ``namespace/name``, or the entry's place in the class where it has no name.
        class_name: Of the SecretProviderClass.
        reason: The rule, with names of objects, keys and formats, never with contents.
    """

    error_type = "SecretSyncError"

    def __init__(self, secret: str, class_name: str, reason: str) -> None:
        super().__init__(secret, class_name, reason)
        self.secret, self.class_name, self.reason = secret, class_name, reason

    def __str__(self) -> str:
        return f"failed to sync secret {self.secret} of spc {self.class_name}, err: {self.reason}"


class SecretForeign(SecretRejected):
    """A Secret of that name is somebody else's; it was not touched."""

    error_type = "SecretConflict"


class SecretNotWritten(SecretRejected):
    """The API server refused a Secret or did not answer; another attempt may succeed."""

    def __init__(self, secret: str, class_name: str, reason: str, cause: "ApiError") -> None:
        super().__init__(secret, class_name, reason)
        self.cause = cause

    @property
    def status_code(self) -> Code:
        return self.cause.status_code


class ApiError(DriverError):
    """The API server refused or did not answer; callers branch on the subclasses.

    Attributes:
        status: HTTP status, 0 when there was no answer.
        reason: ``Status.reason`` or a word for the transport fault.
        message: ``Status.message``, bounded; never a body of another kind.
        retry_after_s: From ``Retry-After``, if given.
    """

    error_type = "APIServerError"

    def __init__(
        self, message: str, *, status: int = 0, reason: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.reason = message, status, reason
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.message


class NotFound(ApiError):
    """404: no such object or resource."""


class AlreadyExists(ApiError):
    """409 with reason AlreadyExists: create found an object of that name."""


class Conflict(ApiError):
    """409: the resourceVersion is old."""

    code = Code.ABORTED


class Gone(ApiError):
    """410: the resourceVersion of a list or watch has been compacted."""


class Forbidden(ApiError):
    """401 or 403: the service account may not do this."""

    code = Code.PERMISSION_DENIED


class Rejected(ApiError):
    """400, 413, 415, 422: the object breaks a rule; a retry is useless."""


class Unavailable(ApiError):
    """429, 5xx, timeout or no connection, after the client's own retries."""

    code = Code.UNAVAILABLE


class ConfigurationError(DriverError):
    """A flag, file or environment variable cannot be used; the process does not start."""
