import json
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csi_spec import csi_pb2
from secrets_store import errors
from secrets_store.log import Sealed
from secrets_store.model import volume

TARGET = "/var/lib/kubelet/pods/11-22/volumes/kubernetes.io~csi/store/mount"
KUBELET = {
    "csi.storage.k8s.io/pod.name": "web-0",
    "csi.storage.k8s.io/pod.namespace": "team",
    "csi.storage.k8s.io/pod.uid": "11-22",
    "csi.storage.k8s.io/serviceAccount.name": "web",
    "csi.storage.k8s.io/ephemeral": "true",
}
TOKENS = "csi.storage.k8s.io/serviceAccount.tokens"
Mutation = Callable[[csi_pb2.NodePublishVolumeRequest], object]


def valid() -> csi_pb2.NodePublishVolumeRequest:
    return csi_pb2.NodePublishVolumeRequest(
        volume_id="csi-1",
        target_path=TARGET,
        readonly=True,
        volume_capability=csi_pb2.VolumeCapability(
            mount=csi_pb2.VolumeCapability.MountVolume(),
            access_mode=csi_pb2.VolumeCapability.AccessMode(
                mode=csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_READER_ONLY
            ),
        ),
        volume_context=KUBELET | {"secretProviderClass": "db"},
    )


def mutated(*mutations: Mutation) -> csi_pb2.NodePublishVolumeRequest:
    request = valid()
    for mutate in mutations:
        mutate(request)
    return request


def parsed(*mutations: Mutation) -> volume.PublishRequest:
    return volume.PublishRequest.from_proto(mutated(*mutations))


def without(*keys: str) -> Mutation:
    return lambda request: [request.volume_context.pop(key) for key in keys]


def attributes(**changes: str) -> Mutation:
    return lambda request: request.volume_context.update(changes)


def context(changes: dict[str, str]) -> Mutation:
    return lambda request: request.volume_context.update(changes)


def fields(**values: Any) -> Mutation:
    def mutate(request: csi_pb2.NodePublishVolumeRequest) -> None:
        for key, value in values.items():
            setattr(request, key, value)

    return mutate


def cleared(name: Any) -> Mutation:
    return lambda request: request.ClearField(name)


def grouped(text: str) -> Mutation:
    def mutate(request: csi_pb2.NodePublishVolumeRequest) -> None:
        request.volume_capability.mount.volume_mount_group = text

    return mutate


def test_a_valid_request_is_taken_apart() -> None:
    got = parsed()

    assert (got.volume_id, got.target_path, got.class_name) == ("csi-1", TARGET, "db")
    assert got.pod == volume.Pod("team", "web-0", "11-22")
    assert str(got.pod) == "team/web-0"
    assert got.service_account == "web"
    assert got.attributes == KUBELET | {"secretProviderClass": "db"}
    assert got.override_keys == ()
    assert got.group is None
    assert not got.mock
    assert got.handover.empty


@pytest.mark.parametrize(
    ("mutation", "code", "text"),
    [
        (
            cleared("volume_capability"),
            errors.Code.INVALID_ARGUMENT,
            "Volume capability missing in request",
        ),
        (fields(volume_id=""), errors.Code.INVALID_ARGUMENT, "Volume ID missing in request"),
        (fields(target_path=""), errors.Code.INVALID_ARGUMENT, "Target path missing in request"),
        (
            cleared("volume_context"),
            errors.Code.INVALID_ARGUMENT,
            "Volume attributes missing in request",
        ),
        (
            lambda r: r.volume_capability.block.SetInParent(),
            errors.Code.INVALID_ARGUMENT,
            "Block volumes are not supported",
        ),
        (without("secretProviderClass"), errors.Code.UNKNOWN, "secretProviderClass is not set"),
        (
            attributes(secretProviderClass=""),
            errors.Code.UNKNOWN,
            "secretProviderClass is not set",
        ),
        (
            fields(readonly=False),
            errors.Code.INVALID_ARGUMENT,
            "Readonly is not true in request",
        ),
        *(
            (
                without(key),
                errors.Code.INVALID_ARGUMENT,
                f"{key} missing in request; the CSIDriver object needs podInfoOnMount: true",
            )
            for key in (volume.POD_NAME, volume.POD_NAMESPACE, volume.POD_UID)
        ),
    ],
)
def test_one_thing_wrong(mutation: Mutation, code: errors.Code, text: str) -> None:
    with pytest.raises(errors.DriverError) as caught:
        parsed(mutation)

    assert (caught.value.status_code, str(caught.value)) == (code, text)


