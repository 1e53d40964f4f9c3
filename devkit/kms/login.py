"""The two logins: Kubernetes auth and universal auth.

Source: kms-http-api §1.1 to §1.3; the checks come in that order.
"""

import hmac
import logging

from devkit.kms import errors, globs, identities, model, review, tokens

_log = logging.getLogger(__name__)
_SERVICE_ACCOUNT = "system:serviceaccount:"


async def kubernetes(
    world: model.World,
    issued: tokens.Tokens,
    reviewer: review.Reviewer,
    identity_id: str,
    jwt: str,
    organization: str | None,
) -> errors.JSON:
    """Log a pod in by its service-account token.

    Args:
        reviewer: asked unless the identity names an API server of its own.
        organization: slug of the organisation the token is wanted for; None does not ask.
    Returns: the login answer of §1.2.
    Raises: errors.Refused: the first of §1.3's checks that fails.
    """
    with world.lock:
        identity = _configured(world, identity_id)
        known = {each.organization for each in world.identities.values()} | {
            each.organization for each in world.projects.values()
        }
    auth = identity.kubernetes
    assert auth is not None
    if auth.token_review_mode != "api" or auth.kubernetes_host == "":
        raise errors.bad_request("The identity names no API server to review tokens with")
    ask = reviewer
    if auth.kubernetes_host is not None:
        ask = review.ApiServer(auth.kubernetes_host, auth.token_reviewer_jwt, auth.ca_certificate)
    audiences = (auth.allowed_audience,) if auth.allowed_audience else ()
    try:
        status = await ask(jwt, audiences)
        namespace, name = _admit(auth, status)
    except errors.Refused:
        raise
    except Exception as e:
        # Step 13: whatever else happens is a 400 with this word. The text of the exception is not
        # shown, for it may hold the token.
        _log.exception("login failed unexpectedly")
        raise errors.bad_request("The login failed", "KubernetesAuthLoginError") from e
    if organization is not None:
        if organization not in known:
            raise errors.not_found(f"No organization {organization}")
        if organization != identity.organization:
            raise errors.unauthorized("The identity does not belong to this organization")
    with world.lock:
        return issued.issue(identity, {"kubernetes": {"namespace": namespace, "name": name}})


def universal(
    world: model.World, issued: tokens.Tokens, client_id: str, client_secret: str
) -> errors.JSON:
    """Log in by client id and secret.

    Raises: errors.Refused: 401 for either being wrong, without saying which.
    """
    with world.lock:
        for identity in world.identities.values():
            auth = identity.universal
            if auth is not None and auth.client_id == client_id:
                if hmac.compare_digest(auth.client_secret.encode(), client_secret.encode()):
                    return issued.issue(identity, {})
                break
    raise errors.unauthorized("Invalid credentials")


def _configured(world: model.World, identity_id: str) -> identities.Identity:
    identity = world.identities.get(identity_id)
    if identity is None or identity.kubernetes is None:
        raise errors.not_found(f"No Kubernetes auth for identity {identity_id}")
    if not identity.organization:
        raise errors.unauthorized("The identity belongs to no organization")
    return identity


def _admit(auth: identities.KubernetesAuth, status: review.Status) -> tuple[str, str]:
    """Take the pod's namespace and service account from a review, steps 6 to 11."""
    if status.error:
        raise errors.unauthorized(status.error, "KubernetesTokenReviewError")
    if not status.authenticated:
        raise errors.unauthorized("The token is not authenticated", "KubernetesTokenReviewError")
    parts = status.username.removeprefix(_SERVICE_ACCOUNT).split(":")
    if not status.username.startswith(_SERVICE_ACCOUNT) or len(parts) != 2 or not all(parts):
        raise errors.bad_request(
            "The token is no service account's", "KubernetesUsernameParseError"
        )
    namespace, name = parts
    if not _allowed(auth.allowed_namespaces, namespace):
        raise errors.unauthorized(f"Namespace {namespace} is not allowed")
    if not _allowed(auth.allowed_names, name):
        raise errors.unauthorized(f"Service account {name} is not allowed")
    if auth.allowed_audience and auth.allowed_audience not in status.audiences:
        raise errors.unauthorized(f"The token is not for audience {auth.allowed_audience}")
    return namespace, name


def _allowed(patterns: tuple[str, ...], name: str) -> bool:
    return not patterns or any(globs.match(pattern, name) for pattern in patterns)
