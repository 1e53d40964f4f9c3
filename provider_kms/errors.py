"""Everything that can go wrong in a Mount, as one tree of classes.

A class fixes the gRPC code that the driver passes on to kubelet, and the ``reason`` label that
metrics and logs carry; an instance carries facts, among them how long to wait where the KMS said
so. Its sentence names parameter, environment, path, key and the KMS's request id, and never holds
a token or a secret's value.

The pure model imports this module, so it knows neither grpc nor the operating system.
Source: gRPC status codes; kubelet reads UNAVAILABLE, RESOURCE_EXHAUSTED and DEADLINE_EXCEEDED as
"try again", everything else as final.
"""

import dataclasses
import enum
from collections.abc import Iterable
from typing import ClassVar

TEXT_LIMIT = 256
"""Longest piece of foreign text that an error keeps, in characters."""


class Code(enum.IntEnum):
    """The gRPC status codes that the provider uses, by their wire number."""

    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


def shorten(text: str, limit: int = TEXT_LIMIT) -> str:
    """Return the text on one line, printable, cut at `limit` characters."""
    line = "".join(c if c.isprintable() else " " for c in text[: limit + 1])
    return line if len(line) <= limit else line[: limit - 1] + "…"


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where in the KMS something was looked for; key is None for a whole folder."""

    environment: str
    path: str
    key: str | None = None

    def __str__(self) -> str:
        key = "" if self.key is None else f', key "{shorten(self.key)}"'
        return f'environment "{shorten(self.environment)}", path "{shorten(self.path)}"{key}'


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What the KMS said when it refused: HTTP status, and its error body if it had one.

    Attributes:
        status: HTTP status code.
        error: the body's ``error``, an open set that sometimes holds prose; "" if absent.
        message: the body's ``message``, already cleaned of tokens and cut; "" if absent.
        request_id: the body's ``reqId``; "" if absent.
    """

    status: int
    error: str = ""
    message: str = ""
    request_id: str = ""

    def __str__(self) -> str:
        error = f" {self.error}" if self.error else ""
        message = f": {self.message}" if self.message else ""
        request = f" (KMS request {self.request_id})" if self.request_id else ""
        return f"the KMS answered {self.status}{error}{message}{request}"


class ProviderError(Exception):
    """Base of the tree; never raised itself.

    Attributes:
        retry_after_s: when another try makes sense, if the KMS named a time; else None.
        request_id: the KMS's own id of the failed request, or "".
        where: what was being read, if the sentence itself does not say.
    """

    code: ClassVar[Code] = Code.INTERNAL
    reason: ClassVar[str] = ""
    retry_after_s: float | None = None
    request_id: str = ""
    where: Place | None = None

    def told(self) -> str:
        """Return the sentence with the place in front, if it is not in there anyway."""
        return str(self) if self.where is None else f"{self.where}: {self}"


class RuleBroken(ProviderError):
    """Base of those whose sentence is a subject and what is wrong with it."""

    sentence: ClassVar[str] = "{subject}: {rule}"

    def __init__(self, subject: str, rule: str = "") -> None:
        super().__init__(subject, rule)
        self.subject, self.rule = shorten(subject), shorten(rule)

    def __str__(self) -> str:
        return self.sentence.format(subject=self.subject, rule=self.rule)


class InvalidRequest(RuleBroken):
    """A parameter, an entry of `secrets` or a field of the request breaks a rule."""

    code = Code.INVALID_ARGUMENT
    reason = "invalid_request"


class HostForbidden(RuleBroken):
    """The operator of the node does not allow this KMS host."""

    code = Code.PERMISSION_DENIED
    reason = "host_forbidden"
    sentence = 'kmsUrl: host "{subject}" is not among the provider\'s -allowed-hosts'


