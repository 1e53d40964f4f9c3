"""Rules in CEL, on a real API server: whose status a driver may write, which classes pass."""

import time
from types import MappingProxyType
from typing import Any

import pytest

from devkit import assets
from devkit.apiserver import client, crds
from tests.deploy import manifests, upstream

pytestmark = pytest.mark.timeout(90)

GROUP = f"{upstream.GROUP}/v1"
NODE_LABEL = "internal.secrets-store.csi.k8s.io/node-name"
STATUSES = f"/apis/{GROUP}/namespaces/default/secretproviderclasspodstatuses"
NODES = "/api/v1/nodes"
SECRETS = "/api/v1/namespaces/default/secrets"
CLASSES = f"/apis/{GROUP}/namespaces/default/secretproviderclasses"
INTERVAL = "secrets-store.csi.k8s.io/rotation-interval"
FOLDERS = ("", "secret-sync", "secret-sync/everywhere", "startup-taint")


class Cluster:
    """A real API server with the manifests, and clients of driver pods."""

    def __init__(self, real: assets.RealAPIServer) -> None:
        self._real = real
        self.admin = real.client()

    def driver(self, node: str) -> client.Client:
        """Return the client of a driver pod on a node: its token is bound to the pod."""
        pod = self.admin.request(
            "POST",
            "/api/v1/namespaces/kube-system/pods",
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"generateName": "driver-"},
                "spec": {
                    "nodeName": node,
                    "serviceAccountName": upstream.ACCOUNT,
                    "automountServiceAccountToken": False,
                    "containers": [{"name": "c", "image": "i"}],
                },
            },
        ).decoded()
        meta = pod["metadata"]
        return self.account(
            {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
        )

    def account(self, bound: manifests.Object | None) -> client.Client:
        """Return the client of the driver's account, its token bound to an object or to none."""
        spec: manifests.Object = {"audiences": None, "expirationSeconds": 3600}
        if bound:
            spec["boundObjectRef"] = bound
        answer = self.admin.request(
            "POST",
            f"/api/v1/namespaces/kube-system/serviceaccounts/{upstream.ACCOUNT}/token",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
        ).decoded()
        return self._real.client(str(answer["status"]["token"]))


@pytest.fixture(scope="module")
def cluster(real: assets.RealAPIServer) -> Cluster:
    """The manifests, with their rules in force: the server learns of each by a watch."""
    made = Cluster(real)
    for name in FOLDERS:
        list(manifests.apply(made.admin, manifests.folder(name)))
    driver = made.driver("settling")
    wait_for_code(driver, STATUSES, status("settling", "elsewhere"), 403)
    wait_for_code(driver, SECRETS, secret("settling"), 403)
    made.admin.request("POST", NODES, node("settling")).decoded()
    patch = [{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]
    wait_for_code(driver, f"{NODES}/settling", patch, 403, "application/json-patch+json")
    wait_for_code(made.admin, CLASSES, a_class(annotations={INTERVAL: "soon"}), 422)
    return made


def wait_for_code(
    who: client.Client, path: str, body: Any, code: int, patch_type: str = ""
) -> None:
    """Try a create or a patch without effect until it is answered as it should be."""
    method, media = ("PATCH", patch_type) if patch_type else ("POST", "application/json")
    ends_mono = time.monotonic() + 60
    while who.request(method, path + "?dryRun=All", body, content_type=media).code != code:
        assert time.monotonic() < ends_mono, "the rules do not come into force"
        time.sleep(0.1)


def status(name: str, label: str) -> manifests.Object:
    return {
        "apiVersion": GROUP,
        "kind": "SecretProviderClassPodStatus",
        "metadata": {"name": name, "labels": {NODE_LABEL: label} if label else {}},
        "status": {"podName": name, "mounted": True},
    }


def node(name: str, *taints: manifests.Object) -> manifests.Object:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "spec": {"taints": list(taints)},
    }


def secret(name: str, *, managed: bool = False, kind: str = "Opaque") -> manifests.Object:
    labels = {"secrets-store.csi.k8s.io/managed": "true"} if managed else {}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": labels},
        "type": kind,
    }


def a_class(**metadata: Any) -> manifests.Object:
    return {
        "apiVersion": GROUP,
        "kind": "SecretProviderClass",
        "metadata": {"generateName": "c-", **metadata},
        "spec": {"provider": "vault", "parameters": {"a": "b"}},
    }


