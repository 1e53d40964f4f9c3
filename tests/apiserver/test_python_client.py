"""The `kubernetes` package against the API server."""

import pathlib
from collections.abc import Iterator
from typing import Any

import kubernetes.client
import kubernetes.config
import kubernetes.watch
import pytest

from devkit.apiserver import cluster

# The package is typed in parts only.
config: Any = kubernetes.config
watching: Any = kubernetes.watch
pytestmark = pytest.mark.timeout(30)
GROUP = ("secrets-store.csi.x-k8s.io", "v1")


@pytest.fixture
def configured(api: cluster.Cluster, tmp_path: pathlib.Path) -> Iterator[Any]:
    """An API client of the package, from a kubeconfig file."""
    path = api.kubeconfig(tmp_path / "kubeconfig")
    made = config.new_client_from_config(str(path))
    yield made
    made.close()


def test_typed_objects(api: cluster.Cluster, configured: Any) -> None:
    core: Any = kubernetes.client.CoreV1Api(configured)
    body = kubernetes.client.V1Secret(
        metadata=kubernetes.client.V1ObjectMeta(name="a"), string_data={"k": "v"}
    )
    created = core.create_namespaced_secret(api.namespace, body)
    assert created.data == {"k": "dg=="}
    created.data["l"] = "dw=="
    core.replace_namespaced_secret("a", api.namespace, created)
    core.patch_namespaced_secret("a", api.namespace, {"data": {"k": None}})
    assert core.read_namespaced_secret("a", api.namespace).data == {"l": "dw=="}
    listed = core.list_namespaced_secret(api.namespace)
    assert [item.metadata.name for item in listed.items] == ["a"]
    core.delete_namespaced_secret("a", api.namespace)
    with pytest.raises(kubernetes.client.ApiException) as caught:
        core.read_namespaced_secret("a", api.namespace)
    assert caught.value.status == 404


def test_custom_objects(api: cluster.Cluster, configured: Any) -> None:
    custom: Any = kubernetes.client.CustomObjectsApi(configured)
    place = (*GROUP, api.namespace, "secretproviderclasses")
    body = {
        "apiVersion": "/".join(GROUP),
        "kind": "SecretProviderClass",
        "metadata": {"name": "c"},
        "spec": {"provider": "p"},
    }
    custom.create_namespaced_custom_object(*place, body)
    custom.patch_namespaced_custom_object(*place, "c", {"spec": {"provider": "q"}})
    found = custom.get_namespaced_custom_object(*place, "c")
    assert found["spec"] == {"provider": "q"}
    assert len(custom.list_namespaced_custom_object(*place)["items"]) == 1


def test_a_watch(api: cluster.Cluster, configured: Any) -> None:
    core: Any = kubernetes.client.CoreV1Api(configured)
    version = core.list_namespaced_config_map(api.namespace).metadata.resource_version
    body = {"metadata": {"name": "m"}, "data": {"k": "v"}}
    core.create_namespaced_config_map(api.namespace, body)
    core.delete_namespaced_config_map("m", api.namespace)
    events = watching.Watch().stream(
        core.list_namespaced_config_map,
        api.namespace,
        resource_version=version,
        timeout_seconds=1,
    )
    found = [(event["type"], event["object"].metadata.name) for event in events]
    assert found == [("ADDED", "m"), ("DELETED", "m")]


def test_a_token_request(api: cluster.Cluster, configured: Any) -> None:
    core: Any = kubernetes.client.CoreV1Api(configured)
    core.create_namespaced_service_account(api.namespace, {"metadata": {"name": "sa"}})
    spec = kubernetes.client.V1TokenRequestSpec(audiences=["vault"])
    request = kubernetes.client.AuthenticationV1TokenRequest(spec=spec)
    answer = core.create_namespaced_service_account_token("sa", api.namespace, request)
    assert answer.status.token.count(".") == 2
