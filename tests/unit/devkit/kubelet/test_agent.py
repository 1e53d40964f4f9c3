"""The kubelet as a whole: registration, retries, repeats, the end of a pod."""

import asyncio
import itertools
import pathlib
from collections.abc import AsyncIterator

import grpc
import pytest

from devkit import registration
from devkit.kubelet import agent, objects, operations, pod_dirs
from tests.unit.devkit.kubelet import node_driver

POD = objects.Pod("web", "shop", uid="u1")
VOLUME = objects.Volume("store", {"secretProviderClass": "one"})
MOUNTED = operations.State.MOUNTED


class Sleeper:
    """Records waits; they are over at once, or when let go one by one."""

    def __init__(self) -> None:
        self.waits_s: list[float] = []
        self.gate: asyncio.Semaphore | None = None
        self.changed = asyncio.Condition()

    async def __call__(self, seconds: float) -> None:
        async with self.changed:
            self.waits_s.append(seconds)
            self.changed.notify_all()
        if self.gate is not None:
            await self.gate.acquire()
        else:
            await asyncio.sleep(0)

    async def reached(self, count: int) -> None:
        """Return as soon as so many waits have begun."""
        async with self.changed:
            await self.changed.wait_for(lambda: len(self.waits_s) >= count)


@pytest.fixture
def sleeper() -> Sleeper:
    return Sleeper()


@pytest.fixture
async def kubelet(
    driver: node_driver.NodeDriver, directory: pathlib.Path, sleeper: Sleeper
) -> AsyncIterator[agent.Kubelet]:
    made = agent.Kubelet(
        directory / "kubelet", sleep=sleeper, is_mount_point=driver.is_mount_point, deadline_s=4
    )
    await made.register(f"{directory}/csi.sock")
    yield made
    await made.close()


def test_retries_double_up_to_two_minutes_and_two_seconds() -> None:
    delays_s = list(itertools.islice(agent.retry_delays_s(), 11))
    assert delays_s == [0.5, 1, 2, 4, 8, 16, 32, 64, 122, 122, 122]


class TestRegistration:
    async def test_through_a_plugin_directory(
        self, driver: node_driver.NodeDriver, directory: pathlib.Path, sleeper: Sleeper
    ) -> None:
        kubelet = agent.Kubelet(directory / "kubelet", sleep=sleeper)
        registrar = registration.Registrar(f"{directory}/csi.sock", directory)
        await registrar.start()
        watcher = kubelet.watcher(directory)
        await watcher.look()
        await registrar.outcome()
        assert list(kubelet.plugins) == [driver.name]
        await registrar.stop()
        await watcher.look()
        assert kubelet.plugins == {}

    async def test_of_a_socket_alone(self, kubelet: agent.Kubelet) -> None:
        assert kubelet.plugins["secrets-store.csi.k8s.io"].node_id == "node-1"


