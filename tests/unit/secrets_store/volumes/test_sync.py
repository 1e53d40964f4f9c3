"""When Secret sync asks the API server, and for whom; what it writes: tests/apiserver/test_sync.py.

The API server is a dictionary here.
"""

import asyncio
import secrets
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from secrets_store import errors, tasks
from secrets_store.kube import access, client, reflector, store
from secrets_store.model import payload, provider_class, record, volume
from secrets_store.volumes import sync, table

Json = dict[str, Any]
FILES = {"password": payload.File(secrets.token_bytes(16), 0o400)}


class Memory(client.Client):
    """Secrets by path; what is asked is noted. Called from several threads."""

    def __init__(self) -> None:
        super().__init__(access.Config("http://127.0.0.1:1"), user_agent="tests/1")
        self.objects: dict[str, Json] = {}
        self.verbs: list[str] = []
        self.before: Callable[[str], None] = lambda verb: None
        self._lock = threading.Lock()

    def get(self, path: str, **more: Any) -> Json:
        self._note("get", path)
        if path not in self.objects:
            raise errors.NotFound("no such object", status=404, reason="NotFound")
        return self.objects[path]

    def create(self, path: str, body: Json, **more: Any) -> Json:
        self._note("create", path)
        metadata = body["metadata"] | {"uid": secrets.token_hex(4), "resourceVersion": "1"}
        made = self.objects[f"{path}/{metadata['name']}"] = body | {"metadata": metadata}
        return made

    def patch(self, path: str, body: Any, **more: Any) -> Json:
        self._note("patch", path)
        self.objects[path]["metadata"]["ownerReferences"] += body["metadata"]["ownerReferences"]
        return self.objects[path]

    def delete(self, path: str, **more: Any) -> Json:
        self._note("delete", path)
        return self.objects.pop(path)

    def _note(self, verb: str, path: str) -> None:
        with self._lock:
            self.verbs.append(verb)
        self.before(verb)


class Node:
    """A SecretSync, its pods, and the API server."""

    def __init__(self, **more: Any) -> None:
        self.api, self.pods, self.threads = Memory(), store.Pods(), tasks.Threads("api", 4)
        self.sync = sync.SecretSync(self.api, self.threads, self.pods, **more)

    def volume(self, *, terminating: bool = False) -> table.Volume:
        """Return the volume of a new pod."""
        uid = secrets.token_hex(8)
        metadata: Json = {"namespace": "shop", "name": f"pod-{uid}", "uid": uid}
        if terminating:
            metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        self.pods.on_event(reflector.Added(store.Pod.from_dict({"metadata": metadata})))
        known = record.Record(
            volume_id="v", target_path="/t", pod=volume.Pod("shop", metadata["name"], uid),
            service_account="", class_name="cls", class_uid="", class_generation=1, provider="p",
            objects={}, attributes={}, last_check_s=0.0, last_change_s=0.0, status_name="s",
            group=None, boot_id="",
        )  # fmt: skip
        return table.Volume(known)

    def verbs(self) -> list[str]:
        """What was asked since the last look."""
        taken, self.api.verbs = self.api.verbs, []
        return taken

    def stop(self) -> None:
        self.threads.stop()
        self.api.close()


def a_class(*names: str, key: str = "password", policy: str = "") -> provider_class.ProviderClass:
    entries: list[Json] = [
        {
            "secretName": name,
            "type": "Opaque",
            "data": [{"objectName": key, "key": "password"}],
            "annotations": {"secrets-store.csi.k8s.io/deletion-policy": policy} if policy else {},
        }
        for name in names
    ]
    metadata = {"namespace": "shop", "name": "cls", "uid": "u", "generation": 1}
    spec = {"provider": "p", "parameters": {"a": "b"}, "secretObjects": entries}
    return provider_class.ProviderClass.from_dict({"metadata": metadata, "spec": spec})


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    made = Node()
    yield made
    made.stop()


async def test_a_class_without_secrets_costs_nothing(node: Node) -> None:
    assert await node.sync.write(node.volume(), a_class(), FILES) == sync.SyncReport()
    assert await node.sync.verify(node.volume(), a_class(), FILES) == sync.SyncReport()

    assert node.verbs() == []


@pytest.mark.parametrize(
    ("allowed", "written"), [(None, True), (["bank", "shop"], True), (["bank"], False), ([], False)]
)
async def test_secrets_are_written_where_they_are_allowed(
    allowed: list[str] | None, written: bool
) -> None:
    node = Node(allowed_namespaces=allowed)

    report = await node.sync.write(node.volume(), a_class("one"), FILES)
    node.stop()

    assert report.written == (("one",) if written else ())
    assert [failure.secret for failure in report.failed] == ([] if written else ["shop/one"])
    assert node.verbs() == (["get", "create"] if written else [])


async def test_nothing_is_written_for_a_pod_that_is_going_away(node: Node) -> None:
    report = await node.sync.write(node.volume(terminating=True), a_class("one"), FILES)

    assert report == sync.SyncReport(skipped="the pod is going away")
    assert node.verbs() == []


async def test_nothing_is_written_for_a_pod_that_there_is_not(node: Node) -> None:
    found = node.volume()
    node.pods.on_event(reflector.Replaced(()))

    report = await node.sync.write(found, a_class("one"), FILES)

    assert report.skipped == "the pod is going away"
    assert node.verbs() == ["get"]