class TokenAbsent(ProviderError):
    """The driver handed over no service account token for the wanted audience."""

    code = Code.FAILED_PRECONDITION
    reason = "token_absent"

    def __init__(self, audience: str, present: Iterable[str], hint: str = "") -> None:
        self.audience, self.present, self.hint = audience, tuple(sorted(present)), hint
        super().__init__(audience, self.present)

    def __str__(self) -> str:
        have = ", ".join(f'"{shorten(name, 80)}"' for name in self.present[:20]) or "none"
        what = f'audience "{shorten(self.audience)}"' if self.audience else "the default audience"
        return f"no service account token for {what}; audiences present: {have}{self.hint}"


class CredentialAbsent(RuleBroken):
    """nodePublishSecretRef did not bring what universal-auth needs."""

    code = Code.FAILED_PRECONDITION
    reason = "credential_absent"
    sentence = 'authMethod universal-auth needs key "{subject}" from nodePublishSecretRef'


class LoginRefused(ProviderError):
    """The KMS does not let this pod log in as this identity."""

    code = Code.PERMISSION_DENIED
    reason = "login_refused"

    def __init__(self, identity: str, audience: str, answer: Answer) -> None:
        super().__init__(identity, audience, answer)
        self.identity, self.audience, self.answer = identity, audience, answer
        self.request_id = answer.request_id

    def __str__(self) -> str:
        audience = f' with a token for audience "{shorten(self.audience)}"' if self.audience else ""
        return f'login as identity "{shorten(self.identity)}"{audience} refused: {self.answer}'


class PodTokenRefused(LoginRefused):
    """The KMS does not believe the pod's token itself: expired, or of the wrong audience."""

    code = Code.UNAUTHENTICATED
    reason = "pod_token_refused"


class IdentityMissing(LoginRefused):
    """The KMS does not know this machine identity."""

    code = Code.NOT_FOUND
    reason = "identity_missing"


class LoginInvalid(LoginRefused):
    """The KMS finds the login request itself wrong, for good."""

    code = Code.INVALID_ARGUMENT
    reason = "request_refused"


class ReadFailed(ProviderError):
    """Base of the failures of one read, for good; it knows place and answer."""

    def __init__(self, place: Place, answer: Answer) -> None:
        super().__init__(place, answer)
        self.place, self.answer = place, answer
        self.request_id = answer.request_id

    def __str__(self) -> str:
        return f"{self.place}: {self.answer}"


class ReadRefused(ReadFailed):
    """The identity may not read this; nothing but a change of rights helps."""

    code = Code.PERMISSION_DENIED
    reason = "read_refused"


class AccessTokenRefused(ReadFailed):
    """The KMS refused the access token. Raised to the driver only for a fresh one."""

    code = Code.UNAUTHENTICATED
    reason = "access_token_refused"


class SecretMissing(ReadFailed):
    """There is no such key, folder or environment."""

    code = Code.NOT_FOUND
    reason = "secret_missing"


class RequestRefused(ReadFailed):
    """The KMS finds the request itself wrong: 400, 422 and the rarer 4xx."""

    code = Code.INVALID_ARGUMENT
    reason = "request_refused"


class PlaceBroken(ProviderError):
    """Base of those whose sentence is a place in the KMS and what is wrong there."""

    sentence: ClassVar[str] = "{place}: {rule}"

    def __init__(self, place: Place, rule: str = "") -> None:
        super().__init__(place, rule)
        self.place, self.rule = place, shorten(rule)

    def __str__(self) -> str:
        return self.sentence.format(place=self.place, rule=self.rule)


class NothingMatched(PlaceBroken):
    """A pattern of keys matched no secret of its folder."""

    code = Code.NOT_FOUND
    reason = "secret_missing"
    sentence = '{place}: no key matches "{rule}"'


class ValueHidden(PlaceBroken):
    """The KMS sent a mask instead of the value; a mask is never written."""

    code = Code.PERMISSION_DENIED
    reason = "value_hidden"
    sentence = "{place}: the KMS hides the value from this identity"


