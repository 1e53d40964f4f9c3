"""Pods: defaults, status, what may change, and how they go."""

from typing import Any

import pytest

from devkit.apiserver import client, cluster

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


def create(api: cluster.Cluster, name: str = "p", node: str = "n1", **spec: Any) -> client.Answer:
    spec = {"nodeName": node, "containers": [{"name": "c", "image": "i:1"}]} | spec
    return api.client.request("POST", api.at("pods"), {"metadata": {"name": name}, "spec": spec})


def fields_of(answer: client.Answer) -> list[str]:
    assert answer.code == 422
    return [cause["field"] for cause in answer.obj["details"]["causes"]]


def test_a_pod_gets_its_defaults(api: cluster.Cluster) -> None:
    volumes = [
        {"name": "s", "secret": {"secretName": "x"}},
        {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
        {"name": "e"},
    ]
    created = create(api, serviceAccountName="default", volumes=volumes).decoded()
    spec = created["spec"]
    assert created["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert created["metadata"]["generation"] == 1
    assert (spec["restartPolicy"], spec["dnsPolicy"]) == ("Always", "ClusterFirst")
    assert spec["terminationGracePeriodSeconds"] == 30
    assert (spec["serviceAccountName"], spec["serviceAccount"]) == ("default", "default")
    assert spec["containers"][0]["imagePullPolicy"] == "IfNotPresent"
    assert [item["key"] for item in spec["tolerations"]] == [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ]
    assert spec["volumes"][0]["secret"]["defaultMode"] == 0o644
    source = spec["volumes"][1]["projected"]["sources"][0]
    assert source["serviceAccountToken"] == {"path": "t", "expirationSeconds": 3600}
    assert spec["volumes"][2] == {"name": "e", "emptyDir": {}}


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"containers": []}, "spec.containers"),
        ({"containers": [{"name": "c"}]}, "spec.containers[0].image"),
        ({"containers": [{"image": "i"}]}, "spec.containers[0].name"),
        (
            {"containers": [{"name": "c", "image": "i"}, {"name": "c", "image": "i"}]},
            "spec.containers[1].name",
        ),
        (
            {
                "containers": [
                    {
                        "name": "c",
                        "image": "i",
                        "volumeMounts": [{"name": "none", "mountPath": "/x"}],
                    }
                ]
            },
            "spec.containers[0].volumeMounts[0].name",
        ),
        ({"restartPolicy": "Odd"}, "spec.restartPolicy"),
    ],
)
def test_a_pod_is_checked(api: cluster.Cluster, spec: dict[str, Any], field: str) -> None:
    assert field in fields_of(create(api, **spec))


def test_the_status_is_written_by_its_subresource_only(api: cluster.Cluster) -> None:
    create(api)
    path = api.at("pods", "p")
    body = {"status": {"phase": "Running"}, "metadata": {"labels": {"a": "b"}}}
    changed = api.client.request("PATCH", path, body, content_type=MERGE).obj
    assert (changed["status"]["phase"], changed["metadata"]["labels"]) == ("Pending", {"a": "b"})
    body = {"status": {"phase": "Running"}, "spec": {"nodeName": "other"}}
    changed = api.client.request("PATCH", f"{path}/status", body, content_type=MERGE).obj
    assert (changed["status"]["phase"], changed["spec"]["nodeName"]) == ("Running", "n1")
    assert api.client.request("GET", f"{path}/status").obj == changed


def test_most_of_a_spec_cannot_change(api: cluster.Cluster) -> None:
    create(api)
    path = api.at("pods", "p")
    answer = api.client.request("PATCH", path, {"spec": {"nodeName": "n2"}}, content_type=MERGE)
    assert fields_of(answer) == ["spec"]
    image = {"spec": {"containers": [{"name": "c", "image": "i:2"}]}}
    changed = api.client.request("PATCH", path, image, content_type=STRATEGIC).obj
    assert changed["spec"]["containers"][0]["image"] == "i:2"
    assert changed["metadata"]["generation"] == 2
    environment = {"spec": {"containers": [{"name": "c", "env": [{"name": "A"}]}]}}
    answer = api.client.request("PATCH", path, environment, content_type=STRATEGIC)
    assert fields_of(answer) == ["spec"]
    tolerations = {"spec": {"tolerations": [{"operator": "Exists"}]}}
    answer = api.client.request("PATCH", path, tolerations, content_type=MERGE)
    assert fields_of(answer) == ["spec.tolerations"]


def test_a_pod_lingers_on_its_node(api: cluster.Cluster) -> None:
    create(api)
    path = api.at("pods", "p")
    first = api.client.request("DELETE", path)
    assert first.code == 200
    meta = first.obj["metadata"]
    assert meta["deletionGracePeriodSeconds"] == 30
    assert meta["deletionTimestamp"] > meta["creationTimestamp"]
    shorter = api.client.request("DELETE", path, {"gracePeriodSeconds": 5}).obj["metadata"]
    assert shorter["deletionGracePeriodSeconds"] == 5
    assert shorter["deletionTimestamp"] < meta["deletionTimestamp"]
    longer = api.client.request("DELETE", path, {"gracePeriodSeconds": 60}).obj["metadata"]
    assert longer["deletionGracePeriodSeconds"] == 5
    last = api.client.request("DELETE", f"{path}?gracePeriodSeconds=0")
    assert (last.code, last.obj["kind"]) == (200, "Pod")
    assert api.client.request("GET", path).code == 404


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_finished_pod_goes_at_once(api: cluster.Cluster, phase: str) -> None:
    create(api)
    path = api.at("pods", "p")
    body = {"status": {"phase": phase}}
    api.client.request("PATCH", f"{path}/status", body, content_type=MERGE).decoded()
    api.client.request("DELETE", path)
    assert api.client.request("GET", path).code == 404


