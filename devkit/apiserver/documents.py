"""The paths that name no resource: version, health, discovery, keys."""

from collections.abc import Callable

from devkit.apiserver import discovery, http, objects, openapi, tokens
from devkit.apiserver.kinds import builtin_types, catalog

_HEALTH = ("/healthz", "/readyz", "/livez")


def _version() -> objects.Object:
    """Return the version whose kinds are served, marked as the stand-in's."""
    found = builtin_types.version()
    major, minor, _ = found.lstrip("v").split(".", 2)
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"{found}-devkit",
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": "linux/amd64",
    }


class Documents:
    """Answers what is known without looking at any object."""

    def __init__(self, kinds: catalog.Catalog, issuer: tokens.Issuer) -> None:
        self._discovery = discovery.Discovery(kinds)
        self._openapi = openapi.Documents(kinds)
        self._fixed: dict[str, Callable[[], objects.Object]] = {
            "/version": _version,
            "/openid/v1/jwks": issuer.jwks,
            "/.well-known/openid-configuration": lambda: {
                "issuer": issuer.url,
                "jwks_uri": f"{issuer.url}/openid/v1/jwks",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            },
        }

    def answer(self, request: http.Request) -> http.Response | None:
        """Return the answer, None for a path that is not known."""
        path = request.path.rstrip("/") or "/"
        if path.startswith(_HEALTH):
            return http.Response(200, b"ok", "text/plain; charset=utf-8")
        if path in self._fixed:
            return http.Response(200, objects.encode(self._fixed[path]()))
        accept = request.headers.get("accept", "")
        return self._openapi.answer(path, accept) or self._discovery.answer(path, accept)
