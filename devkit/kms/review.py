"""TokenReview: who a pod's service-account token belongs to.

A reviewer is any `async` callable of this module's `Reviewer` type. Two are here: `PodTokens`
issues service-account tokens and reviews its own, `ApiServer` asks a Kubernetes API server.

Source: kms-http-api §1.3, steps 5 to 8; Kubernetes API, authentication.k8s.io/v1 TokenReview.
"""

import asyncio
import secrets
import ssl
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import urllib3

from devkit.kms import errors, jwt, model

DEFAULT_AUDIENCE = "https://kubernetes.default.svc"
_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Status:
    """The `status` of a TokenReview; audiences are those of the token that were asked for."""

    authenticated: bool
    username: str = ""
    audiences: tuple[str, ...] = ()
    error: str = ""


# token, audiences (empty: the API server's own) → status. Raises errors.Refused where the login
# fails before there is a status.
Reviewer = Callable[[str, tuple[str, ...]], Awaitable[Status]]


class PodTokens:
    """Issues service-account tokens as kubelet would hand them out, and reviews them.

    Args:
        key: HS256 key; made up when None. Give the same to two processes that have to agree.
    """

    def __init__(self, key: bytes | None = None, clock: model.Clock = time.time) -> None:
        self._key = key or secrets.token_bytes(32)
        self._clock = clock

    def issue_token(
        self,
        namespace: str,
        name: str,
        audience: str | None = None,
        ttl_s: int = 3600,
        pod_uid: str | None = None,
    ) -> str:
        """Issue a token for a service account.

        Args:
            audience: None is the API server's own audience.
            ttl_s: seconds; 0 or less gives a token that has expired already.
            pod_uid: the pod it is bound to, for the claim only.
        """
        now = int(self._clock())
        bound: dict[str, object] = {"namespace": namespace, "serviceaccount": {"name": name}}
        if pod_uid is not None:
            bound["pod"] = {"uid": pod_uid}
        claims: jwt.Claims = {
            "iss": DEFAULT_AUDIENCE,
            "sub": f"system:serviceaccount:{namespace}:{name}",
            "aud": [DEFAULT_AUDIENCE if audience is None else audience],
            "iat": now,
            "nbf": now,
            "exp": now + ttl_s,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": bound,
        }
        return jwt.encode(claims, self._key)

    async def review(self, token: str, audiences: tuple[str, ...]) -> Status:
        """Review a token as an API server would: signature, `exp`, `aud`, `sub`."""
        try:
            claims = jwt.decode(token, self._key)
        except jwt.Malformed as e:
            return Status(False, error=f"invalid bearer token: {e}")
        expires, has = claims.get("exp"), claims.get("aud")
        if not isinstance(expires, int) or expires <= self._clock():
            return Status(False, error="invalid bearer token: the token has expired")
        wanted = audiences or (DEFAULT_AUDIENCE,)
        shared = tuple(each for each in wanted if isinstance(has, list) and each in has)
        if not shared:
            return Status(False, error=f"invalid bearer token: audiences {has} are not {wanted}")
        return Status(True, username=str(claims.get("sub")), audiences=shared)


class ApiServer:
    """Asks a Kubernetes API server for the review.

    Args:
        host: e.g. `https://10.0.0.1:6443`.
        reviewer_jwt: bearer of the request; None sends the token under review itself.
        ca_certificate: PEM to check the server against; None takes the system's roots.
        timeout_s: for connecting, and again for the answer.
    """

    def __init__(
        self,
        host: str,
        reviewer_jwt: str | None = None,
        ca_certificate: str | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self._timeout_s = timeout_s
        self._url = host.rstrip("/") + "/apis/authentication.k8s.io/v1/tokenreviews"
        self._reviewer_jwt = reviewer_jwt
        self._ca_certificate = ca_certificate

    async def __call__(self, token: str, audiences: tuple[str, ...]) -> Status:
        """Post the TokenReview and read its status.

        Raises: errors.Refused: as §1.3 step 5 says for each way the call can fail.
        """
        return await asyncio.to_thread(self._review, token, audiences)

    def _review(self, token: str, audiences: tuple[str, ...]) -> Status:
        spec: errors.JSON = {"token": token}
        if audiences:
            spec["audiences"] = list(audiences)
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        bearer = self._reviewer_jwt if self._reviewer_jwt is not None else token
        try:
            with urllib3.PoolManager(
                ssl_context=ssl.create_default_context(cadata=self._ca_certificate),
                timeout=self._timeout_s,
                retries=False,
            ) as pool:
                answer = pool.request(
                    "POST", self._url, json=body, headers={"authorization": f"Bearer {bearer}"}
                )
                return _status(answer)
        except (urllib3.exceptions.HTTPError, ssl.SSLError) as e:
            raise _unreachable(e) from e


def _status(answer: urllib3.BaseHTTPResponse) -> Status:
    if answer.status == 401:
        raise errors.unauthorized(
            "The API server does not accept the reviewer's token",
            "KubernetesTokenReviewerUnauthorized",
        )
    if answer.status == 403:
        raise errors.unauthorized(
            "The reviewer may not create TokenReviews", "KubernetesTokenReviewerForbidden"
        )
    if not 200 <= answer.status < 300:
        raise errors.bad_request(
            f"The API server answered {answer.status}", "KubernetesTokenReviewRequestError"
        )
    status = answer.json()["status"]
    return Status(
        authenticated=bool(status.get("authenticated")),
        username=status.get("user", {}).get("username", ""),
        audiences=tuple(status.get("audiences") or ()),
        error=status.get("error", ""),
    )


# The second is a name that cannot be one, for example with a label that is too long.
_NO_HOST = (urllib3.exceptions.NameResolutionError, urllib3.exceptions.LocationParseError)


def _unreachable(cause: Exception) -> errors.Refused:
    if isinstance(cause, _NO_HOST):
        return errors.bad_request("No such host", "KubernetesHostNotFound")
    if isinstance(cause.__cause__, ConnectionRefusedError):
        return errors.bad_request("Connection refused", "KubernetesConnectionRefused")
    # urllib3 counts every connection that could not be made among its timeouts.
    failed = isinstance(cause, urllib3.exceptions.NewConnectionError)
    if isinstance(cause, urllib3.exceptions.TimeoutError) and not failed:
        return errors.bad_request("No answer in time", "KubernetesConnectionTimeout")
    if isinstance(cause, (urllib3.exceptions.SSLError, ssl.SSLError)):
        return errors.bad_request("TLS failed", "KubernetesCertificateError")
    return errors.bad_request("The API server is out of reach", "KubernetesConnectionError")
