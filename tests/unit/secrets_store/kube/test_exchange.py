import concurrent.futures
import contextlib
import json
import logging
import pathlib
import secrets
import threading
import time as real_time
from collections.abc import Callable
from typing import Any

import pytest

from secrets_store import errors, log
from secrets_store.kube import access, client

POD = "/api/v1/namespaces/a/pods/b"


def test_success_is_counted(server: Any, api: Any, behaviours: Any, observed: Any) -> None:
    server.behave(behaviours.answer(200, {"a": 1}))
    assert api.get(POD) == {"a": 1}
    assert observed == [("GET", f"127.0.0.1:{server.port}", "200")]
    headers = server.requests[0].headers
    assert headers["user-agent"] == "tests/1"
    assert "authorization" not in headers


def test_connection_is_kept(server: Any, api: Any, behaviours: Any) -> None:
    server.behave(*[behaviours.answer(200, {})] * 2, behaviours.chunks(b'{"a"', b": 1}"))
    server.behave(behaviours.answer(404, {}), behaviours.answer(200, {}))
    api.get(POD)
    api.get(POD)
    assert api.get(POD) == {"a": 1}
    with pytest.raises(errors.NotFound):
        api.get(POD)
    api.get(POD)
    assert server.connections == 1


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_transient_status_is_tried_again(
    server: Any, api: Any, behaviours: Any, time: Any, code: int
) -> None:
    server.behave(*[behaviours.status(code)] * 3, behaviours.answer(200, {"ok": 1}))
    assert api.get(POD) == {"ok": 1}
    assert time.slept == [0.1, 0.2, 0.4]


def test_retry_after_is_honoured(server: Any, api: Any, behaviours: Any, time: Any) -> None:
    server.behave(behaviours.status(429, Retry_After="2"), behaviours.answer(200, {}))
    api.get(POD)
    assert time.slept == [pytest.approx(2.1)]


def test_retry_after_beyond_the_deadline_fails_at_once(
    server: Any, api: Any, behaviours: Any, time: Any
) -> None:
    server.behave(behaviours.status(429, "TooManyRequests", "busy", Retry_After="60"))
    with pytest.raises(errors.Unavailable, match="busy") as caught:
        api.get(POD)
    assert caught.value.retry_after_s == 60
    assert time.slept == []


def test_tries_end_with_the_deadline(server: Any, api: Any, behaviours: Any, time: Any) -> None:
    server.behave(*[behaviours.status(503, message="down")] * 50)
    with pytest.raises(errors.Unavailable, match="down"):
        api.get(POD, deadline_s=5.0)
    assert time.slept == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert time.now - 1000.0 < 5.0


@pytest.mark.parametrize(("code", "kind"), [(404, errors.NotFound), (403, errors.Forbidden)])
def test_other_statuses_are_final(
    server: Any, api: Any, behaviours: Any, code: int, kind: type[errors.ApiError]
) -> None:
    server.behave(behaviours.status(code, "Why", "because"))
    with pytest.raises(kind, match="because"):
        api.get(POD)
    assert len(server.requests) == 1


@pytest.mark.parametrize("fault", ["reset", "hang_up", "half"])
def test_reads_survive_transport_faults(
    server: Any, api: Any, behaviours: Any, time: Any, observed: Any, fault: str
) -> None:
    server.behave(getattr(behaviours, fault), behaviours.answer(200, {"ok": 1}))
    assert api.get(POD) == {"ok": 1}
    assert len(time.slept) == 1
    assert [code for _, _, code in observed] == ["<error>", "200"]


@pytest.mark.parametrize("method", ["update", "patch", "delete"])
def test_repeatable_writes_survive_transport_faults(
    server: Any, api: Any, behaviours: Any, method: str
) -> None:
    server.behave(behaviours.reset, behaviours.answer(200, {"ok": 1}))
    arguments = [] if method == "delete" else [{"x": 1}]
    assert getattr(api, method)(POD, *arguments) == {"ok": 1}
    assert server.requests[0].body == server.requests[1].body


@pytest.mark.parametrize("fault", ["reset", "hang_up", "half"])
def test_create_that_may_have_happened_is_left_to_the_caller(
    server: Any, api: Any, behaviours: Any, fault: str
) -> None:
    server.behave(getattr(behaviours, fault))
    with pytest.raises(errors.Unavailable, match="API server: "):
        api.create(POD, {"x": 1})
    assert len(server.requests) == 1