class ApprovalPending(PlaceBroken):
    """The KMS wants a person's approval before it shows the value."""

    code = Code.FAILED_PRECONDITION
    reason = "approval_pending"
    sentence = "{place}: the KMS waits for approval {rule}"


class ValueUnusable(PlaceBroken):
    """A value is not what the entry's encoding or jsonPath says it is."""

    code = Code.FAILED_PRECONDITION
    reason = "value_unusable"


class FileRejected(RuleBroken):
    """The names of keys in the KMS make a file name that breaks a rule, or two alike."""

    code = Code.FAILED_PRECONDITION
    reason = "file_rejected"
    sentence = 'file "{subject}": {rule}'


class AnswerTooLarge(ProviderError):
    """The files of one volume, or one answer of the KMS, are larger than allowed."""

    code = Code.FAILED_PRECONDITION
    reason = "answer_too_large"

    def __init__(self, what: str, size: str, limit_bytes: int, advice: str) -> None:
        super().__init__(what, size, limit_bytes)
        self.what, self.size, self.limit_bytes, self.advice = what, size, limit_bytes, advice

    def __str__(self) -> str:
        return f"{self.what}: {self.size}, allowed are {self.limit_bytes} bytes ({self.advice})"


class RateLimited(ProviderError):
    """The KMS limits requests, for longer than this Mount can wait."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "rate_limited"

    def __init__(self, host: str, retry_after_s: float, request_id: str = "") -> None:
        super().__init__(host, retry_after_s)
        self.host, self.retry_after_s, self.request_id = host, retry_after_s, request_id

    def __str__(self) -> str:
        request = f" (KMS request {self.request_id})" if self.request_id else ""
        wait = f"another try makes sense in {self.retry_after_s or 0:.0f} s"
        return f"KMS {shorten(self.host)} limits requests; {wait}{request}"


class KmsUnavailable(ProviderError):
    """The KMS could not be reached, broke off, or answered with a server's error.

    Attributes:
        attempts: how often it was tried.
        final: an immediate other try is pointless, such as for a name that does not exist.
    """

    code = Code.UNAVAILABLE
    reason = "kms_unavailable"

    def __init__(self, host: str, problem: str, *, final: bool = False) -> None:
        super().__init__(host, problem)
        self.host, self.problem, self.final = host, problem, final
        self.attempts = 1

    def __str__(self) -> str:
        tries = f" (after {self.attempts} tries)" if self.attempts > 1 else ""
        return f"KMS {shorten(self.host)}: {self.problem}{tries}"


class KmsTooSlow(RuleBroken):
    """Time ran out before the KMS had answered."""

    code = Code.DEADLINE_EXCEEDED
    reason = "kms_too_slow"
    sentence = "time ran out: {subject}"


class CertificateRefused(RuleBroken):
    """The KMS's certificate does not verify; waiting does not help."""

    code = Code.FAILED_PRECONDITION
    reason = "certificate_refused"
    sentence = "KMS {subject}: its certificate is refused: {rule}"


class NotKmsAnswer(RuleBroken):
    """Something answered that is no KMS API: HTML, a redirect, wrong JSON. Never a file."""

    code = Code.INTERNAL
    reason = "not_kms_answer"
    sentence = "KMS {subject}: not a KMS API answer: {rule}"


class ClusterRefused(RuleBroken):
    """The Kubernetes API refused what an opted-in feature needs."""

    code = Code.FAILED_PRECONDITION
    reason = "cluster_refused"


class ClusterUnavailable(ClusterRefused):
    """The Kubernetes API could not be asked just now."""

    code = Code.UNAVAILABLE
    reason = "cluster_unavailable"


class Unexpected(ProviderError):
    """A fault of the provider itself; where it happened is in its log."""

    code = Code.INTERNAL
    reason = "unexpected"

    def __str__(self) -> str:
        return "unexpected failure of the provider; its log tells more"
