"""Whose a Secret is, and the patch to what it is to be."""

import base64
import copy
import json
import secrets
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secrets_store import errors
from secrets_store.model import secret, secret_objects

RETAIN, DELETE = secret_objects.Policy.RETAIN, secret_objects.Policy.DELETE
COLLECTED = secret_objects.Policy.COLLECTED
OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u1"}
SAME_NAME = OWNER | {"uid": "u2"}


def target(
    data: dict[str, bytes] | None = None,
    *,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    sort: str = "Opaque",
    policy: secret_objects.Policy = COLLECTED,
    owners: tuple[secret.Owner, ...] = (OWNER,),
    class_name: str = "cls",
) -> secret.Target:
    wanted = secret_objects.Wanted(
        "db", sort, data or {"k": b"v"}, labels or {}, annotations or {}, policy
    )
    return secret.Target("shop", class_name, wanted, owners)


def existing(of: secret.Target, **changes: Any) -> dict[str, Any]:
    """Return the Secret that a target was created as, with parts of its metadata changed."""
    made = secret.create(of)
    made["metadata"] |= {"resourceVersion": "7", "uid": "s"} | changes
    return made


def patched(obj: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Do what a strategic merge does to a Secret."""
    result = copy.deepcopy(obj)
    for where, changes in (
        (result.setdefault("data", {}), patch.get("data", {})),
        (result["metadata"].setdefault("labels", {}), patch["metadata"].get("labels", {})),
        (
            result["metadata"].setdefault("annotations", {}),
            patch["metadata"].get("annotations", {}),
        ),
    ):
        for key, value in changes.items():
            where.pop(key, None)
            if value is not None:
                where[key] = value
    owners = {owner["uid"]: owner for owner in result["metadata"].get("ownerReferences", ())}
    for change in patch["metadata"].get("ownerReferences", ()):
        if change.get("$patch") == "delete":
            owners.pop(change["uid"], None)
        else:
            owners[change["uid"]] = change
    result["metadata"]["ownerReferences"] = list(owners.values())
    return result


def test_create_has_everything_in_one_body() -> None:
    made = secret.create(target(labels={"l": "1"}, annotations={"a": "2"}))
    assert made == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "db",
            "namespace": "shop",
            "labels": {"l": "1", "secrets-store.csi.k8s.io/managed": "true"},
            "annotations": {
                "a": "2",
                "secrets-store.csi.k8s.io/class": "cls",
                "secrets-store.csi.k8s.io/applied": '{"annotations":["a"],"labels":["l"]}',
            },
            "ownerReferences": [OWNER],
        },
        "type": "Opaque",
        "data": {"k": base64.b64encode(b"v").decode()},
    }


def test_create_without_labels_of_the_class_notes_none() -> None:
    annotations = secret.create(target())["metadata"]["annotations"]
    assert annotations == {secret.CLASS: "cls"}


def test_class_cannot_set_what_is_ours() -> None:
    made = secret.create(
        target(
            labels={secret.MANAGED: "false"},
            annotations={secret.CLASS: "other", secret.APPLIED: "x"},
        )
    )
    assert made["metadata"]["labels"] == {secret.MANAGED: "true"}
    assert made["metadata"]["annotations"] == {secret.CLASS: "cls"}


def test_retained_secret_is_created_without_owner() -> None:
    assert "ownerReferences" not in secret.create(target(policy=RETAIN))["metadata"]


def test_nothing_differs_from_what_was_created() -> None:
    made = target(labels={"l": "1"}, annotations={"a": "2"})
    assert secret.difference(existing(made), made) is None


def test_secret_without_type_and_data_counts_as_opaque() -> None:
    obj = existing(target())
    del obj["type"], obj["data"]
    patch = secret.difference(obj, target())
    assert patch == {"metadata": {"resourceVersion": "7"}, "data": {"k": "dg=="}}


def test_only_what_differs_is_in_the_patch() -> None:
    old = target({"same": b"1", "old": b"2", "gone": b"3"}, labels={"x": "1", "y": "1"})
    new = target({"same": b"1", "old": b"4", "new": b"5"}, labels={"x": "1", "y": "2"})
    assert secret.difference(existing(old), new) == {
        "metadata": {"resourceVersion": "7", "labels": {"y": "2"}},
        "data": {"old": "NA==", "new": "NQ==", "gone": None},
    }


def test_entries_that_left_the_class_leave_the_secret_and_no_others() -> None:
    old = target(labels={"l": "1", "m": "1"}, annotations={"a": "1"})
    obj = existing(old)
    obj["metadata"]["labels"]["theirs"] = "x"
    obj["metadata"]["annotations"]["theirs"] = "y"
    patch = secret.difference(obj, target(labels={"m": "1"}))
    assert patch is not None
    assert patch["metadata"] == {
        "resourceVersion": "7",
        "labels": {"l": None},
        "annotations": {"a": None, secret.APPLIED: '{"labels":["m"]}'},
    }
    bare = secret.difference(obj, target())
    assert bare is not None
    assert bare["metadata"]["annotations"] == {"a": None, secret.APPLIED: None}


@pytest.mark.parametrize(
    "broken", ["{", "[1]", '{"labels":"x"}', '{"labels":[1,null]}', "[" * 9999]
)
def test_broken_note_takes_nothing_away(broken: str) -> None:
    obj = existing(target(labels={"l": "1"}))
    obj["metadata"]["annotations"][secret.APPLIED] = broken
    patch = secret.difference(obj, target())
    assert patch == {"metadata": {"resourceVersion": "7", "annotations": {secret.APPLIED: None}}}


def test_data_of_others_go_and_their_metadata_stay() -> None:
    obj = existing(target(), finalizers=["x/y"])
    obj["data"]["theirs"] = "eA=="
    patch = secret.difference(obj, target())
    assert patch == {"metadata": {"resourceVersion": "7"}, "data": {"theirs": None}}


def test_owner_is_told_by_uid_not_by_name() -> None:
    obj = existing(target())
    assert secret.difference(obj, target(owners=(OWNER,))) is None
    assert secret.difference(obj, target(owners=(OWNER, SAME_NAME))) == {
        "metadata": {"resourceVersion": "7", "ownerReferences": [SAME_NAME]}
    }
    assert secret.difference(existing(target(), ownerReferences=None), target()) == {
        "metadata": {"resourceVersion": "7", "ownerReferences": [OWNER]}
    }


def test_owner_that_others_made_a_controller_is_left_alone() -> None:
    obj = existing(target(), ownerReferences=[OWNER | {"controller": True}])
    assert secret.difference(obj, target()) is None


def test_retained_secret_gives_back_the_owners_of_this_pod_only() -> None:
    obj = existing(target(owners=(OWNER, SAME_NAME)))
    patch = secret.difference(obj, target(policy=RETAIN))
    assert patch == {
        "metadata": {
            "resourceVersion": "7",
            "ownerReferences": [{"$patch": "delete", "uid": "u1"}],
        }
    }
    assert secret.owner_uids(patched(obj, patch)) == {"u2"}


def test_type_of_a_secret_cannot_change() -> None:
    with pytest.raises(errors.SecretRejected, match="exists with type Opaque and type x is wanted"):
        secret.difference(existing(target()), target(sort="x"))


def test_immutable_secret_takes_owners_and_no_data() -> None:
    obj = existing(target()) | {"immutable": True}
    assert secret.difference(obj, target(owners=(OWNER, SAME_NAME))) is not None
    with pytest.raises(errors.SecretRejected, match="is immutable"):
        secret.difference(obj, target({"k": b"w"}))


def test_claims() -> None:
    ours = target()
    assert secret.claimant(existing(ours), ours) == ""
    assert secret.claimant(existing(target(class_name="other")), ours) == "other"
    upstream = {"metadata": {"labels": {secret.MANAGED: "true"}}}
    assert secret.claimant(upstream, ours) == ""


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"labels": None, "annotations": None},
        {"labels": {secret.MANAGED: "false"}},
        {"annotations": {secret.ADOPT: "false"}},
        {"annotations": {secret.CLASS: "cls"}},
    ],
)
def test_foreign_secret_is_not_ours(metadata: dict[str, Any]) -> None:
    with pytest.raises(errors.SecretForeign, match="it is not this driver's and was not touched"):
        secret.claimant({"metadata": metadata}, target())


def test_foreign_secret_may_be_handed_over() -> None:
    annotations = {secret.ADOPT: "true"}
    assert secret.claimant({"metadata": {"annotations": annotations}}, target()) == ""
    annotations[secret.CLASS] = "other"
    assert secret.claimant({"metadata": {"annotations": annotations}}, target()) == "other"


@pytest.mark.parametrize(
    ("change", "deletable"),
    [
        ({}, True),
        ({"labels": {}}, False),
        ({"annotations": None}, False),
        ({"annotations": {secret.CLASS: "cls"}}, False),
        (
            {"annotations": {secret.CLASS: "x", secret_objects.DELETION_POLICY: "Delete"}},
            False,
        ),
        (
            {"annotations": {secret.CLASS: "cls", secret_objects.DELETION_POLICY: "Retain"}},
            False,
        ),
    ],
)
def test_only_a_secret_of_the_class_with_that_policy_is_deleted(
    change: dict[str, Any], deletable: bool
) -> None:
    annotations = {secret_objects.DELETION_POLICY: "Delete"}
    obj = existing(target(policy=DELETE, annotations=annotations), **change)
    assert secret.deletable(obj, "cls") is deletable


def test_errors_name_secret_and_class() -> None:
    told = "failed to sync secret shop/db of spc shop/cls, err: why"
    assert str(target().rejected("why")) == str(target().foreign("why")) == told


texts = st.dictionaries(st.sampled_from("abc"), st.sampled_from("12"), max_size=3)
targets = st.builds(
    lambda data, labels, annotations, owners, policy: target(
        data, labels=labels, annotations=annotations, owners=tuple(owners), policy=policy
    ),
    st.dictionaries(st.sampled_from("abc"), st.binary(max_size=2), min_size=1),
    texts,
    texts,
    st.lists(
        st.sampled_from([OWNER, SAME_NAME, OWNER | {"uid": "u3"}]), unique_by=lambda x: x["uid"]
    ),
    st.sampled_from([COLLECTED, DELETE]),
)


@given(old=targets, new=targets)
def test_patch_leads_to_what_is_wanted_and_then_nothing_differs(
    old: secret.Target, new: secret.Target
) -> None:
    obj = existing(old)
    obj["metadata"]["labels"]["theirs"] = obj["metadata"]["annotations"]["theirs"] = "x"
    patch = secret.difference(obj, new)
    after = patched(obj, patch) if patch else obj
    fresh = secret.create(new)
    assert after["data"] == fresh["data"]
    for part in ("labels", "annotations"):
        assert after["metadata"][part] == fresh["metadata"][part] | {"theirs": "x"}
    assert secret.owner_uids(after) == secret.owner_uids(obj) | secret.owner_uids(fresh)
    assert secret.difference(after, new) is None


@given(old=targets, new=targets)
def test_fingerprints_are_equal_if_contents_are(old: secret.Target, new: secret.Target) -> None:
    key = b"k" * 32
    marks = [secret.fingerprint(key, x.wanted, x.class_name) for x in (old, new)]
    bodies = [secret.create(x) for x in (old, new)]
    for body in bodies:
        body["metadata"].pop("ownerReferences", None)
    assert (marks[0] == marks[1]) is (bodies[0] == bodies[1])


def test_fingerprint_depends_on_key_class_and_borders() -> None:
    key = secrets.token_bytes(32)

    def mark(data: dict[str, bytes], key: bytes = key, class_name: str = "cls") -> bytes:
        return secret.fingerprint(key, target(data).wanted, class_name)

    different = {
        mark({"k": b"v"}),
        mark({"k": b"v"}, secrets.token_bytes(32)),
        mark({"k": b"v"}, class_name="other"),
        mark({"k": b"", "v": b""}),
        mark({"kv": b""}),
        mark({"k": b"v" * 70_000}),
        mark({"k": b"v" * 70_001}),
    }
    assert len(different) == 7


def test_note_of_what_came_from_the_class_holds_no_values() -> None:
    value = secrets.token_hex(8)
    metadata = secret.create(target(labels={"l": value}, annotations={"a": value}))["metadata"]
    note = json.loads(metadata["annotations"][secret.APPLIED])
    assert note == {"annotations": ["a"], "labels": ["l"]}
