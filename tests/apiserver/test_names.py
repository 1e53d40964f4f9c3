"""Names, labels, annotations and owners: what is let in."""

import pytest

from devkit.apiserver import client, cluster


def create(api: cluster.Cluster, **meta: object) -> client.Answer:
    return api.client.request("POST", api.at("secrets"), {"metadata": meta})


def causes(answer: client.Answer) -> list[tuple[str, str]]:
    assert answer.code == 422
    assert answer.obj["reason"] == "Invalid"
    return [(cause["field"], cause["reason"]) for cause in answer.obj["details"]["causes"]]


@pytest.mark.parametrize("name", ["A", "a_b", "-a", "a-", "a..b", "a" * 254, "a/b"])
def test_a_name_is_a_dns_subdomain(api: cluster.Cluster, name: str) -> None:
    answer = create(api, name=name)
    assert causes(answer) == [("metadata.name", "FieldValueInvalid")]
    assert answer.obj["message"].startswith(
        f'Secret "{name}" is invalid: metadata.name: Invalid value: "{name}": '
    )
    assert answer.obj["details"]["kind"] == "Secret"
    assert answer.obj["details"]["name"] == name


@pytest.mark.parametrize("name", ["a", "0", "a.b-c", "a" * 253])
def test_a_good_name_is_taken(api: cluster.Cluster, name: str) -> None:
    assert create(api, name=name).code == 201


def test_a_name_is_needed(api: cluster.Cluster) -> None:
    answer = create(api)
    assert causes(answer) == [("metadata.name", "FieldValueRequired")]
    assert answer.obj["message"] == (
        'Secret "" is invalid: metadata.name: Required value: name or generateName is required'
    )


def test_a_namespace_is_named_by_a_dns_label(api: cluster.Cluster) -> None:
    answer = api.client.request("POST", "/api/v1/namespaces", {"metadata": {"name": "a.b"}})
    assert causes(answer) == [("metadata.name", "FieldValueInvalid")]


def test_a_role_may_be_named_as_one_likes(api: cluster.Cluster) -> None:
    path = api.at("roles", group_version="rbac.authorization.k8s.io/v1")
    assert api.client.request("POST", path, {"metadata": {"name": "A:b_C"}}).code == 201
    answer = api.client.request("POST", path, {"metadata": {"name": "a%b"}})
    assert causes(answer) == [("metadata.name", "FieldValueInvalid")]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("a b", "v"),
        ("/a", "v"),
        ("A.example.com/", "v"),
        ("x" * 64, "v"),
        ("k", "v" * 64),
        ("k", "-v"),
        ("k", "a b"),
    ],
)
def test_a_label_has_rules(api: cluster.Cluster, key: str, value: str) -> None:
    answer = create(api, name="a", labels={key: value})
    assert set(causes(answer)) == {("metadata.labels", "FieldValueInvalid")}


def test_good_labels_are_taken(api: cluster.Cluster) -> None:
    labels = {"k": "", "example.com/k": "v" * 63, "x" * 63: "A.b_c-d"}
    assert create(api, name="a", labels=labels).obj["metadata"]["labels"] == labels


def test_annotations_have_keys_with_rules_and_a_size(api: cluster.Cluster) -> None:
    answer = create(api, name="a", annotations={"a b": "any value is fine"})
    assert causes(answer) == [("metadata.annotations", "FieldValueInvalid")]
    answer = create(api, name="a", annotations={"k": "x" * 256 * 1024})
    assert causes(answer) == [("metadata.annotations", "FieldValueTooLong")]
    assert create(api, name="a", annotations={"k": "any\nvalue "}).code == 201


def test_a_label_must_be_a_text(api: cluster.Cluster) -> None:
    answer = create(api, name="a", labels={"k": 5})
    assert answer.code == 400
    assert "cannot unmarshal number into Go struct field" in answer.obj["message"]
    assert create(api, name="a", labels=[]).code == 400


@pytest.mark.parametrize("missing", ["apiVersion", "kind", "name", "uid"])
def test_an_owner_is_named_in_full(api: cluster.Cluster, missing: str) -> None:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}
    del owner[missing]
    answer = create(api, name="a", ownerReferences=[owner])
    assert (f"metadata.ownerReferences.{missing}", "FieldValueInvalid") in causes(answer)


def test_there_is_one_controller(api: cluster.Cluster) -> None:
    owners = [
        {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": name, "controller": True}
        for name in ("p", "q")
    ]
    answer = create(api, name="a", ownerReferences=owners)
    assert causes(answer) == [("metadata.ownerReferences", "FieldValueInvalid")]
    owners[1]["controller"] = False
    assert create(api, name="a", ownerReferences=owners).code == 201


def test_several_faults_are_told_together(api: cluster.Cluster) -> None:
    answer = create(api, name="A", labels={"k": "-"})
    assert len(causes(answer)) == 2
    assert answer.obj["message"].startswith('Secret "A" is invalid: [metadata.name: ')
