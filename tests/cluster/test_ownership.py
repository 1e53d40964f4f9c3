"""A Secret lives as long as any workload that uses it, whatever comes and goes around it."""

import asyncio
import contextlib
import dataclasses
import random
from collections.abc import AsyncIterator, Iterator

import pytest

from devkit import provider, stage
from devkit.kubelet import agent, objects
from tests.cluster import drivers, scene
from tests.cluster.conftest import Start
from tests.cluster.drivers import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

VOLUME = objects.Volume("secrets", {"secretProviderClass": "app"})
REPLICAS, STEPS = 50, 1000
STEPS_ON_REAL = 400
"""There the collector of this test has to read everything through the API."""


@dataclasses.dataclass
class Machine:
    """A node with its driver and its kubelet."""

    name: str
    driver: drivers.Driver
    kubelet: agent.Kubelet


@contextlib.asynccontextmanager
async def machine(start: Start, name: str, **chosen: object) -> AsyncIterator[Machine]:
    """Run a node with a provider of its own; a node's sockets are the node's."""
    with stage.Node("ow") as node:
        async with (
            provider.Provider(node.providers, "fake", {"password": b"first"}, direct=True),
            start(node=node, node_id=name, **chosen) as driver,
        ):
            kubelet = agent.Kubelet(node.kubelet, name, keep_connection=True)
            await kubelet.register(str(node.csi_socket))
            try:
                yield Machine(name, driver, kubelet)
            finally:
                await kubelet.close()


class Workloads:
    """A Deployment's rollouts, bare pods, and what the garbage collector makes of them."""

    def __init__(self, world: scene.Scene, machines: list[Machine], dice: random.Random) -> None:
        self._world, self._machines, self._dice = world, machines, dice
        self._numbers = iter(range(10**6))
        self.replica_sets: list[scene.Json] = []
        self.pods: dict[str, tuple[Machine, objects.Pod, str]] = {}
        """Name → where it runs, itself, and the uid of its owner; empty for a bare pod."""

    async def scale_up(self) -> None:
        owner = self._dice.choice([None, *self.replica_sets, *self.replica_sets])
        name = f"pod-{next(self._numbers)}"
        where = self._dice.choice(self._machines)
        pod = objects.Pod.from_dict(self._world.create_pod(name, owner, where.name))
        await where.kubelet.publish(pod, VOLUME, attempts=1)
        self.pods[name] = where, pod, owner["metadata"]["uid"] if owner else ""

    async def scale_down(self) -> None:
        if self.pods:
            await self.delete(self._dice.choice(sorted(self.pods)))

    async def delete(self, name: str) -> None:
        where, pod, _ = self.pods.pop(name)
        await where.kubelet.delete_pod(pod, attempts=1)
        self._world.delete_pod(name)

    async def roll_out(self) -> None:
        """Make a new ReplicaSet; of more than three the oldest goes with its pods."""
        self.replica_sets.append(self._world.create_replica_set(f"rs-{next(self._numbers)}"))
        if len(self.replica_sets) > 3:
            await self.delete_replica_set(self.replica_sets[0])

    async def delete_replica_set(self, gone: scene.Json) -> None:
        self.replica_sets.remove(gone)
        uid = gone["metadata"]["uid"]
        for name in [name for name, (_, _, owner) in self.pods.items() if owner == uid]:
            await self.delete(name)
        path = self._world.api.at("replicasets", gone["metadata"]["name"], "apps/v1")
        self._world.api.client.request("DELETE", path).decoded()

    async def step(self) -> None:
        many = len(self.pods) >= REPLICAS
        up, down = (1, 4) if many else (5, 3)
        act = self._dice.choices(
            [self.scale_up, self.scale_down, self.roll_out], weights=[up, down, 0.3]
        )[0]
        await act()

    def owners(self) -> Iterator[str]:
        """Yield the uid of everything alive that must be an owner: it has a pod that mounts."""
        for name, (_, _, owner) in self.pods.items():
            if owner:
                yield owner
                continue
            status = self._world.status(name)
            assert status is not None
            yield status["metadata"]["uid"]


