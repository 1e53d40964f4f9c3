"""How classes are read; the API server is a dictionary here, the cache is the real one."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from secrets_store import errors, tasks
from secrets_store.kube import access, client, paths, reflector, store
from secrets_store.volumes import classes

Json = dict[str, Any]
PATH = paths.classes("shop", "cls")


def an_object(version: int = 1) -> Json:
    return {
        "metadata": {
            "namespace": "shop",
            "name": "cls",
            "uid": "u",
            "resourceVersion": str(version),
            "generation": version,
        },
        "spec": {"provider": "vault", "parameters": {"a": "b"}},
    }


class Memory(client.Client):
    """Answers with one object or one error; called from threads."""

    def __init__(self) -> None:
        super().__init__(access.Config("http://127.0.0.1:1"), user_agent="tests/1")
        self.answer: Json | errors.ApiError = an_object()
        self.asked: list[tuple[str, float]] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self._lock = threading.Lock()

    def get(self, path: str, *, deadline_s: float = 0.0, **more: Any) -> Json:
        with self._lock:
            self.asked.append((path, deadline_s))
        assert self.go_on.wait(4.0)
        if isinstance(self.answer, errors.ApiError):
            raise self.answer
        return self.answer


class Node:
    """Classes over an API server and a cache."""

    def __init__(self) -> None:
        self.api, self.cache, self.threads = Memory(), store.Classes(), tasks.Threads("api", 16)
        self.classes = classes.Classes(self.api, self.threads, self.cache)

    async def generation(self) -> int:
        return (await self.classes.get("shop", "cls")).generation

    async def failure(self) -> errors.ClassMissing:
        with pytest.raises(errors.ClassMissing) as caught:
            await self.classes.get("shop", "cls")
        return caught.value

    def stop(self) -> None:
        self.threads.stop()
        self.api.close()


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    made = Node()
    yield made
    made.api.go_on.set()
    made.stop()


async def test_a_class_is_read_whole(node: Node) -> None:
    found = await node.classes.get("shop", "cls")

    assert (found.namespace, found.name, found.uid) == ("shop", "cls", "u")
    assert (found.provider, found.parameters) == ("vault", {"a": "b"})
    assert node.api.asked == [(PATH, classes.DEADLINE_S)]


async def test_ten_that_want_it_at_once_share_one_request(node: Node) -> None:
    node.api.go_on.clear()
    callers = [asyncio.ensure_future(node.generation()) for _ in range(10)]
    done, _ = await asyncio.wait(callers, timeout=0.05)
    assert not done

    node.api.go_on.set()

    assert await asyncio.gather(*callers) == [1] * 10
    assert len(node.api.asked) == 1


async def test_one_that_gives_up_does_not_take_the_answer_from_the_others(node: Node) -> None:
    node.api.go_on.clear()
    first = asyncio.ensure_future(node.generation())
    second = asyncio.ensure_future(node.generation())
    await asyncio.wait({first, second}, timeout=0.05)

    first.cancel()
    node.api.go_on.set()

    assert await second == 1
    assert first.cancelled()
    assert len(node.api.asked) == 1


async def test_a_failure_is_shared_and_then_forgotten(node: Node) -> None:
    node.api.answer = errors.Unavailable("away")
    failures = await asyncio.gather(*(node.failure() for _ in range(3)))
    assert {type(failure) for failure in failures} == {errors.ClassUnreadable}
    assert len(node.api.asked) == 1

    node.api.answer = an_object()

    assert await node.generation() == 1


async def test_it_is_read_again_as_long_as_no_watch_tells_of_changes(node: Node) -> None:
    assert await node.generation() == 1
    node.api.answer = an_object(2)

    assert await node.generation() == 2


async def test_what_the_watch_vouches_for_is_not_read_again(node: Node) -> None:
    node.cache.on_event(reflector.Synced())
    assert await node.generation() == 1
    assert await node.generation() == 1
    assert len(node.api.asked) == 1

    node.cache.on_event(reflector.Modified(store.Class.from_dict(an_object(2))))
    node.api.answer = an_object(2)

    assert await node.generation() == 2
    assert len(node.api.asked) == 2


async def test_news_that_come_during_the_read_make_the_next_one_ask(node: Node) -> None:
    node.cache.on_event(reflector.Synced())
    node.api.go_on.clear()
    reader = asyncio.ensure_future(node.generation())
    await asyncio.wait({reader}, timeout=0.05)
    node.cache.on_event(reflector.Modified(store.Class.from_dict(an_object(2))))
    node.api.go_on.set()
    assert await reader == 1

    node.api.answer = an_object(2)

    assert await node.generation() == 2


async def test_a_class_that_there_is_not(node: Node) -> None:
    node.api.answer = errors.NotFound("another text", status=404, reason="NotFound")

    failure = await node.failure()

    assert str(failure) == (
        "failed to get secretproviderclass shop/cls, error: "
        'SecretProviderClass.secrets-store.csi.x-k8s.io "cls" not found'
    )
    assert not isinstance(failure, errors.ClassUnreadable)


async def test_a_deleted_class_is_not_served_as_last_read(node: Node) -> None:
    assert await node.generation() == 1
    node.api.answer = errors.NotFound("gone", status=404, reason="NotFound")

    assert type(await node.failure()) is errors.ClassMissing


async def test_an_api_server_that_is_away_leaves_what_was_last_read(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    assert await node.generation() == 1
    node.api.answer = errors.Unavailable("no route")

    assert await node.generation() == 1

    assert [deadline_s for _, deadline_s in node.api.asked] == [
        classes.DEADLINE_S,
        classes.KNOWN_DEADLINE_S,
    ]
    (line,) = [x for x in caplog.records if x.levelno == logging.WARNING]
    assert line.__dict__["pairs"] == {"spc": "shop/cls", "reason": "no route"}


async def test_an_api_server_that_is_away_at_the_first_read(node: Node) -> None:
    node.api.answer = errors.Unavailable("no route")

    failure = await node.failure()

    assert isinstance(failure, errors.ClassUnreadable)
    assert (failure.status_code, failure.reason) == (errors.Code.UNAVAILABLE, "no route")


async def test_a_refusal_is_no_outage(node: Node) -> None:
    node.api.answer = errors.Forbidden("may not get", status=403)

    failure = await node.failure()

    assert type(failure) is errors.ClassMissing
    assert (failure.status_code, failure.reason) == (errors.Code.UNKNOWN, "may not get")


async def test_a_question_that_is_wrong_is_not_answered_with_what_was_last_read(
    node: Node,
) -> None:
    assert await node.generation() == 1
    node.api.answer = errors.Rejected("no such version", status=400)

    assert type(await node.failure()) is errors.ClassMissing


async def test_classes_that_were_read_in_vain_are_not_kept_for_ever(node: Node) -> None:
    """Pods that never came up, of namespaces that come and go."""
    names = [f"cls{number}" for number in range(classes.IDLE + 10)]
    for name in names:
        node.api.answer = an_object()
        node.api.answer["metadata"]["name"] = name
        await node.classes.get("shop", name)
        node.classes.read_in_vain("shop", name, in_use={("shop", names[3])})

    kept = [name for name in names if node.cache.last_read("shop", name)]

    assert kept == [names[3], *names[10:]]


async def test_a_class_that_is_as_it_was_read(node: Node) -> None:
    node.cache.on_event(reflector.Synced())
    assert not node.classes.outdated(await node.classes.get("shop", "cls"))


async def test_a_class_that_was_edited_since_it_was_read(node: Node) -> None:
    node.cache.on_event(reflector.Synced())
    read = await node.classes.get("shop", "cls")
    node.cache.on_event(reflector.Modified(store.Class.from_dict(an_object(2))))
    assert node.classes.outdated(read)

    # Another volume's check may have read it meanwhile.
    node.api.answer = an_object(2)
    assert not node.classes.outdated(await node.classes.get("shop", "cls"))
    assert node.classes.outdated(read)


async def test_a_class_that_was_forgotten_since_it_was_read(node: Node) -> None:
    read = await node.classes.get("shop", "cls")
    node.cache.forget("shop", "cls")

    assert node.classes.outdated(read)


async def test_of_a_class_nothing_is_known_while_the_watch_is_down(node: Node) -> None:
    assert not node.classes.outdated(await node.classes.get("shop", "cls"))


async def test_a_404_of_something_else_than_an_api_server_is_no_deletion(node: Node) -> None:
    missing: list[tuple[str, str]] = []
    node.classes = classes.Classes(
        node.api, node.threads, node.cache, missing=lambda *key: missing.append(key)
    )
    assert await node.generation() == 1
    node.api.answer = errors.NotFound("HTTP 404 from the API server", status=404)

    assert await node.generation() == 1

    assert missing == []
