import secrets
from typing import Any

import pytest

from devkit.apiserver import calls, errors, http, resources, routes
from devkit.apiserver.kinds import strategy

SECRETS = resources.Resource("", "v1", "secrets", "Secret")
THINGS = resources.Resource("example.com", "v1", "things", "Thing", custom=True)


def call(resource: resources.Resource = SECRETS, verb: str = "create", **query: str) -> calls.Call:
    route = routes.Route(verb, "/x", resource.group, "v1", resource.plural, "", "n", "a")
    request = http.Request("POST", "/x", query, {"user-agent": "agent/1.0 (x)"})
    plain = strategy.Strategy(resource.kind, {"properties": {}})
    return calls.Call(request, route, resource, plain, calls.ADMIN)


def test_what_a_query_says() -> None:
    assert call().manager == "agent"
    assert call(fieldManager="me").manager == "me"
    assert (call().dry_run, call(dryRun="All").dry_run) == (False, True)
    assert (call().field_validation, call(fieldValidation="Strict").field_validation) == (
        "Warn",
        "Strict",
    )


@pytest.mark.parametrize(
    ("verb", "kind"),
    [
        ("create", "CreateOptions"),
        ("update", "UpdateOptions"),
        ("patch", "PatchOptions"),
        ("delete", "DeleteOptions"),
    ],
)
def test_an_odd_dry_run(verb: str, kind: str) -> None:
    with pytest.raises(errors.StatusError) as caught:
        _ = call(verb=verb, dryRun="Some").dry_run
    assert caught.value.details is not None
    assert (caught.value.code, caught.value.details["kind"]) == (422, kind)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b'{"a": 1}'),
        ("application/json; charset=utf-8", b'{"a": 1}'),
        ("", b'{"a": 1}'),
        ("application/yaml", b"a: 1"),
        ("application/yaml", b'{"a": 1}'),
    ],
)
def test_bodies(kind: str, body: bytes) -> None:
    request = http.Request("POST", "/x", {}, {"content-type": kind}, body)
    assert calls.decode_body(request) == {"a": 1}


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [
        ("text/plain", b"{}", 415),
        ("application/json", b"{", 400),
        ("application/yaml", b"a: [", 400),
        ("application/json", b"[" * 100_000, 400),
        ("application/json", b"x" * (http.BODY_LIMIT_BYTES + 1), 413),
    ],
)
def test_bad_bodies(kind: str, body: bytes, code: int) -> None:
    request = http.Request("POST", "/x", {}, {"content-type": kind}, body)
    with pytest.raises(errors.StatusError) as caught:
        calls.decode_body(request)
    assert caught.value.code == code


def test_what_cannot_be_read_is_not_repeated() -> None:
    secret = secrets.token_hex(8)
    for decode in (calls.decode_json, calls.decode_yaml):
        with pytest.raises(errors.StatusError) as caught:
            decode(f"key: [{secret}".encode())
        assert secret not in str(caught.value)


def test_kinds_are_filled_in_or_checked() -> None:
    assert calls.decode_object(call(), {"a": 1}) == {"a": 1, "kind": "Secret", "apiVersion": "v1"}
    named = {"kind": "Thing", "apiVersion": "example.com/v1"}
    assert calls.decode_object(call(THINGS), named) == named


@pytest.mark.parametrize(
    ("resource", "body", "code"),
    [
        (SECRETS, [], 400),
        (SECRETS, {"kind": "Pod"}, 400),
        (SECRETS, {"apiVersion": "v2"}, 400),
        (THINGS, {"apiVersion": "example.com/v1"}, 400),
        (THINGS, {"kind": "Thing"}, 400),
        (THINGS, {"kind": "Odd", "apiVersion": "example.com/v1"}, 422),
        (THINGS, {"kind": "Thing", "apiVersion": "example.com/v2"}, 400),
    ],
)
def test_other_kinds_are_refused(resource: resources.Resource, body: Any, code: int) -> None:
    with pytest.raises(errors.StatusError) as caught:
        calls.decode_object(call(resource), body)
    assert caught.value.code == code


def test_failures_name_the_object() -> None:
    assert str(call().not_found()) == 'secrets "a" not found'
    assert str(call().conflict("why")).endswith('on secrets "a": why')
    assert str(call().invalid("a", [errors.required("b")])).startswith('Secret "a" is invalid: b')