class TestOwnNode:
    def test_status_of_its_own_node_is_written(self, cluster: Cluster) -> None:
        driver = cluster.driver("node-1")
        made = driver.request("POST", STATUSES, status("own", "node-1"))
        assert made.code == 201
        changed = made.obj | {"status": {"podName": "own", "mounted": False}}
        assert driver.request("PUT", f"{STATUSES}/own", changed).code == 200

    @pytest.mark.parametrize("label", ["node-2", "", "node-1-0123456789abcdef"])
    def test_status_of_another_node_is_refused(self, cluster: Cluster, label: str) -> None:
        driver = cluster.driver("node-1")
        answer = driver.request("POST", STATUSES, status("other", label))
        assert answer.code == 403
        assert "driver on node node-1 may not write" in answer.obj["message"]

    def test_object_cannot_be_given_to_another_node_but_taken_over(self, cluster: Cluster) -> None:
        driver = cluster.driver("node-1")
        made = cluster.admin.request("POST", STATUSES, status("moved", "node-2")).decoded()
        made["metadata"]["labels"][NODE_LABEL] = "node-1"
        taken = driver.request("PUT", f"{STATUSES}/moved", made)
        assert taken.code == 200
        back = taken.obj
        back["metadata"]["labels"][NODE_LABEL] = "node-2"
        assert driver.request("PUT", f"{STATUSES}/moved", back).code == 403

    def test_object_of_another_node_is_not_deleted(self, cluster: Cluster) -> None:
        driver = cluster.driver("node-1")
        cluster.admin.request("POST", STATUSES, status("theirs", "node-2")).decoded()
        assert driver.request("DELETE", f"{STATUSES}/theirs").code == 403

    def test_node_name_too_long_for_a_label(self, cluster: Cluster) -> None:
        node = "a" * 45 + "." + "b" * 30
        driver = cluster.driver(node)
        good = f"{'a' * 45}-0123456789abcdef"
        assert driver.request("POST", STATUSES, status("long", good)).code == 201
        other = f"{'c' * 45}-0123456789abcdef"
        assert driver.request("POST", STATUSES, status("longer", other)).code == 403

    def test_token_that_is_bound_to_no_pod_writes_nothing(self, cluster: Cluster) -> None:
        driver = cluster.account(None)
        answer = driver.request("POST", STATUSES, status("loose", "node-1"))
        assert answer.code == 403
        assert "names no node" in answer.obj["message"]

    def test_others_are_not_concerned(self, cluster: Cluster) -> None:
        assert cluster.admin.request("POST", STATUSES, status("admin", "node-9")).code == 201


class TestCopies:
    def test_a_copy_is_written(self, cluster: Cluster) -> None:
        driver = cluster.driver("node-1")
        assert driver.request("POST", SECRETS, secret("copy", managed=True)).code == 201
        patch = {"metadata": {"labels": {"team": "a"}}}
        media = "application/strategic-merge-patch+json"
        assert driver.request("PATCH", f"{SECRETS}/copy", patch, content_type=media).code == 200

    def test_nothing_without_the_label(self, cluster: Cluster) -> None:
        driver = cluster.driver("node-1")
        assert driver.request("POST", SECRETS, secret("plain")).code == 403

    @pytest.mark.parametrize(
        "kind", ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"]
    )
    def test_no_credential_of_the_cluster(self, cluster: Cluster, kind: str) -> None:
        driver = cluster.driver("node-1")
        made = secret("minted", managed=True, kind=kind)
        made["metadata"]["annotations"] = {"kubernetes.io/service-account.name": upstream.ACCOUNT}
        answer = driver.request("POST", SECRETS, made)
        assert answer.code == 403
        assert "writes no Secret of type" in answer.obj["message"]

    def test_nothing_of_others_unless_they_hand_it_over(self, cluster: Cluster) -> None:
        driver = cluster.driver("node-1")
        patch = {"metadata": {"labels": {"secrets-store.csi.k8s.io/managed": "true"}}}
        media = "application/strategic-merge-patch+json"
        path = f"{SECRETS}/theirs"
        cluster.admin.request("POST", SECRETS, secret("theirs")).decoded()
        assert driver.request("PATCH", path, patch, content_type=media).code == 403
        assert driver.request("DELETE", path).code == 403
        adopt = {"metadata": {"annotations": {"secrets-store.csi.k8s.io/adopt": "true"}}}
        cluster.admin.request("PATCH", path, adopt, content_type=media).decoded()
        assert driver.request("PATCH", path, patch, content_type=media).code == 200

    def test_no_list(self, cluster: Cluster) -> None:
        driver = cluster.driver("node-1")
        assert driver.request("GET", SECRETS).code == 403


