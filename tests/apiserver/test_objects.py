"""Objects come, change and go."""

import pytest

from devkit.apiserver import cluster, errors

MERGE = "application/merge-patch+json"


def secret(name: str = "a", **fields: object) -> dict[str, object]:
    return {"metadata": {"name": name}, **fields}


def test_create_fills_what_is_the_servers(api: cluster.Cluster) -> None:
    answer = api.client.request("POST", api.at("secrets"), secret(data={"k": "dg=="}))
    assert answer.code == 201
    created = answer.obj
    meta = created["metadata"]
    assert created["apiVersion"] == "v1"
    assert created["kind"] == "Secret"
    assert created["type"] == "Opaque"
    assert meta["namespace"] == api.namespace
    assert len(meta["uid"]) == 36
    assert meta["creationTimestamp"].endswith("Z")
    assert int(meta["resourceVersion"]) > 0
    assert "generation" not in meta
    assert api.client.request("GET", api.at("secrets", "a")).obj == created


def test_a_name_can_be_generated(api: cluster.Cluster) -> None:
    body = {"metadata": {"generateName": "some-"}}
    names = {
        api.client.request("POST", api.at("secrets"), body).obj["metadata"]["name"]
        for _ in range(3)
    }
    assert len(names) == 3
    assert all(name.startswith("some-") and len(name) == 10 for name in names)


def test_what_exists_is_not_created_again(api: cluster.Cluster) -> None:
    api.client.request("POST", api.at("secrets"), secret())
    answer = api.client.request("POST", api.at("secrets"), secret())
    assert answer.code == 409
    assert answer.obj["reason"] == "AlreadyExists"
    assert answer.obj["message"] == 'secrets "a" already exists'
    assert answer.obj["details"] == {"name": "a", "kind": "secrets"}


def test_a_version_is_not_taken_at_creation(api: cluster.Cluster) -> None:
    body = {"metadata": {"name": "a", "resourceVersion": "1"}}
    answer = api.client.request("POST", api.at("secrets"), body)
    assert answer.code == 500
    assert answer.obj["message"] == "resourceVersion should not be set on objects to be created"


def test_an_absent_namespace_is_not_found(api: cluster.Cluster) -> None:
    answer = api.client.request("POST", "/api/v1/namespaces/none/secrets", secret())
    assert answer.code == 404
    assert answer.obj["message"] == 'namespaces "none" not found'


def test_another_namespace_in_the_body_is_refused(api: cluster.Cluster) -> None:
    body = {"metadata": {"name": "a", "namespace": "default"}}
    answer = api.client.request("POST", api.at("secrets"), body)
    assert answer.code == 400
    assert answer.obj["message"].startswith("the namespace of the provided object does not match")


@pytest.mark.parametrize(
    ("group", "told"),
    [
        ("secrets", 'secrets "none" not found'),
        (
            "secretproviderclasses",
            'secretproviderclasses.secrets-store.csi.x-k8s.io "none" not found',
        ),
    ],
)
def test_what_is_absent_is_told_with_its_group(api: cluster.Cluster, group: str, told: str) -> None:
    path = api.classes("none") if group != "secrets" else api.at("secrets", "none")
    answer = api.client.request("GET", path)
    assert answer.code == 404
    assert answer.obj["reason"] == "NotFound"
    assert answer.obj["message"] == told
    assert answer.obj["details"]["kind"] == group


@pytest.mark.parametrize("path", ["/api/v1/nope", "/apis/apps/v1/nope"])
def test_an_unknown_resource_is_a_status(api: cluster.Cluster, path: str) -> None:
    answer = api.client.request("GET", path)
    assert answer.code == 404
    assert answer.obj["message"] == "the server could not find the requested resource"


@pytest.mark.parametrize("path", ["/nope", "/apis/nope", "/apis/nope/v1/things"])
def test_an_unknown_group_is_plain_text(api: cluster.Cluster, path: str) -> None:
    answer = api.client.request("GET", path)
    assert answer.code == 404
    assert answer.body == b"404 page not found\n"


def test_an_update_replaces(api: cluster.Cluster) -> None:
    before = api.client.request(
        "POST", api.at("secrets"), {"metadata": {"name": "a", "labels": {"l": "1"}}}
    ).obj
    after = api.client.request("PUT", api.at("secrets", "a"), secret(data={"k": "dg=="})).obj
    assert after["data"] == {"k": "dg=="}
    assert "labels" not in after["metadata"]
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["metadata"]["creationTimestamp"] == before["metadata"]["creationTimestamp"]
    assert int(after["metadata"]["resourceVersion"]) > int(before["metadata"]["resourceVersion"])


def test_an_update_that_changes_nothing_keeps_the_version(api: cluster.Cluster) -> None:
    before = api.client.request("POST", api.at("secrets"), secret(data={"k": "dg=="})).obj
    assert api.client.request("PUT", api.at("secrets", "a"), before).obj == before
    again = api.client.request("PUT", api.at("secrets", "a"), secret(data={"k": "dg=="})).obj
    assert again == before


