import json

import pytest
from click.testing import CliRunner

from devkit.apiserver import server
from secrets_store.model import pod_status, volume
from secrets_store.ops import main


@pytest.fixture
def mounted(api: server.APIServer) -> server.APIServer:
    """Two volumes under the CRD that keeps conditions: one well, one stale."""
    crd = api.get(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "secretproviderclasspodstatuses.secrets-store.csi.x-k8s.io",
    )
    for version in crd["spec"]["versions"]:
        version["schema"]["openAPIV3Schema"]["x-kubernetes-preserve-unknown-fields"] = True
        version["schema"]["openAPIV3Schema"]["properties"]["status"][
            "x-kubernetes-preserve-unknown-fields"
        ] = True
    api.update(crd)
    for name, fresh, reason in (("web", True, "Checked"), ("db", False, "GRPCProviderError")):
        pod = volume.Pod("default", name, f"uid-{name}")
        api.create(
            pod_status.build(
                object_name=f"{name}-default-app",
                pod=pod,
                class_name="app",
                target_path=f"/pods/{name}/mount",
                objects={"secret/a": "v1"},
                node="node-1",
                condition=pod_status.Condition(fresh, reason, "the store says no", 1.0),
            )
        )
    return api


def test_all_volumes_in_a_table(mounted: server.APIServer, kubeconfig: str) -> None:
    told = CliRunner().invoke(main.main, ["status", "--kubeconfig", kubeconfig])
    assert told.exit_code == 0, told.output
    head, db, web = told.output.splitlines()
    assert head.split() == ["NODE", "NAMESPACE", "POD", "CLASS", "FRESH", "SINCE", "OBJECTS"]
    assert db.split()[:4] == ["node-1", "default", "db", "app"]
    assert "no: GRPCProviderError" in db
    assert "True" in web


def test_one_pod_in_full(mounted: server.APIServer, kubeconfig: str) -> None:
    told = CliRunner().invoke(main.main, ["status", "db", "--kubeconfig", kubeconfig])
    assert "the store says no" in told.output
    assert "secret/a  v1" in told.output
    missing = CliRunner().invoke(main.main, ["status", "nope", "--kubeconfig", kubeconfig])
    assert missing.exit_code == 1


def test_json(mounted: server.APIServer, kubeconfig: str) -> None:
    told = CliRunner().invoke(main.main, ["status", "--json", "--kubeconfig", kubeconfig])
    rows = json.loads(told.output)
    assert [x["pod"] for x in rows] == ["db", "web"]
    assert rows[0]["objects"] == {"secret/a": "v1"}


def test_without_a_cluster_it_says_so(tmp_path: object) -> None:
    told = CliRunner().invoke(main.main, ["status", "--kubeconfig", f"{tmp_path}/none"])
    assert told.exit_code == 1
    assert "no usable kubeconfig" in told.output
