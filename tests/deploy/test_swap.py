"""Volumes that live through a change of driver, in both directions, and their pods with them."""

import os
import pathlib
import subprocess
from collections.abc import AsyncIterator, Iterator

import pytest

from devkit import provider, registration, stage
from devkit.apiserver import server
from devkit.kubelet import agent, node_client, objects
from secrets_store.model import pod_status
from tests.deploy import manifests, other_driver, program, waiting

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]

OURS = manifests.containers(manifests.one(manifests.folder(), "DaemonSet", manifests.DRIVER))[
    "secrets-store"
]
CSI_DRIVER = objects.CsiDriver.from_dict(manifests.one(manifests.folder(), "CSIDriver"))
VOLUME = objects.Volume("secrets", {"secretProviderClass": "app"})
OLD: other_driver.Files = {
    "password": (b"old", 0o644),
    "tls/key": (b"old key", 0o400),
    "tls/cert": (b"old cert", 0o444),
}
NEW: provider.Files = {"password": b"new", "tls/key": b"new key", "more": b"appeared"}


class World:
    """A node with one pod, an API server, and our driver, started and stopped at will."""

    def __init__(self, node: stage.Node, api: server.APIServer, kubelet: agent.Kubelet) -> None:
        self.node, self.api, self.kubelet = node, api, kubelet
        spec = {"nodeName": stage.NODE, "containers": [{"name": "c", "image": "i"}]}
        metadata = {"name": "web", "namespace": "default"}
        self.pod_object = api.create(
            {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        )
        self.pod = objects.Pod.from_dict(self.pod_object)
        self.target = kubelet.target(self.pod, "secrets")

    def driver(self, *flags: str) -> program.Program:
        """Return our driver under its manifest; flags given here win."""
        kubeconfig = self.api.kubeconfig(self.node.root / "kubeconfig")
        variables = program.environment(OURS["env"])
        return program.Program([*OURS["args"], *flags], variables, self.node, kubeconfig)

    async def register(self) -> None:
        """Let kubelet learn of the driver that runs now, as after a restart of the pod."""
        registry = self.node.root / "reg"
        registry.mkdir(exist_ok=True)
        registrar = registration.Registrar(str(self.node.csi_socket), registry)
        await registrar.start()
        await self.kubelet.watcher(registry).look()
        await registrar.outcome()
        await registrar.stop()

    def status(self) -> manifests.Object:
        """Return the pod's only status object."""
        (found,) = self.api.list_all(pod_status.API_VERSION, pod_status.KIND, "default")
        return found

    def upstream_was_here(self, files: other_driver.Files = OLD) -> None:
        """Leave what upstream leaves: kubelet's directory, the volume, the status object."""
        other_driver.publish(self.target, files)
        self.api.create(other_driver.status(self.pod_object, "app", stage.NODE, self.target, files))

    def mount_ids(self) -> list[str]:
        """Return the ids of the mounts at the target, the lowest first."""
        lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
        return [line.split()[0] for line in lines if line.split()[4] == str(self.target)]

    def shown(self) -> dict[str, bytes]:
        """Return the files that the pod sees."""
        return {
            str(path.relative_to(self.target)): path.read_bytes()
            for path in files_below(self.target)
        }


def files_below(target: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yield every file by its visible name, as a program in the pod would find it."""
    for folder, folders, names in os.walk(target, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith("..")]
        yield from (pathlib.Path(folder, name) for name in names)


def contents(files: other_driver.Files) -> dict[str, bytes]:
    return {path: held[0] for path, held in files.items()}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    with stage.Node("sw") as node, server.APIServer() as api:
        api.create(stage.class_object())
        kubelet = agent.Kubelet(node.kubelet, stage.NODE, [CSI_DRIVER])
        async with provider.Provider(node.providers, "fake", NEW, direct=True):
            yield World(node, api, kubelet)
        await kubelet.close()


class TestFromUpstream:
    async def test_adopted_refreshed_and_taken_away(self, world: World) -> None:
        world.upstream_was_here()
        mounted = world.mount_ids()
        with open(world.target / "password", "rb") as held_by_pod:
            async with world.driver() as driver:
                await world.register()
                await world.kubelet.publish(world.pod, VOLUME, attempts=1)
                await waiting.until(lambda: world.shown() == NEW)
                assert world.mount_ids() == mounted, "the pod's mount was replaced"
                assert held_by_pod.read() == b"old"
                await waiting.until(lambda: len(world.status()["status"]["objects"]) == len(NEW))
                versions = world.status()["status"]["objects"]
                assert [item["id"] for item in versions] == [
                    f"secret/{name}" for name in sorted(NEW)
                ]
                await world.kubelet.delete_pod(world.pod, attempts=1)
                assert world.node.mounts() == []
                assert not world.target.exists()
                assert await driver.stop() == 0

    async def test_adopted_and_left_alone_with_rotation_off(self, world: World) -> None:
        world.upstream_was_here()
        async with world.driver("--enable-secret-rotation=false") as driver:
            await world.register()
            before = (world.target / "..data").readlink()
            for _ in range(3):
                await world.kubelet.publish(world.pod, VOLUME, attempts=1)
            assert (world.target / "..data").readlink() == before
            assert world.shown() == contents(OLD)
            await world.kubelet.delete_pod(world.pod, attempts=1)
            assert world.node.mounts() == []
            assert await driver.stop() == 0

    async def test_kept_while_the_provider_is_gone(self, world: World) -> None:
        world.upstream_was_here()
        (world.node.providers / "fake.sock").unlink()
        async with world.driver():
            await world.register()
            await world.kubelet.publish(world.pod, VOLUME, attempts=1)
            assert world.shown() == contents(OLD)
            assert len(world.mount_ids()) == 1
            await world.kubelet.delete_pod(world.pod, attempts=1)
            assert world.node.mounts() == []

    async def test_taken_away_without_having_been_published_again(self, world: World) -> None:
        """The pod ends in the moment of the swap: unpublish is the first call our driver gets."""
        world.upstream_was_here()
        async with world.driver():
            calls = node_client.NodeClient(str(world.node.csi_socket))
            await calls.unpublish("csi-1", str(world.target))
            assert world.node.mounts() == []
            assert not world.target.exists()

    async def test_mounts_that_upstream_stacked_all_go(self, world: World) -> None:
        world.upstream_was_here()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", world.target], check=True)
        other_driver.write(world.target, OLD)
        assert len(world.mount_ids()) == 2
        async with world.driver():
            await world.register()
            await world.kubelet.publish(world.pod, VOLUME, attempts=1)
            await world.kubelet.delete_pod(world.pod, attempts=1)
            assert world.node.mounts() == []

    async def test_a_volume_that_upstream_left_empty_is_filled(self, world: World) -> None:
        """Upstream mounts first: a crash between that and the files leaves an empty volume."""
        world.target.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", world.target], check=True)
        mounted = world.mount_ids()
        async with world.driver():
            await world.register()
            await world.kubelet.publish(world.pod, VOLUME, attempts=1)
            assert world.shown() == NEW
            assert world.mount_ids() == mounted
            await world.kubelet.delete_pod(world.pod, attempts=1)
            assert world.node.mounts() == []

    async def test_what_a_crash_of_upstream_left_in_the_volume_is_tidied(
        self, world: World
    ) -> None:
        world.upstream_was_here()
        (world.target / "..2026_01_01_00_00_00.1").mkdir()
        (world.target / "..data_tmp").symlink_to("..2026_01_01_00_00_00.1")
        async with world.driver():
            await world.register()
            await world.kubelet.publish(world.pod, VOLUME, attempts=1)
            await waiting.until(lambda: world.shown() == NEW)
            await waiting.until(lambda: len(hidden(world.target)) == 2)
            assert hidden(world.target)[-1] == "..data"


def hidden(target: pathlib.Path) -> list[str]:
    return sorted(name for name in os.listdir(target) if name.startswith(".."))


class TestToUpstream:
    """A driver that knows only upstream's way finds nothing that stops it."""

    @pytest.mark.parametrize("group", [None, 3000], ids=["plain", "with fsGroup"])
    async def test_seen_rewritten_and_unmounted(
        self, world: World, group: int | None, request: pytest.FixtureRequest
    ) -> None:
        if group is not None:
            request.getfixturevalue("other_group")
            world.pod = objects.Pod("web", "default", world.pod.uid, fs_group=group)
        async with world.driver() as driver:
            await world.register()
            await world.kubelet.publish(world.pod, VOLUME, attempts=1)
            assert await driver.stop() == 0
        assert other_driver.is_mounted(world.target)
        assert world.shown() == NEW
        mounted = world.mount_ids()
        for files in ({**OLD, "added": (b"1", 0o600)}, OLD, {"password": (b"last", 0o644)}):
            other_driver.publish(world.target, files)
            other_driver.write(world.target, files)
            assert world.shown() == contents(files)
            assert len(hidden(world.target)) == 2
        assert world.mount_ids() == mounted
        other_driver.unpublish(world.target)
        assert world.node.mounts() == []

    async def test_its_update_of_our_status_object_is_valid(self, world: World) -> None:
        async with world.driver():
            await world.register()
            await world.kubelet.publish(world.pod, VOLUME, attempts=1)
            ours = world.status()
        theirs = other_driver.status(world.pod_object, "app", stage.NODE, world.target, OLD)
        assert ours["metadata"]["name"] == theirs["metadata"]["name"]
        ours["status"] = theirs["status"]
        ours["metadata"]["ownerReferences"] = theirs["metadata"]["ownerReferences"]
        assert world.api.update(ours)["status"] == theirs["status"]


class TestThereAndBack:
    async def test_upstream_rotated_in_between(self, world: World) -> None:
        """Our record is older than the contents: they are compared, not believed."""
        async with world.driver("--rotation-poll-interval=1s"):
            await world.register()
            await world.kubelet.publish(world.pod, VOLUME, attempts=1)
        other_driver.write(world.target, OLD)
        mounted = world.mount_ids()
        async with world.driver("--rotation-poll-interval=1s"):
            await world.kubelet.republish(world.pod, "secrets")
            await waiting.until(lambda: world.shown() == NEW)
            assert world.mount_ids() == mounted
            await world.kubelet.delete_pod(world.pod, attempts=1)
            assert world.node.mounts() == []

    async def test_upstream_unpublished_in_between(self, world: World) -> None:
        """Our record has outlived its volume: it is dropped, and the place can be used again."""
        async with world.driver():
            await world.register()
            await world.kubelet.publish(world.pod, VOLUME, attempts=1)
        other_driver.unpublish(world.target)
        records = world.node.csi_socket.parent / "state"
        assert len(list(records.iterdir())) == 1
        async with world.driver():
            await waiting.until(lambda: not list(records.iterdir()))
            await world.kubelet.publish(world.pod, VOLUME, attempts=1)
            assert world.shown() == NEW
            await world.kubelet.delete_pod(world.pod, attempts=1)
            assert world.node.mounts() == []
            assert not list(records.iterdir())
