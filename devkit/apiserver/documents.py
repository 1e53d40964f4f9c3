"""The paths that name no resource: version, health, discovery, keys."""

from collections.abc import Callable

from devkit.apiserver import discovery, errors, http, objects, openapi, tokens, views
from devkit.apiserver.kinds import builtin_types, catalog

_KEYS = "application/jwk-set+json"
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
    """Answers what is known without looking at any object.

    Args:
        kinds: the served resources.
        issuer: whose keys are published.
        url: tells where the server is reached.
    """

    def __init__(
        self, kinds: catalog.Catalog, issuer: tokens.Issuer, url: Callable[[], str]
    ) -> None:
        self._discovery = discovery.Discovery(kinds)
        self._openapi = openapi.Documents(kinds)
        self._issuer = issuer
        self._url = url

    def answer(self, request: http.Request) -> http.Response | None:
        """Return the answer, None for a path that is not known.

        Raises: errors.StatusError: 404 or 406.
        """
        path = request.path.rstrip("/") or "/"
        accept = request.headers.get("accept", "*/*")
        if path.startswith(_HEALTH):
            return http.Response(200, b"ok", "text/plain; charset=utf-8")
        match path:
            case "/version":
                return http.Response(200, objects.encode(_version()))
            case "/openid/v1/jwks":
                if not any(media in ("*/*", _KEYS) for media, _ in views.clauses(accept)):
                    raise errors.not_acceptable((_KEYS,))
                return http.Response(200, objects.encode(self._issuer.jwks()), _KEYS)
            case "/.well-known/openid-configuration":
                return http.Response(200, objects.encode(self._provider()))
        return self._openapi.answer(path, accept) or self._discovery.answer(path, accept)

    def _provider(self) -> objects.Object:
        return {
            "issuer": self._issuer.url,
            "jwks_uri": f"{self._url()}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }
