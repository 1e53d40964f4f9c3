import concurrent.futures
import contextlib
import json
import pathlib
import secrets
import threading
import time as real_time
import tracemalloc
from typing import Any

import pytest

from secrets_store import errors
from secrets_store.kube import access, client

PODS = "/api/v1/pods"


def line(kind: str, **metadata: str) -> bytes:
    return json.dumps({"type": kind, "object": {"metadata": metadata}}).encode() + b"\n"


def test_events_survive_chunk_boundaries(server: Any, api: Any, behaviours: Any) -> None:
    text = line("ADDED", name="ä" * 300) + b"\n" + line("MODIFIED", name="b") + line("DELETED")
    expected = [
        ("ADDED", {"metadata": {"name": "ä" * 300}}),
        ("MODIFIED", {"metadata": {"name": "b"}}),
        ("DELETED", {"metadata": {}}),
    ]
    for size in (1, 7, 100, len(text)):
        parts = [text[i : i + size] for i in range(0, len(text), size)]
        server.behave(behaviours.chunks(*parts))
        with api.watch(PODS) as watch:
            assert list(watch) == expected


def test_events_larger_than_any_buffer(server: Any, api: Any, behaviours: Any) -> None:
    big = line("ADDED", name="x" * 300_000)
    server.behave(behaviours.chunks(big[:100_000], big[100_000:] + line("DELETED")))
    with api.watch(PODS) as watch:
        assert [kind for kind, _ in watch] == ["ADDED", "DELETED"]


def test_request(server: Any, api: Any, behaviours: Any, observed: Any) -> None:
    server.behave(behaviours.chunks())
    watch = api.watch(PODS, params={"resourceVersion": "5"}, accept=client.METADATA)
    assert server.connections == 0
    with watch:
        assert list(watch) == []
    request = server.requests[0]
    assert request.target == f"{PODS}?resourceVersion=5&watch=1"
    assert request.headers["accept"] == client.METADATA
    assert request.headers["user-agent"] == "tests/1"
    assert observed == [("GET", f"127.0.0.1:{server.port}", "200")]


@pytest.mark.parametrize(
    ("code", "kind"), [(410, errors.Gone), (403, errors.Forbidden), (429, errors.Unavailable)]
)
def test_refusal(
    server: Any, api: Any, behaviours: Any, code: int, kind: type[errors.ApiError]
) -> None:
    server.behave(behaviours.status(code, "Why", "because", Retry_After="7"))
    with pytest.raises(kind, match="because") as caught, api.watch(PODS):
        pass
    assert caught.value.retry_after_s == 7


