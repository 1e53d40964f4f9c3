import asyncio
import json
import logging
import threading
import time as real_time
import urllib.parse
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from secrets_store.kube import client, paths, reflector

Event = reflector.Event[str]
BEGUN: list[Event] = [reflector.Replaced(("a@1",)), reflector.Synced()]


def name(obj: dict[str, Any]) -> str:
    return f"{obj['metadata']['name']}@{obj['metadata']['resourceVersion']}"


def line(kind: str, object_name: str, version: str) -> bytes:
    obj = {"metadata": {"name": object_name, "resourceVersion": version}}
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


def expired() -> bytes:
    status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
    return json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"


def query(request: Any) -> dict[str, str]:
    return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(request.target).query))


class Scene:
    """One reflector against the scripted server."""

    def __init__(self, server: Any, api: client.Client, behaviours: Any, **options: Any) -> None:
        self.server, self.behaviours = server, behaviours
        self.events: list[Event] = []
        self.pauses: list[float] = []
        self.patience = 50
        self.mono_s = 0.0
        self._changed = asyncio.Event()
        self._paused = threading.Condition()
        self._looked = threading.Condition()
        self._looks = 0
        self.reflector: reflector.Reflector[str] = reflector.Reflector(
            api,
            options.pop("path", paths.pods()),
            project=options.pop("project", name),
            on_event=self._on_event,
            uniform=lambda low, high: high,
            clock=self._clock,
            pause=self._pause,
            **options,
        )

    def _on_event(self, event: Event) -> None:
        self.events.append(event)
        self._changed.set()

    def _clock(self) -> float:
        with self._looked:
            self._looks += 1
            self._looked.notify_all()
            return self.mono_s

    def _pause(self, seconds: float) -> None:
        with self._paused:
            self.pauses.append(seconds)
            self._paused.notify_all()
        if len(self.pauses) >= self.patience:
            self.server.released.wait()

    async def wait_pauses(self, count: int) -> list[float]:
        """Return the pauses once there are so many; the reflector rests in the last."""

        def wait() -> bool:
            with self._paused:
                return self._paused.wait_for(lambda: len(self.pauses) >= count, 3)

        self.patience = count
        assert await asyncio.to_thread(wait)
        return self.pauses

    async def wait(self, count: int) -> list[Event]:
        async with asyncio.timeout(3):
            while len(self.events) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.events

    async def wait_requests(self, count: int) -> list[Any]:
        await asyncio.to_thread(self.server.wait_requests, count)
        return list(self.server.requests)

    def page(self, *names: str, version: str = "1") -> Any:
        items = [{"metadata": {"name": one, "resourceVersion": version}} for one in names]
        return self.behaviours.answer(
            200, {"metadata": {"resourceVersion": version}, "items": items}
        )

    def long(self, *parts: bytes) -> Any:
        """Answer a watch that lasts for a while and ends in good order."""

        def behave(request: Any) -> bool:
            with self._looked:
                before = self._looks
                self.behaviours.chunks(*parts, end=False)(request)
                # As soon as the watch is up the reflector looks at its clock.
                assert self._looked.wait_for(lambda: self._looks > before, 3)
                self.mono_s += 300.0
            request.send(b"0\r\n\r\n")
            return True

        return behave

    def open(self, *parts: bytes) -> Any:
        """Answer a watch and leave it open."""

        def behave(request: Any) -> bool:
            self.behaviours.chunks(*parts, end=False)(request)
            return bool(self.server.released.wait()) and False

        return behave


@pytest.fixture
async def scene(
    server: Any, api: client.Client, behaviours: Any
) -> AsyncIterator[Callable[..., Scene]]:
    made: list[Scene] = []

    def make(**options: Any) -> Scene:
        made.append(Scene(server, api, behaviours, **options))
        return made[-1]

    yield make
    for one in made:
        server.released.set()
        one.reflector.stop()


