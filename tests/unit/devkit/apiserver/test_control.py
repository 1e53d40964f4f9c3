import json
from typing import Any

import pytest

from devkit.apiserver import control, errors, faults, http, objects, requestlog


@pytest.fixture
def injected() -> faults.Faults:
    return faults.Faults()


@pytest.fixture
def found(injected: faults.Faults) -> control.Control:
    return control.Control(requestlog.RequestLog(), injected, {"ring": lambda: 7})


def ask(found: control.Control, method: str, what: str, body: Any = None, **query: str) -> Any:
    raw = b"" if body is None else objects.encode(body)
    return json.loads(found.answer(http.Request(method, f"/devkit/{what}", query, {}, raw)).body)


def test_actions_by_name(found: control.Control) -> None:
    assert ask(found, "POST", "ring") == {"result": 7}


def test_faults(found: control.Control, injected: faults.Faults) -> None:
    told = ask(found, "POST", "faults", {"verb": "get", "code": 503})
    assert (told["fault"]["code"], told["fault"]["hits"]) == (503, 0)
    ask(found, "DELETE", "faults")
    assert injected._faults == []


def test_requests(found: control.Control) -> None:
    assert ask(found, "GET", "requests", code="200") == {"count": 0, "counters": []}
    assert ask(found, "DELETE", "requests") == {}


@pytest.mark.parametrize(
    ("method", "what", "body", "query", "code"),
    [
        ("POST", "odd", None, {}, 404),
        ("GET", "ring", None, {}, 404),
        ("POST", "faults", [], {}, 400),
        ("POST", "faults", {"hits": 1}, {}, 400),
        ("GET", "requests", None, {"odd": "1"}, 400),
    ],
)
def test_refusals(
    found: control.Control, method: str, what: str, body: Any, query: dict[str, str], code: int
) -> None:
    with pytest.raises(errors.StatusError) as caught:
        ask(found, method, what, body, **query)
    assert caught.value.code == code