class TestStartupTaint:
    media = "application/json-patch+json"
    ours = MappingProxyType(
        {"key": "secrets-store.csi.k8s.io/agent-not-ready", "effect": "NoSchedule"}
    )
    other = MappingProxyType({"key": "gpu", "effect": "NoSchedule"})

    def made(self, cluster: Cluster, name: str) -> str:
        cluster.admin.request(
            "POST", NODES, node(name, dict(self.ours), dict(self.other))
        ).decoded()
        return f"{NODES}/{name}"

    def patch(self, taints: list[Any], **more: Any) -> list[manifests.Object]:
        changes = [{"op": "replace", "path": "/spec/taints", "value": taints}]
        return changes + [{"op": "add", "path": path, "value": v} for path, v in more.items()]

    def test_its_own_taint_goes(self, cluster: Cluster) -> None:
        path, driver = self.made(cluster, "new-1"), cluster.driver("new-1")
        change = self.patch(self.others(cluster, path))
        assert driver.request("PATCH", path, change, content_type=self.media).code == 200

    def test_not_of_another_node(self, cluster: Cluster) -> None:
        path, driver = self.made(cluster, "new-2"), cluster.driver("node-1")
        change = self.patch(self.others(cluster, path))
        assert driver.request("PATCH", path, change, content_type=self.media).code == 403

    def test_nothing_else(self, cluster: Cluster) -> None:
        path, driver = self.made(cluster, "new-3"), cluster.driver("new-3")
        others = self.others(cluster, path)
        kept = [dict(self.ours), *others]
        for change in (
            self.patch([]),
            self.patch([*kept, {"key": "mine", "effect": "NoExecute"}]),
            self.patch(others, **{"/metadata/labels": {"zone": "a"}}),
            self.patch(others, **{"/metadata/annotations": {"zone": "a"}}),
            self.patch(others, **{"/spec/unschedulable": True}),
        ):
            assert driver.request("PATCH", path, change, content_type=self.media).code == 403

    def others(self, cluster: Cluster, path: str) -> list[Any]:
        """All taints but ours: the API server puts one of its own on every new node."""
        taints = cluster.admin.request("GET", path).decoded()["spec"]["taints"]
        return [taint for taint in taints if taint["key"] != self.ours["key"]]


class TestClasses:
    @pytest.mark.parametrize("interval", ["5m", "1h30m", "0.5h", " 90s ", "never", "", "250ms"])
    def test_interval_in_good_form(self, cluster: Cluster, interval: str) -> None:
        made = a_class(annotations={INTERVAL: interval})
        assert cluster.admin.request("POST", CLASSES, made).code == 201

    @pytest.mark.parametrize("interval", ["5", "5 m", "five", "-5m", "5d", "1h-30m"])
    def test_interval_in_bad_form(self, cluster: Cluster, interval: str) -> None:
        made = a_class(annotations={INTERVAL: interval})
        answer = cluster.admin.request("POST", CLASSES, made)
        assert answer.code == 422
        assert "rotation-interval" in answer.obj["message"]

    def test_keys_of_a_tls_copy(self, cluster: Cluster) -> None:
        made = a_class()
        made["spec"]["secretObjects"] = [tls("tls.crt", " tls.key ")]
        assert cluster.admin.request("POST", CLASSES, made).code == 201
        made["spec"]["secretObjects"] = [tls("tls.crt", "ca.crt")]
        assert cluster.admin.request("POST", CLASSES, made).code == 422

    def test_no_spec(self, cluster: Cluster) -> None:
        made = a_class()
        del made["spec"]
        assert cluster.admin.request("POST", CLASSES, made).code == 422


def tls(*keys: str) -> manifests.Object:
    return {
        "secretName": "s",
        "type": "kubernetes.io/tls",
        "data": [{"objectName": "f", "key": key} for key in keys],
    }


def test_what_upstream_stored_can_still_be_updated(cluster: Cluster) -> None:
    """Broken classes are kept as they are: labels, finalizers and other parts can change."""
    theirs, _ = crds.secrets_store_crds()
    list(manifests.apply(cluster.admin, [theirs]))
    wait_for_code(cluster.admin, CLASSES, a_class() | {"spec": {}}, 201)
    bodies: dict[str, manifests.Object] = {
        "no-spec": {},
        "no-provider": {"spec": {"parameters": {}}},
        "bad-copies": {
            "spec": {
                "provider": "vault",
                "parameters": {"a": "b"},
                "secretObjects": [{"secretName": "X_Y", "type": "", "data": []}],
            }
        },
    }
    for name, body in bodies.items():
        obj = a_class() | body
        if not body:
            del obj["spec"]
        obj["metadata"] = {"name": name}
        cluster.admin.request("POST", CLASSES, obj).decoded()
    ours = manifests.one(manifests.folder(), "CustomResourceDefinition", theirs["metadata"]["name"])
    list(manifests.apply(cluster.admin, [ours]))
    wait_for_code(cluster.admin, CLASSES, a_class() | {"spec": {}}, 422)
    media = "application/merge-patch+json"
    for name in bodies:
        patch = {"metadata": {"labels": {"team": "a"}}}
        answer = cluster.admin.request("PATCH", f"{CLASSES}/{name}", patch, content_type=media)
        assert answer.code == 200, answer.obj
    patch = {"spec": {"parameters": {"c": "d"}}}
    answer = cluster.admin.request("PATCH", f"{CLASSES}/bad-copies", patch, content_type=media)
    assert answer.code == 200, answer.obj
