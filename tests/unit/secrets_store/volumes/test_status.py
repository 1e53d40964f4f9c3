"""When status objects are written; the API server is a dictionary here."""

import copy
import dataclasses
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from secrets_store import errors, tasks
from secrets_store.kube import access, client, paths, reflector, store
from secrets_store.model import pod_status, record, volume
from secrets_store.volumes import status, table

Json = dict[str, Any]
ONE = paths.pod_statuses("shop", "s")
KNOWN = record.Record(
    volume_id="v", target_path="/t", pod=volume.Pod("shop", "web", "uid1"), service_account="",
    class_name="cls", class_uid="", class_generation=1, provider="p", objects={"a": "1"},
    attributes={}, last_check_s=0.0, last_change_s=0.0, status_name="s", group=None, boot_id="",
)  # fmt: skip
CONDITION = pod_status.Condition(fresh=True, reason="Checked", message="", since_s=0.0)


class Memory(client.Client):
    """Status objects by path; what is asked is noted. Called from a thread."""

    def __init__(self) -> None:
        super().__init__(access.Config("http://127.0.0.1:1"), user_agent="tests/1")
        self.objects: dict[str, Json] = {}
        self.asked: list[tuple[str, Json]] = []
        self.refusals: dict[str, list[errors.ApiError]] = {}
        self.prunes = self.apart = False
        self._versions = 0
        self._lock = threading.Lock()

    def get(self, path: str, **more: Any) -> Json:
        self._ask("get", {})
        if path not in self.objects:
            raise errors.NotFound("no such object", status=404)
        return copy.deepcopy(self.objects[path])

    def create(self, path: str, body: Json, **more: Any) -> Json:
        self._ask("create", body)
        one = f"{path}/{body['metadata']['name']}"
        if one in self.objects:
            raise errors.AlreadyExists("there", status=409)
        return self._keep(one, body)

    def update(self, path: str, body: Json, **more: Any) -> Json:
        self._ask("update", body)
        version = self.objects[path]["metadata"]["resourceVersion"]
        if body["metadata"]["resourceVersion"] != version:
            raise errors.Conflict("old", status=409)
        return self._keep(path, body)

    def touch(self, path: str, **labels: str) -> Json:
        """Let somebody else change an object."""
        changed = copy.deepcopy(self.objects[path])
        changed["metadata"]["labels"] |= labels
        return self._keep(path, changed)

    def verbs(self) -> list[str]:
        """What was asked since the last look."""
        taken, self.asked = self.asked, []
        return [verb for verb, _ in taken]

    def _ask(self, verb: str, body: Json) -> None:
        with self._lock:
            self.asked.append((verb, copy.deepcopy(body)))
        if self.refusals.get(verb):
            raise self.refusals[verb].pop(0)

    def _keep(self, path: str, body: Json) -> Json:
        self._versions += 1
        kept = self.objects[path] = copy.deepcopy(body)
        kept["metadata"] |= {"resourceVersion": str(self._versions), "managedFields": ["large"]}
        if self.prunes:
            kept["status"].pop("conditions", None)
        if self.apart:
            kept.pop("status", None)
        return copy.deepcopy(kept)


class Node:
    """A writer, the watch and the API server."""

    def __init__(self) -> None:
        self.api, self.watch, self._threads = Memory(), store.Statuses(), tasks.Threads("api", 1)
        self._writer = status.StatusWriter(self.api, self._threads, self.watch, node="node-1")
        self.volume = table.Volume(KNOWN, condition=CONDITION)

    async def write(self, *, first: bool = False) -> None:
        await self._writer.write(self.volume, first=first, deadline_s=1.0)

    def hear(self) -> None:
        """Let the watch catch up with the API server."""
        items = tuple(store.Status.from_dict(obj) for obj in self.api.objects.values())
        self.watch.on_event(reflector.Replaced(items))
        self.watch.on_event(reflector.Synced())

    def stop(self) -> None:
        self._threads.stop()
        self.api.close()


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    made = Node()
    yield made
    made.stop()


async def test_a_new_object_costs_one_request(node: Node) -> None:
    await node.write(first=True)

    assert node.api.verbs() == ["create"]
    made = node.api.objects[ONE]
    assert made["status"]["objects"] == [{"id": "a", "version": "1"}]
    assert made["status"]["conditions"] == [CONDITION.to_dict()]
    assert made["metadata"]["ownerReferences"] == [pod_status.owner(KNOWN.pod)]
    assert node.volume.status is not None
    assert "managedFields" not in node.volume.status["metadata"]


