import copy
import dataclasses
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secrets_store.model import pod_status, volume

POD = volume.Pod(namespace="team", name="web-0", uid="11-22")
TARGET = "/var/lib/kubelet/pods/11-22/volumes/kubernetes.io~csi/store/mount"
DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")


def test_the_name_is_upstream_s() -> None:
    assert pod_status.name(POD, "db", "store", shared=False) == "web-0-team-db"


def test_two_volumes_of_one_class_have_two_names() -> None:
    names = {pod_status.name(POD, "db", x, shared=True) for x in ("one", "two")}

    assert len(names) == 2
    assert all(re.fullmatch(r"web-0-team-db-[0-9a-f]{8}", name) for name in names)


def test_a_long_name_is_shortened_and_still_its_own() -> None:
    def name(class_name: str) -> str:
        pod = volume.Pod(namespace="n" * 63, name="p" * 100, uid="1")
        return pod_status.name(pod, class_name, "store", shared=False)

    first, second = name("c" * 200 + "1"), name("c" * 200 + "2")

    assert first != second
    assert len(first) == len(second) == 253
    assert re.fullmatch(r"p{100}-n{63}-c{71}-[0-9a-f]{16}", first)


def test_the_longest_name_that_fits_is_left_alone() -> None:
    pod = volume.Pod(namespace="n" * 63, name="p" * 100, uid="1")

    got = pod_status.name(pod, "c" * 88, "store", shared=False)

    assert got == f"{'p' * 100}-{'n' * 63}-{'c' * 88}"
    assert len(got) == 253


NAME = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,100}[a-z0-9])?(\.[a-z0-9]{1,100})?", fullmatch=True)


@given(NAME, NAME, NAME, st.booleans())
def test_every_name_is_a_valid_one(pod: str, namespace: str, class_name: str, shared: bool) -> None:
    name = pod_status.name(
        volume.Pod(namespace, pod, "1"), class_name, "some-volume", shared=shared
    )

    assert len(name) <= 253
    assert DNS_SUBDOMAIN.fullmatch(name)


@given(st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,250}[a-z0-9])?", fullmatch=True))
def test_every_node_has_a_valid_label(node: str) -> None:
    label = pod_status.node_label(node)

    assert len(label) <= 63
    assert LABEL_VALUE.fullmatch(label)
    assert label == node or len(node) > 63


def test_long_nodes_of_one_beginning_have_two_labels() -> None:
    node = "node." + "x" * 100

    assert pod_status.node_label(node + "1") != pod_status.node_label(node + "2")


def build(**changes: Any) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "object_name": "web-0-team-db",
        "pod": POD,
        "class_name": "db",
        "target_path": TARGET,
        "objects": {"secret/b": "v2", "secret/a": "v1", "secret/Z": "1"},
        "node": "node-1",
    }
    return pod_status.build(**parts | changes)


def test_the_whole_object() -> None:
    assert build() == {
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClassPodStatus",
        "metadata": {
            "name": "web-0-team-db",
            "namespace": "team",
            "labels": {"internal.secrets-store.csi.k8s.io/node-name": "node-1"},
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Pod", "name": "web-0", "uid": "11-22"}
            ],
        },
        "status": {
            "podName": "web-0",
            "secretProviderClassName": "db",
            "targetPath": TARGET,
            "mounted": True,
            "objects": [
                {"id": "secret/Z", "version": "1"},
                {"id": "secret/a", "version": "v1"},
                {"id": "secret/b", "version": "v2"},
            ],
        },
    }


def test_no_objects_no_field() -> None:
    assert "objects" not in build(objects={})["status"]


def test_a_node_whose_label_is_shortened_is_told_in_full() -> None:
    node = "n" * 64

    metadata = build(node=node)["metadata"]

    assert metadata["annotations"] == {pod_status.NODE_ANNOTATION: node}
    assert metadata["labels"] == {pod_status.NODE_LABEL: pod_status.node_label(node)}


def read_back(**metadata: Any) -> dict[str, Any]:
    """The object as the API server gives it, with what others have added."""
    stored = copy.deepcopy(build())
    stored["metadata"] |= {
        "uid": "99",
        "resourceVersion": "12",
        "managedFields": [{"manager": "driver"}],
    } | metadata
    return stored


def test_nothing_differs() -> None:
    assert pod_status.merge(read_back(), build()) is None


def test_what_others_added_makes_no_difference() -> None:
    labels = build()["metadata"]["labels"] | {"team": "blue"}
    stored = read_back(labels=labels, annotations={"note": "x"}, finalizers=["keep.example.com/x"])

    assert pod_status.merge(stored, build()) is None


