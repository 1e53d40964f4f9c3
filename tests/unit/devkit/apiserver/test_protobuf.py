import json
from typing import Any

import pytest

from devkit.apiserver import errors, protobuf


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def text(field: int, value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(raw)) + raw


def body(api_version: str, kind: str, *parts: bytes) -> bytes:
    meta = text(1, api_version) + text(2, kind)
    return b"k8s\x00" + text(1, meta) + text(2, b"".join(parts)) + text(3, "") + text(4, "")


def metadata(name: str) -> bytes:
    labels = text(11, text(1, "l") + text(2, "1"))
    return text(1, text(1, name) + labels + text(8, b""))


def test_a_secret() -> None:
    data = text(2, text(1, "k") + text(2, b"\xff\x00"))
    raw = body("v1", "Secret", metadata("s"), data, text(3, "Opaque"), number(5, 1))
    assert protobuf.decode(raw) == {
        "kind": "Secret",
        "apiVersion": "v1",
        "metadata": {"name": "s", "labels": {"l": "1"}, "creationTimestamp": None},
        "data": {"k": "/wA="},
        "type": "Opaque",
        "immutable": True,
    }


def test_parts_lists_and_inline_sources() -> None:
    secret = text(1, "v") + text(2, text(6, text(1, "s")))
    quantity = text(1, text(1, "cpu") + text(2, text(1, "100m")))
    probe = text(1, text(2, text(1, "/x") + text(2, number(1, 1) + text(3, "http"))))
    container = text(1, "c") + text(2, "i") + text(8, quantity) + text(10, probe)
    spec = text(1, secret) + text(2, container) + number(4, -1) + number(11, 1)
    found = protobuf.decode(body("v1", "Pod", metadata("p"), text(2, spec)))["spec"]
    assert found == {
        "volumes": [{"name": "v", "secret": {"secretName": "s"}}],
        "containers": [
            {
                "name": "c",
                "image": "i",
                "resources": {"limits": {"cpu": "100m"}},
                "livenessProbe": {"httpGet": {"path": "/x", "port": "http"}},
            }
        ],
        "terminationGracePeriodSeconds": -1,
        "hostNetwork": True,
    }


def test_lists_inside_maps_and_times() -> None:
    extra = text(5, text(1, "k") + text(2, text(1, "a") + text(1, "b")))
    access = body("authorization.k8s.io/v1", "SubjectAccessReview", text(2, extra))
    assert protobuf.decode(access)["spec"] == {"extra": {"k": ["a", "b"]}}
    time = number(1, 86_400) + number(2, 5_000)
    lease = body("coordination.k8s.io/v1", "Lease", text(2, text(3, time)))
    assert protobuf.decode(lease)["spec"] == {"acquireTime": "1970-01-02T00:00:00.000005Z"}
    event = body("v1", "Event", text(6, time))
    assert protobuf.decode(event)["firstTimestamp"] == "1970-01-02T00:00:00Z"


def test_numbers_or_texts() -> None:
    def minimum(value: bytes) -> Any:
        raw = body("policy/v1", "PodDisruptionBudget", text(2, text(1, value)))
        return protobuf.decode(raw)["spec"]["minAvailable"]

    assert minimum(number(1, 0) + number(2, 3) + text(3, "")) == 3
    assert minimum(number(1, 1) + number(2, 0) + text(3, "50%")) == "50%"


def test_fields_of_other_versions_are_left_out() -> None:
    raw = body("v1", "Secret", metadata("s"), number(999, 1), varint(998 << 3 | 1) + b"12345678")
    assert protobuf.decode(raw)["metadata"]["name"] == "s"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"{}", 400),
        (b"k8s\x00\xff", 400),
        (b"k8s\x00" + varint(1 << 3 | 2) + b"\x7fshort", 400),
        (b"k8s\x00" + varint(1 << 3 | 3), 400),
        (b"k8s\x00" + b"\xff" * 20, 400),
        (body("v1", "Secret", number(1, 5)), 400),
        (body("v1", "Secret", text(3, b"\xff")), 400),
        (body("example.com/v1", "Thing"), 415),
    ],
)
def test_broken_bodies(raw: bytes, code: int) -> None:
    with pytest.raises(errors.StatusError) as caught:
        protobuf.decode(raw)
    assert caught.value.code == code
    assert json.dumps(caught.value.to_status())
