import dataclasses
import json
import secrets
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csi_spec import csi_pb2
from secrets_store.model import record, volume

RECORD = record.Record(
    volume_id="csi-1",
    target_path="/var/lib/kubelet/pods/1/volumes/kubernetes.io~csi/v/mount",
    pod=volume.Pod("team", "web-0", "11-22"),
    service_account="web",
    class_name="db",
    class_uid="1-2-3",
    class_generation=7,
    provider="kms",
    objects={"secret/a": "v1"},
    attributes={"secretProviderClass": "db"},
    last_check_s=1.8e9,
    last_change_s=1.7e9,
    status_name="web-0-team-db",
    group=1000,
    boot_id="b-1",
)
DOCUMENT: dict[str, Any] = json.loads(RECORD.to_json())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"group": None},
        {"self_written": True, "needs_handover": True, "mock": True},
        {"objects": {}, "attributes": {}, "last_check_s": 0, "class_uid": ""},
        {"service_account": "ünïcödé \u2028 \0"},
    ],
)
def test_what_is_written_reads_back(changes: dict[str, Any]) -> None:
    known = dataclasses.replace(RECORD, **changes)

    assert record.Record.from_json(known.to_json()) == known


def test_the_document_is_one_line_of_ascii() -> None:
    text = dataclasses.replace(RECORD, service_account="ü\n\u2028").to_json()

    assert text.isascii()
    assert "\n" not in text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "7",
        "{}",
        '{"schema":1}',
        "\0" * 100,
        "[" * 100_000,
        '{"a":' * 100_000,
        "9" * 5000,
    ],
)
def test_a_broken_document_is_none(text: str) -> None:
    assert record.Record.from_json(text) is None


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"schema": "1"},
        {"schema": True},
        {"schema": None},
        {"surplus": "x"},
        {"volume_id": 7},
        {"target_path": None},
        {"target_path": "/\ud800"},
        {"boot_id": "\udfff"},
        {"pod": "team/web-0"},
        {"pod": {"namespace": "team", "name": "web-0"}},
        {"pod": {"namespace": "team", "name": "web-0", "uid": "1", "x": "y"}},
        {"pod": {"namespace": "team", "name": "web-0", "uid": 1}},
        {"class_generation": "7"},
        {"class_generation": 7.0},
        {"class_generation": True},
        {"objects": []},
        {"objects": {"a": 1}},
        {"objects": {"a": None}},
        {"attributes": {"a": {"b": "c"}}},
        {"last_check_s": "1"},
        {"last_check_s": None},
        {"last_check_s": False},
        {"last_check_s": float("nan")},
        {"last_change_s": float("inf")},
        {"last_change_s": 10**400},
        {"group": "1000"},
        {"group": 1.5},
        {"group": True},
        {"secrets": None},
        {"secrets": {}},
        {"secrets": ["a", 1]},
        {"secrets": "a"},
        {"self_written": 1},
        {"needs_handover": None},
        {"mock": "false"},
    ],
    ids=str,
)
def test_a_field_of_another_type_makes_the_document_none(change: dict[str, Any]) -> None:
    assert record.Record.from_json(json.dumps(DOCUMENT | change)) is None


@pytest.mark.parametrize("field", sorted(DOCUMENT))
def test_a_missing_field_makes_the_document_none(field: str) -> None:
    document = {key: value for key, value in DOCUMENT.items() if key != field}

    assert record.Record.from_json(json.dumps(document)) is None


def test_a_number_beyond_all_floats_makes_the_document_none() -> None:
    text = RECORD.to_json().replace("1800000000.0", "1e999")

    assert "1e999" in text
    assert record.Record.from_json(text) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(DOCUMENT)), JSON, max_size=3))
def test_any_other_values_are_a_record_or_none(changes: dict[str, Any]) -> None:
    known = record.Record.from_json(json.dumps(DOCUMENT | changes))

    if known is not None:
        assert record.Record.from_json(known.to_json()) == known


@given(st.text(max_size=200) | JSON.map(json.dumps))
def test_any_text_is_a_record_or_none(text: str) -> None:
    assert record.Record.from_json(text) is None


def test_the_file_name_follows_from_the_path_alone() -> None:
    names = {record.file_name(path) for path in ("/a/b", "/a/c", "/a/" + "x" * 5000, "/a/é")}

    assert len(names) == 4
    assert all(len(name) == 37 and name.endswith(".json") for name in names)
    assert record.file_name("/a/b") in names


def request(**changes: Any) -> volume.PublishRequest:
    context = {
        volume.POD_NAMESPACE: RECORD.pod.namespace,
        volume.POD_NAME: RECORD.pod.name,
        volume.POD_UID: RECORD.pod.uid,
        volume.CLASS_NAME: RECORD.class_name,
    } | changes.pop("context", {})
    fields: dict[str, Any] = {
        "volume_id": RECORD.volume_id,
        "target_path": RECORD.target_path,
        "readonly": True,
    }
    return volume.PublishRequest.from_proto(
        csi_pb2.NodePublishVolumeRequest(
            volume_capability=csi_pb2.VolumeCapability(
                mount=csi_pb2.VolumeCapability.MountVolume()
            ),
            volume_context=context,
            **fields | changes,
        )
    )


def test_a_record_matches_its_own_request() -> None:
    assert RECORD.matches(request(), "b-1")


@pytest.mark.parametrize(
    "change",
    [
        {"volume_id": "csi-2"},
        {"target_path": "/var/lib/kubelet/other"},
        {"context": {volume.POD_UID: "33-44"}},
        {"context": {volume.POD_NAME: "web-1"}},
        {"context": {volume.POD_NAMESPACE: "other"}},
        {"context": {volume.CLASS_NAME: "other"}},
    ],
    ids=str,
)
def test_a_record_matches_no_other_request(change: dict[str, Any]) -> None:
    assert not RECORD.matches(request(**change), "b-1")


def test_a_record_of_another_boot_matches_nothing() -> None:
    assert not RECORD.matches(request(), "b-2")


def test_no_secret_of_a_request_has_a_place_in_a_record() -> None:
    canary = secrets.token_hex()
    asked = request(context={volume.TOKENS: canary, "free": canary}, secrets={"password": canary})

    assert asked.handover.tokens.open() == canary
    assert canary not in json.dumps(asked.attributes)
    assert {x.name for x in dataclasses.fields(record.Record)} == DOCUMENT.keys() - {"schema"}
