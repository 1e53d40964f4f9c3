"""A request's way: who asks, a fault perhaps, may they, and the verb that answers."""

import asyncio
import functools
import json
import logging
import time
from collections.abc import Callable
from typing import Protocol

from devkit.apiserver import (
    calls,
    errors,
    faults,
    http,
    identity,
    objects,
    reading,
    removal,
    requestlog,
    resources,
    reviews,
    routes,
    views,
    watching,
    writing,
)
from devkit.apiserver.kinds import catalog

_log = logging.getLogger(__name__)
# Where the stand-in itself is controlled; see `control`.
_OWN = "/devkit/"


class Documents(Protocol):
    """Answers the paths that name no resource."""

    def answer(self, request: http.Request) -> http.Response | None:
        """Return the answer, None for a path it does not know."""


class Control(Protocol):
    """Answers the stand-in's own paths."""

    def answer(self, request: http.Request) -> http.Response:
        """Return the answer. Raises: errors.StatusError."""


Subresource = Callable[[calls.Call, object], tuple[int, objects.Object]]


class Dispatcher:
    """Serves exchanges. Everything happens on the loop's thread, without waiting.

    Args:
        subresources: answers POSTs that store nothing of their own kind, by
            `plural/subresource` or plural.
    """

    def __init__(
        self,
        kinds: catalog.Catalog,
        reader: reading.Reader,
        writer: writing.Writer,
        remover: removal.Remover,
        authenticator: identity.Authenticator,
        authorizer: reviews.Authorizer,
        documents: Documents,
        control: Control,
        subresources: dict[str, Subresource],
        injected: faults.Faults,
        log: requestlog.RequestLog,
    ) -> None:
        self._kinds = kinds
        self._reader = reader
        self._writer = writer
        self._remover = remover
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._documents = documents
        self._control = control
        self._subresources = subresources
        self._faults = injected
        self._log = log
        self.watches: set[watching.Watch] = set()

    def serve(self, exchange: http.Exchange) -> None:
        """Answer an exchange, now or after a fault's delay."""
        request = exchange.request
        if request.path.startswith(_OWN):
            exchange.send(self._own(request))
            return
        route = routes.route(request)
        user = self._authenticator.authenticate(request)
        exchange.on_code = functools.partial(
            self._enter, request, route, user.name if user else "", time.monotonic()
        )
        fault = self._faults.take(route)
        if fault is not None and fault.delay_s:
            loop = asyncio.get_running_loop()
            loop.call_later(fault.delay_s, self._go_on, exchange, route, user, fault)
        else:
            self._go_on(exchange, route, user, fault)

    def _own(self, request: http.Request) -> http.Response:
        """Answer a path of the stand-in itself, for administrators and on loopback only."""
        user = self._authenticator.authenticate(request)
        try:
            if user is None or "system:masters" not in user.groups:
                raise errors.unauthorized()
            return self._control.answer(request)
        except errors.StatusError as error:
            return failure(error)

    def _enter(
        self, request: http.Request, route: routes.Route, user: str, started: float, code: int
    ) -> None:
        self._log.add(
            requestlog.Entry(
                route.verb,
                route.group,
                route.resource,
                route.subresource,
                route.namespace,
                route.name,
                user,
                request.headers.get("user-agent", ""),
                request.method,
                route.path,
                request.query,
                request.headers.get("accept", ""),
                calls.media_type(request),
                code,
                time.monotonic() - started,
            )
        )

    def _go_on(
        self,
        exchange: http.Exchange,
        route: routes.Route,
        user: calls.User | None,
        fault: faults.Fault | None,
    ) -> None:
        if exchange.peer_gone:
            return
        if fault is not None and fault.drop:
            exchange.abort()
            return
        error = fault.error() if fault is not None else None
        if error is not None:
            exchange.send(failure(error))
        elif route.verb == "watch" and route.is_resource:
            self._watch(exchange, route, user)
        else:
            response = self.respond(exchange.request, route, user)
            if fault is not None and fault.drop_after:
                exchange.abort()
            else:
                exchange.send(response)

    def _watch(self, exchange: http.Exchange, route: routes.Route, user: calls.User | None) -> None:
        try:
            call = self._admit(exchange.request, route, user)
            form = views.negotiate(exchange.request.headers.get("accept", ""), is_list=False)
            watch = self._reader.watch(call, form, exchange)
        except errors.StatusError as error:
            exchange.send(failure(error))
            return
        if not exchange.answered:
            self.watches.add(watch)
            watch.on_ended = functools.partial(self.watches.discard, watch)

    def respond(
        self, request: http.Request, route: routes.Route, user: calls.User | None
    ) -> http.Response:
        """Return the answer to any request but a watch."""
        try:
            if self._kinds.table.serves(route.group, route.version):
                return self._resource(self._admit(request, route, user))
            self._authorize(route, user)
            found = self._documents.answer(request)
            if found is not None and request.method not in ("GET", "HEAD"):
                raise errors.method_not_allowed()
        except errors.StatusError as error:
            return failure(error)
        except Exception:
            # A fault of the stand-in itself; the connection and the server go on.
            _log.exception("request failed", extra={"verb": route.verb, "path": route.path})
            return failure(errors.internal("see the log of the stand-in"))
        if found is None:
            return http.Response(404, b"404 page not found\n", "text/plain; charset=utf-8")
        return found

    def _authorize(self, route: routes.Route, user: calls.User | None) -> calls.User:
        if user is None:
            raise errors.unauthorized()
        if why := self._authorizer.refusal(user, route):
            if route.is_resource:
                raise errors.forbidden(route.resource, route.group, route.name, why)
            raise errors.StatusError(403, "Forbidden", f"forbidden: {why}", {})
        return user

    def _admit(
        self, request: http.Request, route: routes.Route, user: calls.User | None
    ) -> calls.Call:
        """Return the call of a request that is allowed and names something served."""
        user = self._authorize(route, user)
        resource = self._kinds.table.find(route.group, route.version, route.resource)
        if resource is None:
            raise errors.no_such_path()
        if not _fits(resource, route):
            missing = errors.no_such_path()
            if resource.custom and route.name:
                missing.details = {"name": route.name, "group": route.group, "kind": route.resource}
            raise missing
        if not _is_allowed(resource, route):
            raise errors.method_not_allowed()
        call = calls.Call(request, route, resource, self._kinds.strategy(resource), user)
        if resource.deprecated:
            call.warnings.append(resource.deprecated)
        return call

    def _resource(self, call: calls.Call) -> http.Response:
        is_list = call.route.verb == "list"
        form = views.negotiate(call.request.headers.get("accept", ""), is_list=is_list)
        match call.route.verb:
            case "get":
                return self._response(call, 200, self._reader.get(call, form))
            case "list":
                return self._response(call, 200, self._reader.list_all(call, form))
            case "create":
                code, obj = self._create(call)
            case "update":
                obj, is_new = self._writer.update(call, calls.decode_body(call.request))
                code = 201 if is_new else 200
            case "patch":
                code, obj = self._patch(call)
            case "delete":
                code, obj = 200, self._remover.delete(call, self._delete_options(call))
            case "deletecollection":
                return self._delete_collection(call)
            case _:
                raise errors.method_not_allowed()
        if obj.get("kind") == call.resource.kind:
            obj = views.shaped(obj, call.resource, form)
        return self._response(call, code, objects.encode(obj))

    def _create(self, call: calls.Call) -> tuple[int, objects.Object]:
        path = call.resource.plural
        if call.route.subresource:
            path = f"{path}/{call.route.subresource}"
        special = self._subresources.get(path)
        if special is None and call.route.name:
            raise errors.method_not_allowed()
        body = calls.decode_body(call.request)
        if special is not None:
            return special(call, body)
        return 201, self._writer.create(call, body)

    def _patch(self, call: calls.Call) -> tuple[int, objects.Object]:
        media = calls.media_type(call.request)
        if media == writing.APPLY:
            body = calls.decode_yaml(call.request.body)
        elif media in writing.types_of_patch(custom=call.resource.custom):
            body = calls.decode_json(call.request.body)
        else:
            details: objects.Object | None = None if call.resource.custom else {}
            raise errors.StatusError(
                415, "UnsupportedMediaType", "415: Unsupported Media Type", details
            )
        obj, is_new = self._writer.patch(call, body, media)
        return (201 if is_new else 200), obj

    def _delete_options(self, call: calls.Call) -> removal.Options:
        body = calls.decode_body(call.request) if call.request.body else None
        return removal.read_options(call, body)

    def _delete_collection(self, call: calls.Call) -> http.Response:
        options = self._delete_options(call)
        entries, meta = self._reader.select(call)
        for entry in entries:
            self._remover.begin(call.resource.storage_key, entry, options)
        body = views.render_list(entries, call.resource, views.PLAIN, meta)
        return self._response(call, 200, body)

    def _response(self, call: calls.Call, code: int, body: bytes) -> http.Response:
        return http.Response(code, body, headers=_warning_headers(call.warnings))