class TestPublish:
    async def test_succeeds_at_once(
        self, kubelet: agent.Kubelet, directory: pathlib.Path, sleeper: Sleeper
    ) -> None:
        published = await kubelet.publish(POD, VOLUME)
        assert published.target == (
            directory / "kubelet/pods/u1/volumes/kubernetes.io~csi/store/mount"
        )
        assert published.attempts == 1
        assert 0 < published.call_s < 4
        assert published.target.is_dir()
        assert kubelet.state(POD, "store") is MOUNTED
        assert (kubelet.events, kubelet.problems, sleeper.waits_s) == ([], [], [])

    async def test_tries_until_it_succeeds(
        self, kubelet: agent.Kubelet, driver: node_driver.NodeDriver, sleeper: Sleeper
    ) -> None:
        driver.publish_codes.extend([grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE])
        assert (await kubelet.publish(POD, VOLUME)).attempts == 3
        assert sleeper.waits_s == [0.5, 1.0]
        assert [event.reason for event in kubelet.events] == ["FailedMount"] * 2
        assert kubelet.events[0] == objects.Event(
            POD,
            "FailedMount",
            'MountVolume.SetUp failed for volume "store" : '
            "rpc error: code = Unknown desc = as ordered",
        )

    async def test_gives_up_when_told(
        self, kubelet: agent.Kubelet, driver: node_driver.NodeDriver, sleeper: Sleeper
    ) -> None:
        driver.publish_codes.extend([grpc.StatusCode.INTERNAL] * 3)
        with pytest.raises(operations.VolumeFailed):
            await kubelet.publish(POD, VOLUME, attempts=2)
        assert sleeper.waits_s == [0.5]
        assert kubelet.state(POD, "store") is None

    async def test_waits_for_a_driver_that_registers_later(
        self, directory: pathlib.Path, driver: node_driver.NodeDriver, sleeper: Sleeper
    ) -> None:
        kubelet = agent.Kubelet(
            directory / "kubelet", sleep=sleeper, is_mount_point=driver.is_mount_point
        )
        sleeper.gate = asyncio.Semaphore(0)
        publishing = asyncio.create_task(kubelet.publish(POD, VOLUME))
        await sleeper.reached(1)
        await kubelet.register(f"{directory}/csi.sock")
        sleeper.gate.release()
        assert (await publishing).attempts == 2

    async def test_one_operation_at_a_time(
        self, kubelet: agent.Kubelet, driver: node_driver.NodeDriver
    ) -> None:
        driver.hang = asyncio.Event()
        first = asyncio.create_task(kubelet.publish(POD, VOLUME))
        await driver.arrived.wait()
        second = asyncio.create_task(kubelet.publish(POD, VOLUME))
        await asyncio.sleep(0.05)
        assert len(driver.published) == 1
        driver.hang.set()
        await asyncio.gather(first, second)
        assert len(driver.published) == 2

    async def test_secrets_are_read_anew_at_each_call(
        self, kubelet: agent.Kubelet, driver: node_driver.NodeDriver
    ) -> None:
        login = {"user": "one"}
        await kubelet.publish(POD, objects.Volume("store", secrets=login))
        login["user"] = "two"
        await kubelet.republish(POD, "store")
        assert [request.secrets["user"] for request in driver.published] == ["one", "two"]

    async def test_tokens_are_made_locally(
        self, driver: node_driver.NodeDriver, directory: pathlib.Path
    ) -> None:
        csi_driver = objects.CsiDriver(token_requests=(objects.TokenRequest("kms"),))
        kubelet = agent.Kubelet(directory / "kubelet", drivers=[csi_driver])
        await kubelet.register(f"{directory}/csi.sock")
        await kubelet.publish(POD, VOLUME)
        text = driver.published[0].volume_context["csi.storage.k8s.io/serviceAccount.tokens"]
        assert text.startswith('{"kms":{"token":"ey')


