"""Resources that are questions: who is this token, may this user do that.

Source: authentication.k8s.io/v1 and authorization.k8s.io/v1.
"""

from typing import Any, Protocol

from devkit.apiserver import calls, errors, identity, objects, routes, tokens


class Authorizer(Protocol):
    """Decides what a user may do, and lists it."""

    def refusal(self, user: calls.User, route: routes.Route) -> str:
        """Return why the user may not do this; empty if they may."""

    def rules(self, user: calls.User, namespace: str) -> list[objects.Object]:
        """Return all rules that hold for a user in a namespace."""


class Reviews:
    """Answers POSTs of reviews; nothing is stored."""

    def __init__(self, authenticator: identity.Authenticator, authorizer: Authorizer) -> None:
        self._authenticator = authenticator
        self._authorizer = authorizer

    def token(self, call: calls.Call, body: Any) -> tuple[int, objects.Object]:
        """Answer a TokenReview."""
        review = _decoded(call, body)
        spec = review.get("spec") or {}
        token = spec.get("token") or ""
        if not token:
            raise errors.bad_request("token is required for TokenReview in authentication")
        asked = tuple(spec.get("audiences") or ())
        try:
            user, audiences = self._authenticator.review(token, asked)
        except tokens.Rejected as rejected:
            review["status"] = {"user": {}, "error": str(rejected)}
        else:
            review["status"] = {
                "authenticated": True,
                "user": _user_info(user),
                "audiences": list(audiences),
            }
        return 201, review

    def self_subject(self, call: calls.Call, body: Any) -> tuple[int, objects.Object]:
        """Answer a SelfSubjectReview: who am I."""
        review = _decoded(call, body)
        review["status"] = {"userInfo": _user_info(call.user)}
        return 201, review

    def subject_access(self, call: calls.Call, body: Any) -> tuple[int, objects.Object]:
        """Answer a SubjectAccessReview, local or not, about the user it names."""
        review = _decoded(call, body)
        spec = review.get("spec") or {}
        extra = spec.get("extra") or {}
        user = calls.User(
            spec.get("user") or "", spec.get("uid") or "", tuple(spec.get("groups") or ()), extra
        )
        if not user.name and not user.groups:
            wrong = errors.invalid_value(
                "spec.user", "", "at least one of user or group must be specified"
            )
            raise call.invalid("", [wrong])
        return self._answer_access(call, review, user)

    def self_subject_access(self, call: calls.Call, body: Any) -> tuple[int, objects.Object]:
        """Answer a SelfSubjectAccessReview about whoever asks."""
        return self._answer_access(call, _decoded(call, body), call.user)

    def _answer_access(
        self, call: calls.Call, review: objects.Object, user: calls.User
    ) -> tuple[int, objects.Object]:
        spec = review.get("spec") or {}
        asked, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
        if bool(asked) is bool(path):
            wrong = errors.invalid_value(
                "spec.resourceAttributes",
                None,
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            )
            raise call.invalid("", [wrong])
        if asked:
            route = routes.Route(
                asked.get("verb", ""),
                "",
                asked.get("group", ""),
                asked.get("version", ""),
                asked.get("resource", ""),
                asked.get("subresource", ""),
                asked.get("namespace", "") or call.route.namespace,
                asked.get("name", ""),
            )
        else:
            assert path is not None
            route = routes.Route(path.get("verb", ""), path.get("path", ""))
        allowed = not self._authorizer.refusal(user, route)
        review["status"] = {"allowed": allowed}
        if allowed:
            review["status"]["reason"] = "allowed"
        return 201, review

    def self_subject_rules(self, call: calls.Call, body: Any) -> tuple[int, objects.Object]:
        """Answer a SelfSubjectRulesReview: all that whoever asks may do in a namespace."""
        review = _decoded(call, body)
        namespace = (review.get("spec") or {}).get("namespace") or ""
        rules = self._authorizer.rules(call.user, namespace)
        review["status"] = {
            "resourceRules": [rule for rule in rules if "resources" in rule],
            "nonResourceRules": [rule for rule in rules if "nonResourceURLs" in rule],
            "incomplete": False,
        }
        return 201, review


def _decoded(call: calls.Call, body: Any) -> objects.Object:
    obj = objects.copy(calls.decode_object(call, body))
    call.strategy.decode(obj)
    obj["metadata"] = {"creationTimestamp": objects.timestamp(), **obj.get("metadata", {})}
    return obj


def _user_info(user: calls.User) -> objects.Object:
    found: objects.Object = {"username": user.name}
    if user.uid:
        found["uid"] = user.uid
    found["groups"] = list(user.groups)
    if user.extra:
        found["extra"] = user.extra
    return found