@pytest.mark.parametrize(("code", "after", "tries"), [
    (429, {}, 2), (429, {"Retry_After": "1"}, 2), (503, {"Retry_After": "1"}, 2), (503, {}, 1),
    (500, {}, 1), (504, {"Retry_After": "1"}, 1),
])  # fmt: skip
def test_create_is_repeated_only_when_nothing_was_done(
    server: Any, api: Any, behaviours: Any, code: int, after: dict[str, str], tries: int
) -> None:
    server.behave(behaviours.status(code, **after), behaviours.answer(201, {"made": 1}))
    with contextlib.suppress(errors.Unavailable):
        api.create(POD, {"x": 1})
    assert len(server.requests) == tries


def test_json_patch_is_not_repeated(server: Any, api: Any, behaviours: Any) -> None:
    server.behave(behaviours.reset)
    with pytest.raises(errors.Unavailable):
        api.patch(POD, [{"op": "add", "path": "/x/-", "value": 1}], kind="json")
    assert len(server.requests) == 1


def test_refused_connection_is_tried_again_until_the_deadline(
    server: Any, api: Any, time: Any, observed: Any
) -> None:
    server.refuse()
    with pytest.raises(errors.Unavailable, match="cannot connect"):
        api.create(POD, {}, deadline_s=2.0)
    assert len(time.slept) == 4
    assert {code for _, _, code in observed} == {"<error>"}


@pytest.mark.parametrize("method", ["get", "create"])
@pytest.mark.parametrize("fault", ["reset", "hang_up"])
def test_connection_dropped_while_idle_is_no_failure(
    server: Any, api: Any, behaviours: Any, time: Any, fault: str, method: str
) -> None:
    # The second request finds the kept connection open and loses it before the answer.
    server.behave(behaviours.answer(200, {}), getattr(behaviours, fault))
    server.behave(behaviours.answer(200, {"ok": 1}))
    api.get(POD)
    ask: Callable[[], dict[str, Any]] = (
        (lambda: api.get(POD)) if method == "get" else lambda: api.create(POD, {"x": 1})
    )
    assert ask() == {"ok": 1}
    assert time.slept == []
    assert [request.number for request in server.requests] == [0, 0, 1]


