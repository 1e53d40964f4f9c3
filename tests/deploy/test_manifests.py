"""What the manifests say, without a server: names that may not move, powers that may not grow."""

import pathlib
import re
from typing import Any

import prometheus_client
import pytest

from devkit.apiserver import crds
from provider_kms import cli as provider_cli
from provider_kms import metrics as provider_metrics
from secrets_store import cli, metrics, settings, tasks
from secrets_store.host import records
from secrets_store.volumes import freshness, table
from tests.deploy import manifests, upstream

BASE = manifests.folder()
DRIVER = manifests.one(BASE, "DaemonSet", manifests.DRIVER)
PROVIDER = manifests.one(BASE, "DaemonSet", manifests.PROVIDER)
EVERYTHING = [obj for name in manifests.folders() for obj in manifests.folder(name)]
SIDECARS = ("node-driver-registrar", "liveness-probe")


def pod(workload: manifests.Object) -> Any:
    return workload["spec"]["template"]["spec"]


def rules(objects: list[manifests.Object]) -> list[manifests.Object]:
    return [rule for obj in objects if obj["kind"].endswith("Role") for rule in obj["rules"]]


class TestFolder:
    def test_kustomization_lists_what_apply_takes(self) -> None:
        (listed,) = manifests.load(manifests.FOLDER / "Kustomization")
        assert listed["resources"] == sorted(p.name for p in manifests.FOLDER.glob("*.yaml"))

    def test_apply_passes_kustomizations_by(self) -> None:
        read_by_apply = {".yaml", ".yml", ".json"}
        names = [path.name for path in manifests.FOLDER.rglob("*") if path.is_file()]
        assert {pathlib.Path(name).suffix for name in names} == {".yaml", ""}
        assert not [n for n in names if pathlib.Path(n).suffix in read_by_apply and "kust" in n]

    def test_base_has_exactly_what_a_cluster_needs(self) -> None:
        assert sorted((obj["kind"], obj["metadata"]["name"]) for obj in BASE) == [
            ("CSIDriver", "secrets-store.csi.k8s.io"),
            ("ClusterRole", "secretproviderclasses-admin-role"),
            ("ClusterRole", "secretproviderclasses-role"),
            ("ClusterRole", "secretproviderclasses-viewer-role"),
            ("ClusterRole", "secretproviderclasspodstatuses-viewer-role"),
            ("ClusterRoleBinding", "secretproviderclasses-rolebinding"),
            ("CustomResourceDefinition", "secretproviderclasses.secrets-store.csi.x-k8s.io"),
            (
                "CustomResourceDefinition",
                "secretproviderclasspodstatuses.secrets-store.csi.x-k8s.io",
            ),
            ("DaemonSet", "csi-secrets-store"),
            ("DaemonSet", "kms-csi-provider"),
            ("ServiceAccount", "kms-csi-provider"),
            ("ServiceAccount", "secrets-store-csi-driver"),
            ("ValidatingAdmissionPolicy", "secrets-store-csi-classes"),
            ("ValidatingAdmissionPolicy", "secrets-store-csi-driver-own-node"),
            ("ValidatingAdmissionPolicyBinding", "secrets-store-csi-classes"),
            ("ValidatingAdmissionPolicyBinding", "secrets-store-csi-driver-own-node"),
        ]

    def test_only_a_namespace_that_every_cluster_has(self) -> None:
        assert {obj["metadata"].get("namespace", "") for obj in BASE} == {"", "kube-system"}


