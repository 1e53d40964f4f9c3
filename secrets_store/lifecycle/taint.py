"""The startup taint: keeps pods off a new node until their volumes can be mounted there.

Whoever makes the nodes puts ``secrets-store.csi.k8s.io/agent-not-ready`` on them. It goes when
kubelet has registered the driver (the CSINode lists it) and the required providers answer; a taint
removed before registration would let pods in only to fail.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from secrets_store import errors, tasks
from secrets_store import log as logs
from secrets_store.kube import client, paths
from secrets_store.providers import registry

KEY = "secrets-store.csi.k8s.io/agent-not-ready"
LOOK_S = 2.0
RARE_S = 30.0
QUICK_LOOKS = 30
"""After so many looks at the API server the next are rare: a whole cluster may wait in vain for a
registrar or a provider."""
PROVIDER_LOOKS = 5
"""So many looks at a provider, which cost the API server nothing, take the place of each pause."""
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
        self._looks = 0

    async def run(self) -> None:
        """Look until the taint is gone, then rest until cancelled."""
        never = asyncio.Event()
        denied = False
        while True:
            self._looks += 1
            refused = False
            try:
                pause_s = await self._remove()
            except errors.Forbidden as error:
                refused, pause_s = True, DENIED_S
                # Of refusals in a row, the first is worth a line.
                if not denied:
                    _log.warning(
                        "startup taint cannot be removed", extra=logs.pairs(reason=str(error))
                    )
            except errors.ApiError as error:
                pause_s = self._pause_s()
                self._wait_for(f"API server: {error}")
            denied = refused
            if pause_s is None:
                break
            if pause_s:
                await self._clock.wait(never, pause_s)
        await never.wait()

    def _pause_s(self) -> float:
        return LOOK_S if self._looks < QUICK_LOOKS else RARE_S

    async def _remove(self) -> float | None:
        """Remove the taint if all is ready.

        Returns: Seconds until the next look; None if there is nothing left to do.
        """
        node = await self._threads.run(self._api.get, paths.nodes(self._node))
        taints: list[dict[str, Any]] = (node.get("spec") or {}).get("taints") or []
        if all(taint.get("key") != KEY for taint in taints):
            return None
        missing = await self._unregistered()
        if missing:
            self._wait_for(missing)
            return self._pause_s()
        if await self._await_providers():
            # What was read before the wait may be old.
            return 0.0
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
        return None

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
        """Wait a while for the required providers; tell whether it took any time."""
        never = asyncio.Event()
        for waited in range(round(PROVIDER_LOOKS * self._pause_s() / LOOK_S)):
            missing = await self._silent()
            if not missing:
                return waited > 0
            self._wait_for(missing)
            await self._clock.wait(never, LOOK_S)
        return True

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