@pytest.mark.parametrize(
    ("begin", "again"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{", b" ", id="body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: ", b"x", id="one header"),
        pytest.param(b"", b"HTTP/1.1 100 Continue\r\n\r\n", id="answers before the answer"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0", id="size of a chunk"
        ),
    ],
)
def test_answer_dripping_beyond_the_deadline(server: Any, begin: bytes, again: bytes) -> None:
    def drip(request: Any) -> bool:
        request.send(begin)
        while not server.released.wait(0.05):
            request.send(again)
        return False

    server.behave(drip)
    api = client.Client(access.Config(server.url), user_agent="x")
    began = real_time.monotonic()
    with pytest.raises(errors.Unavailable, match="read timeout"):
        api.get(POD, deadline_s=0.4)
    assert real_time.monotonic() - began < 1.5
    api.close()


def test_answer_that_does_not_come(server: Any) -> None:
    server.behave(lambda request: server.released.wait() and False)
    with (
        contextlib.closing(client.Client(access.Config(server.url), user_agent="x")) as api,
        pytest.raises(errors.Unavailable, match="read timeout"),
    ):
        api.get(POD, deadline_s=0.2)


def test_answer_that_is_not_json_is_not_told(server: Any, api: Any, behaviours: Any) -> None:
    secret = secrets.token_hex(8)
    for body in (f"<html>{secret}", f'{{"data": "{secret}"', f'["{secret}"]'):
        server.behave(behaviours.answer(200, body.encode()))
        with pytest.raises(errors.Unavailable, match="not JSON") as caught:
            api.get(POD)
        assert caught.value.__context__ is None
        assert secret not in repr(vars(caught.value))


def test_redirect_is_not_followed(server: Any, api: Any, behaviours: Any) -> None:
    server.behave(behaviours.answer(302, b"", Location="http://127.0.0.1:1/"))
    with pytest.raises(errors.Unavailable, match="HTTP 302"):
        api.get(POD)
    assert len(server.requests) == 1


def test_token_refused_is_read_again_once(
    server: Any, behaviours: Any, tmp_path: pathlib.Path
) -> None:
    first, second = secrets.token_hex(8), secrets.token_hex(8)
    file = tmp_path / "token"
    file.write_text(first)
    config = access.Config(server.url, token_file=str(file))

    def swap(request: Any) -> bool:
        file.write_text(second)
        return bool(behaviours.status(401, "Unauthorized")(request))

    server.behave(swap, behaviours.answer(200, {"ok": 1}))
    server.behave(*[behaviours.status(401, "Unauthorized", "who are you")] * 2)
    with contextlib.closing(client.Client(config, user_agent="x")) as api:
        assert api.get(POD) == {"ok": 1}
        with pytest.raises(errors.Forbidden, match="who are you"):
            api.get(POD)
    sent = [request.headers["authorization"] for request in server.requests]
    assert sent == [f"Bearer {first}", f"Bearer {second}", f"Bearer {second}"]


def test_basic_authentication(server: Any, behaviours: Any) -> None:
    server.behave(behaviours.answer(200, {}))
    config = access.Config(server.url, username="me", password=log.Sealed("pass"))
    with contextlib.closing(client.Client(config, user_agent="x")) as api:
        api.get(POD)
    assert server.requests[0].headers["authorization"] == "Basic bWU6cGFzcw=="


def test_nothing_secret_is_logged_or_raised(
    server: Any, behaviours: Any, time: Any, caplog: pytest.LogCaptureFixture
) -> None:
    token, value = secrets.token_hex(8), secrets.token_hex(8)
    config = access.Config(server.url, token=log.Sealed(token))
    api = client.Client(config, user_agent="x", clock=time.clock, sleep=time.sleep)
    server.behave(behaviours.answer(200, {"data": value}), behaviours.reset, behaviours.half)
    server.behave(behaviours.answer(500, {"data": value}), behaviours.answer(422, value.encode()))
    caught = []
    with caplog.at_level(logging.DEBUG, logger="secrets_store"):
        api.get("/api/v1/namespaces/a/secrets/b", params={"fieldSelector": value})
        for _ in range(4):
            try:
                api.create("/api/v1/namespaces/a/secrets", {"data": value})
            except errors.ApiError as error:
                caught.append(error)
    api.close()
    assert len(caught) == 4
    said = caplog.text + repr([vars(record) for record in caplog.records])
    said += "".join(f"{error}{vars(error)}{error.__context__}" for error in caught)
    assert "namespaces/a/secrets" in said
    assert token not in said
    assert value not in said


def test_pool_is_bounded_and_shared(server: Any, behaviours: Any) -> None:
    together = threading.Barrier(2)

    def meet(request: Any) -> bool:
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait(0.5)
        return bool(behaviours.answer(200, {})(request))

    server.behave(*[meet] * 8)
    api = client.Client(access.Config(server.url), user_agent="x", pool_size=2)
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        assert list(threads.map(api.get, [POD] * 8)) == [{}] * 8
    assert server.connections == 2
    api.close()


def test_full_pool_is_waited_for_no_longer_than_the_deadline(server: Any, behaviours: Any) -> None:
    free = threading.Event()

    def hold(request: Any) -> bool:
        free.wait(3)
        return bool(behaviours.answer(200, {})(request))

    server.behave(hold, behaviours.answer(200, {}))
    api = client.Client(access.Config(server.url), user_agent="x", pool_size=1)
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        first = threads.submit(api.get, POD)
        server.wait_requests(1)
        with pytest.raises(errors.Unavailable, match="no free connection"):
            api.get(POD, deadline_s=0.2)
        free.set()
        assert first.result() == {}
    assert api.get(POD) == {}
    api.close()


def test_failed_connections_do_not_use_up_the_pool(server: Any, behaviours: Any, time: Any) -> None:
    api = client.Client(
        access.Config(server.url),
        user_agent="x",
        pool_size=1,
        clock=time.clock,
        sleep=time.sleep,
    )
    faults = [behaviours.reset, behaviours.hang_up, behaviours.half] * 3
    server.behave(*faults, behaviours.answer(200, {"ok": 1}))
    for _ in faults:
        with pytest.raises(errors.Unavailable):
            api.create(POD, {})
    assert api.get(POD) == {"ok": 1}
    api.close()


def test_close_ends_a_wait_between_tries(server: Any, behaviours: Any) -> None:
    server.behave(behaviours.status(429, Retry_After="20"))
    api = client.Client(access.Config(server.url), user_agent="x")
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        call = threads.submit(api.get, POD, deadline_s=60.0)
        server.wait_requests(1)
        api.close()
        with pytest.raises(errors.Unavailable):
            call.result(3)
    with pytest.raises(errors.Unavailable, match="closed"):
        api.get(POD)
    assert len(server.requests) == 1


def test_constructor_makes_no_connection(server: Any) -> None:
    client.Client(access.Config(server.url), user_agent="x").close()
    assert server.connections == 0


def test_deadline_already_over(server: Any, api: Any) -> None:
    with pytest.raises(errors.Unavailable, match="no time left"):
        api.get(POD, deadline_s=0.0)
    assert server.connections == 0


def test_body_is_json(server: Any, api: Any, behaviours: Any) -> None:
    server.behave(behaviours.answer(201, {}))
    api.create(POD, {"a": "ü"})
    assert json.loads(server.requests[0].body) == {"a": "ü"}
