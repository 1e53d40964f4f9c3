"""The manifests against an API server: accepted, applied twice, over upstream's and back."""

import pytest

from devkit.apiserver import client
from tests.deploy import manifests, upstream

pytestmark = pytest.mark.timeout(60)

# Kinds of the Prometheus operator; its CRDs are not ours to install.
FOLDERS = [name for name in manifests.folders() if name != "monitoring"]


def served(cluster: client.Client, objects: list[manifests.Object]) -> list[manifests.Object]:
    """Leave out the one kind that the stand-in does not serve."""
    if cluster.request("GET", "/apis/networking.k8s.io/v1/ingresses").code == 404:
        return [obj for obj in objects if obj["kind"] != "Ingress"]
    return objects


def versions(objects: list[manifests.Object]) -> dict[tuple[str, str], str]:
    return {
        (obj["kind"], obj["metadata"]["name"]): obj["metadata"]["resourceVersion"]
        for obj in objects
    }


def test_every_manifest_passes_a_dry_run(cluster: client.Client) -> None:
    before = cluster.items("/apis/apps/v1/daemonsets")
    for name in FOLDERS:
        objects = served(cluster, manifests.folder(name))
        assert len(list(manifests.apply(cluster, objects, dry_run=True))) == len(objects) > 0
    assert cluster.items("/apis/apps/v1/daemonsets") == before


def test_applied_twice_nothing_changes(cluster: client.Client) -> None:
    for name in FOLDERS:
        objects = served(cluster, manifests.folder(name))
        first = list(manifests.apply(cluster, objects))
        assert versions(list(manifests.apply(cluster, objects))) == versions(first)


@pytest.mark.parametrize("version", upstream.VERSIONS)
def test_takes_the_place_of_upstream_and_gives_it_back(
    cluster: client.Client, version: str
) -> None:
    list(manifests.apply(cluster, upstream.installed(version)))
    list(manifests.apply(cluster, manifests.folder()))
    found = cluster.get(upstream.daemon_set(version))
    ours = manifests.one(manifests.folder(), "DaemonSet", manifests.DRIVER)
    containers, wanted = manifests.containers(found), manifests.containers(ours)
    assert list(containers) == list(wanted)
    for name, container in containers.items():
        assert container["image"] == wanted[name]["image"]
        assert container["args"] == wanted[name]["args"]
        assert "cpu" not in container["resources"]["limits"], "upstream's CPU limit has stayed"
    list(manifests.apply(cluster, upstream.installed(version)))
    back = manifests.containers(cluster.get(upstream.daemon_set(version)))
    assert back["secrets-store"]["image"].endswith(version)
    assert back["secrets-store"]["args"] == list(upstream.PLAIN_ARGUMENTS)


def test_both_versions_of_a_class_are_served_and_stored_as_v1(cluster: client.Client) -> None:
    list(manifests.apply(cluster, manifests.folder()))
    old = {
        "apiVersion": "secrets-store.csi.x-k8s.io/v1alpha1",
        "kind": "SecretProviderClass",
        "metadata": {"name": "old", "namespace": "default"},
        "spec": {"provider": "vault", "parameters": {"roleName": "r", "objects": "[]"}},
    }
    path = "/apis/secrets-store.csi.x-k8s.io/{}/namespaces/default/secretproviderclasses"
    answer = cluster.request("POST", path.format("v1alpha1"), old)
    assert answer.decoded()["apiVersion"] == old["apiVersion"]
    assert any("v1alpha1 is deprecated" in warning for warning in answer.warnings)
    found = cluster.request("GET", path.format("v1") + "/old").decoded()
    assert (found["apiVersion"], found["spec"]) == ("secrets-store.csi.x-k8s.io/v1", old["spec"])