def test_the_checks_come_in_upstream_s_order() -> None:
    undo: list[Mutation] = [
        lambda r: r.volume_capability.mount.SetInParent(),
        fields(volume_id="csi-1"),
        fields(target_path=TARGET),
        context({"x": "y"}),
        attributes(secretProviderClass="db"),
        fields(readonly=True),
        context(KUBELET),
    ]
    request = csi_pb2.NodePublishVolumeRequest()
    told = []
    for mutate in undo:
        with pytest.raises(errors.DriverError) as caught:
            volume.PublishRequest.from_proto(request)
        told.append(str(caught.value).partition(" in request")[0])
        mutate(request)

    volume.PublishRequest.from_proto(request)
    assert told == [
        "Volume capability missing",
        "Volume ID missing",
        "Target path missing",
        "Volume attributes missing",
        "secretProviderClass is not set",
        "Readonly is not true",
        "csi.storage.k8s.io/pod.namespace missing",
    ]


BAD_PATHS = [
    ("relative", "must be absolute"),
    ("var/lib/kubelet/pods", "must be absolute"),
    ("//var/lib", "must be absolute"),
    ("/a/../b", "must be clean"),
    ("/a/b/..", "must be clean"),
    ("/../a/b", "must be clean"),
    ("/a/./b", "must be clean"),
    ("/a//b", "must be clean"),
    ("/a/b/", "must be clean"),
    ("/", "must not be a directory of the root"),
    ("/a", "must not be a directory of the root"),
    ("/a/b\0c", "must not contain NUL"),
]


@pytest.mark.parametrize(("path", "rule"), BAD_PATHS)
def test_target_paths_that_are_refused(path: str, rule: str) -> None:
    unpublish = csi_pb2.NodeUnpublishVolumeRequest(volume_id="csi-1", target_path=path)

    with pytest.raises(errors.PathRejected, match=rule) as caught:
        parsed(fields(target_path=path))
    with pytest.raises(errors.PathRejected, match=rule):
        volume.UnpublishRequest.from_proto(unpublish)
    assert caught.value.status_code is errors.Code.INVALID_ARGUMENT


@given(st.lists(st.sampled_from(["a", "..", ".", "", "b c", "..x"]), max_size=6))
def test_an_accepted_target_has_no_way_up(parts: list[str]) -> None:
    path = "/".join(parts)
    try:
        volume.check_target_path(path)
    except errors.InvalidRequest:
        return
    assert path[0] == "/"
    assert not {"", ".", ".."} & set(path[1:].split("/"))


@pytest.mark.parametrize(
    ("text", "group"),
    [("", None), ("0", 0), ("1000", 1000), ("001000", 1000), ("4294967294", 4294967294)],
)
def test_groups(text: str, group: int | None) -> None:
    assert parsed(grouped(text)).group == group


@pytest.mark.parametrize(
    "text",
    ["-1", "+1", "1.0", "staff", " 1", "1 ", "0x10", "٥", "²", "4294967295", "9" * 5000],
)
def test_what_is_no_group(text: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="must be a group id") as caught:
        parsed(grouped(text))

    assert len(str(caught.value)) < 100