def start(scene: Scene) -> "asyncio.Future[None]":
    return scene.reflector.start(asyncio.get_running_loop())


async def test_list_then_watch(scene: Callable[..., Scene]) -> None:
    s = scene(params={"fieldSelector": "spec.nodeName=n"})
    s.server.behave(
        s.page("a", "b", version="5"),
        s.open(line("ADDED", "c", "6"), line("MODIFIED", "a", "7"), line("DELETED", "b", "8")),
    )
    start(s)
    assert await s.wait(5) == [
        reflector.Replaced(("a@5", "b@5")),
        reflector.Synced(),
        reflector.Added("c@6"),
        reflector.Modified("a@7"),
        reflector.Deleted("b@8"),
    ]
    listed, watched = s.server.requests
    assert listed.headers["accept"] == client.METADATA_LIST
    assert query(listed) == {
        "limit": "100",
        "resourceVersion": "0",
        "fieldSelector": "spec.nodeName=n",
    }
    assert watched.headers["accept"] == client.METADATA
    assert query(watched) == {
        "resourceVersion": "5",
        "allowWatchBookmarks": "true",
        "timeoutSeconds": "600",
        "fieldSelector": "spec.nodeName=n",
        "watch": "1",
    }
    assert s.pauses == []


async def test_without_listing_only_a_version_is_fetched(scene: Callable[..., Scene]) -> None:
    s = scene(path=paths.classes(), whole=False)
    s.server.behave(s.page("a", version="5"), s.open(line("MODIFIED", "b", "6")))
    start(s)
    assert await s.wait(3) == [
        reflector.Replaced(()),
        reflector.Synced(),
        reflector.Modified("b@6"),
    ]
    assert query(s.server.requests[0]) == {"limit": "1"}


async def test_watch_that_ends_goes_on_from_the_last_version(scene: Callable[..., Scene]) -> None:
    s = scene()
    s.server.behave(
        s.page("a"),
        s.behaviours.chunks(line("ADDED", "b", "2"), line("BOOKMARK", "", "9")),
        s.open(line("ADDED", "c", "10")),
    )
    start(s)
    events = await s.wait(4)
    assert events == [*BEGUN, reflector.Added("b@2"), reflector.Added("c@10")]
    assert query(s.server.requests[2])["resourceVersion"] == "9"
    assert s.pauses == []


async def test_silence_after_a_bookmark_is_no_watch_any_more(scene: Callable[..., Scene]) -> None:
    """A proxy may hold the connection open although nothing can come on it."""
    s = scene(bookmark_silence_s=0.3)
    s.server.behave(s.page("a"), s.open(line("BOOKMARK", "", "7")), s.open(line("ADDED", "b", "8")))
    start(s)
    assert await s.wait(5) == [
        *BEGUN,
        reflector.Stale("API server: read timeout"),
        reflector.Synced(),
        reflector.Added("b@8"),
    ]
    assert query(s.server.requests[2])["resourceVersion"] == "7"
    # No bookmark has come on this one: so its server need not send any.
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.8):
            await s.wait(6)


async def test_watch_that_ends_at_once_is_no_busy_loop(scene: Callable[..., Scene]) -> None:
    s = scene()
    s.patience = 8
    s.server.behave(s.page("a"), *[s.behaviours.chunks(line("BOOKMARK", "", "2"))] * 9)
    start(s)
    assert await s.wait_pauses(8) == [1.1, 2.1, 4.1, 8.1, 16.1, 30.1, 30.1, 30.1]
    assert s.events == BEGUN


async def test_watch_of_full_length_starts_no_wait(scene: Callable[..., Scene]) -> None:
    s = scene()
    s.server.behave(s.page("a"), *[s.long()] * 5, s.open())
    start(s)
    await s.wait_requests(7)
    assert s.pauses == []
    assert s.events == BEGUN