@pytest.mark.parametrize("order", [1, -1])
def test_owners_are_compared_without_their_order(order: int) -> None:
    wanted = build()
    wanted["metadata"]["ownerReferences"].append(
        {"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "7"}
    )
    stored = read_back(ownerReferences=wanted["metadata"]["ownerReferences"][::order])

    assert pod_status.merge(stored, wanted) is None


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"labels": None}, id="labels taken away"),
        pytest.param({"labels": {pod_status.NODE_LABEL: "other"}}, id="label of another node"),
        pytest.param({"ownerReferences": None}, id="no owner"),
        pytest.param(
            {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "web-0", "uid": "0"}]},
            id="an earlier pod of the name",
        ),
        pytest.param({"ownerReferences": [{}]}, id="an empty owner"),
    ],
)
def test_metadata_of_ours_is_set_right(change: dict[str, Any]) -> None:
    merged = pod_status.merge(read_back(**change, finalizers=["x"]), build())

    assert merged is not None
    assert merged["metadata"]["labels"] == build()["metadata"]["labels"]
    assert merged["metadata"]["ownerReferences"] == build()["metadata"]["ownerReferences"]
    assert merged["metadata"]["finalizers"] == ["x"]
    assert merged["metadata"]["resourceVersion"] == "12"
    assert "managedFields" not in merged["metadata"]
    assert merged["status"] == build()["status"]
    assert pod_status.merge(merged, build()) is None


@pytest.mark.parametrize("status", [None, {}, {"targetPath": "/etc", "mounted": True}])
def test_a_forged_status_is_replaced_whole(status: dict[str, Any] | None) -> None:
    stored = read_back() | {"status": status}

    merged = pod_status.merge(stored, build())

    assert merged is not None
    assert merged["status"] == build()["status"]


def test_a_new_version_is_a_difference_and_others_annotations_stay() -> None:
    stored = read_back(annotations={"note": "x"}, labels={"team": "blue"})
    wanted = build(objects={"secret/a": "v2"}, node="n" * 64)

    merged = pod_status.merge(stored, wanted)

    assert merged is not None
    assert merged["status"]["objects"] == [{"id": "secret/a", "version": "v2"}]
    assert merged["metadata"]["annotations"] == {
        "note": "x",
        pod_status.NODE_ANNOTATION: "n" * 64,
    }
    assert merged["metadata"]["labels"].keys() == {"team", pod_status.NODE_LABEL}


def test_merging_changes_neither_side() -> None:
    stored, wanted = read_back(labels={"team": "blue"}), build()
    before = copy.deepcopy((stored, wanted))

    pod_status.merge(stored, wanted)

    assert (stored, wanted) == before


FRESH = pod_status.Condition(True, "Fresh", "checked", 1767323045.9)
FAILING = pod_status.Condition(False, "ProviderFailed", "it said no", 1767323100.0)


def test_a_condition_is_part_of_the_status() -> None:
    status = build(condition=FAILING)["status"]

    assert status["conditions"] == [
        {
            "type": pod_status.CONDITION_TYPE,
            "status": "False",
            "reason": "ProviderFailed",
            "message": "it said no",
            "lastTransitionTime": "2026-01-02T03:05:00Z",
        }
    ]
    assert FRESH.to_dict()["status"] == "True"
    assert FRESH.to_dict()["lastTransitionTime"] == "2026-01-02T03:04:05Z"
    assert "conditions" not in build()["status"]


def test_a_long_message_is_cut() -> None:
    told = dataclasses.replace(FAILING, message="x" * 10_000).to_dict()["message"]

    assert len(told) == pod_status.MAX_CONDITION_MESSAGE


@pytest.mark.parametrize(
    ("before", "now", "shown"),
    [
        pytest.param(None, FRESH, FRESH, id="the first"),
        pytest.param(FRESH, FAILING, FAILING, id="another state"),
        pytest.param(
            FAILING, dataclasses.replace(FAILING, since_s=9.9e9), FAILING, id="the same later"
        ),
        pytest.param(
            FAILING, dataclasses.replace(FAILING, message="other"), FAILING, id="other words alone"
        ),
        pytest.param(
            FAILING,
            dataclasses.replace(FAILING, reason="Other"),
            dataclasses.replace(FAILING, reason="Other"),
            id="another reason",
        ),
    ],
)
def test_a_condition_changes_with_state_and_reason(
    before: pod_status.Condition | None, now: pod_status.Condition, shown: pod_status.Condition
) -> None:
    assert now.follows(before) == shown


def test_a_changed_condition_is_a_difference() -> None:
    stored = copy.deepcopy(build(condition=FRESH))

    assert pod_status.merge(stored, build(condition=FRESH)) is None
    merged = pod_status.merge(stored, build(condition=FAILING))
    assert merged is not None
    assert merged["status"]["conditions"][0]["status"] == "False"
