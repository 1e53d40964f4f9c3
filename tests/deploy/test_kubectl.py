"""The commands of the documentation with the real kubectl, which merges on its own side."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml

from devkit.apiserver import server
from tests.deploy import manifests, pages, upstream

pytestmark = pytest.mark.timeout(60)


class Kubectl:
    """kubectl, pointed at one server."""

    def __init__(self, kubeconfig: pathlib.Path, home: pathlib.Path) -> None:
        self._environment = os.environ | {"KUBECONFIG": str(kubeconfig), "HOME": str(home)}

    def __call__(self, *arguments: object, stdin: str | None = None, fails: int = 0) -> str:
        """Run one command; return what it printed."""
        done = subprocess.run(
            ["kubectl", *map(str, arguments)],
            env=self._environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert done.returncode == fails, done.stderr
        return done.stdout


@pytest.fixture
def kubectl(tmp_path: pathlib.Path) -> Kubectl:
    """For commands that need no server."""
    return Kubectl(tmp_path / "absent", tmp_path)


def built(kubectl: Kubectl, folder: pathlib.Path) -> list[manifests.Object]:
    return list(yaml.safe_load_all(kubectl("kustomize", folder)))


def sorted_by_name(objects: list[manifests.Object]) -> list[manifests.Object]:
    return sorted(objects, key=lambda obj: (obj["kind"], obj["metadata"]["name"]))


def test_kustomize_gives_what_the_folder_holds(kubectl: Kubectl) -> None:
    found = built(kubectl, manifests.FOLDER)
    assert sorted_by_name(found) == sorted_by_name(manifests.folder())


def test_components_join_an_overlay(kubectl: Kubectl, tmp_path: pathlib.Path) -> None:
    components = ["openshift", "kms-cluster-access", "startup-taint"]
    base = os.path.relpath(manifests.FOLDER, tmp_path)
    overlay = {"resources": [base], "components": [f"{base}/{name}" for name in components]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    found = built(kubectl, tmp_path)
    for name in (manifests.DRIVER, manifests.PROVIDER):
        security = manifests.one(found, "DaemonSet", name)["spec"]["template"]["spec"]
        assert security["securityContext"]["seLinuxOptions"] == {"type": "spc_t"}
    provider = manifests.one(found, "DaemonSet", manifests.PROVIDER)["spec"]["template"]["spec"]
    assert provider["automountServiceAccountToken"] is True
    assert provider["containers"][0]["args"][-1] == "--allow-default-audience=true"
    driver = manifests.one(found, "DaemonSet", manifests.DRIVER)
    arguments = manifests.containers(driver)["secrets-store"]["args"]
    assert arguments[-1] == "--remove-startup-taint=true"
    assert manifests.one(found, "ClusterRole", "kms-csi-provider")
    assert manifests.one(found, "RoleBinding", "secrets-store-csi-privileged")


def test_images_under_another_name(kubectl: Kubectl, tmp_path: pathlib.Path) -> None:
    (snippet,) = re.findall(
        r"^```yaml\n# (\S+)\n(.*?)^```", pages.text("docs/install.md"), re.M | re.S
    )
    (tmp_path / snippet[0]).write_text(snippet[1])
    # kustomize follows no link to what lies outside.
    shutil.copytree(manifests.ROOT / "deploy", tmp_path / "deploy")
    found = built(kubectl, tmp_path)
    assert len(found) == len(manifests.folder())
    for name, container in ((manifests.DRIVER, "secrets-store"), (manifests.PROVIDER, "provider")):
        held = manifests.containers(manifests.one(found, "DaemonSet", name))[container]
        assert held["image"].startswith("registry.example.com/"), name


@pytest.mark.parametrize("version", upstream.VERSIONS)
def test_apply_over_upstream_twice_and_back(version: str, tmp_path: pathlib.Path) -> None:
    with server.APIServer(secrets_store=False) as api:
        kubectl = Kubectl(api.kubeconfig(tmp_path / "kubeconfig"), tmp_path)
        theirs = yaml.safe_dump_all(upstream.installed(version))
        kubectl("apply", "-f", "-", stdin=theirs)
        kubectl("apply", "-f", manifests.FOLDER)
        second = kubectl("apply", "-f", manifests.FOLDER)
        assert {line.rpartition(" ")[2] for line in second.splitlines()} == {"unchanged"}
        assert kubectl("diff", "-f", manifests.FOLDER) == ""
        assert kubectl("diff", "-k", manifests.FOLDER) == ""
        found = api.get("apps/v1", "DaemonSet", manifests.DRIVER, "kube-system")
        for container in manifests.containers(found).values():
            assert "cpu" not in container["resources"]["limits"], "upstream's CPU limit has stayed"
        kubectl("apply", "-f", "-", stdin=theirs)
        back = api.get("apps/v1", "DaemonSet", manifests.DRIVER, "kube-system")
        spec = back["spec"]["template"]["spec"]
        assert "api-access" not in [volume["name"] for volume in spec["volumes"]]
        assert "automountServiceAccountToken" not in spec
        assert manifests.containers(back)["secrets-store"]["image"].endswith(version)