def test_a_pod_without_a_node_goes_at_once(api: cluster.Cluster) -> None:
    create(api, node="")
    answer = api.client.request("DELETE", api.at("pods", "p"))
    assert (answer.code, answer.obj["kind"]) == (200, "Pod")
    assert api.client.request("GET", api.at("pods", "p")).code == 404


def test_a_finalizer_outlives_the_grace(api: cluster.Cluster) -> None:
    create(api)
    path = api.at("pods", "p")
    held = {"metadata": {"finalizers": ["example.com/x"]}}
    api.client.request("PATCH", path, held, content_type=MERGE)
    api.client.request("DELETE", path, {"gracePeriodSeconds": 0})
    assert api.client.request("GET", path).obj["metadata"]["deletionGracePeriodSeconds"] == 0
    api.client.request("PATCH", path, {"metadata": {"finalizers": None}}, content_type=MERGE)
    assert api.client.request("GET", path).code == 404


def test_a_pod_is_bound_to_a_node(api: cluster.Cluster) -> None:
    create(api, node="")
    body = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "p"},
        "target": {"kind": "Node", "name": "n7"},
    }
    path = api.at("pods", "p")
    assert api.client.request("POST", f"{path}/binding", body).code == 201
    assert api.client.request("GET", path).obj["spec"]["nodeName"] == "n7"
    assert api.client.request("POST", f"{path}/binding", body).code == 409


def test_a_pod_is_evicted(api: cluster.Cluster) -> None:
    create(api)
    path = api.at("pods", "p")
    body: dict[str, Any] = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": "p"},
    }
    answer = api.client.request("POST", f"{path}/eviction", body)
    assert (answer.code, answer.obj["status"]) == (201, "Success")
    assert "deletionTimestamp" in api.client.request("GET", path).obj["metadata"]
    none = f"{api.at('pods', 'none')}/eviction"
    assert api.client.request("POST", none, body).code == 400
    body["metadata"] = {"name": "none"}
    assert api.client.request("POST", none, body).code == 404


@pytest.mark.parametrize(
    ("plural", "group_version", "defaults"),
    [
        ("deployments", "apps/v1", {"replicas": 1, "progressDeadlineSeconds": 600}),
        ("replicasets", "apps/v1", {"replicas": 1}),
        ("daemonsets", "apps/v1", {"revisionHistoryLimit": 10}),
        ("statefulsets", "apps/v1", {"replicas": 1, "podManagementPolicy": "OrderedReady"}),
    ],
)
def test_owners_of_pods_are_stored(
    api: cluster.Cluster, plural: str, group_version: str, defaults: dict[str, Any]
) -> None:
    labels = {"a": "b"}
    pod = {"containers": [{"name": "c", "image": "i"}]}
    spec: dict[str, Any] = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    path = api.at(plural, group_version=group_version)
    created = api.client.request("POST", path, {"metadata": {"name": "w"}, "spec": spec}).obj
    assert created["metadata"]["generation"] == 1
    assert created["spec"].items() >= defaults.items()
    assert created["spec"]["template"]["spec"]["restartPolicy"] == "Always"
    spec["selector"] = {"matchLabels": {"a": "other"}}
    answer = api.client.request("POST", path, {"metadata": {"name": "x"}, "spec": spec})
    assert "spec.template.metadata.labels" in fields_of(answer)


def test_a_job_leaves_its_pods_behind(api: cluster.Cluster) -> None:
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
    body = {"metadata": {"name": "j"}, "spec": {"template": {"spec": pod}}}
    path = api.at("jobs", group_version="batch/v1")
    created = api.client.request("POST", path, body).obj
    uid = created["metadata"]["uid"]
    assert created["spec"]["selector"]["matchLabels"] == {"batch.kubernetes.io/controller-uid": uid}
    held = api.client.request("DELETE", f"{path}/j").obj
    assert held["metadata"]["finalizers"] == ["orphan"]


def test_a_node_starts_with_a_taint(api: cluster.Cluster) -> None:
    name = f"node-{api.namespace}"
    taint = {"key": "example.com/x", "effect": "NoSchedule"}
    body = {"metadata": {"name": name}, "spec": {"taints": [taint]}}
    created = api.client.request("POST", "/api/v1/nodes", body).decoded()
    assert created["spec"]["taints"] == [
        taint,
        {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"},
    ]
    path = f"/api/v1/nodes/{name}"
    changed = api.client.request(
        "PATCH", path, {"spec": {"taints": None}}, content_type=STRATEGIC
    ).obj
    assert "taints" not in changed["spec"]
    api.client.request("DELETE", path)


def test_a_csi_driver_gets_its_defaults(api: cluster.Cluster) -> None:
    name = f"{api.namespace}.example.com"
    path = "/apis/storage.k8s.io/v1/csidrivers"
    body = {"metadata": {"name": name}, "spec": {"volumeLifecycleModes": ["Ephemeral"]}}
    created = api.client.request("POST", path, body).obj
    assert created["spec"]["attachRequired"] is True
    assert created["spec"]["requiresRepublish"] is False
    assert created["spec"]["volumeLifecycleModes"] == ["Ephemeral"]
    api.client.request("DELETE", f"{path}/{name}")