class TestPower:
    def test_base_gives_no_right_to_secrets_nodes_or_tokens(self) -> None:
        resources = {name for rule in rules(BASE) for name in rule["resources"]}
        assert resources == {
            "events",
            "pods",
            "secretproviderclasses",
            "secretproviderclasspodstatuses",
        }

    def test_no_wildcard_anywhere(self) -> None:
        for rule in rules(EVERYTHING):
            assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"]

    def test_copies_need_four_verbs_and_no_list(self) -> None:
        (rule,) = rules(manifests.folder("secret-sync"))
        assert rule["resources"] == ["secrets"]
        assert rule["verbs"] == ["get", "create", "patch", "delete"]

    def test_driver_has_no_right_that_upstream_lacks(self) -> None:
        def granted(objects: list[manifests.Object], name: str) -> set[tuple[str, str, str]]:
            return {
                (group, resource, verb)
                for rule in manifests.one(objects, "ClusterRole", name)["rules"]
                for group in rule["apiGroups"]
                for resource in rule["resources"]
                for verb in rule["verbs"]
            }

        name = "secretproviderclasses-role"
        assert granted(BASE, name) < granted(upstream.rights("v1.6.0"), name)

    def test_tokens_are_mounted_into_the_one_container_that_needs_one(self) -> None:
        for workload in (DRIVER, PROVIDER):
            assert pod(workload)["automountServiceAccountToken"] is False
        holders = [
            name
            for name, container in manifests.containers(DRIVER).items()
            if "api-access" in [mount["name"] for mount in container["volumeMounts"]]
        ]
        assert holders == ["secrets-store"]

    def test_all_containers_but_the_driver_are_confined(self) -> None:
        confined = [manifests.containers(DRIVER)[name] for name in SIDECARS]
        confined += [*pod(PROVIDER)["initContainers"], *pod(PROVIDER)["containers"]]
        for container in confined:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"]["drop"] == ["ALL"]
        (init,) = pod(PROVIDER)["initContainers"]
        assert init["securityContext"]["capabilities"]["add"] == ["CHOWN"]
        (provider,) = pod(PROVIDER)["containers"]
        assert provider["securityContext"]["runAsNonRoot"] is True

    def test_no_root_file_system_can_be_written_and_no_cpu_is_capped(self) -> None:
        for workload in (DRIVER, PROVIDER):
            for container in [
                *pod(workload).get("initContainers", []),
                *pod(workload)["containers"],
            ]:
                assert container["securityContext"]["readOnlyRootFilesystem"] is True
                assert container["resources"]["limits"].keys() == {"memory"}
                assert container["resources"]["requests"].keys() == {"cpu", "memory"}

    def test_last_to_be_evicted_and_on_every_node(self) -> None:
        for workload in (DRIVER, PROVIDER):
            assert pod(workload)["priorityClassName"] == "system-node-critical"
            assert pod(workload)["tolerations"] == [{"operator": "Exists"}]

    def test_never_two_drivers_on_a_node(self) -> None:
        assert "maxSurge" not in DRIVER["spec"]["updateStrategy"]["rollingUpdate"]


class TestSameAsUpstream:
    """What `apply` cannot change in place, and what others know by name."""

    theirs = upstream.daemon_set("v1.6.0")

    def test_names_and_labels(self) -> None:
        assert DRIVER["metadata"]["name"] == self.theirs["metadata"]["name"]
        assert DRIVER["spec"]["selector"] == self.theirs["spec"]["selector"]
        labels = DRIVER["spec"]["template"]["metadata"]["labels"]
        assert labels == self.theirs["spec"]["template"]["metadata"]["labels"]
        assert pod(DRIVER)["serviceAccountName"] == upstream.ACCOUNT

    def test_containers_ports_and_probe(self) -> None:
        ours, theirs = manifests.containers(DRIVER), manifests.containers(self.theirs)
        assert list(ours) == list(theirs)
        for field in ("ports", "livenessProbe", "env"):
            assert ours["secrets-store"][field] == theirs["secrets-store"][field]
        assert ours["liveness-probe"]["args"] == theirs["liveness-probe"]["args"]
        assert (
            ours["node-driver-registrar"]["args"][1:] == theirs["node-driver-registrar"]["args"][1:]
        )

    def test_host_paths_and_where_they_are_mounted(self) -> None:
        paths = {
            volume["name"]: (volume["hostPath"]["path"], volume["hostPath"]["type"])
            for volume in pod(DRIVER)["volumes"]
            if "hostPath" in volume
        }
        assert paths == upstream.HOST_PATHS
        for name, container in manifests.containers(DRIVER).items():
            mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
            mounts.pop("api-access", None)
            assert mounts == upstream.MOUNTS[name]

    def test_csi_driver_keeps_what_cannot_be_changed(self) -> None:
        ours, theirs = manifests.one(BASE, "CSIDriver"), upstream.csi_driver("v1.6.0")
        assert ours["metadata"]["name"] == theirs["metadata"]["name"]
        assert ours["spec"] == theirs["spec"] | {"tokenRequests": [{"audience": "kms"}]}

    @pytest.mark.parametrize(
        "crd", crds.secrets_store_crds(), ids=lambda crd: crd["metadata"]["name"]
    )
    def test_crds_keep_every_field_and_its_type(self, crd: manifests.Object) -> None:
        ours = manifests.one(BASE, "CustomResourceDefinition", crd["metadata"]["name"])["spec"]
        for field in ("group", "scope", "names"):
            assert ours[field] == crd["spec"][field]
        assert [v["name"] for v in ours["versions"]] == [v["name"] for v in crd["spec"]["versions"]]
        for mine, theirs in zip(ours["versions"], crd["spec"]["versions"], strict=True):
            for field in ("served", "storage", "deprecated", "deprecationWarning", "subresources"):
                assert mine.get(field) == theirs.get(field)
            schema = theirs["schema"]["openAPIV3Schema"]
            assert not missing(schema, mine["schema"]["openAPIV3Schema"])


