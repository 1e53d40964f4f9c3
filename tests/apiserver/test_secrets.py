"""What a Secret and a ConfigMap may be."""

import base64

import pytest

from devkit.apiserver import client, cluster

MERGE = "application/merge-patch+json"


def create(api: cluster.Cluster, **fields: object) -> client.Answer:
    return api.client.request("POST", api.at("secrets"), {"metadata": {"name": "a"}, **fields})


def fields_of(answer: client.Answer) -> list[str]:
    return [cause["field"] for cause in answer.obj["details"]["causes"]]


def test_string_data_becomes_data(api: cluster.Cluster) -> None:
    created = create(api, data={"a": "dg==", "b": "dg=="}, stringData={"b": "w", "c": "x"}).obj
    assert created["data"] == {"a": "dg==", "b": "dw==", "c": "eA=="}
    assert "stringData" not in created


def test_data_must_be_base64(api: cluster.Cluster) -> None:
    answer = create(api, data={"k": "%%%"})
    assert answer.code == 400
    assert "illegal base64 data" in answer.obj["message"]


@pytest.mark.parametrize("key", ["a b", "..a", "x" * 254, ""])
def test_keys_follow_rules(api: cluster.Cluster, key: str) -> None:
    answer = create(api, data={key: "dg=="})
    assert answer.code == 422
    assert answer.obj["reason"] == "Invalid"
    assert fields_of(answer) == [f"data[{key}]"]


def test_a_value_of_the_wrong_type_is_refused(api: cluster.Cluster) -> None:
    answer = create(api, data={"k": 5})
    assert answer.code == 400
    assert answer.obj["message"].startswith(
        'Secret in version "v1" cannot be handled as a Secret: json: cannot unmarshal number'
    )


def test_the_size_is_limited(api: cluster.Cluster) -> None:
    fits = base64.b64encode(b"x" * 1024 * 1024).decode()
    answer = create(api, data={"k": base64.b64encode(b"x" * (1024 * 1024 + 1)).decode()})
    assert answer.code == 422
    assert answer.obj["details"]["causes"][0]["reason"] == "FieldValueTooLong"
    assert fields_of(answer) == ["data"]
    assert create(api, data={"k": fits}).code == 201


@pytest.mark.parametrize(
    ("kind", "data", "missing"),
    [
        ("kubernetes.io/tls", {}, ["data[tls.crt]", "data[tls.key]"]),
        ("kubernetes.io/tls", {"tls.crt": "dg=="}, ["data[tls.key]"]),
        ("kubernetes.io/ssh-auth", {}, ["data[ssh-privatekey]"]),
        ("kubernetes.io/basic-auth", {}, ["data[username]", "data[password]"]),
        ("kubernetes.io/dockercfg", {}, ["data[.dockercfg]"]),
        ("kubernetes.io/dockerconfigjson", {}, ["data[.dockerconfigjson]"]),
        (
            "kubernetes.io/dockerconfigjson",
            {".dockerconfigjson": "dg=="},
            ["data[.dockerconfigjson]"],
        ),
        (
            "kubernetes.io/service-account-token",
            {},
            ["metadata.annotations[kubernetes.io/service-account.name]"],
        ),
    ],
)
def test_types_have_rules(
    api: cluster.Cluster, kind: str, data: dict[str, str], missing: list[str]
) -> None:
    answer = create(api, type=kind, data=data)
    assert answer.code == 422
    assert fields_of(answer) == missing


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("kubernetes.io/tls", {"tls.crt": "", "tls.key": ""}),
        ("kubernetes.io/basic-auth", {"username": "dg=="}),
        ("kubernetes.io/dockerconfigjson", {".dockerconfigjson": "e30="}),
        ("example.com/any", {}),
        ("any text", {}),
    ],
)
def test_a_type_with_its_keys_is_taken(
    api: cluster.Cluster, kind: str, data: dict[str, str]
) -> None:
    assert create(api, type=kind, data=data).obj["type"] == kind


def test_the_type_is_immutable(api: cluster.Cluster) -> None:
    create(api, type="example.com/a")
    body = {"metadata": {"name": "a"}, "type": "example.com/b"}
    answer = api.client.request("PUT", api.at("secrets", "a"), body)
    assert answer.code == 422
    assert answer.obj["message"] == (
        'Secret "a" is invalid: type: Invalid value: "example.com/b": field is immutable'
    )
    # A body without a type means Opaque, which is another type.
    assert (
        api.client.request("PUT", api.at("secrets", "a"), {"metadata": {"name": "a"}}).code == 422
    )


def test_an_immutable_secret_keeps_its_data(api: cluster.Cluster) -> None:
    create(api, data={"k": "dg=="}, immutable=True)
    path = api.at("secrets", "a")
    answer = api.client.request("PATCH", path, {"data": {"k": "dw=="}}, content_type=MERGE)
    assert answer.code == 422
    assert fields_of(answer) == ["data"]
    answer = api.client.request("PATCH", path, {"immutable": None}, content_type=MERGE)
    assert fields_of(answer) == ["immutable"]
    label = {"metadata": {"labels": {"l": "1"}}}
    assert api.client.request("PATCH", path, label, content_type=MERGE).code == 200


def test_configmaps_have_the_same_rules(api: cluster.Cluster) -> None:
    path = api.at("configmaps")
    meta = {"metadata": {"name": "c"}}
    answer = api.client.request("POST", path, meta | {"data": {"a b": ""}})
    assert fields_of(answer) == ["data[a b]"]
    assert api.client.request("POST", path, meta | {"binaryData": {"k": "%"}}).code == 400
    body = {"data": {"k": "v"}, "binaryData": {"b": "dg=="}, "immutable": True}
    created = api.client.request("POST", path, meta | body).obj
    assert created["data"] == {"k": "v"}
    answer = api.client.request("PUT", f"{path}/c", meta | body | {"data": {"k": "w"}})
    assert fields_of(answer) == ["data"]
