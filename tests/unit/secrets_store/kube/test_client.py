import json
import urllib.parse
from typing import Any

import pytest

from secrets_store import errors
from secrets_store.kube import client

PODS = "/api/v1/pods"


def query(request: Any) -> dict[str, str]:
    return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(request.target).query))


def page(names: list[str], version: str = "7", more: str = "") -> dict[str, Any]:
    metadata = {"resourceVersion": version} | ({"continue": more} if more else {})
    return {"metadata": metadata, "items": [{"metadata": {"name": name}} for name in names]}


def name(obj: dict[str, Any]) -> str:
    return str(obj["metadata"]["name"])


def test_verbs(server: Any, api: Any, behaviours: Any) -> None:
    server.behave(*[behaviours.answer(200, {})] * 7)
    api.get("/x", params={"a": "b c", "n": 1}, accept=client.METADATA)
    api.create("/xs", {"v": 1})
    api.update("/x", {"v": 2})
    api.patch("/x", {"v": 3})
    api.patch("/x", {"v": 4}, kind="strategic")
    api.patch("/x", [{"v": 5}], kind="json")
    api.delete("/x")
    seen = [
        (r.method, r.target, r.headers.get("content-type"), json.loads(r.body or b"null"))
        for r in server.requests
    ]
    assert seen == [
        ("GET", "/x?a=b+c&n=1", None, None),
        ("POST", "/xs", "application/json", {"v": 1}),
        ("PUT", "/x", "application/json", {"v": 2}),
        ("PATCH", "/x", "application/merge-patch+json", {"v": 3}),
        ("PATCH", "/x", "application/strategic-merge-patch+json", {"v": 4}),
        ("PATCH", "/x", "application/json-patch+json", [{"v": 5}]),
        ("DELETE", "/x", None, None),
    ]
    assert server.requests[0].headers["accept"] == client.METADATA
    assert server.requests[1].headers["accept"] == "application/json"


def test_encoded_name_arrives_as_it_was_encoded(server: Any, api: Any, behaviours: Any) -> None:
    server.behave(behaviours.answer(200, {}))
    api.get("/api/v1/namespaces/a/pods/..%2Fb%3F")
    assert server.requests[0].target == "/api/v1/namespaces/a/pods/..%2Fb%3F"


def test_delete_of_the_one_meant(server: Any, api: Any, behaviours: Any) -> None:
    server.behave(behaviours.answer(200, {}))
    api.delete("/x", uid="u", resource_version="5")
    sent = json.loads(server.requests[0].body)
    assert sent["preconditions"] == {"uid": "u", "resourceVersion": "5"}


def test_list_in_pages(server: Any, api: Any, behaviours: Any) -> None:
    server.behave(
        behaviours.answer(200, page(["a", "b"], "7", "more/1")),
        behaviours.answer(200, page(["c"], "7")),
    )
    found = api.list(PODS, params={"fieldSelector": "f", "resourceVersion": "0"}, project=name)
    assert found == client.Listing(["a", "b", "c"], "7")
    first, second = (query(request) for request in server.requests)
    assert first == {"limit": "100", "fieldSelector": "f", "resourceVersion": "0"}
    assert second == {"limit": "100", "fieldSelector": "f", "continue": "more/1"}


def test_list_without_items(server: Any, api: Any, behaviours: Any) -> None:
    server.behave(behaviours.answer(200, {"metadata": {"resourceVersion": "3"}, "items": None}))
    assert api.list(PODS, project=name) == client.Listing([], "3")


def test_list_that_expires_starts_over(server: Any, api: Any, behaviours: Any) -> None:
    server.behave(
        behaviours.answer(200, page(["a"], "7", "old")),
        behaviours.status(410, "Expired", "the continue token is too old"),
        behaviours.answer(200, page(["b"], "9", "new")),
        behaviours.answer(200, page(["c"], "9")),
    )
    assert api.list(PODS, project=name) == client.Listing(["b", "c"], "9")
    assert "continue" not in query(server.requests[2])


def test_list_that_always_expires_gives_up(server: Any, api: Any, behaviours: Any) -> None:
    server.behave(*[behaviours.answer(200, page(["a"], "7", "t")), behaviours.status(410)] * 3)
    with pytest.raises(errors.Gone):
        api.list(PODS, project=name)
    assert len(server.requests) == 6


def test_list_has_one_deadline_for_all_pages(
    server: Any, api: Any, behaviours: Any, time: Any
) -> None:
    def slow(request: Any) -> bool:
        time.now += 4.0
        return bool(behaviours.answer(200, page(["a"], "7", "t"))(request))

    server.behave(*[slow] * 10)
    with pytest.raises(errors.Unavailable):
        api.list(PODS, project=name, deadline_s=10.0)
    assert len(server.requests) == 3