def test_columns_show_pod_class_and_freshness(cluster: client.Client) -> None:
    list(manifests.apply(cluster, manifests.folder()))
    path = "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/default/secretproviderclasspodstatuses"
    wait_for_rules(cluster, path.replace("podstatuses", "es"))
    fresh = {"type": "Fresh", "status": "False", "reason": "r", "message": "m"}
    obj = {
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClassPodStatus",
        "metadata": {"name": "shown"},
        "status": {
            "podName": "web",
            "secretProviderClassName": "app",
            "mounted": True,
            "conditions": [fresh | {"lastTransitionTime": "2026-01-01T00:00:00Z"}],
        },
    }
    assert cluster.request("POST", path, obj).decoded()["status"] == obj["status"]
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    table = cluster.request("GET", path, accept=accept).decoded()
    assert [c["name"] for c in table["columnDefinitions"]] == [
        *("Name", "Pod", "Class", "Mounted", "Fresh", "Age"),
    ]
    (row,) = table["rows"]
    *known, is_fresh = (str(cell) for cell in row["cells"][:5])
    assert known == ["shown", "web", "app", "True"]
    # The stand-in evaluates no filters in a column's path.
    assert is_fresh in ("False", "None")


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"parameters": {"a": "b"}}, "spec.provider"),
        ({"provider": "two words", "parameters": {"a": "b"}}, "spec.provider"),
        ({"provider": "a" * 31, "parameters": {"a": "b"}}, "spec.provider"),
        ({"provider": "vault"}, "spec.parameters"),
        ({"provider": "vault", "parameters": {}}, "spec.parameters"),
        ({"provider": "vault", "parameters": {"objects": []}}, "spec.parameters.objects"),
        ({"secretName": "Upper"}, "spec.secretObjects[0].secretName"),
        ({"secretName": ""}, "spec.secretObjects[0].secretName"),
        ({"type": ""}, "spec.secretObjects[0].type"),
        ({"data": []}, "spec.secretObjects[0].data"),
        (
            {"data": [{"objectName": "file", "key": "not valid"}]},
            "spec.secretObjects[0].data[0].key",
        ),
        ({"data": [{"objectName": " ", "key": "k"}]}, "spec.secretObjects[0].data[0].objectName"),
        ({"data": [{"key": "k"}]}, "spec.secretObjects[0].data[0].objectName"),
    ],
)
def test_a_class_that_nothing_can_mount_or_copy_is_refused(
    cluster: client.Client, spec: manifests.Object, field: str
) -> None:
    crd = manifests.one(
        manifests.folder(),
        "CustomResourceDefinition",
        "secretproviderclasses.secrets-store.csi.x-k8s.io",
    )
    list(manifests.apply(cluster, [crd]))
    if not {"provider", "parameters"} & spec.keys():
        copy = {"secretName": "s", "type": "Opaque", "data": [{"objectName": "file", "key": "k"}]}
        spec = {
            "provider": "vault",
            "parameters": {"a": "b"},
            "secretObjects": [copy | spec],
        }
    answer = create_class(cluster, spec)
    assert answer.code == 422
    assert field in [cause["field"] for cause in answer.obj["details"]["causes"]]


@pytest.mark.parametrize(
    "copy",
    [
        {"secretName": " padded ", "type": " ", "data": [{"objectName": " f ", "key": " k "}]},
        {"secretName": "a.b-c.1", "type": "x/y", "data": [{"objectName": "a/b", "key": ".dot"}]},
    ],
)
def test_a_class_that_upstream_copies_is_accepted(
    cluster: client.Client, copy: manifests.Object
) -> None:
    list(manifests.apply(cluster, manifests.folder()))
    spec = {"provider": "vault", "parameters": {"": ""}, "secretObjects": [copy]}
    assert create_class(cluster, spec).code == 201


def create_class(cluster: client.Client, spec: manifests.Object) -> client.Answer:
    """Create a class once the server has taken the CRD in: it looks at it a moment later."""
    path = "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/default/secretproviderclasses"
    obj = {
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClass",
        "metadata": {"generateName": "c-"},
        "spec": spec,
    }
    wait_for_rules(cluster, path)
    return cluster.request("POST", path, obj)


def wait_for_rules(cluster: client.Client, path: str) -> None:
    """Return when the CRD's rules are in force: a class without a provider is refused by them."""
    broken = {
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClass",
        "metadata": {"generateName": "probe-"},
        "spec": {"parameters": {"a": "b"}},
    }
    for _ in range(1000):
        if cluster.request("POST", path + "?dryRun=All", broken).code == 422:
            return
    raise AssertionError("the CRD's rules do not come into force")
