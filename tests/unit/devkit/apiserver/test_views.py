import json

import pytest

from devkit.apiserver import errors, resources, store, views

PODS = resources.Resource("", "v1", "pods", "Pod")
THINGS = resources.Resource("example.com", "v2", "things", "Thing", custom=True)


@pytest.mark.parametrize(
    ("accept", "is_list", "kind"),
    [
        ("", False, views.OBJECT),
        ("*/*", True, views.OBJECT),
        ("application/json", True, views.OBJECT),
        ("application/json;as=Table;g=meta.k8s.io;v=v1", True, views.TABLE),
        ("application/json;as=Table;g=meta.k8s.io;v=v1beta1", False, views.TABLE),
        ("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", False, views.METADATA),
        ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", True, views.METADATA),
        ("application/yaml, application/json;q=0.5", False, views.OBJECT),
    ],
)
def test_negotiation(accept: str, is_list: bool, kind: str) -> None:
    assert views.negotiate(accept, is_list=is_list).kind == kind


@pytest.mark.parametrize(
    ("accept", "is_list"),
    [
        ("text/html", False),
        ("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", True),
        ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", False),
        ("application/json;as=Table;g=other;v=v1", True),
        ("application/json;as=Table;g=meta.k8s.io;v=v7", True),
    ],
)
def test_what_cannot_be_written(accept: str, is_list: bool) -> None:
    with pytest.raises(errors.StatusError) as caught:
        views.negotiate(accept, is_list=is_list)
    assert caught.value.code == 406


def test_bytes_are_made_once() -> None:
    entry = store.Entry({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}}, 1)
    first = views.render(entry, PODS, views.PLAIN)
    assert views.render(entry, PODS, views.PLAIN) is first
    metadata = json.loads(views.render(entry, PODS, views.Form(views.METADATA)))
    assert metadata["kind"] == "PartialObjectMetadata"
    assert views.render(entry, PODS, views.PLAIN) is first


def test_lists() -> None:
    pod = store.Entry({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}}, 1)
    listed = json.loads(views.render_list([pod, pod], PODS, views.PLAIN, {"resourceVersion": "1"}))
    assert listed == {
        "kind": "PodList",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": "1"},
        "items": [{"metadata": {"name": "p"}}] * 2,
    }
    empty = json.loads(views.render_list([], THINGS, views.PLAIN, {"resourceVersion": "1"}))
    assert empty["metadata"] == {"continue": "", "resourceVersion": "1"}
    assert empty["items"] == []


def test_another_version_is_another_name() -> None:
    stored = {"kind": "Thing", "apiVersion": "example.com/v1", "metadata": {}, "spec": {}}
    shown = views.presented(stored, THINGS)
    assert shown == stored | {"apiVersion": "example.com/v2"}
    assert stored["apiVersion"] == "example.com/v1"


def test_events_have_two_forms() -> None:
    core = {
        "apiVersion": "v1",
        "kind": "Event",
        "involvedObject": {"name": "p"},
        "message": "m",
        "count": 2,
        "reportingComponent": "c",
        "type": "Normal",
    }
    new = views.event_to_new(core)
    assert new == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "regarding": {"name": "p"},
        "note": "m",
        "deprecatedCount": 2,
        "reportingController": "c",
        "type": "Normal",
    }
    assert views.event_to_core(new) == core
