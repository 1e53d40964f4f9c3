"""Every command of README and docs, typed as it stands there, in its order, as a user would.

kubectl, driver, provider and the operator's command are the real ones. What stands in for the rest
of a cluster is `workloads`; a command within a container runs beside the driver instead, on the
files that the container would see.
"""

import asyncio
import contextlib
import os
import pathlib
import re
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Iterable

import pytest
import yaml

from devkit import stage
from devkit.apiserver import client, server
from devkit.demo import cluster, pods
from devkit.kms import model, seed
from devkit.kms import server as kms_server
from devkit.kubelet import agent, objects, tokens
from tests.deploy import manifests, pages, test_examples, upstream, waiting, workloads

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

WALKED = {
    "README.md": {"Install"},
    "docs/install.md": {
        "Driver and provider",
        "Options, each a folder of its own",
        "The first pod",
        "Remove",
    },
    "docs/migrate.md": {"Which way", "Back"},
    "docs/operations.md": {"The operator's command"},
    "docs/security.md": {"Tighter still"},
}
ELSEWHERE = {
    "kubectl apply -k deploy/yaml": "tests/deploy/test_kubectl.py::"
    "test_apply_over_upstream_twice_and_back",
    "kubectl apply -k .": "tests/deploy/test_kubectl.py::test_images_under_another_name",
    "kubectl apply -f": "tests/deploy/test_walk.py::test_security",
    "kubectl describe pod": "tests/deploy/test_walk.py::test_a_pod_that_waits",
    "secrets-store doctor --node": "tests/unit/secrets_store/ops/test_doctor.py::"
    "test_a_machine_is_looked_at_as_a_node",
}
"""What sentences name and no block has: command → the test that runs it."""


def test_every_section_with_commands_is_walked() -> None:
    for page in pages.names():
        sections = {
            title
            for title, lines in pages.sections(page).items()
            if any(not _by_ci(line) for line in lines)
        }
        assert sections == WALKED.get(page, set()), page


def test_what_sentences_mention_is_run_too() -> None:
    run = [line for page in pages.names() for line in pages.commands(page)]
    bare = [line.removeprefix(".venv/bin/") for line in run]
    for page in pages.names():
        for command in pages.mentioned(page):
            words = " ".join(word for word in command.split() if not re.search(r"[A-Z=']", word))
            if words in ELSEWHERE:
                name, _, test = ELSEWHERE[words].partition("::")
                assert f"def {test}(" in (manifests.ROOT / name).read_text()
            else:
                assert _by_ci(words) or any(line.startswith(words) for line in bare), command


def _by_ci(line: str) -> bool:
    """Tell whether CI types a command itself, or make with one of its targets."""
    typed = (manifests.ROOT / ".ci/run").read_text()
    targets = {word for found in re.findall(r"\bmake (.*)", typed) for word in found.split()}
    words = line.split()
    made = words[0] == "make" and words[1] in targets | {"help", "setup"}
    return made or f"{line}\n" in typed


class Terminal:
    """A shell in a checkout of the project, with a kubeconfig that reaches one cluster.

    Args:
        works: What makes the cluster alive; nothing is waited for when one of them has failed.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        api: server.APIServer,
        node: stage.Node,
        works: Iterable[asyncio.Task[None]],
    ) -> None:
        self._folder, self._api, self._node, self._works = folder, api, node, works
        (folder / "deploy").symlink_to(manifests.ROOT / "deploy")
        (folder / ".venv").symlink_to(sys.prefix)
        kubeconfig = api.kubeconfig(folder / "kubeconfig")
        self._environment = os.environ | {"KUBECONFIG": str(kubeconfig), "HOME": str(folder)}

    async def section(self, page: str, title: str) -> list[str]:
        """Type all commands of a section; return what each printed."""
        assert title in WALKED[page]
        return [await self.type(line) for line in pages.sections(page)[title] if not _by_ci(line)]

    async def type(self, line: str) -> str:
        """Run one command, which must succeed; return what it printed."""
        words = shlex.split(line)
        if words[:2] == ["kubectl", "exec"]:
            line = self._within(words)
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", line),
            cwd=self._folder,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            process_group=0,
        )
        printed = asyncio.create_task(process.communicate())
        try:
            await asyncio.wait({printed, *self._works}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not printed.done():
                # With what the shell has started.
                os.killpg(process.pid, signal.SIGKILL)
        output, complaint = await printed
        for work in self._works:
            assert not work.done(), work.exception()
        assert process.returncode == 0, f"{line}: {complaint.decode()}{output.decode()}"
        return output.decode()

    def _within(self, words: list[str]) -> str:
        """Return what runs on the files of a Deployment's first pod, for what runs in it."""
        name = words[2].removeprefix("deploy/")
        pod = self._api.get("v1", "Pod", f"{name}-0", "default")
        (mount,) = pod["spec"]["containers"][0]["volumeMounts"]
        target = self._node.target(pod["metadata"]["uid"], mount["name"])
        command = words[words.index("--") + 1 :]
        return shlex.join(word.replace(mount["mountPath"], target, 1) for word in command)


class Cluster:
    """A node, an API server without anything of ours, and a KMS."""

    def __init__(
        self, api: server.APIServer, kms: kms_server.KMS, world: model.World, terminal: Terminal
    ) -> None:
        self.api, self._kms, self._world, self.terminal = api, kms, world, terminal
        self.type, self.section = terminal.type, terminal.section

    def change(self, old: str, new: str) -> None:
        """Change a value at the KMS."""
        text = test_examples.world().replace(old, new)
        seed.parse(text).apply(self._world, self._kms.faults)

    def images(self) -> set[str]:
        """Return the images of the driver's and the provider's containers."""
        found = self.api.list_all("apps/v1", "DaemonSet")
        return {x["image"] for obj in found for x in manifests.containers(obj).values()}


