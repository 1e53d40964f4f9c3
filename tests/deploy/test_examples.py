"""Every example, as it stands in its file: real driver, real provider, stand-ins around them."""

import base64
import contextlib
import json
import os
import secrets
import shlex
import subprocess
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from deploy.images import socket_directory
from devkit import registration, stage
from devkit.apiserver import certificates, client, server
from devkit.kms import model, seed
from devkit.kms import server as kms_server
from devkit.kubelet import agent, objects, tokens
from provider_kms import app as provider_app
from provider_kms import settings as provider_settings
from tests.deploy import manifests, program, upstream, waiting

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]

OURS = manifests.containers(manifests.one(manifests.folder(), "DaemonSet", manifests.DRIVER))[
    "secrets-store"
]
EXAMPLES = sorted(path.stem for path in (manifests.FOLDER / "examples").glob("*.yaml"))
VALUES = {name: secrets.token_hex(8) for name in ("db", "api-key", "mail", "legacy", "one", "two")}
VALUES["two"] += '\'s "$HOME"'


class Pair:
    """A certificate and its key, made for this run."""

    serving = certificates.make()
    certificate = serving.certificate_pem.decode()
    key = serving.key_pem.decode()


def world() -> str:
    """Return the KMS's seed: what the examples ask for, readable by whom they name."""
    folders = {
        "/app": {"DB_PASSWORD": VALUES["db"], "API_KEY": VALUES["api-key"]},
        "/report": {"MAIL_PASSWORD": VALUES["mail"]},
        "/legacy": {"DB_PASSWORD": VALUES["legacy"]},
        "/tls": {"CERTIFICATE": Pair.certificate, "PRIVATE_KEY": Pair.key},
        "/worker": {"ONE": VALUES["one"], "TWO": VALUES["two"]},
    }
    accounts = {
        "shop-front": "shop",
        "shop-report": "report",
        "shop-legacy": "legacy",
        "shop-plain-user": "plain-user",
        "shop-tls": "shop-tls",
        "shop-worker": "worker",
    }
    environment = {path: {"secrets": held} for path, held in folders.items()}
    identities = {
        identity: {
            "kubernetes": {
                "allowedNamespaces": ["default"],
                "allowedNames": [account],
                "allowedAudience": "kms",
            }
        }
        for identity, account in accounts.items()
    }
    projects = {"shop": {"id": "shop", "environments": {"prod": environment}}}
    return json.dumps({"projects": projects, "identities": identities})


@pytest.fixture
def kms() -> Iterator[kms_server.KMS]:
    made = model.World()
    with kms_server.KMS(made) as running:
        seed.parse(world()).apply(made, running.faults)
        yield running


class Stage:
    """The node and the cluster that an example is applied to."""

    def __init__(self, api: server.APIServer, kubelet: agent.Kubelet) -> None:
        self._api, self.kubelet = api, kubelet

    def secret(self, name: str) -> dict[str, bytes] | None:
        """Return a Secret's data, None if there is no such Secret."""
        for obj in self._api.list_all("v1", "Secret", "default"):
            if obj["metadata"]["name"] == name:
                return {key: base64.b64decode(value) for key, value in obj["data"].items()}
        return None

    async def run(self, example: str) -> tuple[objects.Pod, Any]:
        """Apply an example and mount the volume of its one kind of pod."""
        loaded = manifests.load(manifests.FOLDER / "examples" / f"{example}.yaml")
        admin = client.Client(self._api.url, self._api.admin_token)
        with contextlib.closing(admin):
            list(manifests.apply(admin, [x for x in loaded if x["kind"] != "Ingress"]))
        (pod_object,) = filter(None, map(self._pod, loaded))
        pod = objects.Pod.from_dict(pod_object)
        (described,) = pod_object["spec"]["volumes"]
        volume = objects.Volume.from_dict(described)
        return pod, (await self.kubelet.publish(pod, volume, attempts=1)).target

    def _pod(self, obj: manifests.Object) -> manifests.Object | None:
        """Make the pod that a workload's controller and the scheduler would make."""
        spec = obj.get("spec", {})
        if obj["kind"] == "Pod":
            found = self._api.get("v1", "Pod", obj["metadata"]["name"], "default")
            found["spec"]["nodeName"] = stage.NODE
            return found
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" not in spec:
            return None
        template = spec["template"]
        return self._api.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": f"{obj['metadata']['name']}-1",
                    "namespace": "default",
                    **template.get("metadata", {}),
                },
                "spec": template["spec"] | {"nodeName": stage.NODE},
            }
        )