async def test_a_secret_that_was_just_seen_right_is_not_looked_at_again(node: Node) -> None:
    found, chosen = node.volume(), a_class("one")
    assert (await node.sync.write(found, chosen, FILES)).written == ("one",)
    assert node.verbs() == ["get", "create"]

    assert (await node.sync.write(found, chosen, FILES)).unchanged == ("one",)
    assert node.verbs() == []

    assert (await node.sync.verify(found, chosen, FILES)).unchanged == ("one",)
    assert node.verbs() == ["get"]


async def test_a_secret_that_somebody_deleted_is_repaired(node: Node) -> None:
    found, chosen = node.volume(), a_class("one")
    await node.sync.write(found, chosen, FILES)
    node.api.objects.clear()

    report = await node.sync.verify(found, chosen, FILES)

    assert (report.written, report.repaired) == (("one",), ("one",))


async def test_volumes_of_a_storm_take_turns_and_share_one_look(node: Node) -> None:
    chosen = a_class("one")

    reports = await asyncio.gather(
        *(node.sync.write(node.volume(), chosen, FILES) for _ in range(6))
    )

    assert sorted(report.written + report.owned for report in reports) == [("one",)] * 6
    assert sum(len(report.written) for report in reports) == 1
    assert node.verbs() == ["get", "create"] + ["patch"] * 5


async def test_secrets_of_other_names_do_not_wait(node: Node) -> None:
    together = threading.Barrier(2)

    def meet(verb: str) -> None:
        # A look goes on only when the other has begun; else the barrier breaks.
        if verb == "get":
            together.wait(3.0)

    node.api.before = meet

    report = await node.sync.write(node.volume(), a_class("one", "two"), FILES)

    assert report.written == ("one", "two")


async def test_another_who_was_faster_is_followed(node: Node) -> None:
    refusals = [errors.AlreadyExists("there"), errors.AlreadyExists("there")]

    def refuse(verb: str) -> None:
        if verb == "create" and refusals:
            raise refusals.pop()

    node.api.before = refuse

    report = await node.sync.write(node.volume(), a_class("one"), FILES)

    assert report.written == ("one",)
    assert node.verbs() == ["get", "create"] * sync.TRIES


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (errors.AlreadyExists("there"), sync.TRIES),
        (errors.Forbidden("no", status=403), 1),
        (errors.Unavailable("away"), 1),
    ],
    ids=repr,
)
async def test_a_refusal_is_a_failure_of_that_secret_with_its_cause(
    node: Node, error: errors.ApiError, tries: int
) -> None:
    def refuse(verb: str) -> None:
        if verb == "create":
            raise error

    node.api.before = refuse

    (failure,) = (await node.sync.write(node.volume(), a_class("one"), FILES)).failed

    assert isinstance(failure, errors.SecretNotWritten)
    assert (failure.secret, failure.cause) == ("shop/one", error)
    assert node.verbs() == ["get", "create"] * tries


async def test_what_came_of_a_failed_attempt_is_not_taken_as_known(node: Node) -> None:
    found, chosen = node.volume(), a_class("one")
    await node.sync.write(found, chosen, FILES)

    def refuse(verb: str) -> None:
        raise errors.Unavailable("away")

    node.api.before = refuse
    assert (await node.sync.verify(found, chosen, FILES)).failed
    node.api.before = lambda verb: None
    node.verbs()

    await node.sync.write(found, chosen, FILES)

    assert node.verbs() == ["get"]


async def test_an_entry_that_breaks_a_rule_costs_itself_alone_and_no_contents(node: Node) -> None:
    good, bad = a_class("good"), a_class("bad", key="absent")
    chosen = provider_class.ProviderClass.from_dict(
        {
            "metadata": {"namespace": "shop", "name": "cls"},
            "spec": {"secretObjects": [*bad.secret_objects, *good.secret_objects]},
        }
    )

    report = await node.sync.write(node.volume(), chosen, FILES)

    assert report.written == ("good",)
    assert [failure.secret for failure in report.failed] == ["shop/bad"]
    assert "absent" in str(report.failed[0])
    assert repr(FILES["password"].contents) not in repr(report)


@pytest.mark.parametrize(("policy", "deleted"), [("Delete", True), ("Retain", False), ("", False)])
async def test_the_secrets_of_a_deleted_class_go_where_their_policy_says_so(
    node: Node, policy: str, deleted: bool
) -> None:
    await node.sync.write(node.volume(), a_class("one", policy=policy), FILES)

    report = await node.sync.withdraw("shop", "cls")

    assert report.deleted == (("one",) if deleted else ())
    assert bool(node.api.objects) is not deleted
    # Looked at once: then it is no matter of the class any more.
    node.verbs()
    assert await node.sync.withdraw("shop", "cls") == sync.SyncReport()
    assert node.verbs() == []


async def test_a_secret_of_an_earlier_process_is_looked_at_when_its_class_drops_it(
    node: Node,
) -> None:
    await node.sync.write(node.volume(), a_class("one", policy="Delete"), FILES)
    node.verbs()
    after = sync.SecretSync(node.api, node.threads, node.pods)
    after.remember("shop", "cls", ["one"])

    report = await after.write(node.volume(), a_class(), FILES)

    assert report.deleted == ("one",)
    assert node.verbs() == ["get", "delete"]


async def test_a_class_that_is_forgotten_leaves_its_secrets(node: Node) -> None:
    await node.sync.write(node.volume(), a_class("one", policy="Delete"), FILES)
    node.verbs()

    node.sync.forget("shop", "cls")

    assert await node.sync.withdraw("shop", "cls") == sync.SyncReport()
    assert node.verbs() == []
    assert node.api.objects