class TestRepublish:
    async def test_repeats_the_same_request(
        self, kubelet: agent.Kubelet, driver: node_driver.NodeDriver
    ) -> None:
        await kubelet.publish(POD, VOLUME)
        assert await kubelet.republish(POD, "store") > 0
        assert driver.published[0] == driver.published[1]

    async def test_a_volume_that_is_not_mounted_is_not_republished(
        self, kubelet: agent.Kubelet, driver: node_driver.NodeDriver
    ) -> None:
        driver.publish_codes.append(grpc.StatusCode.ABORTED)
        with pytest.raises(operations.VolumeFailed):
            await kubelet.publish(POD, VOLUME, attempts=1)
        for name in ("store", "other"):
            with pytest.raises(KeyError):
                await kubelet.republish(POD, name)
        assert await kubelet.republish_all() == []
        assert len(driver.published) == 1

    async def test_all_at_once_tells_the_failures(
        self, kubelet: agent.Kubelet, driver: node_driver.NodeDriver
    ) -> None:
        for name in ("a", "b", "c"):
            await kubelet.publish(POD, objects.Volume(name))
        driver.publish_codes.append(grpc.StatusCode.INTERNAL)
        [failure] = await kubelet.republish_all()
        assert failure.code is grpc.StatusCode.INTERNAL
        assert len(driver.published) == 6
        assert {kubelet.state(POD, name) for name in "abc"} == {MOUNTED}

    async def test_only_drivers_that_ask_are_repeated(
        self, driver: node_driver.NodeDriver, directory: pathlib.Path
    ) -> None:
        kubelet = agent.Kubelet(
            directory / "kubelet", drivers=[objects.CsiDriver(requires_republish=False)]
        )
        await kubelet.register(f"{directory}/csi.sock")
        await kubelet.publish(POD, VOLUME)
        assert await kubelet.republish_all() == []
        assert len(driver.published) == 1

    async def test_the_loop_repeats_at_its_pace_and_backs_off(
        self, kubelet: agent.Kubelet, driver: node_driver.NodeDriver, sleeper: Sleeper
    ) -> None:
        await kubelet.publish(POD, VOLUME)
        driver.publish_codes.extend(
            [grpc.StatusCode.OK, grpc.StatusCode.INTERNAL, grpc.StatusCode.INTERNAL]
        )
        sleeper.gate = asyncio.Semaphore(0)
        running = asyncio.create_task(kubelet.run_republishing(60, jitter=0))
        # The loop's own wait, and the volume's after its first repeat.
        await sleeper.reached(2)
        assert sleeper.waits_s == [60, 60]
        for expected_s in (0.5, 1, 60):
            count = len(sleeper.waits_s)
            while sleeper.waits_s[count:].count(expected_s) == 0:
                sleeper.gate.release()
                await sleeper.reached(len(sleeper.waits_s) + 1)
        assert len(driver.published) >= 4
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    async def test_the_loop_forgets_a_pod_that_is_gone(
        self, kubelet: agent.Kubelet, driver: node_driver.NodeDriver, sleeper: Sleeper
    ) -> None:
        await kubelet.publish(POD, VOLUME)
        sleeper.gate = asyncio.Semaphore(0)
        running = asyncio.create_task(kubelet.run_republishing(60, jitter=0.5))
        await sleeper.reached(2)
        assert 60 <= max(sleeper.waits_s) < 90
        await kubelet.delete_pod(POD)
        for count in (3, 4):
            sleeper.gate.release()
            sleeper.gate.release()
            await sleeper.reached(count)
        assert len(driver.published) == 2
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


class TestUnpublish:
    async def test_leaves_nothing_of_the_volume(
        self, kubelet: agent.Kubelet, driver: node_driver.NodeDriver
    ) -> None:
        published = await kubelet.publish(POD, VOLUME)
        await kubelet.unpublish(POD, "store")
        assert not published.target.parent.exists()
        assert kubelet.state(POD, "store") is None
        with pytest.raises(KeyError):
            await kubelet.unpublish(POD, "store")

    async def test_tries_until_it_succeeds(
        self, kubelet: agent.Kubelet, driver: node_driver.NodeDriver, sleeper: Sleeper
    ) -> None:
        await kubelet.publish(POD, VOLUME)
        driver.unpublish_codes.extend([grpc.StatusCode.INTERNAL, grpc.StatusCode.ABORTED])
        await kubelet.unpublish(POD, "store")
        assert len(driver.unpublished) == 3
        assert sleeper.waits_s == [0.5, 1.0]
        assert "UnmountVolume.TearDown failed" in kubelet.problems[0]

    async def test_gives_up_when_told(
        self, kubelet: agent.Kubelet, driver: node_driver.NodeDriver
    ) -> None:
        await kubelet.publish(POD, VOLUME)
        driver.unpublish_codes.append(grpc.StatusCode.INTERNAL)
        with pytest.raises(operations.VolumeFailed):
            await kubelet.unpublish(POD, "store", attempts=1)
        assert kubelet.state(POD, "store") is MOUNTED