@pytest.mark.parametrize("way", ["event", "answer"])
async def test_expired_version_lists_again_and_asks_for_the_truth(
    scene: Callable[..., Scene], way: str
) -> None:
    s = scene()
    gone = s.behaviours.chunks(expired()) if way == "event" else s.behaviours.status(410)
    s.server.behave(
        s.page("a"), s.long(line("ADDED", "b", "2")), gone, s.page("c", version="20"), s.open()
    )  # fmt: skip
    start(s)
    assert await s.wait(6) == [
        *BEGUN,
        reflector.Added("b@2"),
        reflector.Stale("too old" if way == "event" else "HTTP 410 from the API server"),
        reflector.Replaced(("c@20",)),
        reflector.Synced(),
    ]
    again, watched = s.server.requests[3:5]
    assert query(again) == {"limit": "100"}
    assert query(watched)["resourceVersion"] == "20"
    assert s.pauses == [], "the first time it expires is no failure"


async def test_expiring_again_and_again_is_no_busy_loop(scene: Callable[..., Scene]) -> None:
    s = scene()
    s.patience = 3
    s.server.behave(*[s.page("a"), s.behaviours.status(410)] * 4)
    start(s)
    assert await s.wait_pauses(3) == [1.1, 2.1, 4.1]


async def test_broken_watch_is_stale_until_it_is_up_again(
    scene: Callable[..., Scene], caplog: pytest.LogCaptureFixture
) -> None:
    s = scene()
    s.server.behave(
        s.page("a"),
        s.behaviours.chunks(line("ADDED", "b", "2"), end=False),
        s.behaviours.reset,
        s.behaviours.status(503, "ServiceUnavailable", "starting", Retry_After="3"),
        s.open(line("ADDED", "c", "3")),
    )
    with caplog.at_level(logging.INFO, logger="secrets_store"):
        start(s)
        assert await s.wait(6) == [
            *BEGUN,
            reflector.Added("b@2"),
            reflector.Stale("API server: answer cut short"),
            reflector.Synced(),
            reflector.Added("c@3"),
        ]
    assert query(s.server.requests[4])["resourceVersion"] == "2"
    assert s.pauses == [0.6, 1.1, 5.0], "the last by Retry-After"
    said = [(r.levelname, r.getMessage()) for r in caplog.records]
    assert said == [
        ("WARNING", "watch is down, trying again"),
        ("INFO", "watch is up again"),
    ]


@pytest.mark.parametrize("verb", ["list", "watch"])
async def test_missing_right_is_told_once_and_asked_for_slowly(
    scene: Callable[..., Scene], caplog: pytest.LogCaptureFixture, verb: str
) -> None:
    s = scene(path=paths.pod_statuses())
    s.patience = 9
    before = [s.page("a")] if verb == "watch" else []
    s.server.behave(*before, *[s.behaviours.status(403, "Forbidden", "may not")] * 9)
    with caplog.at_level(logging.INFO, logger="secrets_store"):
        start(s)
        pauses = await s.wait_pauses(9)
    assert pauses == [5.1, 10.1, 20.1, 40.1, 80.1, 160.1, 300.1, 300.1, 300.1]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert vars(record)["pairs"]["missing_right"] == (
        f"{verb} secretproviderclasspodstatuses.secrets-store.csi.x-k8s.io"
    )


@pytest.mark.parametrize("whole", [True, False])
async def test_list_without_a_version_is_a_failure(
    scene: Callable[..., Scene], whole: bool
) -> None:
    s = scene(whole=whole)
    s.server.behave(s.behaviours.answer(200, {"hello": "world"}), s.page(), s.open())
    start(s)
    assert await s.wait(2) == [reflector.Replaced(()), reflector.Synced()]
    assert s.pauses == [0.6]


async def test_no_proxy_sends_a_watch_away_for_a_day(scene: Callable[..., Scene]) -> None:
    s = scene()
    s.server.behave(s.page("a"), s.behaviours.status(503, Retry_After="86400"), s.open())
    start(s)
    await s.wait(2)
    assert s.pauses == [60.5]