@pytest.mark.parametrize("name", ["mock_provider", "MOCK_Provider"])
def test_the_sanity_suite_s_volume_needs_nothing_else(name: str) -> None:
    request = csi_pb2.NodePublishVolumeRequest(
        volume_id="csi-1",
        target_path=TARGET,
        volume_capability=csi_pb2.VolumeCapability(mount=csi_pb2.VolumeCapability.MountVolume()),
        volume_context={"providerName": name},
    )

    got = volume.PublishRequest.from_proto(request)

    assert got.mock
    assert got.pod == volume.Pod("", "", "")


@pytest.mark.parametrize("name", ["", "mock", "mock_provider "])
def test_another_provider_name_makes_no_mock(name: str) -> None:
    assert not parsed(attributes(providerName=name)).mock


def test_attributes_of_the_pod_s_author_are_kept_apart() -> None:
    got = parsed(attributes(vaultAddress="https://evil.example", objects="[]"))

    assert got.attributes == KUBELET | {"secretProviderClass": "db"}
    assert got.override_keys == ("objects", "vaultAddress")
    assert got.handover.overrides.open() == {
        "vaultAddress": "https://evil.example",
        "objects": "[]",
    }
    assert not got.handover.empty


@pytest.mark.parametrize(
    ("in_secrets", "in_context", "tokens"),
    [
        (None, None, ""),
        (None, "context", "context"),
        ("secrets", None, "secrets"),
        ("secrets", "context", "secrets"),
        pytest.param("", "context", "context", id="an empty secret does not hide the other"),
        ("", None, ""),
        (None, "", ""),
    ],
)
def test_tokens_come_either_way_and_go_on_in_one(
    in_secrets: str | None, in_context: str | None, tokens: str
) -> None:
    def mutate(request: csi_pb2.NodePublishVolumeRequest) -> None:
        request.secrets["password"] = "p"
        if in_secrets is not None:
            request.secrets[TOKENS] = in_secrets
        if in_context is not None:
            request.volume_context[TOKENS] = in_context

    got = parsed(mutate)

    assert got.handover.tokens.open() == tokens
    assert got.handover.secrets.open() == {"password": "p"}
    assert TOKENS not in got.attributes
    assert TOKENS not in got.override_keys
    assert not got.handover.empty


def test_parsing_leaves_the_request_as_it_is() -> None:
    request = mutated(context({TOKENS: "t"}), lambda r: r.secrets.update({TOKENS: "s"}))
    before = request.SerializeToString(deterministic=True)

    volume.PublishRequest.from_proto(request)

    assert request.SerializeToString(deterministic=True) == before


def test_a_request_shows_no_secret() -> None:
    canary = secrets.token_hex()
    got = parsed(context({TOKENS: canary, "x": canary}), lambda r: r.secrets.update({"p": canary}))

    assert canary not in f"{got} {got!r} {got.handover!r}"


def handover(
    tokens: str = "", secret: dict[str, str] | None = None, overrides: dict[str, str] | None = None
) -> volume.Handover:
    return volume.Handover(Sealed(tokens), Sealed(secret or {}), Sealed(overrides or {}))


def question(allow_overrides: bool = False, **parts: Any) -> dict[str, str]:
    text = volume.provider_attributes(
        parts.get("parameters", {}),
        parts.get("attributes", {}),
        parts.get("handover", handover()),
        allow_overrides=allow_overrides,
    )
    found: dict[str, str] = json.loads(text)
    return found


@pytest.mark.parametrize(
    ("allow_overrides", "expected"),
    [
        (False, {"a": "class", "b": "class", "k": "kubelet"}),
        (True, {"a": "class", "b": "pod", "k": "kubelet", "c": "pod"}),
    ],
)
def test_kubelet_wins_over_the_pod_over_the_class(
    allow_overrides: bool, expected: dict[str, str]
) -> None:
    got = question(
        allow_overrides,
        parameters={"a": "class", "b": "class", "k": "class"},
        attributes={"k": "kubelet"},
        handover=handover(overrides={"b": "pod", "k": "pod", "c": "pod"}),
    )

    assert got == expected