class TestDeletePod:
    async def test_unpublishes_all_and_removes_the_directory(
        self, kubelet: agent.Kubelet, driver: node_driver.NodeDriver, directory: pathlib.Path
    ) -> None:
        for name in ("a", "b"):
            await kubelet.publish(POD, objects.Volume(name))
        other = objects.Pod("other")
        await kubelet.publish(other, VOLUME)
        await kubelet.delete_pod(POD)
        assert len(driver.unpublished) == 2
        assert [path.name for path in (directory / "kubelet" / "pods").iterdir()] == [other.uid]

    async def test_a_doubtful_volume_is_unpublished_too(
        self, kubelet: agent.Kubelet, driver: node_driver.NodeDriver
    ) -> None:
        driver.publish_codes.append(grpc.StatusCode.DEADLINE_EXCEEDED)
        with pytest.raises(operations.VolumeFailed):
            await kubelet.publish(POD, VOLUME, attempts=1)
        assert kubelet.state(POD, "store") is operations.State.UNCERTAIN
        await kubelet.delete_pod(POD)
        assert len(driver.unpublished) == 1

    async def test_a_volume_that_failed_for_good_is_not_unpublished(
        self, kubelet: agent.Kubelet, driver: node_driver.NodeDriver, directory: pathlib.Path
    ) -> None:
        driver.publish_codes.append(grpc.StatusCode.INVALID_ARGUMENT)
        with pytest.raises(operations.VolumeFailed):
            await kubelet.publish(POD, VOLUME, attempts=1)
        await kubelet.delete_pod(POD)
        assert driver.unpublished == []
        assert list((directory / "kubelet" / "pods").iterdir()) == []

    async def test_what_the_driver_leaves_is_told(
        self, kubelet: agent.Kubelet, driver: node_driver.NodeDriver
    ) -> None:
        driver.publish_codes.append(grpc.StatusCode.INTERNAL)
        driver.crumb = True
        with pytest.raises(operations.VolumeFailed):
            await kubelet.publish(POD, VOLUME, attempts=1)
        with pytest.raises(pod_dirs.LeftBehind) as caught:
            await kubelet.delete_pod(POD)
        assert kubelet.target(POD, "store") / "crumb" in caught.value.paths

    async def test_a_running_publish_comes_first_and_no_other_follows(
        self, kubelet: agent.Kubelet, driver: node_driver.NodeDriver, sleeper: Sleeper
    ) -> None:
        driver.hang = asyncio.Event()
        driver.publish_codes.append(grpc.StatusCode.ABORTED)
        publishing = asyncio.create_task(kubelet.publish(POD, VOLUME))
        await driver.arrived.wait()
        deleting = asyncio.create_task(kubelet.delete_pod(POD))
        await asyncio.sleep(0.05)
        assert driver.unpublished == []
        driver.hang.set()
        with pytest.raises(operations.VolumeFailed, match="code = Aborted"):
            await publishing
        await deleting
        assert driver.calls[-2:] == ["NodePublishVolume", "NodeUnpublishVolume"]
        assert sleeper.waits_s == []

    async def test_a_waiting_publish_ends(
        self, kubelet: agent.Kubelet, driver: node_driver.NodeDriver, sleeper: Sleeper
    ) -> None:
        driver.publish_codes.append(grpc.StatusCode.INTERNAL)
        sleeper.gate = asyncio.Semaphore(0)
        publishing = asyncio.create_task(kubelet.publish(POD, VOLUME))
        await sleeper.reached(1)
        await kubelet.delete_pod(POD)
        sleeper.gate.release()
        with pytest.raises(operations.VolumeFailed, match="the pod is deleted"):
            await publishing
        assert len(driver.published) == 1

    async def test_a_publish_waiting_for_a_volume_that_was_unpublished_ends(
        self, kubelet: agent.Kubelet, driver: node_driver.NodeDriver, sleeper: Sleeper
    ) -> None:
        driver.publish_codes.append(grpc.StatusCode.INTERNAL)
        sleeper.gate = asyncio.Semaphore(0)
        publishing = asyncio.create_task(kubelet.publish(POD, VOLUME))
        await sleeper.reached(1)
        await kubelet.unpublish(POD, "store")
        sleeper.gate.release()
        with pytest.raises(operations.VolumeFailed, match="the volume is unpublished"):
            await publishing
