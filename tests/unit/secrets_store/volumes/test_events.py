"""What events are written, and how many; the API server is a list here."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from secrets_store import errors, tasks
from secrets_store.kube import access, client
from secrets_store.model import volume
from secrets_store.volumes import events

Json = dict[str, Any]
POD = volume.Pod("shop", "web", "uid1")


class Clock:
    """Time that a test sets."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def wall_s(self) -> float:
        return 1_700_000_000.9

    def mono_s(self) -> float:
        return self.now_s

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        raise AssertionError("an event is written at once or never")


class Memory(client.Client):
    """Keeps what is created, or refuses it."""

    def __init__(self) -> None:
        super().__init__(access.Config("http://127.0.0.1:1"), user_agent="tests/1")
        self.made: list[Json] = []
        self.paths: list[str] = []
        self.refusal: errors.ApiError | None = None

    def create(self, path: str, body: Json, **more: Any) -> Json:
        if self.refusal is not None:
            raise self.refusal
        self.made.append(body)
        self.paths.append(path)
        return body


class Desk:
    """Events and where they go."""

    def __init__(self) -> None:
        self.api, self.threads, self.clock = Memory(), tasks.Threads("api", 1), Clock()
        self._background = tasks.Background()
        self.events = events.Events(
            self.api, self.threads, self._background, self.clock, node="node1"
        )

    async def made(self) -> list[Json]:
        """What was written since the last look."""
        await self._background.drain(3.0)
        taken, self.api.made = self.api.made, []
        return taken

    def stop(self) -> None:
        self.threads.stop()
        self.api.close()


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    yield made
    made.stop()


def warnings(caplog: pytest.LogCaptureFixture) -> list[tuple[str, Json]]:
    return [
        (line.getMessage(), line.__dict__["pairs"])
        for line in caplog.records
        if line.levelno >= logging.WARNING
    ]


async def test_an_event_on_a_pod(desk: Desk) -> None:
    desk.events.warning(POD, "Late", "it waits")

    (body,) = await desk.made()
    metadata = body.pop("metadata")
    assert metadata["namespace"] == "shop"
    assert metadata["name"].startswith("web.")
    assert body == {
        "apiVersion": "v1",
        "kind": "Event",
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": "shop",
            "name": "web",
            "uid": "uid1",
        },
        "type": "Warning",
        "reason": "Late",
        "message": "it waits",
        "source": {"component": events.CONTROLLER, "host": "node1"},
        "firstTimestamp": "2023-11-14T22:13:20Z",
        "lastTimestamp": "2023-11-14T22:13:20Z",
        "count": 1,
    }


async def test_an_event_that_all_went_well(desk: Desk) -> None:
    desk.events.normal(POD, "Done", "fresh", source=events.ROTATION)

    (body,) = await desk.made()
    assert (body["type"], body["source"]["component"]) == ("Normal", events.ROTATION)


async def test_an_event_goes_where_its_object_is(desk: Desk) -> None:
    desk.events.warning(POD, "Late", "x")
    desk.events.node_warning("Away", "x")

    _, on_node = await desk.made()
    assert desk.api.paths == ["/api/v1/namespaces/shop/events", "/api/v1/namespaces/default/events"]
    assert on_node["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Node",
        "name": "node1",
        "uid": "node1",
    }


async def test_a_pod_without_uid_gets_none(desk: Desk) -> None:
    desk.events.warning(volume.Pod("shop", "web", ""), "Late", "x")

    assert await desk.made() == []


async def test_one_event_for_a_pod_and_reason_in_ten_minutes(desk: Desk) -> None:
    for text in ("first", "second"):
        desk.events.warning(POD, "Late", text)
    assert [body["message"] for body in await desk.made()] == ["first"]

    desk.clock.now_s += events.QUIET_S - 0.1
    desk.events.warning(POD, "Late", "third")
    assert await desk.made() == []

    desk.clock.now_s += 0.1
    desk.events.warning(POD, "Late", "fourth")
    assert [body["message"] for body in await desk.made()] == ["fourth"]


async def test_other_reasons_and_other_pods_are_told_as_well(desk: Desk) -> None:
    desk.events.warning(POD, "Late", "x")
    desk.events.warning(POD, "Denied", "x")
    desk.events.warning(volume.Pod("shop", "web", "uid2"), "Late", "x")

    made = await desk.made()
    assert [(x["involvedObject"]["uid"], x["reason"]) for x in made] == [
        ("uid1", "Late"),
        ("uid1", "Denied"),
        ("uid2", "Late"),
    ]
    assert len({x["metadata"]["name"] for x in made}) == 3


@pytest.mark.parametrize(
    ("length", "shown"),
    [(1024, "x" * 1024), (1025, "x" * 1021 + "..."), (9000, "x" * 1021 + "...")],
    ids=["fits", "one too many", "far too long"],
)
async def test_a_message_has_the_length_that_an_event_can_have(
    desk: Desk, length: int, shown: str
) -> None:
    desk.events.warning(POD, "Late", "x" * length)

    (body,) = await desk.made()
    assert body["message"] == shown


async def test_a_name_of_any_pod_makes_a_name_of_an_event(desk: Desk) -> None:
    desk.events.warning(volume.Pod("shop", "p" * 253, "uid1"), "Late", "x")

    (body,) = await desk.made()
    assert len(body["metadata"]["name"]) <= 253
    assert body["involvedObject"]["name"] == "p" * 253


async def test_a_right_that_is_missing_is_told_once(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.api.refusal = errors.Forbidden("may not create", status=403)

    for reason in ("Late", "Denied", "Other"):
        desk.events.warning(POD, reason, "x")

    assert await desk.made() == []
    assert warnings(caplog) == [("events cannot be written", {"reason": "may not create"})]


async def test_another_failure_costs_its_event_and_a_line(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.api.refusal = errors.Unavailable("away")
    desk.events.warning(POD, "Late", "x")
    assert await desk.made() == []

    desk.api.refusal = None
    desk.events.warning(POD, "Denied", "x")

    assert [body["reason"] for body in await desk.made()] == ["Denied"]
    assert warnings(caplog) == [
        ("event lost", {"namespace": "shop", "name": "web", "event": "Late", "reason": "away"})
    ]


async def test_the_event_of_a_pod_with_a_long_name_has_a_legal_one(desk: Desk) -> None:
    """Cut within a name, a hyphen or a dot would stand before the dot that follows."""
    for name in ("a" * 229 + "-web", "a" * 228 + "..web"):
        desk.events.warning(volume.Pod("shop", name, name), "Late", "x")

    for body in await desk.made():
        assert re.fullmatch(r"a+\.[0-9a-f]{16}", body["metadata"]["name"])
