import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from devkit.apiserver import calls, errors, http, resources, routes, store, views, watching
from devkit.apiserver.kinds import strategy

THINGS = resources.Resource("", "v1", "things", "Thing")


class Wire:
    """Stands where a connection would; keeps what is written."""

    def __init__(self) -> None:
        self.data = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        self.data += data

    def abort(self) -> None:
        self.closed = True

    def next_request(self, _: http.Exchange) -> None:
        pass

    def events(self) -> list[tuple[str, Any]]:
        found = []
        for line in self.data.split(b"\r\n"):
            if line.startswith(b'{"type"'):
                event = json.loads(line)
                found.append((event["type"], event["object"]))
        return found


Begin = Callable[..., tuple[watching.Watch, Wire]]


@pytest.fixture
def begin(kept: store.Store) -> Begin:
    def start(
        form: str = views.OBJECT, bookmark_interval_s: float = 60, **query: str
    ) -> tuple[watching.Watch, Wire]:
        request = http.Request("GET", "/x", query, {})
        route = routes.Route("watch", "/x", "", "v1", "things", "", "n")
        rules = strategy.Strategy("Thing", {"properties": {}})
        call = calls.Call(request, route, THINGS, rules, calls.ADMIN)
        wire = Wire()
        exchange = http.Exchange(request, wire)  # type: ignore[arg-type]
        watch = watching.Watch(kept, call, views.Form(form), exchange, lambda _: [])
        watch.begin(bookmark_interval_s)
        return watch, wire

    return start


def put(kept: store.Store, name: str, namespace: str = "n", **labels: str) -> int:
    meta = {"name": name, "namespace": namespace, "uid": name, "labels": labels}
    return kept.put("things", {"kind": "Thing", "apiVersion": "v1", "metadata": meta}).version


def brief(wire: Wire) -> list[tuple[str, str]]:
    return [(kind, obj["metadata"].get("name", "")) for kind, obj in wire.events()]


async def test_the_state_then_the_changes(kept: store.Store, begin: Begin) -> None:
    put(kept, "a")
    put(kept, "elsewhere", "m")
    watch, wire = begin()
    put(kept, "b")
    put(kept, "other", "m")
    kept.remove("things", "n", "a")
    assert brief(wire) == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")]
    watch.finish()
    put(kept, "c")
    assert len(brief(wire)) == 3
    assert wire.data.endswith(b"0\r\n\r\n")


async def test_in_and_out_of_a_selection(kept: store.Store, begin: Begin) -> None:
    watch, wire = begin(labelSelector="x=1")
    put(kept, "a", x="1")
    put(kept, "a", x="1", y="2")
    version = put(kept, "a", x="2")
    put(kept, "a", x="1")
    assert brief(wire) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "a")]
    gone = wire.events()[2][1]["metadata"]
    assert gone["labels"] == {"x": "1", "y": "2"}
    assert gone["resourceVersion"] == str(version)
    watch.finish()


async def test_bookmarks_at_their_pace(kept: store.Store, begin: Begin) -> None:
    watch, wire = begin(bookmark_interval_s=0.01, allowWatchBookmarks="true")
    async with asyncio.timeout(4):
        while len(wire.events()) < 2:
            await asyncio.sleep(0.01)
    assert {kind for kind, _ in wire.events()} == {"BOOKMARK"}
    watch.finish()
    told = len(wire.events())
    await asyncio.sleep(0.03)
    assert len(wire.events()) == told
    assert kept.version == int(wire.events()[0][1]["metadata"]["resourceVersion"])


async def test_bookmarks_only_if_allowed(kept: store.Store, begin: Begin) -> None:
    deaf, quiet = begin()
    open_eared, told = begin(allowWatchBookmarks="true")
    for watch in (deaf, open_eared):
        watch.send_bookmark_now()
    assert (brief(quiet), brief(told)) == ([], [("BOOKMARK", "")])
    for watch in (deaf, open_eared):
        watch.finish()


@pytest.mark.parametrize(
    ("form", "kind"),
    [(views.OBJECT, "Thing"), (views.METADATA, "PartialObjectMetadata"), (views.TABLE, "Table")],
)
async def test_bookmarks_in_every_form(begin: Begin, form: str, kind: str) -> None:
    watch, wire = begin(form, allowWatchBookmarks="true")
    watch.send_bookmark_now()
    assert wire.events()[0][1]["kind"] == kind
    watch.finish()


async def test_a_table_is_headed_once(kept: store.Store, begin: Begin) -> None:
    watch, wire = begin(views.TABLE)
    put(kept, "a")
    put(kept, "b")
    headed = [obj["columnDefinitions"] for _, obj in wire.events()]
    assert headed == [[], None]
    watch.finish()


async def test_a_version_that_is_gone(kept: store.Store, begin: Begin) -> None:
    version = put(kept, "a")
    put(kept, "b")
    kept.compact()
    _, wire = begin(resourceVersion=str(version))
    ((kind, status),) = wire.events()
    assert (kind, status["code"]) == ("ERROR", 410)
    assert wire.data.endswith(b"0\r\n\r\n")


async def test_its_time_ends(begin: Begin) -> None:
    _, wire = begin(timeoutSeconds="1")
    async with asyncio.timeout(4):
        while not wire.data.endswith(b"0\r\n\r\n"):
            await asyncio.sleep(0.05)


async def test_a_cut_drops_the_connection(begin: Begin) -> None:
    watch, wire = begin()
    watch.cut()
    assert wire.closed
    watch.finish()


async def test_initial_events_on_request(kept: store.Store, begin: Begin) -> None:
    put(kept, "a")
    asked = {"resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    watch, wire = begin(sendInitialEvents="true", **asked)
    assert brief(wire) == [("ADDED", "a"), ("BOOKMARK", "")]
    watch.finish()
    watch, wire = begin(sendInitialEvents="false", **asked)
    assert brief(wire) == []
    watch.finish()


@pytest.mark.parametrize(
    "query",
    [
        {"sendInitialEvents": "true"},
        {"resourceVersionMatch": "Exact"},
        {"timeoutSeconds": "x"},
        {"resourceVersion": "x"},
    ],
)
async def test_bad_options(begin: Begin, query: dict[str, str]) -> None:
    with pytest.raises(errors.StatusError):
        begin(**query)
