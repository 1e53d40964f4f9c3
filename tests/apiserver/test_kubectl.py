"""A plain kubectl against the API server; only where there is one."""

import json
import os
import pathlib
import shutil
import subprocess
from typing import Any

import pytest

from devkit.apiserver import cluster

KUBECTL = shutil.which("kubectl")
pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(KUBECTL is None, reason="needs kubectl in the PATH"),
]

MANIFEST = """
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata: {name: c}
spec:
  provider: kms
  parameters: {objects: "[]"}
---
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {app: x}}
spec:
  nodeName: n1
  containers:
    - {name: c, image: "i:1", volumeMounts: [{name: s, mountPath: /s, readOnly: true}]}
  volumes:
    - name: s
      csi:
        driver: secrets-store.csi.k8s.io
        readOnly: true
        volumeAttributes: {secretProviderClass: c}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: m}
data: {k: v}
"""


@pytest.fixture
def kubectl(api: cluster.Cluster, tmp_path: pathlib.Path) -> Any:
    """Runs kubectl in the test's namespace; returns its output, fails with its complaint."""
    config = api.kubeconfig(tmp_path / "kubeconfig")
    environment = os.environ | {"HOME": str(tmp_path), "KUBECONFIG": str(config)}

    assert KUBECTL is not None
    command = [KUBECTL, f"--namespace={api.namespace}"]

    def run(*arguments: str, fails: bool = False, stdin: str = "") -> str:
        done = subprocess.run(
            [*command, *arguments],
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode != 0) is fails, done.stderr
        return done.stderr if fails else done.stdout

    return run


def test_apply_creates_and_then_leaves_alone(kubectl: Any) -> None:
    first = kubectl("apply", "-f", "-", stdin=MANIFEST)
    assert first.splitlines() == [
        "secretproviderclass.secrets-store.csi.x-k8s.io/c created",
        "pod/p created",
        "configmap/m created",
    ]
    again = kubectl("apply", "-f", "-", stdin=MANIFEST)
    assert all(line.endswith(" unchanged") for line in again.splitlines())
    changed = kubectl("apply", "-f", "-", stdin=MANIFEST.replace("provider: kms", "provider: x"))
    assert changed.splitlines()[0].endswith("/c configured")
    assert kubectl("diff", "-f", "-", fails=True, stdin=MANIFEST) == ""


def test_apply_on_the_server_and_dry(kubectl: Any) -> None:
    dry = kubectl("apply", "--dry-run=server", "-f", "-", stdin=MANIFEST)
    assert all(line.endswith(" created (server dry run)") for line in dry.splitlines())
    assert kubectl("get", "configmaps", "-o", "name") == ""
    applied = kubectl("apply", "--server-side", "-f", "-", stdin=MANIFEST)
    assert all(line.endswith(" serverside-applied") for line in applied.splitlines())


def test_a_typing_error_is_found(kubectl: Any) -> None:
    wrong = MANIFEST.replace("provider: kms", "provider: kms\n  parametres: {}")
    assert 'unknown field "spec.parametres"' in kubectl("apply", "-f", "-", fails=True, stdin=wrong)
    wrong = MANIFEST.replace("nodeName: n1", "nodename: n1")
    assert 'unknown field "spec.nodename"' in kubectl("apply", "-f", "-", fails=True, stdin=wrong)


def test_get(kubectl: Any) -> None:
    kubectl("apply", "-f", "-", stdin=MANIFEST)
    lines = kubectl("get", "pods", "-o", "wide").splitlines()
    assert lines[0].split()[:7] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]
    assert lines[1].split()[:3] == ["p", "0/1", "Pending"]
    assert kubectl("get", "secretproviderclass", "-o", "name").splitlines() == [
        "secretproviderclass.secrets-store.csi.x-k8s.io/c"
    ]
    listed = json.loads(kubectl("get", "cm,pods", "-l", "app=x", "-o", "json"))
    assert [item["kind"] for item in listed["items"]] == ["Pod"]
    assert 'pods "none" not found' in kubectl("get", "pod", "none", fails=True)


def test_describe_shows_events(api: cluster.Cluster, kubectl: Any) -> None:
    kubectl("apply", "-f", "-", stdin=MANIFEST)
    pod = json.loads(kubectl("get", "pod", "p", "-o", "json"))
    event = {
        "metadata": {"name": "p.1"},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": "p",
            "namespace": api.namespace,
            "uid": pod["metadata"]["uid"],
        },
        "type": "Warning",
        "reason": "Why",
        "message": "because of this",
        "source": {"component": "tests"},
        "count": 2,
    }
    api.client.request("POST", api.at("events"), event).decoded()
    told = kubectl("describe", "pod", "p")
    assert "secretProviderClass=c" in told
    assert "because of this" in told
    assert "Why" in kubectl("get", "events")


def test_edit_like_commands(kubectl: Any) -> None:
    kubectl("apply", "-f", "-", stdin=MANIFEST)
    kubectl("label", "pod", "p", "a=b")
    kubectl("annotate", "secretproviderclass", "c", "x=y")
    kubectl("patch", "pod", "p", "-p", '{"metadata": {"labels": {"c": "d"}}}')
    labels = json.loads(kubectl("get", "pod", "p", "-o", "jsonpath={.metadata.labels}"))
    assert labels == {"app": "x", "a": "b", "c": "d"}
    kubectl("wait", "--for=jsonpath={.status.phase}=Pending", "pod/p", "--timeout=10s")


def test_create_and_delete(kubectl: Any) -> None:
    kubectl("create", "secret", "generic", "s", "--from-literal=a=b")
    assert kubectl("get", "secret", "s", "-o", "jsonpath={.data.a}") == "Yg=="
    kubectl("create", "serviceaccount", "sa")
    assert kubectl("create", "token", "sa", "--audience=vault").count(".") == 2
    kubectl("create", "deployment", "d", "--image=i")
    assert "already exists" in kubectl("create", "serviceaccount", "sa", fails=True)
    assert "deleted" in kubectl("delete", "secret", "s")
    assert "not found" in kubectl("delete", "secret", "s", fails=True)


def test_questions_about_access(api: cluster.Cluster, kubectl: Any) -> None:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    api.account_token("sa", rules)
    account = f"--as=system:serviceaccount:{api.namespace}:sa"
    assert kubectl("auth", "can-i", "get", "pods") == "yes\n"
    assert kubectl("auth", "can-i", "delete", "secrets", account, fails=True) == ""
    assert "system:masters" in kubectl("auth", "whoami")


def test_discovery(kubectl: Any) -> None:
    names = kubectl("api-resources", "-o", "name").split()
    assert "secretproviderclasses.secrets-store.csi.x-k8s.io" in names
    assert "pods" in names
    assert "Server Version: v1." in kubectl("version")
    assert "provider" in kubectl("explain", "secretproviderclass.spec")
