"""The startup taint: keeps pods off a new node until their volumes can be mounted there.

Whoever makes the nodes puts ``secrets-store.csi.k8s.io/agent-not-ready`` on them. It goes when
kubelet has registered the driver (the CSINode lists it) and the required providers answer; a taint
removed before registration would let pods in only to fail.
"""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

from secrets_store import errors, tasks
from secrets_store import log as logs
from secrets_store.kube import client, paths
from secrets_store.providers import registry

KEY = "secrets-store.csi.k8s.io/agent-not-ready"
LOOK_S = 2.0
QUICK_LOOKS = 30
"""kubelet registers a driver within seconds; after these looks it is asked for rarely, for a whole
cluster may wait in vain."""
RARE_S = 30.0
DENIED_S = 300.0
VERSION_TIMEOUT_S = 5.0

_log = logs.get(__name__)


class Taint:
    """Removes the taint of one node once; then it has nothing more to do.

    Args:
        node, driver: Names of the node and of the CSI driver.
        required: Providers that must answer Version first.
    """

    def __init__(
        self,
        api: client.Client,
        threads: tasks.Threads,
        providers: registry.Registry,
        clock: tasks.Clock,
        *,
        node: str,
        driver: str,
        required: Sequence[str],
    ) -> None:
        self._api, self._threads, self._providers, self._clock = api, threads, providers, clock
        self._node, self._driver, self._required = node, driver, required
        self._waits_for = ""

    async def run(self) -> None:
        """Look until the taint is gone, then rest until cancelled."""
        never = asyncio.Event()
        denied = False
        for look in itertools.count(1):
            refused = False
            try:
                if await self._remove():
                    break
            except errors.Forbidden as error:
                refused = True
                # Of refusals in a row, the first is worth a line.
                if not denied:
                    _log.warning(
                        "startup taint cannot be removed", extra=logs.pairs(reason=str(error))
                    )
            except errors.ApiError as error:
                self._wait_for(f"API server: {error}")
            denied = refused
            pause_s = LOOK_S if look < QUICK_LOOKS else RARE_S
            await self._clock.wait(never, DENIED_S if denied else pause_s)
        await never.wait()

    async def _remove(self) -> bool:
        """Remove the taint if all is ready; tell whether there is nothing left to do."""
        node = await self._threads.run(self._api.get, paths.nodes(self._node))
        taints: list[dict[str, Any]] = (node.get("spec") or {}).get("taints") or []
        if all(taint.get("key") != KEY for taint in taints):
            return True
        missing = await self._unregistered()
        if missing:
            self._wait_for(missing)
            return False
        if await self._await_providers():
            # What was read before the wait may be old.
            return await self._remove()
        kept = [taint for taint in taints if taint.get("key") != KEY]
        # The test keeps what others have changed meanwhile.
        change: dict[str, Any] = (
            {"op": "replace", "path": "/spec/taints", "value": kept}
            if kept
            else {"op": "remove", "path": "/spec/taints"}
        )
        await self._threads.run(
            self._api.patch,
            paths.nodes(self._node),
            [{"op": "test", "path": "/spec/taints", "value": taints}, change],
            kind="json",
        )
        _log.info("startup taint removed", extra=logs.pairs(node=self._node))
        return True

    async def _unregistered(self) -> str:
        """Return what kubelet has not done yet, empty if it has done all."""
        try:
            listed = await self._threads.run(self._api.get, paths.csi_nodes(self._node))
        except errors.NotFound:
            return "kubelet has not made the CSINode"
        drivers = (listed.get("spec") or {}).get("drivers") or []
        if all(driver.get("name") != self._driver for driver in drivers):
            return "kubelet has not registered the driver"
        return ""

    async def _await_providers(self) -> bool:
        """Wait until the required providers answer, without the API server; tell if it took any."""
        never, waited = asyncio.Event(), False
        while missing := await self._silent():
            self._wait_for(missing)
            await self._clock.wait(never, LOOK_S)
            waited = True
        return waited

    async def _silent(self) -> str:
        """Return which required provider does not answer, empty if all do."""
        for name in self._required:
            try:
                channel = await self._providers.connect(name)
                await channel.version(VERSION_TIMEOUT_S)
            except (errors.ProviderMissing, errors.ProviderFailed) as error:
                return str(error)
        return ""

    def _wait_for(self, what: str) -> None:
        if what != self._waits_for:
            self._waits_for = what
            _log.info("startup taint stays", extra=logs.pairs(waitsFor=what))