def test_an_overtaken_update_conflicts(api: cluster.Cluster) -> None:
    first = api.client.request("POST", api.at("secrets"), secret()).obj
    api.client.request("PUT", api.at("secrets", "a"), secret(data={"k": "dg=="}))
    answer = api.client.request("PUT", api.at("secrets", "a"), first)
    assert answer.code == 409
    assert answer.obj["reason"] == "Conflict"
    assert answer.obj["message"] == (
        'Operation cannot be fulfilled on secrets "a": the object has been modified; please apply '
        "your changes to the latest version and try again"
    )
    assert answer.obj["details"] == {"name": "a", "kind": "secrets"}


def test_an_update_of_another_uid_conflicts(api: cluster.Cluster) -> None:
    api.client.request("POST", api.at("secrets"), secret())
    body = {"metadata": {"name": "a", "uid": "other"}}
    answer = api.client.request("PUT", api.at("secrets", "a"), body)
    assert answer.code == 409
    assert "Precondition failed: UID in precondition: other" in answer.obj["message"]


def test_an_update_of_nothing_is_not_found(api: cluster.Cluster) -> None:
    answer = api.client.request("PUT", api.at("secrets", "a"), secret())
    assert answer.code == 404


def test_an_update_must_keep_the_name(api: cluster.Cluster) -> None:
    api.client.request("POST", api.at("secrets"), secret())
    answer = api.client.request("PUT", api.at("secrets", "a"), secret("b"))
    assert answer.code == 400
    assert answer.obj["message"] == (
        "the name of the object (b) does not match the name on the URL (a)"
    )


def test_a_lease_can_be_made_by_an_update(api: cluster.Cluster) -> None:
    path = api.at("leases", "l", "coordination.k8s.io/v1")
    answer = api.client.request("PUT", path, secret("l", spec={"holderIdentity": "me"}))
    assert answer.code == 201
    assert answer.obj["spec"] == {"holderIdentity": "me"}


def test_a_dry_run_changes_nothing(api: cluster.Cluster) -> None:
    answer = api.client.request("POST", f"{api.at('secrets')}?dryRun=All", secret())
    assert answer.code == 201
    assert answer.obj["metadata"]["uid"]
    assert api.client.items(api.at("secrets")) == []
    created = api.client.request("POST", api.at("secrets"), secret()).obj
    path = f"{api.at('secrets', 'a')}?dryRun=All"
    dry = api.client.request("PATCH", path, {"data": {"k": "dg=="}}, content_type=MERGE)
    assert dry.obj["data"] == {"k": "dg=="}
    assert api.client.request("DELETE", path).code == 200
    assert api.client.request("GET", api.at("secrets", "a")).obj == created
    assert api.client.request("POST", f"{api.at('secrets')}?dryRun=Some", secret("b")).code == 422


def test_a_delete_answers_with_a_status(api: cluster.Cluster) -> None:
    created = api.client.request("POST", api.at("secrets"), secret()).obj
    answer = api.client.request("DELETE", api.at("secrets", "a"))
    assert answer.code == 200
    assert answer.obj["status"] == "Success"
    assert answer.obj["details"] == {
        "name": "a",
        "kind": "secrets",
        "uid": created["metadata"]["uid"],
    }
    assert api.client.request("DELETE", api.at("secrets", "a")).code == 404


@pytest.mark.parametrize("field", ["uid", "resourceVersion"])
def test_a_delete_keeps_its_preconditions(api: cluster.Cluster, field: str) -> None:
    created = api.client.request("POST", api.at("secrets"), secret()).obj
    wrong = {"preconditions": {field: "1"}}
    answer = api.client.request("DELETE", api.at("secrets", "a"), wrong)
    assert answer.code == 409
    assert answer.obj["reason"] == "Conflict"
    right = {"preconditions": {field: created["metadata"][field]}}
    assert api.client.request("DELETE", api.at("secrets", "a"), right).code == 200


def test_finalizers_hold_an_object(api: cluster.Cluster) -> None:
    body = {"metadata": {"name": "a", "finalizers": ["example.com/hold"]}}
    api.client.request("POST", api.at("secrets"), body)
    held = api.client.request("DELETE", api.at("secrets", "a")).obj
    assert held["kind"] == "Secret"
    assert held["metadata"]["deletionTimestamp"]
    assert held["metadata"]["deletionGracePeriodSeconds"] == 0
    more = {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}
    answer = api.client.request("PATCH", api.at("secrets", "a"), more, content_type=MERGE)
    assert answer.code == 422
    none = {"metadata": {"finalizers": None}}
    api.client.request("PATCH", api.at("secrets", "a"), none, content_type=MERGE)
    assert api.client.request("GET", api.at("secrets", "a")).code == 404


def test_a_propagation_policy_becomes_a_finalizer(api: cluster.Cluster) -> None:
    for policy, finalizer in (("Foreground", "foregroundDeletion"), ("Orphan", "orphan")):
        api.client.request("POST", api.at("secrets"), secret(policy.lower()))
        path = api.at("secrets", policy.lower())
        held = api.client.request("DELETE", path, {"propagationPolicy": policy}).obj
        assert held["metadata"]["finalizers"] == [finalizer]
        assert api.client.request("DELETE", path, {"propagationPolicy": "Background"}).code == 200
        assert api.client.request("GET", path).code == 404
    answer = api.client.request("DELETE", api.at("secrets", "x"), {"propagationPolicy": "Some"})
    assert answer.code == 422


