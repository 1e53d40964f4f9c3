import threading
from typing import Any

import pytest

from devkit.apiserver import requestlog


def entry(**fields: Any) -> requestlog.Entry:
    known: dict[str, Any] = {
        "verb": "get",
        "group": "",
        "resource": "pods",
        "subresource": "",
        "namespace": "n",
        "name": "p",
        "user": "u",
        "user_agent": "agent/1",
        "method": "GET",
        "path": "/x",
        "query": {},
        "accept": "",
        "content_type": "",
        "code": 200,
        "duration_s": 0.1,
    }
    return requestlog.Entry(**(known | fields))


def test_counting() -> None:
    log = requestlog.RequestLog()
    log.add(entry())
    log.add(entry(subresource="status"))
    log.add(entry(resource="", path="/version"))
    assert log.count() == 3
    assert log.count(resource="pods", subresource="") == 1
    assert log.count(user_agent="agent") == 3
    assert log.counters() == {
        ("get", "pods", "agent/1"): 1,
        ("get", "pods/status", "agent/1"): 1,
        ("get", "/version", "agent/1"): 1,
    }
    log.reset()
    assert log.counters() == {}


def test_a_mistyped_attribute_is_an_error() -> None:
    log = requestlog.RequestLog()
    log.add(entry())
    with pytest.raises(AttributeError):
        log.count(verbs="get")


def test_the_oldest_go_first() -> None:
    log = requestlog.RequestLog(limit=2)
    for code in (1, 2, 3):
        log.add(entry(code=code))
    assert [found.code for found in log.entries()] == [2, 3]


def test_waiting() -> None:
    log = requestlog.RequestLog()
    log.add(entry())
    adding = threading.Timer(0.02, lambda: log.add(entry(verb="list")))
    adding.start()
    assert [found.verb for found in log.wait(2, timeout_s=4)] == ["get", "list"]
    adding.join()
    found = log.wait_until(lambda entries: entries[-1].verb == "list", timeout_s=4)
    assert len(found) == 2


def test_waiting_in_vain() -> None:
    log = requestlog.RequestLog()
    with pytest.raises(TimeoutError, match="only 0 requests"):
        log.wait(timeout_s=0.01, verb="get")