def test_refused_token_is_read_again(server: Any, behaviours: Any, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    config = access.Config(server.url, token_file=str(file))

    def swap(request: Any) -> bool:
        file.write_text("second")
        return bool(behaviours.status(401)(request))

    server.behave(swap, behaviours.chunks())
    with contextlib.closing(client.Client(config, user_agent="x")) as api:
        with pytest.raises(errors.Forbidden), api.watch(PODS):
            pass
        with api.watch(PODS):
            pass
    assert server.requests[1].headers["authorization"] == "Bearer second"


def test_error_event_is_raised(server: Any, api: Any, behaviours: Any) -> None:
    status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
    error = json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"
    server.behave(behaviours.chunks(line("ADDED") + error + line("ADDED")))
    with api.watch(PODS) as watch:
        events = iter(watch)
        assert next(events)[0] == "ADDED"
        with pytest.raises(errors.Gone, match="too old"):
            next(events)


@pytest.mark.parametrize(
    "text", ['{{"type": "ADDED", {0}', '"{0}"', '{{"type": 1, "object": "{0}"}}']
)
def test_event_that_is_not_json_is_not_told(
    server: Any, api: Any, behaviours: Any, text: str
) -> None:
    secret = secrets.token_hex(8)
    server.behave(behaviours.chunks(text.format(secret).encode() + b"\n"))
    with pytest.raises(errors.Unavailable, match="not JSON") as caught, api.watch(PODS) as watch:
        list(watch)
    assert secret not in f"{caught.value}{caught.value.__context__!r}"


def test_broken_in_the_middle(server: Any, api: Any, behaviours: Any) -> None:
    server.behave(behaviours.chunks(line("ADDED"), b'{"type"', end=False))
    with api.watch(PODS) as watch:
        events = iter(watch)
        assert next(events)[0] == "ADDED"
        with pytest.raises(errors.Unavailable, match="cut short"):
            next(events)


def test_ended_in_the_middle_of_a_line(server: Any, api: Any, behaviours: Any) -> None:
    server.behave(behaviours.chunks(line("ADDED"), b'{"type"'))
    with pytest.raises(errors.Unavailable, match="cut short"), api.watch(PODS) as watch:
        list(watch)


def test_server_not_there(server: Any, api: Any, observed: Any) -> None:
    server.refuse()
    with pytest.raises(errors.Unavailable, match="cannot connect"), api.watch(PODS):
        pass
    assert [code for _, _, code in observed] == ["<error>"]


def test_silence(server: Any, api: Any, behaviours: Any) -> None:
    def silent(request: Any) -> bool:
        request.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        return bool(server.released.wait()) and False

    server.behave(silent)
    with (
        pytest.raises(errors.Unavailable, match="read timeout"),
        api.watch(PODS, silence_s=0.1) as watch,
    ):
        list(watch)


@pytest.mark.parametrize("stage", ["head", "silence", "last"])
def test_close_from_another_thread_ends_it_at_once(server: Any, api: Any, stage: str) -> None:
    def hang(request: Any) -> bool:
        if stage != "head":
            # «close» is how an answer comes whose connection http.client gives away.
            ending = b"Connection: close" if stage == "last" else b"Transfer-Encoding: chunked"
            request.send(b"HTTP/1.1 200 OK\r\n" + ending + b"\r\n\r\n")
        return bool(server.released.wait()) and False

    server.behave(hang)
    watch = api.watch(PODS, silence_s=60)

    def follow() -> list[Any]:
        with watch:
            return list(watch)

    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        call = threads.submit(follow)
        server.wait_requests(1)
        real_time.sleep(0.05)  # Lets the reader block; the result is the same if it does not.
        began = real_time.monotonic()
        watch.close()
        if stage == "head":
            with pytest.raises(errors.Unavailable):
                call.result(3)
        else:
            assert call.result(3) == []
    assert real_time.monotonic() - began < 1.0


def test_close_before_it_is_open(server: Any, api: Any) -> None:
    watch = api.watch(PODS)
    watch.close()
    with pytest.raises(errors.Unavailable), watch:
        pass
    assert server.requests == []


def test_close_between_events(server: Any, api: Any, behaviours: Any) -> None:
    server.behave(behaviours.chunks(line("ADDED") * 3))
    with api.watch(PODS) as watch:
        for _ in watch:
            threading.Thread(target=watch.close).run()
            break
        assert list(watch) == []


def test_no_socket_is_left(server: Any, api: Any, behaviours: Any) -> None:
    server.behave(*[behaviours.chunks(line("ADDED"))] * 3, behaviours.status(410))
    gone = threading.Event()

    def until_closed(request: Any) -> bool:
        request.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            request.connection.recv(1)
        gone.set()
        return False

    server.behave(until_closed)
    for _ in range(3):
        with api.watch(PODS) as watch:
            list(watch)
    with pytest.raises(errors.Gone), api.watch(PODS):
        pass
    with api.watch(PODS):
        pass
    assert gone.wait(3)


def test_idle_watch_keeps_little_memory(server: Any, api: Any, behaviours: Any) -> None:
    ready = threading.Event()

    def big_then_silent(request: Any) -> bool:
        request.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        ready.wait(3)
        size = len(line("ADDED", name="")) + 2_000_000
        request.send(b"%x\r\n" % size + line("ADDED", name="x" * 2_000_000) + b"\r\n")
        return bool(server.released.wait()) and False

    server.behave(big_then_silent)
    tracemalloc.start()
    try:
        with api.watch(PODS) as watch:
            events = iter(watch)
            before = tracemalloc.get_traced_memory()[0]
            ready.set()
            assert next(events)[0] == "ADDED"
            with concurrent.futures.ThreadPoolExecutor(1) as threads:
                waiting = threads.submit(next, events, None)
                real_time.sleep(0.1)  # Lets the reader come to rest in its read.
                kept = tracemalloc.get_traced_memory()[0] - before
                watch.close()
                assert waiting.result(3) is None
    finally:
        tracemalloc.stop()
    assert kept < 500_000
