import pathlib
from collections.abc import Iterator

import pytest

from devkit.apiserver import cluster, server


@pytest.fixture
def joined() -> Iterator[cluster.Cluster]:
    with server.APIServer(rbac=True) as running:
        found = cluster.join("stand-in", running.tls_url, running, running)
        yield found
        found.client.close()


def test_paths(joined: cluster.Cluster) -> None:
    root = f"/namespaces/{joined.namespace}"
    assert joined.at("pods") == f"/api/v1{root}/pods"
    assert joined.at("leases", "l", "coordination.k8s.io/v1") == (
        f"/apis/coordination.k8s.io/v1{root}/leases/l"
    )
    group = "/apis/secrets-store.csi.x-k8s.io/"
    assert joined.classes("c") == f"{group}v1{root}/secretproviderclasses/c"
    assert joined.pod_statuses(version="v1alpha1") == (
        f"{group}v1alpha1{root}/secretproviderclasspodstatuses"
    )


def test_every_join_is_a_namespace_of_its_own(joined: cluster.Cluster) -> None:
    assert joined.stand_in is not None
    other = cluster.join("stand-in", joined.url, joined.stand_in, joined.stand_in)
    assert other.namespace != joined.namespace
    other.client.close()


def test_accounts_and_files(joined: cluster.Cluster, tmp_path: pathlib.Path) -> None:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    token = joined.account_token("sa", rules)
    bearer = joined.as_user(token, "agent/1")
    assert bearer.request("GET", joined.at("pods")).code == 200
    assert bearer.request("GET", joined.at("secrets")).code == 403
    bearer.close()
    assert joined.token in joined.kubeconfig(tmp_path / "admin").read_text()
    assert token in joined.kubeconfig(tmp_path / "account", token).read_text()


def test_history_can_be_forgotten(joined: cluster.Cluster) -> None:
    assert joined.stand_in is not None
    version = joined.stand_in.resource_version
    joined.client.request("POST", joined.at("secrets"), {"metadata": {"name": "a"}}).decoded()
    joined.compact()
    path = f"{joined.at('secrets')}?watch=1&timeoutSeconds=1&resourceVersion={version}"
    assert [kind for kind, _ in joined.client.watch(path)] == ["ERROR"]