def missing(theirs: Any, ours: Any, at: str = "") -> list[str]:
    """Return what one schema has of types, properties and items and another lacks."""
    if theirs.get("type") != ours.get("type"):
        return [f"{at}.type"]
    found: list[str] = []
    for name, below in theirs.get("properties", {}).items():
        found += missing(below, ours.get("properties", {}).get(name, {}), f"{at}.{name}")
    for part in ("items", "additionalProperties"):
        if part in theirs:
            found += missing(theirs[part], ours.get(part, {}), f"{at}.{part}")
    return found


class TestPrograms:
    def test_driver_understands_its_arguments(self) -> None:
        driver = manifests.containers(DRIVER)["secrets-store"]
        chosen = cli.parse(
            [
                arg.replace("$(CSI_ENDPOINT)", "unix:///csi/csi.sock").replace(
                    "$(KUBE_NODE_NAME)", "node-1"
                )
                for arg in driver["args"]
            ]
        )
        chosen.check()
        assert chosen.interval_s == 120
        places = {mount["mountPath"] for mount in driver["volumeMounts"]}
        assert set(chosen.provider_directories) <= places

    def test_provider_understands_its_arguments(self) -> None:
        (init,) = pod(PROVIDER)["initContainers"]
        (container,) = pod(PROVIDER)["containers"]
        chosen = provider_cli.parse(container["args"])
        assert chosen is not None
        (port,) = (port["containerPort"] for port in container["ports"])
        assert chosen.health_address() == (None, port)
        directory, name = init["args"][0].partition("=")[2], init["args"][1].partition("=")[2]
        assert chosen.endpoint == f"{directory}/{name}/{name}.sock"
        assert init["args"][2] == f"--owner={container['securityContext']['runAsUser']}"
        places = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert directory in places

    def test_images_have_the_version_of_the_code(self) -> None:
        ours = [
            container["image"].rpartition(":")
            for workload in (DRIVER, PROVIDER)
            for container in [
                *pod(workload).get("initContainers", []),
                *pod(workload)["containers"],
            ]
            if container["name"] not in SIDECARS
        ]
        assert {tag for _, _, tag in ours} == {settings.VERSION}


class TestMonitoring:
    def test_alerts_name_series_that_exist(self) -> None:
        rule = manifests.one(manifests.folder("monitoring"), "PrometheusRule")
        counted = metrics.Metrics()
        volumes = table.Table(records.Records("/nowhere"), tasks.Threads("none", 1))
        counted.registry.register(freshness.Freshness(volumes, tasks.SystemClock()))
        known = {"up"} | names(counted.registry) | names(provider_metrics.Metrics().registry)
        for group in rule["spec"]["groups"]:
            for alert in group["rules"]:
                used = set(re.findall(r"\b(?:node|rotation|secrets|kms)_\w+|\bup\b", alert["expr"]))
                assert used, alert["alert"]
                assert used <= known, alert["alert"]

    def test_monitors_find_pods_and_ports(self) -> None:
        for monitor in manifests.folder("monitoring"):
            if monitor["kind"] != "PodMonitor":
                continue
            workload = manifests.one(BASE, "DaemonSet", monitor["metadata"]["name"])
            assert monitor["spec"]["selector"] == workload["spec"]["selector"]
            ports = [
                port["name"] for c in pod(workload)["containers"] for port in c.get("ports", [])
            ]
            (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
            assert endpoint["port"] in ports

    def test_network_policies_let_what_is_served_through(self) -> None:
        for policy in manifests.folder("network-policy"):
            workload = manifests.one(BASE, "DaemonSet", policy["metadata"]["name"])
            assert policy["spec"]["podSelector"] == workload["spec"]["selector"]
            named = {
                port["name"] for c in pod(workload)["containers"] for port in c.get("ports", [])
            }
            allowed = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
            assert allowed == named - {"healthz"}


def names(registry: prometheus_client.CollectorRegistry) -> set[str]:
    """Return the names of all series that a registry can expose."""
    return {
        f"{metric.name}_total" if metric.type == "counter" else metric.name
        for metric in registry.collect()
    }
