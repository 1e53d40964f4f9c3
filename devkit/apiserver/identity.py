"""Who asks: bearer tokens handed out by tests, service account tokens, or nobody.

Source: the authentication page of the Kubernetes documentation.
"""

from devkit.apiserver import calls, http, objects, store, tokens

ANONYMOUS = calls.User("system:anonymous", groups=("system:unauthenticated",))


class Authenticator:
    """Knows the tokens. Users are added from any thread, requests checked on the server's.

    Args:
        issuer: whose service account tokens are good.
        kept: where the accounts and pods that tokens are bound to must still be.
    """

    def __init__(self, issuer: tokens.Issuer, kept: store.Store) -> None:
        self._issuer = issuer
        self._store = kept
        self._users: dict[str, calls.User] = {}

    def add(self, token: str, user: calls.User) -> None:
        self._users[token] = user

    def authenticate(self, request: http.Request) -> calls.User | None:
        """Return who asks or is impersonated, None for a token that is not good.

        Only members of system:masters may impersonate; from others it is ignored.
        """
        user = self._bearer(request)
        if user is None or "impersonate-user" not in request.headers:
            return user
        return _impersonated(request) if "system:masters" in user.groups else user

    def _bearer(self, request: http.Request) -> calls.User | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not token or scheme.lower() != "bearer":
            return ANONYMOUS
        token = token.strip()
        known = self._users.get(token)
        if known is not None:
            return known
        try:
            return self.review(token, ())[0]
        except tokens.Rejected:
            return None

    def review(self, token: str, audiences: tuple[str, ...]) -> tuple[calls.User, tuple[str, ...]]:
        """Return whose token it is and for which of the asked audiences it is good.

        Args:
            token: a bearer token.
            audiences: any of these will do; empty means the server's own.
        Raises: tokens.Rejected: it is not good, with the reason.
        """
        wanted = audiences or (self._issuer.url,)
        known = self._users.get(token)
        if known is not None:
            return known, wanted
        claims = self._issuer.check(token)
        common = tuple(item for item in wanted if item in claims.audiences)
        if not common:
            raise tokens.Rejected(
                f"token audiences {list(claims.audiences)} is invalid for the target audiences "
                f"{list(wanted)}"
            )
        self._check_bound("serviceaccounts", claims.namespace, claims.account, claims.account_uid)
        extra = {"authentication.kubernetes.io/credential-id": [f"JTI={claims.token_id}"]}
        if claims.pod:
            self._check_bound("pods", claims.namespace, claims.pod, claims.pod_uid)
            extra["authentication.kubernetes.io/pod-name"] = [claims.pod]
            extra["authentication.kubernetes.io/pod-uid"] = [claims.pod_uid]
        if claims.node:
            extra["authentication.kubernetes.io/node-name"] = [claims.node]
        return service_account(claims.namespace, claims.account, claims.account_uid, extra), common

    def _check_bound(self, storage: str, namespace: str, name: str, uid: str) -> None:
        entry = self._store.get(storage, namespace, name)
        if entry is None or objects.uid_of(entry.obj) != uid:
            raise tokens.Rejected("service account token has been invalidated")


def _impersonated(request: http.Request) -> calls.User:
    name = request.headers["impersonate-user"]
    parts = name.split(":")
    groups = request.headers.get("impersonate-group", "")
    listed = [group.strip() for group in groups.split(",") if group.strip()]
    if not listed and len(parts) == 4 and parts[:2] == ["system", "serviceaccount"]:
        return service_account(parts[2], parts[3], "")
    if name != ANONYMOUS.name:
        listed.append("system:authenticated")
    return calls.User(name, groups=tuple(listed))


def service_account(
    namespace: str, name: str, uid: str, extra: dict[str, list[str]] | None = None
) -> calls.User:
    """Return the user that a service account is."""
    groups = (
        "system:serviceaccounts",
        f"system:serviceaccounts:{namespace}",
        "system:authenticated",
    )
    return calls.User(f"system:serviceaccount:{namespace}:{name}", uid, groups, extra or {})
