import pytest

from devkit.apiserver import server
from secrets_store.ops import cluster


def test_lists_are_read_to_their_end(api: server.APIServer, kubeconfig: str) -> None:
    for number in range(7):
        api.create(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": f"c{number}", "namespace": "default"},
            }
        )
    reached = cluster.Cluster(kubeconfig)
    found = reached.items("/api/v1/namespaces/default/configmaps", limit="3")
    assert len(found) == 7


def test_a_refusal_has_its_status(api: server.APIServer, kubeconfig: str) -> None:
    with pytest.raises(cluster.Refused) as refused:
        cluster.Cluster(kubeconfig).get("/api/v1/nodes/none")
    assert refused.value.status == 404


def test_the_clocks_of_one_machine_agree(api: server.APIServer, kubeconfig: str) -> None:
    skew_s = cluster.Cluster(kubeconfig).clock_skew_s()
    assert skew_s is None or abs(skew_s) < 5


def test_a_server_that_is_away_is_a_refusal(api: server.APIServer, kubeconfig: str) -> None:
    api.pause()
    with pytest.raises(cluster.Refused):
        cluster.Cluster(kubeconfig).get("/version")
    api.resume()
