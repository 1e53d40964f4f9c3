"""What a cluster's controllers, scheduler and kubelet make of DaemonSets and Deployments.

One node. A DaemonSet of ours becomes a process with exactly the container's arguments; one of
another image becomes nothing but its status. Source: kubernetes `pkg/controller/daemon`.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

from deploy.images import socket_directory
from devkit import registration, stage
from devkit.apiserver import objects, server
from devkit.kubelet import agent
from tests.deploy import manifests, program, waiting

_DRIVER_IMAGE = "ghcr.io/hanzoai/secrets-store-csi-driver:"
_PROVIDER_IMAGE = "ghcr.io/hanzoai/kms-csi-provider:"
_LOOK_EVERY_S = 0.05
_STOP_S = 15.0
_Runner = contextlib.AbstractAsyncContextManager[object]


class Workloads:
    """The controllers; `run` works until it is cancelled, and ends what it started.

    Args:
        kms_url: Where the provider finds its KMS instead of the manifest's.
    """

    def __init__(
        self, api: server.APIServer, node: stage.Node, kubelet: agent.Kubelet, kms_url: str
    ) -> None:
        self._api, self._node, self._kubelet, self._kms_url = api, node, kubelet, kms_url
        self._running: dict[str, tuple[str, contextlib.AsyncExitStack]] = {}
        self._replicas: dict[str, int] = {}
        self.restarts: list[str] = []

    async def run(self) -> None:
        """Bring about what is asked for, again and again."""
        try:
            while True:
                await self._daemon_sets()
                self._deployments()
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            for _, running in self._running.values():
                await running.aclose()

    def _all(self, api_version: str, kind: str) -> list[manifests.Object]:
        # A list names the type once, for all of its items.
        typed = {"apiVersion": api_version, "kind": kind}
        return [typed | item for item in self._api.list_all(api_version, kind)]

    async def _daemon_sets(self) -> None:
        found = {objects.name_of(x): x for x in self._all("apps/v1", "DaemonSet")}
        for name in self._running.keys() - found.keys():
            await self._running.pop(name)[1].aclose()
            for revision in self._revisions(name):
                self._api.delete(
                    "apps/v1", "ControllerRevision", objects.name_of(revision), "kube-system"
                )
        for name, daemon_set in found.items():
            digest = _digest(daemon_set["spec"]["template"])
            known = self._running.get(name)
            if known is None or known[0] != digest:
                if known is not None:
                    await known[1].aclose()
                running = contextlib.AsyncExitStack()
                self._running[name] = digest, running
                for runner in self._runners(daemon_set):
                    await running.enter_async_context(runner)
                self.restarts.append(manifests.containers(daemon_set).popitem()[1]["image"])
                self._keep_revision(daemon_set, digest)
            self._tell(daemon_set)

    def _tell(self, daemon_set: manifests.Object) -> None:
        counts = "desiredNumberScheduled currentNumberScheduled updatedNumberScheduled numberReady"
        status = dict.fromkeys([*counts.split(), "numberAvailable"], 1)
        status |= {"numberMisscheduled": 0}
        status |= {"observedGeneration": daemon_set["metadata"]["generation"]}
        if daemon_set["status"] != status:
            self._api.update(daemon_set | {"status": status}, "status")

    def _revisions(self, name: str) -> list[manifests.Object]:
        found = self._all("apps/v1", "ControllerRevision")
        return [x for x in found if x["metadata"]["ownerReferences"][0]["name"] == name]

    def _keep_revision(self, daemon_set: manifests.Object, digest: str) -> None:
        """Keep a template under its number, so that `kubectl rollout undo` finds it."""
        meta = daemon_set["metadata"]
        kept = self._revisions(meta["name"])
        number = 1 + max((x["revision"] for x in kept), default=0)
        for revision in kept:
            if objects.name_of(revision) == f"{meta['name']}-{digest}":
                self._api.update(revision | {"revision": number})
                return
        template = daemon_set["spec"]["template"] | {"$patch": "replace"}
        owner = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": meta["name"]}
        self._api.create(
            {
                "apiVersion": "apps/v1",
                "kind": "ControllerRevision",
                "metadata": {
                    "name": f"{meta['name']}-{digest}",
                    "namespace": meta["namespace"],
                    "labels": daemon_set["spec"]["selector"]["matchLabels"],
                    "ownerReferences": [owner | {"uid": meta["uid"], "controller": True}],
                },
                "data": {"spec": {"template": template}},
                "revision": number,
            }
        )

    def _runners(self, daemon_set: manifests.Object) -> Iterator[_Runner]:
        for container in manifests.containers(daemon_set).values():
            if container["image"].startswith(_DRIVER_IMAGE):
                account = daemon_set["spec"]["template"]["spec"]["serviceAccountName"]
                yield self._driver(container, account)
                yield self._registered()
            elif container["image"].startswith(_PROVIDER_IMAGE):
                yield self._provider(container)

    def _driver(self, container: manifests.Object, account: str) -> _Runner:
        token = self._api.service_account_token(account, "kube-system")["token"]
        kubeconfig = self._api.kubeconfig(self._node.root / "driver-kubeconfig", token=token)
        variables = program.environment(container["env"])
        return _ended_in_order(
            program.Program(container["args"], variables, self._node, kubeconfig)
        )

    @contextlib.asynccontextmanager
    async def _registered(self) -> AsyncIterator[None]:
        """Do what the sidecar and kubelet do together, and tell of it where kubelet does."""
        registry = self._node.root / "registry"
        registry.mkdir(exist_ok=True)
        registrar = registration.Registrar(str(self._node.csi_socket), registry)
        try:
            await registrar.start()
            await self._kubelet.watcher(registry).look()
            await registrar.outcome()
            driver = {"name": next(iter(self._kubelet.plugins)), "nodeID": stage.NODE}
            csi_node = {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "CSINode",
                "metadata": {"name": stage.NODE},
            }
            self._api.create(csi_node | {"spec": {"drivers": [driver]}})
            yield
            self._api.delete("storage.k8s.io/v1", "CSINode", stage.NODE)
        finally:
            await registrar.stop()

    @contextlib.asynccontextmanager
    async def _provider(self, container: manifests.Object) -> AsyncIterator[None]:
        directory = [f"--directory={self._node.providers}", "--name=kms", f"--owner={os.getuid()}"]
        assert socket_directory.main(directory) == 0
        places = {
            "--endpoint": f"{self._node.providers}/kms/kms.sock",
            "--health-port": "127.0.0.1:0",
            "--kms-url": self._kms_url,
        }
        names = [argument.partition("=") for argument in container["args"]]
        arguments = [f"{name}={places.get(name, value)}" for name, _, value in names]
        with (self._node.root / "provider.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "provider_kms", *arguments], stderr=log
            )
        try:
            await waiting.until(pathlib.Path(places["--endpoint"]).exists)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(process.wait, _STOP_S)
        assert code == 0

    def _deployments(self) -> None:
        found = self._all("apps/v1", "Deployment")
        names = {objects.name_of(x) for x in found}
        for pod in self._api.list_all("v1", "Pod", "default"):
            meta = pod["metadata"]
            if meta["labels"]["app"] not in names and "deletionTimestamp" not in meta:
                self._api.delete("v1", "Pod", meta["name"], "default")
        for deployment in found:
            self._deployment(deployment)

    def _deployment(self, deployment: manifests.Object) -> None:
        name, spec = objects.name_of(deployment), deployment["spec"]
        for number in range(self._replicas.get(name, 0), spec["replicas"]):
            template = spec["template"]
            metadata = template["metadata"] | {"name": f"{name}-{number}", "namespace": "default"}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
            self._api.create(pod | {"spec": template["spec"] | {"nodeName": stage.NODE}})
        self._replicas[name] = spec["replicas"]
        ready = sum(
            pod["status"].get("phase") == "Running"
            for pod in self._api.list_all("v1", "Pod", "default")
            if pod["metadata"]["labels"] == spec["template"]["metadata"]["labels"]
        )
        status = {"observedGeneration": deployment["metadata"]["generation"]}
        status |= dict.fromkeys(("replicas", "updatedReplicas"), spec["replicas"])
        status |= dict.fromkeys(("readyReplicas", "availableReplicas"), ready)
        if deployment["status"] != status:
            self._api.update(deployment | {"status": status}, "status")


@contextlib.asynccontextmanager
async def _ended_in_order(driver: program.Program) -> AsyncIterator[None]:
    async with driver:
        yield
        assert await driver.stop() == 0


def _digest(template: manifests.Object) -> str:
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]
