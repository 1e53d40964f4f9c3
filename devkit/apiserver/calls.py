"""One authorised request on its way through the server, and what it may ask for in its query."""

import json
from dataclasses import dataclass, field
from typing import Any

from devkit.apiserver import errors, http, objects, protobuf, resources, routes
from devkit.apiserver.kinds import strategy

JSON_TYPES = ("application/json", "application/yaml", protobuf.MEDIA_TYPE)


@dataclass(frozen=True, slots=True)
class User:
    """Who asks. `extra` is what a token says besides, e.g. the pod it is bound to."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: dict[str, list[str]] = field(default_factory=dict)


ADMIN = User("system:admin", groups=("system:masters", "system:authenticated"))


@dataclass(slots=True)
class Call:
    """A request for a resource.

    Attributes:
        warnings: texts for Warning headers of the answer.
        causes: what decoding the body found, for validation to tell.
    """

    request: http.Request
    route: routes.Route
    resource: resources.Resource
    strategy: strategy.Strategy
    user: User
    warnings: list[str] = field(default_factory=list)
    causes: list[errors.Cause] = field(default_factory=list)

    @property
    def query(self) -> dict[str, str]:
        return self.request.query

    @property
    def dry_run(self) -> bool:
        """Whether nothing may be stored. Raises: errors.StatusError: 422 for values unknown."""
        value = self.query.get("dryRun", "")
        if value not in ("", "All"):
            kinds = {"create": "Create", "delete": "Delete", "patch": "Patch"}
            kind = kinds.get(self.route.verb, "Update")
            raise errors.invalid(
                f"{kind}Options",
                "meta.k8s.io",
                "",
                [errors.not_supported("dryRun", [value], ["All"])],
            )
        return value == "All"

    @property
    def manager(self) -> str:
        """Return the field manager: asked for, or the user agent up to its version."""
        asked = self.query.get("fieldManager", "")
        agent = self.request.headers.get("user-agent", "unknown")
        return asked or agent.partition("/")[0] or "unknown"

    @property
    def field_validation(self) -> str:
        return self.query.get("fieldValidation", "") or "Warn"

    def not_found(self, name: str = "") -> errors.StatusError:
        return errors.not_found(self.resource.plural, self.resource.group, name or self.route.name)

    def conflict(self, why: str = errors.STALE, name: str = "") -> errors.StatusError:
        return errors.conflict(
            self.resource.plural, self.resource.group, name or self.route.name, why
        )

    def invalid(self, name: str, causes: list[errors.Cause]) -> errors.StatusError:
        return errors.invalid(self.resource.kind, self.resource.group, name, causes)


def media_type(request: http.Request) -> str:
    """Return the Content-Type without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def decode_body(request: http.Request) -> Any:
    """Read a JSON or YAML body. Raises: errors.StatusError: 400, 413 or 415."""
    if len(request.body) > http.BODY_LIMIT_BYTES:
        raise errors.body_too_large(http.BODY_LIMIT_BYTES)
    sent = media_type(request)
    if sent in ("", "application/json"):
        return decode_json(request.body)
    if sent == protobuf.MEDIA_TYPE:
        return protobuf.decode(request.body)
    if sent in ("application/yaml", "application/apply-patch+yaml"):
        return decode_yaml(request.body)
    raise errors.unsupported_media_type(JSON_TYPES)


def decode_json(body: bytes) -> Any:
    """Read JSON. Raises: errors.StatusError: 400, without the body's text."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        # The body may hold secrets, and the parser's text and its object quote it.
        where = getattr(error, "pos", 0)
        raise errors.bad_request(
            f"the object provided is unrecognized: invalid JSON at byte {where}"
        ) from None


def decode_yaml(body: bytes) -> Any:
    """Read YAML, of which JSON is a part. Raises: errors.StatusError: 400."""
    if body.lstrip()[:1] == b"{":
        return decode_json(body)
    # Only kubectl sends YAML; the server starts faster without the parser.
    import yaml

    try:
        return yaml.load(body, Loader=yaml.CSafeLoader)
    except yaml.YAMLError:
        raise errors.bad_request("error decoding YAML") from None


def decode_object(call: Call, body: Any) -> objects.Object:
    """Check that a decoded body is an object of the call's kind; fill in kind and apiVersion.

    Raises: errors.StatusError: 400.
    """
    if not isinstance(body, dict):
        raise errors.bad_request(
            f"couldn't get version/kind; json parse error: a {call.resource.kind} must be a JSON "
            "object"
        )
    resource = call.resource
    if resource.custom:
        for name in ("kind", "apiVersion"):
            if not body.get(name):
                raise errors.bad_request(f"Object '{name[0].upper()}{name[1:]}' is missing")
    kind = body.get("kind") or resource.kind
    api_version = body.get("apiVersion") or resource.api_version
    if api_version == resource.api_version and kind != resource.kind and resource.custom:
        wrong = errors.invalid_value("kind", kind, f"must be {resource.kind}")
        raise errors.invalid(kind, resource.group, objects.name_of(body), [wrong])
    if (api_version, kind) != (resource.api_version, resource.kind):
        raise errors.bad_request(
            f"the API version in the data ({api_version}, Kind={kind}) does not match the expected "
            f"API version ({resource.api_version}, Kind={resource.kind})"
        )
    return body | {"kind": kind, "apiVersion": api_version}
