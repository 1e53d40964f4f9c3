"""The scenarios of the driver's benchmark: each runs one driver and returns figures by name.

Figures are milliseconds, MiB or seconds as their names say. Provider time is apart: the stand-in
provider answers from files at once.
"""

import asyncio
import itertools
import statistics
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence

from devkit import stage
from tests.bench import bed

Figures = dict[str, float]
Scenario = Callable[[bed.Bed, Sequence[str]], Awaitable[Figures]]

POD_LIMIT = 110
PACE_PER_S = 14.0
ROTATION = ("--enable-secret-rotation=true", "--rotation-poll-interval=1h")
_numbers = itertools.count()


def uids(count: int) -> list[str]:
    """Return names that no scenario has used yet."""
    return [f"b{next(_numbers)}" for _ in range(count)]


def _ms(seconds: Sequence[float], name: str, *quantiles: int) -> Figures:
    ordered = sorted(seconds)
    places = {q: ordered[min(len(ordered) - 1, len(ordered) * q // 100)] for q in quantiles}
    return {f"{name} p{q} ms": round(value * 1000, 2) for q, value in places.items()}


async def start(laid: bed.Bed, command: Sequence[str]) -> Figures:
    """From exec until Probe says ready, and until a first publish is done."""
    ready, first = [], []
    for uid in uids(5):
        process = stage.DriverProcess(laid.node, laid.kubeconfig, command=command)
        began = time.perf_counter()
        ready.append(await process.start())
        async with bed.grpc.aio.insecure_channel(f"unix:{laid.node.csi_socket}") as channel:
            await bed.Driver(laid, process, channel).publish(uid)
            first.append(time.perf_counter() - began)
            await bed.Driver(laid, process, channel).unpublish(uid)
        await process.stop()
    return {
        "exec to ready ms": round(statistics.median(ready) * 1000),
        "exec to first publish ms": round(statistics.median(first) * 1000),
    }


async def paced(laid: bed.Bed, command: Sequence[str]) -> Figures:
    """One publish after the other at a steady pace, then the unpublishes."""
    figures: Figures = {}
    async with bed.driver(laid, command) as driver:
        await driver.publish("warm")
        await driver.unpublish("warm")
        for class_name, count in (("one", 100), ("fifty", 40)):
            pods, taken = uids(count), []
            before = driver.process.cost().cpu_s
            for uid in pods:
                began = time.perf_counter()
                taken.append(await driver.publish(uid, class_name))
                await asyncio.sleep(max(0.0, 1 / PACE_PER_S - (time.perf_counter() - began)))
            gone = [await driver.unpublish(uid) for uid in pods]
            cpu_s = driver.process.cost().cpu_s - before
            files = bed.CLASSES[class_name]
            figures |= _ms(taken, f"publish {files} files", 50, 99)
            figures |= _ms(gone, f"unpublish {files} files", 50, 99)
            figures[f"cpu per publish and unpublish, {files} files ms"] = round(
                cpu_s / count * 1000, 2
            )
    return figures


async def back_to_back(laid: bed.Bed, command: Sequence[str]) -> Figures:
    """One publish after the other without a pause."""
    async with bed.driver(laid, command) as driver:
        pods = uids(100)
        taken = [await driver.publish(uid) for uid in pods]
        for uid in pods:
            await driver.unpublish(uid)
    return _ms(taken, "publish back to back", 50)


async def storm(laid: bed.Bed, command: Sequence[str]) -> Figures:
    """All pods of a node at once, three times; memory before, between and after."""
    async with bed.driver(laid, command) as driver:
        await asyncio.sleep(1.0)
        figures = {"rss at start MiB": round(driver.process.cost().rss_mib, 1)}
        walls, taken, probes, cpu = [], [], [], []
        for number in range(3):
            pods = uids(POD_LIMIT)
            before = driver.process.cost().cpu_s
            began = time.perf_counter()
            publishing = asyncio.gather(*(driver.publish(uid) for uid in pods))
            while not publishing.done():
                probes.append(await driver.probe())
                await asyncio.sleep(0.02)
            taken += await publishing
            walls.append(time.perf_counter() - began)
            cpu.append(driver.process.cost().cpu_s - before)
            if number == 0:
                figures["rss with 110 volumes MiB"] = round(driver.process.cost().rss_mib, 1)
            await asyncio.gather(*(driver.unpublish(uid) for uid in pods))
        cost = driver.process.cost()
        figures |= {
            "storm of 110, wall s": round(statistics.median(walls), 3),
            "storm, probe max ms": round(max(probes) * 1000, 1),
            "storm, cpu s": round(statistics.median(cpu), 3),
            "rss after three storms MiB": round(cost.rss_mib, 1),
            "rss peak MiB": round(cost.peak_mib, 1),
        }
        return figures | _ms(taken, "storm, publish", 50, 99)


async def unpublishes(laid: bed.Bed, command: Sequence[str]) -> Figures:
    """Volumes taken away in parallel: how long, and how many calls fail."""
    failures = total = 0
    walls = []
    async with bed.driver(laid, command) as driver:
        for _ in range(5):
            pods = uids(POD_LIMIT)
            for part in (pods[i : i + 10] for i in range(0, POD_LIMIT, 10)):
                await asyncio.gather(*(driver.publish(uid) for uid in part))
            began = time.perf_counter()
            done = await asyncio.gather(
                *(driver.unpublish(uid) for uid in pods), return_exceptions=True
            )
            walls.append(time.perf_counter() - began)
            total += len(done)
            failed = [x for x in done if isinstance(x, BaseException)]
            failures += len(failed)
            for uid, outcome in zip(pods, done, strict=True):
                if isinstance(outcome, BaseException):
                    await driver.unpublish(uid)
    return {
        "110 unpublishes at once, wall s": round(statistics.median(walls), 3),
        f"unpublish errors of {total}": failures,
    }


async def republish(laid: bed.Bed, command: Sequence[str]) -> Figures:
    """kubelet's repeated publish of unchanged volumes."""
    async with bed.driver(laid, command, ROTATION) as driver:
        pods = uids(POD_LIMIT)
        for uid in pods:
            await driver.publish(uid)
        single = [await driver.publish(uid) for uid in pods]
        began = time.perf_counter()
        await asyncio.gather(*(driver.publish(uid) for uid in pods))
        wall = time.perf_counter() - began
    return _ms(single, "republish, not due", 50, 99) | {
        "110 republishes at once, wall s": round(wall, 3)
    }


async def idle(laid: bed.Bed, command: Sequence[str]) -> Figures:
    """CPU with 110 volumes: at rest, and at kubelet's pace of republishing."""
    async with bed.driver(laid, command, ROTATION) as driver:
        pods = uids(POD_LIMIT)
        for uid in pods:
            await driver.publish(uid)
        # Until what a storm has used is given back and the watches have settled.
        await asyncio.sleep(12.0)
        before = driver.process.cost().cpu_s
        await asyncio.sleep(20.0)
        at_rest = (driver.process.cost().cpu_s - before) * 3
        before = driver.process.cost().cpu_s
        for uid in pods[:30]:
            await driver.publish(uid)
            await asyncio.sleep(60 / 88)
        paced_s = (driver.process.cost().cpu_s - before) * 88 / 30
    return {
        "idle cpu per minute s": round(at_rest, 2),
        "cpu per minute at republish pace s": round(paced_s, 2),
    }


async def rotation(laid: bed.Bed, command: Sequence[str]) -> Figures:
    """A change at the provider until it is in the file, at an interval of one second.

    A driver that refreshes only within kubelet's call is called ten times a second for it.
    """
    flags = ("--enable-secret-rotation=true", "--rotation-poll-interval=1s")
    async with bed.driver(laid, command, flags) as driver:
        (uid,) = uids(1)
        await driver.publish(uid)
        served = laid.files("one") / "secret0"
        shown = f"{laid.node.target(uid)}/secret0"
        taken = []
        for number in range(5):
            contents = f"{number}".encode() * 100
            served.with_suffix(".new").write_bytes(contents)
            served.with_suffix(".new").rename(served)
            began = time.perf_counter()
            while await asyncio.to_thread(_read, shown) != contents:
                await driver.publish(uid)
                await asyncio.sleep(0.1)
            taken.append(time.perf_counter() - began)
        await driver.unpublish(uid)
    return {"change to file at interval 1 s, median s": round(statistics.median(taken), 2)}


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def processes_started(pid: int) -> int:
    """Return how many children a process has now."""
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, check=False)
    return len(found.stdout.split())


ALL: dict[str, Scenario] = {
    "start": start,
    "paced": paced,
    "back to back": back_to_back,
    "storm": storm,
    "unpublish": unpublishes,
    "republish": republish,
    "rotation": rotation,
    "idle": idle,
}
