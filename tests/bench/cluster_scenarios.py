"""Scenarios about the API server: requests, Secrets, refreshes, and memory in a big cluster."""

import asyncio
import time
from collections.abc import Sequence

from devkit import stage
from tests.bench import bed, scenarios

Figures = scenarios.Figures
REQUESTS = "rest_client_requests_total"
SECRETS, CLASSES = 2000, 500
PATIENCE_S = 30.0
"""A driver that has not written all Secrets by then is not waited for any longer."""


async def _settled(driver: bed.Driver) -> float:
    """Return the requests so far, once they have stopped growing."""
    before = -1.0
    # A driver that never comes to rest is taken as it is after ten looks.
    for _ in range(10):
        now = await asyncio.to_thread(driver.process.series, REQUESTS)
        if now == before:
            break
        before = now
        await asyncio.sleep(0.7)
    return before


async def requests(laid: bed.Bed, command: Sequence[str]) -> Figures:
    """Requests to the API server, counted by the driver itself."""
    figures: Figures = {}
    async with bed.driver(laid, command, scenarios.ROTATION) as driver:
        for name, class_name in (("first publish", "one"), ("with one Secret", "synced")):
            (pod,) = scenarios.uids(1)
            uid = laid.make_pod(pod)
            before = await _settled(driver)
            await driver.publish(uid, class_name, pod)
            figures[f"requests: {name}"] = await _settled(driver) - before
            before = await _settled(driver)
            await driver.publish(uid, class_name, pod)
            figures[f"requests: republish, {name}"] = await _settled(driver) - before
    return figures


async def sync(laid: bed.Bed, command: Sequence[str]) -> Figures:
    """Fifty pods with a Secret each at once: until Secret and owner are there."""
    pods = {name: laid.make_pod(name) for name in scenarios.uids(50)}
    for name in pods:
        laid.api.create(bed.synced_class(f"sync-{name}", f"secret-{name}"))
    wanted = {f"secret-{name}" for name in pods}
    async with bed.driver(laid, command, scenarios.ROTATION) as driver:
        began = time.perf_counter()
        publishing = asyncio.gather(
            *(driver.publish(uid, f"sync-{name}", name) for name, uid in pods.items())
        )
        while not wanted <= await asyncio.to_thread(laid.owned):
            if time.perf_counter() - began > PATIENCE_S:
                break
            await asyncio.sleep(0.02)
        owned = time.perf_counter() - began
        await publishing
        called = time.perf_counter() - began
    return {
        "50 Secrets at once, publishes done s": round(called, 2),
        "50 Secrets at once, all with owner s": round(owned, 2),
    }


async def refresh(laid: bed.Bed, command: Sequence[str]) -> Figures:
    """110 volumes that are due at the same moment and find nothing new.

    A driver that refreshes within kubelet's call is called for each.
    """
    flags = ("--enable-secret-rotation=true", "--rotation-poll-interval=2s")
    async with bed.driver(laid, command, flags) as driver:
        pods = scenarios.uids(scenarios.POD_LIMIT)
        await asyncio.gather(*(driver.publish(uid) for uid in pods))
        await asyncio.sleep(0.5)
        checked = "rotation_reconcile_total"
        before = driver.process.series(checked)
        cpu = driver.process.cost().cpu_s
        began = time.perf_counter()
        if command != list(stage.OURS):
            await asyncio.sleep(2.5)
            began = time.perf_counter()
            await asyncio.gather(*(driver.publish(uid) for uid in pods))
        else:
            laid.ask_for_refresh("one")
            # A scrape is the only thing that tells of refreshes from outside.
            while driver.process.series(checked) - before < scenarios.POD_LIMIT:
                await asyncio.sleep(0.02)
        return {
            "refresh of 110 due volumes, unchanged s": round(time.perf_counter() - began, 2),
            "the same, cpu s": round(driver.process.cost().cpu_s - cpu, 2),
        }


async def big_cluster(laid: bed.Bed, command: Sequence[str]) -> Figures:
    """Memory with 2,000 Secrets and 500 classes around that are none of this node's business."""
    laid.fill(SECRETS, CLASSES)
    async with bed.driver(laid, command, scenarios.ROTATION) as driver:
        await asyncio.sleep(2.0)
        start = driver.process.cost().rss_mib
        pods = scenarios.uids(scenarios.POD_LIMIT)
        await asyncio.gather(*(driver.publish(uid) for uid in pods))
        return {
            "rss at start, big cluster MiB": round(start, 1),
            "rss with 110 volumes, big cluster MiB": round(driver.process.cost().rss_mib, 1),
        }


ALL: dict[str, scenarios.Scenario] = {
    "requests": requests,
    "sync": sync,
    "refresh": refresh,
    "big cluster": big_cluster,
}