async def test_missing_kind_is_asked_for_slowly(scene: Callable[..., Scene]) -> None:
    s = scene(path=paths.classes(), whole=False)
    s.server.behave(s.behaviours.status(404), s.page("a"), s.open())
    start(s)
    assert await s.wait(2) == [reflector.Replaced(()), reflector.Synced()]
    assert s.pauses == [5.1]


async def test_refused_token_is_no_missing_right(
    scene: Callable[..., Scene], caplog: pytest.LogCaptureFixture
) -> None:
    s = scene()
    s.server.behave(s.behaviours.status(401), s.page("a"), s.open())
    start(s)
    await s.wait(2)
    assert s.pauses == [0.6]
    assert "missing_right" not in str([vars(record) for record in caplog.records])


async def test_watch_that_was_sound_ends_a_row_of_failures(scene: Callable[..., Scene]) -> None:
    s = scene()
    reset = s.behaviours.reset
    s.server.behave(s.page("a"), reset, reset, reset, s.long(), reset, reset, s.open())
    start(s)
    await s.wait_requests(8)
    assert s.pauses == [0.6, 1.1, 2.1, 0.6, 1.1]


@pytest.mark.parametrize("stage", ["list", "head", "silence"])
async def test_stop_ends_it_at_once(
    scene: Callable[..., Scene], server: Any, behaviours: Any, stage: str
) -> None:
    s = scene()

    def hang(request: Any) -> bool:
        return bool(server.released.wait()) and False

    steps = {"list": [hang], "head": [s.page("a"), hang], "silence": [s.page("a"), s.open()]}
    server.behave(*steps[stage])
    ended = start(s)
    await s.wait_requests(len(steps[stage]))
    began = real_time.monotonic()
    s.reflector.stop()
    assert real_time.monotonic() - began < 2.5
    if stage != "list":
        async with asyncio.timeout(1):
            await ended
        assert "watch pods" not in [thread.name for thread in threading.enumerate()]


async def test_nothing_is_told_after_stop(scene: Callable[..., Scene]) -> None:
    s = scene()
    s.server.behave(s.page("a"), s.open(line("ADDED", "b", "2")))
    start(s)
    await s.wait_requests(2)
    s.reflector.stop()
    told = len(s.events)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(s.events) == told


async def test_stop_is_allowed_twice_and_during_a_pause(server: Any, api: Any) -> None:
    one: reflector.Reflector[str] = reflector.Reflector(
        api, paths.pods(), project=name, on_event=lambda event: None
    )
    server.refuse()
    ended = one.start(asyncio.get_running_loop())
    one.stop()
    one.stop()
    await ended


async def test_failing_projection_ends_the_future(scene: Callable[..., Scene]) -> None:
    s = scene(project=lambda obj: obj["no such field"])
    s.server.behave(s.page("a"))
    with pytest.raises(KeyError):
        await start(s)


def test_closed_loop_ends_the_thread(server: Any, api: Any, behaviours: Any) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def wait(request: Any) -> bool:
        asked.set()
        go_on.wait(3)
        page = {"metadata": {"resourceVersion": "1"}, "items": []}
        return bool(behaviours.answer(200, page)(request))

    server.behave(wait, behaviours.chunks())
    loop = asyncio.new_event_loop()
    one: reflector.Reflector[str] = reflector.Reflector(
        api, paths.pods(), project=name, on_event=lambda event: None
    )
    one.start(loop)
    assert asked.wait(3)
    (thread,) = (found for found in threading.enumerate() if found.name == "watch pods")
    loop.close()
    go_on.set()
    thread.join(3)
    assert not thread.is_alive()


def test_stop_of_what_was_never_started(api: Any) -> None:
    reflector.Reflector(api, paths.pods(), project=name, on_event=lambda event: None).stop()