@pytest.fixture
async def ready(kms: kms_server.KMS) -> AsyncIterator[Stage]:
    csi_driver = objects.CsiDriver.from_dict(manifests.one(manifests.folder(), "CSIDriver"))
    with stage.Node("ex") as node, server.APIServer(rbac=True) as api:
        rights = [*manifests.folder("secret-sync"), *manifests.folder("secret-sync/everywhere")]
        admin = client.Client(api.url, api.admin_token)
        with contextlib.closing(admin):
            list(manifests.apply(admin, [*manifests.folder(), *rights]))
        token = api.service_account_token(upstream.ACCOUNT, "kube-system")["token"]
        kubeconfig = api.kubeconfig(node.root / "kubeconfig", token=token)
        kubelet = agent.Kubelet(
            node.kubelet, stage.NODE, [csi_driver], mint=tokens.mint_from(kms.pod_tokens)
        )
        arguments = [f"--directory={node.providers}", "--name=kms", f"--owner={os.getuid()}"]
        assert socket_directory.main(arguments) == 0
        provider = provider_app.App(
            provider_settings.Settings(
                endpoint=f"{node.providers}/kms/kms.sock",
                health_port="127.0.0.1:0",
                kms_url=kms.url,
            )
        )
        await provider.start()
        variables = program.environment(OURS["env"])
        async with program.Program(OURS["args"], variables, node, kubeconfig):
            registrar = registration.Registrar(str(node.csi_socket), node.root)
            await registrar.start()
            await kubelet.watcher(node.root).look()
            yield Stage(api, kubelet)
            await registrar.stop()
        await kubelet.close()
        await provider.stop(0)


def test_each_example_has_a_test() -> None:
    tested = {name.removeprefix("test_").replace("_", "-") for name in globals()}
    assert set(EXAMPLES) <= tested


async def test_deployment(ready: Stage) -> None:
    _, target = await ready.run("deployment")
    assert (target / "db-password").read_text() == VALUES["db"]
    assert (target / "keys/api").read_text() == VALUES["api-key"]
    assert (target / "keys/api").stat().st_mode & 0o777 == 0o400


async def test_cronjob(ready: Stage) -> None:
    pod, target = await ready.run("cronjob")
    assert (target / "mail-password").read_text() == VALUES["mail"]
    await ready.kubelet.delete_pod(pod, attempts=1)
    assert not target.exists()


async def test_env_from_secret(ready: Stage) -> None:
    await ready.run("env-from-secret")
    copied = await waiting.until(lambda: ready.secret("legacy-env"))
    assert copied == {"DB_PASSWORD": VALUES["legacy"].encode()}


async def test_fsgroup_pod(ready: Stage, other_group: int) -> None:
    _, target = await ready.run("fsgroup-pod")
    found = (target / "db-password").stat()
    assert (found.st_gid, found.st_mode & 0o777) == (3000, 0o440)


async def test_tls_ingress(ready: Stage) -> None:
    await ready.run("tls-ingress")
    copied = await waiting.until(lambda: ready.secret("shop-tls"))
    assert copied.keys() == {"tls.crt", "tls.key"}
    assert copied["tls.crt"].decode() == Pair.certificate
    assert b"PRIVATE KEY" in copied["tls.key"]


async def test_dotenv_bundle(ready: Stage) -> None:
    _, target = await ready.run("dotenv-bundle")
    done = subprocess.run(
        ["sh", "-c", f'. {shlex.quote(str(target))}/worker.env; printf %s "$ONE $TWO"'],
        capture_output=True,
        text=True,
        timeout=5,
        check=True,
    )
    assert done.stdout == f"{VALUES['one']} {VALUES['two']}"
