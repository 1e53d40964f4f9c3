"""The stand-in kubelet: registers drivers and carries pod volumes through their life.

One `Kubelet` is one node. Everything runs on the loop of its callers. A volume has
one operation at a time; a failed one is repeated after half a second, then after
twice as long each time, up to two minutes and two seconds, until it succeeds or the
pod goes. `operations` tells what a single attempt does.
"""

import asyncio
import dataclasses
import os
import pathlib
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator

from devkit.kms import review
from devkit.kubelet import node_client, objects, operations, plugins, pod_dirs, tokens

FIRST_RETRY_S = 0.5
LAST_RETRY_S = 122.0


@dataclasses.dataclass(frozen=True, slots=True)
class Published:
    """A successful publish.

    Attributes:
        target: the directory with the files.
        attempts: 1 if it worked at once.
        call_s: duration of the last NodePublishVolume call alone, in seconds.
    """

    target: pathlib.Path
    attempts: int
    call_s: float


def retry_delays_s() -> Iterator[float]:
    """Yield how long kubelet waits after the first failure, the second and so on."""
    delay_s = FIRST_RETRY_S
    while True:
        yield delay_s
        delay_s = min(2 * delay_s, LAST_RETRY_S)


class Kubelet:
    """A node's kubelet, as far as CSI drivers see it.

    Attributes:
        plugins: registered drivers by name.
        events: the Warnings written on pods, oldest first, one per failed attempt.
        problems: what kubelet would only log: failed tear-downs, directories in the way.
    """

    def __init__(
        self,
        root: pathlib.Path,
        node_name: str = "node-1",
        drivers: Iterable[objects.CsiDriver] = (objects.CsiDriver(),),
        *,
        mint: tokens.Mint | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        deadline_s: float = node_client.CALL_DEADLINE_S,
        keep_connection: bool = False,
        is_mount_point: Callable[[str], bool] = os.path.ismount,
        removes_after_failed_republish: bool = False,
    ) -> None:
        """Prepare a node.

        Args:
            root: kubelet's directory; pod directories are made below it.
            node_name: goes into vol_data.json only.
            drivers: the cluster's CSIDriver objects.
            mint: makes service account tokens; None makes them locally.
            clock: seconds since the epoch.
            sleep: waits between retries and rounds.
            deadline_s: for each call to a driver.
            keep_connection: keep one connection to each driver, for benchmarks.
            is_mount_point: see `pod_dirs.PodDirs`.
            removes_after_failed_republish: clean up after a final failure even of a
                repeated publish, as kubelets without the fix of kubernetes 121271 do.
        """
        self.plugins: dict[str, plugins.Plugin] = {}
        self.events: list[objects.Event] = []
        self._drivers = {driver.name: driver for driver in drivers}
        self._dirs = pod_dirs.PodDirs(root, is_mount_point)
        self._tokens = tokens.Cache(
            mint or tokens.mint_from(review.PodTokens(clock=clock), clock), clock
        )
        self._operations = operations.Operations(
            node_name,
            self._drivers,
            self.plugins,
            self._dirs,
            self._tokens,
            deadline_s=deadline_s,
            keep_connection=keep_connection,
            removes_after_failed_republish=removes_after_failed_republish,
        )
        self.problems = self._operations.problems
        self._sleep = sleep
        self._volumes: dict[tuple[str, str], operations.PodVolume] = {}
        # For ever: a pod's uid never comes back, but a sleeping retry may wake late.
        self._deleted: set[str] = set()

    async def close(self) -> None:
        """Close kept connections. Volumes stay as they are, as at a kubelet restart."""
        await self._operations.close()

    async def register(self, csi_socket: str) -> plugins.Plugin:
        """Register the driver behind a CSI socket, without a sidecar in between.

        Raises:
            plugins.RegistrationFailed: it does not answer, or has no usable node id.
        """
        plugin = await plugins.inspect_unnamed(csi_socket)
        self._add_plugin(plugin)
        return plugin

    def watcher(self, plugins_registry: pathlib.Path) -> plugins.Watcher:
        """Make the watcher of a plugin directory; the caller runs it."""
        return plugins.Watcher(
            plugins_registry, self._add_plugin, self._drop_plugin, sleep=self._sleep
        )

    def target(self, pod: objects.Pod, volume_name: str) -> pathlib.Path:
        """Say where a pod's volume is, published or not."""
        return self._dirs.target(pod.uid, volume_name)

    def state(self, pod: objects.Pod, volume_name: str) -> operations.State | None:
        """Say what kubelet believes of a volume; None: nothing is there."""
        known = self._volumes.get((pod.uid, volume_name))
        return None if known is None else known.state

    async def publish(
        self, pod: objects.Pod, volume: objects.Volume, *, attempts: int | None = None
    ) -> Published:
        """Set a volume up, however often it takes.

        Args:
            pod: whose volume it is.
            volume: as the pod's spec has it.
            attempts: give up after so many; None tries on until the pod is deleted.

        Raises:
            operations.VolumeFailed: the last attempt's failure; all are in `events`.
        """
        fresh = operations.PodVolume(pod, volume)
        known = self._volumes.setdefault((pod.uid, volume.name), fresh)
        known.volume = volume
        for attempt, delay_s in enumerate(retry_delays_s(), 1):
            async with known.busy:
                self._check_wanted(known)
                try:
                    call_s = await self._operations.set_up(known)
                    return Published(self.target(pod, volume.name), attempt, call_s)
                except operations.VolumeFailed as error:
                    self.events.append(objects.Event(pod, "FailedMount", str(error)))
                    if attempt == attempts or pod.uid in self._deleted:
                        raise
            await self._sleep(delay_s)
        raise AssertionError("retry_delays_s never ends")

    async def republish(self, pod: objects.Pod, volume_name: str) -> float:
        """Repeat the publish of a mounted volume once.

        Returns:
            Duration of the NodePublishVolume call alone, in seconds.

        Raises:
            KeyError: no such volume is mounted.
            operations.VolumeFailed: it failed; also in `events`.
        """
        known = self._volumes[pod.uid, volume_name]
        if known.state is not operations.State.MOUNTED:
            raise KeyError(volume_name)
        return (await self.publish(known.pod, known.volume, attempts=1)).call_s

    async def republish_all(self) -> list[operations.VolumeFailed]:
        """Repeat, all at once, the publish of every volume whose driver asks for it.

        Returns:
            The failures.
        """

        async def attempt(known: operations.PodVolume) -> operations.VolumeFailed | None:
            try:
                await self.republish(known.pod, known.volume.name)
            except operations.VolumeFailed as error:
                return error
            return None

        results = await asyncio.gather(*map(attempt, self._due()))
        return [failure for failure in results if failure is not None]

    async def run_republishing(self, interval_s: float = 60.0, jitter: float = 0.5) -> None:
        """Repeat publishes for ever, each volume at its own pace.

        Args:
            interval_s: kubelet's syncFrequency.
            jitter: each wait is longer by up to this part of it.
        """
        running: set[operations.PodVolume] = set()

        async def repeat(known: operations.PodVolume) -> None:
            delays_s = retry_delays_s()
            while known in self._due():
                try:
                    await self.republish(known.pod, known.volume.name)
                except operations.VolumeFailed:
                    await self._sleep(next(delays_s))
                    continue
                delays_s = retry_delays_s()
                await self._sleep(interval_s * (1 + jitter * random.random()))
            running.discard(known)

        async with asyncio.TaskGroup() as group:
            while True:
                for known in self._due():
                    if known not in running:
                        running.add(known)
                        group.create_task(repeat(known))
                await self._sleep(interval_s)

    async def unpublish(
        self, pod: objects.Pod, volume_name: str, *, attempts: int | None = None
    ) -> None:
        """Tear a volume down, however often it takes.

        Args:
            pod: whose volume it is.
            volume_name: as in the pod's spec.
            attempts: give up after so many; None tries on for ever.

        Raises:
            KeyError: kubelet knows of no such volume.
            operations.VolumeFailed: the last attempt's failure; all are in `problems`.
        """
        known = self._volumes[pod.uid, volume_name]
        for attempt, delay_s in enumerate(retry_delays_s(), 1):
            try:
                async with known.busy:
                    if known.state is not None:
                        await self._operations.tear_down(known)
                    self._volumes.pop((pod.uid, volume_name), None)
                    return
            except operations.VolumeFailed as error:
                self.problems.append(str(error))
                if attempt == attempts:
                    raise
            await self._sleep(delay_s)

    async def delete_pod(self, pod: objects.Pod, *, attempts: int | None = None) -> None:
        """Stop mounting, unpublish what may be mounted, remove the pod's directory.

        Args:
            pod: to be deleted for good.
            attempts: per volume; None tries on for ever.

        Raises:
            operations.VolumeFailed: an unpublish failed as often as allowed.
            pod_dirs.LeftBehind: something lies there still.
        """
        self._deleted.add(pod.uid)
        names = [name for uid, name in self._volumes if uid == pod.uid]
        await asyncio.gather(*(self.unpublish(pod, name, attempts=attempts) for name in names))
        self._dirs.remove_pod(pod.uid)
        self._tokens.forget(pod)

    def _check_wanted(self, known: operations.PodVolume) -> None:
        name = known.volume.name
        if known.pod.uid in self._deleted:
            raise operations.VolumeFailed(operations.SET_UP, name, "the pod is deleted")
        if self._volumes.get((known.pod.uid, name)) is not known:
            raise operations.VolumeFailed(operations.SET_UP, name, "the volume is unpublished")

    def _add_plugin(self, plugin: plugins.Plugin) -> None:
        self.plugins[plugin.name] = plugin

    def _drop_plugin(self, name: str) -> None:
        self.plugins.pop(name, None)

    def _due(self) -> list[operations.PodVolume]:
        return [
            known
            for known in self._volumes.values()
            if known.state is operations.State.MOUNTED
            and known.pod.uid not in self._deleted
            and self._drivers[known.volume.driver].requires_republish
        ]