@pytest.mark.parametrize("watched", [True, False])
async def test_what_is_current_costs_no_request(node: Node, watched: bool) -> None:
    await node.write(first=True)
    if watched:
        node.hear()
    node.api.verbs()

    await node.write()

    assert node.api.verbs() == []


async def test_what_the_record_says_anew_is_written(node: Node) -> None:
    await node.write(first=True)
    node.api.verbs()
    node.volume.record = dataclasses.replace(KNOWN, objects={"a": "2"})

    await node.write()

    assert node.api.verbs() == ["get", "update"]
    assert node.api.objects[ONE]["status"]["objects"] == [{"id": "a", "version": "2"}]


async def test_an_object_of_an_earlier_process_is_updated_and_others_labels_kept(
    node: Node,
) -> None:
    await node.write(first=True)
    node.api.touch(ONE, team="blue")
    node.api.verbs()
    node.volume = table.Volume(dataclasses.replace(KNOWN, objects={"a": "2"}))

    await node.write(first=True)

    assert node.api.verbs() == ["create", "get", "update"]
    written = node.api.objects[ONE]
    assert written["status"]["objects"] == [{"id": "a", "version": "2"}]
    assert written["metadata"]["labels"]["team"] == "blue"


async def test_a_change_that_the_watch_tells_of_is_looked_at(node: Node) -> None:
    await node.write(first=True)
    node.api.touch(ONE, team="blue")
    node.hear()
    node.api.verbs()

    await node.write()
    assert node.api.verbs() == ["get"]

    await node.write()
    assert node.api.verbs() == []


async def test_an_object_that_somebody_deleted_is_made_again(node: Node) -> None:
    await node.write(first=True)
    node.api.objects.clear()
    node.hear()
    node.api.verbs()

    await node.write()

    assert node.api.verbs() == ["get", "create"]
    assert ONE in node.api.objects


async def test_a_conflict_is_followed_by_another_look(node: Node) -> None:
    await node.write(first=True)
    node.api.verbs()
    node.api.refusals["update"] = [errors.Conflict("old", status=409)] * 2
    node.volume.record = dataclasses.replace(KNOWN, objects={})

    await node.write()

    assert node.api.verbs() == ["get", "update"] * 3
    assert "objects" not in node.api.objects[ONE]["status"]


async def test_conflicts_without_end_are_given_up(node: Node) -> None:
    await node.write(first=True)
    node.api.verbs()
    before = node.volume.status
    node.api.refusals["update"] = [errors.Conflict("old", status=409)] * 9
    node.volume.record = dataclasses.replace(KNOWN, objects={})

    with pytest.raises(errors.Conflict):
        await node.write()

    assert node.api.verbs() == ["get", "update"] * status.CONFLICT_TRIES
    assert node.volume.status is before


@pytest.mark.parametrize(
    "error",
    [
        errors.NotFound("no such namespace", status=404),
        errors.Forbidden("no right", status=403),
        errors.Unavailable("away"),
    ],
    ids=repr,
)
async def test_a_refusal_is_passed_on_after_one_try(node: Node, error: errors.ApiError) -> None:
    node.api.refusals["create"] = [error]

    with pytest.raises(type(error)):
        await node.write(first=True)

    assert node.api.verbs() == ["create"]
    assert node.volume.status is None


async def test_a_crd_that_keeps_the_status_apart_fails_no_publish(node: Node) -> None:
    """One with the status subresource: what is posted to the object itself loses its status."""
    node.api.apart = True

    await node.write(first=True)

    assert node.volume.status is not None
    assert "status" not in node.api.objects[ONE]


async def test_conditions_that_the_crd_prunes_are_sent_once(node: Node) -> None:
    node.api.prunes = True
    await node.write(first=True)
    ((_, sent),) = node.api.asked
    assert "conditions" in sent["status"]
    node.api.verbs()

    await node.write()
    assert node.api.verbs() == []

    node.volume.record = dataclasses.replace(KNOWN, objects={"a": "2"})
    await node.write()
    another = node.volume = table.Volume(
        dataclasses.replace(KNOWN, status_name="s2"), condition=CONDITION
    )
    await node.write(first=True)

    assert another.status is not None
    bodies = [body for verb, body in node.api.asked if verb != "get"]
    assert [body["metadata"]["name"] for body in bodies] == ["s", "s2"]
    assert not any("conditions" in body["status"] for body in bodies)