@pytest.fixture
async def installed(tmp_path: pathlib.Path) -> AsyncIterator[Cluster]:
    """A cluster in which everything that is applied comes to life."""
    csi_driver = objects.CsiDriver.from_dict(manifests.one(manifests.folder(), "CSIDriver"))
    world = model.World()
    with (
        stage.Node("wk") as node,
        server.APIServer(rbac=True, collect_garbage=True, secrets_store=False) as api,
        kms_server.KMS(world) as kms,
        contextlib.closing(cluster.Cluster(client.Client(api.url, api.admin_token))) as seen,
    ):
        seed.parse(test_examples.world()).apply(world, kms.faults)
        for obj in ("Node", stage.NODE), ("Namespace", "shop"):
            api.create({"apiVersion": "v1", "kind": obj[0], "metadata": {"name": obj[1]}})
        kubelet = agent.Kubelet(
            node.kubelet, stage.NODE, [csi_driver], mint=tokens.mint_from(kms.pod_tokens)
        )
        carried = pods.Pods(stage.NODE, seen, kubelet)
        controllers = workloads.Workloads(api, node, kubelet, kms.url)
        works = [asyncio.create_task(work) for work in (controllers.run(), carried.run())]
        yield Cluster(api, kms, world, Terminal(tmp_path, api, node, works))
        for work in reversed(works):
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
        await kubelet.close()
        assert not node.mounts()


async def _types(installed: Cluster, lines: Iterable[str], *, last: str) -> bool:
    """Type some commands; tell whether the last one printed just that."""
    return [await installed.type(line) for line in lines][-1] == last


async def test_install_first_pod_rotation_uninstall(installed: Cluster) -> None:
    page = "docs/install.md"
    (applied,) = await installed.section("README.md", "Install")
    assert "daemonset.apps/csi-secrets-store created" in applied
    again, *rollouts, nodes = await installed.section(page, "Driver and provider")
    assert {line.rpartition(" ")[2] for line in again.splitlines()} == {"unchanged"}
    assert all("successfully rolled out" in rollout for rollout in rollouts)
    assert re.search(rf"^{stage.NODE} +secrets-store\.csi\.k8s\.io$", nodes, re.MULTILINE)
    await installed.section(page, "Options, each a folder of its own")

    first = pages.sections(page)["The first pod"]
    printed = {line: await installed.type(line) for line in first[:4]}
    assert "shop-0-default-shop" in printed[first[2]]
    assert {"db-password", "keys"} <= set(printed[first[3]].split())
    value = test_examples.VALUES["db"]
    assert await installed.type(first[5]) == value
    installed.change(value, "changed")
    # The provider believes what it has just read for a moment, so ask until it has read anew.
    await waiting.until(lambda: _types(installed, first[4:6], last="changed"))

    lint, status, doctor = await installed.section("docs/operations.md", "The operator's command")
    assert "error" not in lint
    assert "shop-1" in status
    assert "secrets-store.csi.k8s.io" in doctor

    delete, look, remove = pages.sections(page)["Remove"]
    assert 'deployment.apps "shop" deleted' in await installed.type(delete)
    await waiting.until(lambda: _types(installed, [look], last=""))
    assert 'daemonset.apps "csi-secrets-store" deleted' in await installed.type(remove)
    assert installed.images() == set()


@pytest.mark.parametrize("version", upstream.VERSIONS)
async def test_from_upstream_and_back(
    installed: Cluster, version: str, tmp_path: pathlib.Path
) -> None:
    theirs = tmp_path / "UPSTREAM" / "deploy"
    theirs.mkdir(parents=True)
    (theirs / "all.yaml").write_text(yaml.safe_dump_all(upstream.installed(version)))
    image = f"registry.k8s.io/csi-secrets-store/driver:{version}"
    rollout = "kubectl -n kube-system rollout status daemonset/csi-secrets-store"
    ours = "ghcr.io/hanzoai/secrets-store-csi-driver:v1.7.0"
    await installed.type("kubectl apply -f UPSTREAM/deploy/")
    set_image, undo, *roles = pages.sections("docs/migrate.md")["Which way"]
    for line, wanted in ((set_image, ours), (undo, image)):
        await installed.type(line)
        await installed.type(rollout)
        assert wanted in installed.images()
    await installed.section("README.md", "Install")
    await installed.type(rollout)
    for line in roles:
        await installed.type(line)
    names = [x["metadata"]["name"] for x in installed.api.list_all(_RBAC, "ClusterRole")]
    assert not [name for name in names if re.search("rotation-role|tokenrequest-role", name)]

    await installed.section("docs/migrate.md", "Back")
    await installed.type(rollout)
    assert image in installed.images()
    assert not installed.api.list_all("admissionregistration.k8s.io/v1", _POLICY)


_RBAC, _POLICY = "rbac.authorization.k8s.io/v1", "ValidatingAdmissionPolicy"


async def test_security(installed: Cluster) -> None:
    await installed.section("README.md", "Install")
    await installed.section("docs/security.md", "Tighter still")
    found = installed.api.get("storage.k8s.io/v1", "CSIDriver", "secrets-store.csi.k8s.io")
    assert found["spec"]["serviceAccountTokenInSecrets"] is True


async def test_a_pod_that_waits(installed: Cluster) -> None:
    await installed.section("README.md", "Install")
    mistyped = "sed 's/secretProviderClass: shop/&z/' deploy/yaml/examples/deployment.yaml"
    await installed.type(f"{mistyped} | kubectl apply -f -")
    await waiting.until(lambda: installed.api.list_all("v1", "Event", "default"))
    assert "FailedMount" in await installed.type("kubectl describe pod")