def uids(secret: scene.Json) -> set[str]:
    return {owner["uid"] for owner in secret["metadata"].get("ownerReferences") or ()}


async def test_chaos(start: Start, world: scene.Scene) -> None:
    """50 replicas on two nodes come and go, and the garbage collector runs in between.

    As long as an owner with a pod lives the Secret is the same one and names it; with the last
    one it goes, and the next pod makes another.
    """
    dice = random.Random(7)
    world.edit_class(secretObjects=scene.SYNCED)
    async with machine(start, "node-1") as one, machine(start, "node-2") as two:
        for each in (one, two):
            await each.driver.watching()
        load = Workloads(world, [one, two], dice)
        uid, lives = "", 0
        steps = STEPS if world.api.stand_in is not None else STEPS_ON_REAL
        for number in range(steps):
            if number % (steps // 4) == steps // 4 - 1:
                for name in list(load.pods):
                    await load.delete(name)
                for gone in list(load.replica_sets):
                    await load.delete_replica_set(gone)
            await load.step()
            if dice.random() < 0.3:
                world.collect_garbage()
            if not load.pods:
                uid = ""
                continue
            secret = world.secret()
            assert secret is not None
            assert secret["metadata"]["uid"] == uid or not uid
            lives += not uid
            uid = secret["metadata"]["uid"]
            if number % 10 == 0:
                assert set(load.owners()) <= uids(secret)
        assert lives >= 3
        for name in list(load.pods):
            await load.delete(name)
        for gone in list(load.replica_sets):
            await load.delete_replica_set(gone)
        world.collect_garbage()
        assert world.secret() is None
        assert one.driver.records() == two.driver.records() == []


async def test_two_drivers_at_once_keep_each_others_owners(
    start: Start, world: scene.Scene
) -> None:
    """Both write the same Secret at the same time, again and again."""
    world.edit_class(secretObjects=scene.SYNCED)
    async with machine(start, "node-1") as one, machine(start, "node-2") as two:
        pods = {
            f"web-{n}": world.create_pod(
                f"web-{n}", world.create_replica_set(f"rs-{n}"), (one, two)[n % 2].name
            )
            for n in range(20)
        }
        for each in (one, two):
            await each.driver.watching()
        await asyncio.gather(
            *((one, two)[n % 2].driver.publish_for(pod) for n, pod in enumerate(pods.values()))
        )

        def owners() -> set[str]:
            secret = world.secret()
            return uids(secret) if secret else set()

        wanted = {pod["metadata"]["ownerReferences"][0]["uid"] for pod in pods.values()}
        # Whoever lost too many races in its publish tries again behind it.
        await eventually(lambda: owners() == wanted, 10.0)
        await one.driver.unpublish(pods["web-0"]["metadata"]["uid"])
        await two.driver.unpublish(pods["web-1"]["metadata"]["uid"])
        assert owners() == wanted


@pytest.mark.parametrize("number", [100])
async def test_the_secret_is_there_when_containers_start(
    start: Start, world: scene.Scene, number: int
) -> None:
    """Each of 100 fresh workloads takes its own Secret through env: containers start when the
    volume is up, so the publish's answer is the moment at which it must be there, with its owner.
    """
    async with machine(start, "node-1", require_sync=True) as one:
        await one.driver.watching()

        async def first_start(index: int) -> bool:
            name = f"app-{index}"
            entry = {
                "secretName": name,
                "type": "Opaque",
                "data": [{"objectName": "password", "key": "PASSWORD"}],
            }
            world.create_class(name, secretObjects=[entry])
            pod = objects.Pod.from_dict(world.create_pod(name, world.create_replica_set(name)))
            mine = objects.Volume("secrets", {"secretProviderClass": name})
            await one.kubelet.publish(pod, mine, attempts=1)
            secret = world.secret(name)
            return secret is not None and "PASSWORD" in secret["data"] and len(uids(secret)) == 1

        for first in range(0, number, 10):
            found = await asyncio.gather(*(first_start(first + n) for n in range(10)))
            assert all(found)