def test_a_collection_is_deleted_by_selector(api: cluster.Cluster) -> None:
    for name, value in (("a", "1"), ("b", "1"), ("c", "2")):
        body = {"metadata": {"name": name, "labels": {"l": value}}}
        api.client.request("POST", api.at("secrets"), body)
    answer = api.client.request("DELETE", f"{api.at('secrets')}?labelSelector=l%3D1")
    assert answer.code == 200
    assert answer.obj["kind"] == "SecretList"
    assert [item["metadata"]["name"] for item in answer.obj["items"]] == ["a", "b"]
    left = api.client.items(api.at("secrets"))
    assert [item["metadata"]["name"] for item in left] == ["c"]


@pytest.mark.parametrize(
    ("method", "tail"),
    [("POST", "/a"), ("PATCH", ""), ("PUT", "")],
)
def test_a_method_that_does_not_fit_is_refused(
    api: cluster.Cluster, method: str, tail: str
) -> None:
    kind = MERGE if method == "PATCH" else "application/json"
    answer = api.client.request(method, api.at("secrets") + tail, {}, content_type=kind)
    assert answer.code == 405
    assert answer.obj["reason"] == "MethodNotAllowed"


@pytest.mark.parametrize("body", [b"{nope", b"[1]", b""])
def test_a_body_that_is_no_object_is_refused(api: cluster.Cluster, body: bytes) -> None:
    answer = api.client.request("POST", api.at("secrets"), body)
    assert answer.code == 400
    assert answer.obj["reason"] == "BadRequest"


def test_a_body_of_another_kind_is_refused(api: cluster.Cluster) -> None:
    body = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}}
    assert api.client.request("POST", api.at("secrets"), body).code == 400


def test_an_unknown_body_type_is_refused(api: cluster.Cluster) -> None:
    answer = api.client.request("POST", api.at("secrets"), secret(), content_type="text/plain")
    assert answer.code == 415
    assert answer.obj["reason"] == "UnsupportedMediaType"


def test_a_yaml_body_is_read(api: cluster.Cluster) -> None:
    body = b"kind: Secret\napiVersion: v1\nmetadata:\n  name: a\nstringData: {k: v}\n"
    answer = api.client.request("POST", api.at("secrets"), body, content_type="application/yaml")
    assert answer.code == 201
    assert answer.obj["data"] == {"k": "dg=="}


def test_a_body_has_a_limit(api: cluster.Cluster) -> None:
    answer = api.client.request("POST", api.at("secrets"), b"x" * (3 * 1024 * 1024 + 1))
    assert answer.code == 413
    assert answer.obj["reason"] == "RequestEntityTooLarge"


def test_unknown_fields_are_dropped_with_a_warning(api: cluster.Cluster) -> None:
    body = {"metadata": {"name": "a", "odd": 1}, "strange": 2}
    answer = api.client.request("POST", api.at("secrets"), body)
    assert answer.code == 201
    assert "strange" not in answer.obj
    assert answer.warnings == [
        '299 - "unknown field \\"metadata.odd\\""',
        '299 - "unknown field \\"strange\\""',
    ]
    body = {"metadata": {"name": "b"}, "strange": 2}
    ignored = api.client.request("POST", f"{api.at('secrets')}?fieldValidation=Ignore", body)
    assert (ignored.code, ignored.warnings) == (201, [])
    strict = api.client.request("POST", f"{api.at('secrets')}?fieldValidation=Strict", body)
    assert strict.code == 400
    assert strict.obj["message"].endswith('strict decoding error: unknown field "strange"')


def test_managed_fields_name_the_writers(api: cluster.Cluster) -> None:
    path = api.at("secrets")
    api.client.request(
        "POST", f"{path}?fieldManager=maker", secret(data={"a": "dg==", "b": "dg=="})
    )
    changed = api.client.request(
        "PATCH", f"{path}/a?fieldManager=changer", {"data": {"b": "dw=="}}, content_type=MERGE
    ).obj
    owners = {entry["manager"]: entry["fieldsV1"] for entry in changed["metadata"]["managedFields"]}
    assert owners == {
        "maker": {"f:data": {".": {}, "f:a": {}}, "f:type": {}},
        "changer": {"f:data": {"f:b": {}}},
    }


def test_the_clients_conveniences_work(api: cluster.Cluster) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c", "namespace": api.namespace},
        "data": {"k": "v"},
    }
    created = api.client.create(body)
    assert api.client.get(created) == created
    assert api.client.update(created | {"data": {"k": "w"}})["data"] == {"k": "w"}
    assert api.client.delete(created)["status"] == "Success"
    with pytest.raises(errors.StatusError) as caught:
        api.client.get(created)
    assert caught.value.code == 404
    with pytest.raises(LookupError):
        api.client.path({"apiVersion": "v9", "kind": "Thing"})