def _fits(resource: resources.Resource, route: routes.Route) -> bool:
    """Whether the path has a namespace where the resource has one, and a known subresource."""
    if route.subresource and route.subresource not in resource.subresources:
        return False
    if resource.namespaced and not route.namespace:
        return not route.name
    if not resource.namespaced and route.namespace:
        return resource.plural == "namespaces"
    return True


def _is_allowed(resource: resources.Resource, route: routes.Route) -> bool:
    """Whether the verb is served on the resource, and on one object or all of them as asked."""
    if route.verb in ("update", "patch") and not route.name:
        return False
    if resource.namespaced and not route.namespace and route.verb not in ("list", "watch"):
        return False
    return bool(route.subresource) or route.verb in resource.verbs


def _warning_headers(warnings: list[str]) -> list[tuple[str, str]]:
    return [
        ("Warning", '299 - "{}"'.format(text.replace("\\", "\\\\").replace('"', '\\"')))
        for text in warnings
    ]


def failure(error: errors.StatusError) -> http.Response:
    """Return the answer that tells a failure."""
    headers = []
    if error.retry_after_s is not None:
        headers.append(("Retry-After", str(error.retry_after_s)))
    return http.Response(error.code, objects.encode(error.to_status()), headers=headers)


def decoded(response: http.Response) -> objects.Object:
    """Return the object of an answer. Raises: errors.StatusError: the answer is a failure."""
    obj = json.loads(response.body)
    if response.code < 400:
        return dict(obj)
    raise errors.StatusError(
        response.code, obj.get("reason", ""), obj.get("message", ""), obj.get("details")
    )