@pytest.mark.parametrize("allow_overrides", [False, True])
@pytest.mark.parametrize(
    ("tokens", "expected"), [("from kubelet", {TOKENS: "from kubelet"}), ("", {})]
)
def test_tokens_are_kubelet_s_alone(
    allow_overrides: bool, tokens: str, expected: dict[str, str]
) -> None:
    got = question(
        allow_overrides,
        parameters={TOKENS: "from the class"},
        handover=handover(tokens, overrides={TOKENS: "from the pod"}),
    )

    assert got == expected


def test_attributes_are_compact_sorted_json_of_strings() -> None:
    text = volume.provider_attributes(
        {"b": '<"&\u2028', "a": "ü"}, {"c": "x"}, handover(), allow_overrides=False
    )

    assert text == '{"a":"ü","b":"<\\"&\u2028","c":"x"}'


def test_node_publish_secrets_are_an_object_or_null() -> None:
    assert volume.provider_secrets(handover()) == "null"
    assert volume.provider_secrets(volume.EMPTY_HANDOVER) == "null"
    assert volume.provider_secrets(handover(secret={"b": "ü", "a": ""})) == '{"a":"","b":"ü"}'


@pytest.mark.parametrize(
    ("given", "empty"),
    [
        (volume.EMPTY_HANDOVER, True),
        (handover(), True),
        (handover(tokens="t"), False),
        (handover(secret={"a": ""}), False),
        (handover(overrides={"a": ""}), False),
    ],
)
def test_a_handover_is_empty_if_nothing_in_it_is_needed(
    given: volume.Handover, empty: bool
) -> None:
    assert given.empty is empty


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (TARGET, "store"),
        ("/data/kubelet/pods/1/volumes/kubernetes.io~csi/v/mount", "v"),
        ("/pods/1/volumes/kubernetes.io~csi/v/mount", "v"),
        ("/var/lib/kubelet/pods/11-22/volumes/kubernetes.io~csi/store", ""),
        ("/var/lib/kubelet/pods/11-22/volumes/kubernetes.io~nfs/store/mount", ""),
        ("/kubernetes.io~csi/v/mount", ""),
        ("/tmp/csi/mount", ""),
    ],
)
def test_the_pod_s_name_of_a_volume(path: str, name: str) -> None:
    assert volume.pod_volume_name(path) == name


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"volume_id": ""}, "Volume ID missing in request"),
        ({"target_path": ""}, "Target path missing in request"),
        ({"volume_id": "", "target_path": ""}, "Volume ID missing in request"),
    ],
)
def test_an_unpublish_request_names_volume_and_path(changes: dict[str, str], text: str) -> None:
    request = csi_pb2.NodeUnpublishVolumeRequest(
        **{"volume_id": "csi-1", "target_path": TARGET} | changes
    )

    with pytest.raises(errors.InvalidRequest) as caught:
        volume.UnpublishRequest.from_proto(request)

    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("path", "mock"), [("/tmp/csi/mount", True), ("/TMP/CSI/Mount", True), (TARGET, False)]
)
def test_upstream_s_shortcut_of_unpublish(path: str, mock: bool) -> None:
    request = csi_pb2.NodeUnpublishVolumeRequest(volume_id="csi-1", target_path=path)

    got = volume.UnpublishRequest.from_proto(request)

    assert (got.volume_id, got.target_path, got.mock) == ("csi-1", path, mock)


def test_handovers_are_compared_by_what_is_in_them() -> None:
    one = handover("t", {"password": "p"}, {"role": "r"})

    assert one.says_the_same(handover("t", {"password": "p"}, {"role": "r"}))
    assert not one.says_the_same(handover("u", {"password": "p"}, {"role": "r"}))
    assert not one.says_the_same(handover("t", {"password": "q"}, {"role": "r"}))
    assert not one.says_the_same(handover("t", {"password": "p"}, {"role": "s"}))


def test_a_request_may_lose_what_the_pod_would_override() -> None:
    request = parsed(attributes(role="admin"))
    assert not request.handover.empty

    stripped = request.without_overrides()

    assert stripped.handover.empty
    assert stripped.override_keys == ("role",)
