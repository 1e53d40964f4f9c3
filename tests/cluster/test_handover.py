"""What only kubelet can hand over: used while valid, waited for, and missed if it never comes.

A kubelet that repeats no publishes is one whose CSIDriver object lacks `requiresRepublish`.
"""

import json
import secrets

import pytest

from devkit import provider, stage
from devkit.kubelet import agent, objects
from tests.cluster import clock as clocks
from tests.cluster import drivers, scene
from tests.cluster.conftest import Start
from tests.cluster.drivers import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(30)]

TOKENS = "csi.storage.k8s.io/serviceAccount.tokens"
ROTATING = {"enable_secret_rotation": True, "rotation_poll_interval_s": 120.0}


def tokens(clock: clocks.VirtualClock, lifetime_s: float = 3600.0) -> dict[str, str]:
    """Return the volume context in which kubelet hands over a token."""
    ends = scene.timestamp(clock.wall_s() + lifetime_s)
    return {
        TOKENS: json.dumps({"kms": {"token": secrets.token_hex(16), "expirationTimestamp": ends}})
    }


def node_events(world: scene.Scene, reason: str = "RepublishMissing") -> list[scene.Json]:
    """Return the events on nodes; a real server is shared by tests, each with a node of its own."""
    return world.events(reason, "default")


def awaiting(driver: drivers.Driver) -> float:
    return driver.sample("secrets_store_volumes_awaiting_republish")


async def test_without_republish_a_token_is_used_to_its_end_and_then_missed(
    start: Start,
    world: scene.Scene,
    clock: clocks.VirtualClock,
    store: provider.Provider,
    caplog: pytest.LogCaptureFixture,
) -> None:
    name = f"node-{secrets.token_hex(4)}"
    pods = [world.create_pod(f"web-{number}", node=name) for number in range(3)]
    async with start(**ROTATING, clock=clock, node_id=name) as driver:
        await driver.watching()
        volumes = [await driver.publish_for(pod, context=tokens(clock)) for pod in pods]
        await driver.in_step()
        await clock.advance(3500.0)
        assert len(store.calls) >= 3 * 26
        assert awaiting(driver) == 0
        await clock.advance(100.0 + 140.0)
        store.files = {"password": b"second"}
        asked = store.attempts
        # All wait, but kubelet may only be late.
        assert awaiting(driver) == 3
        assert node_events(world) == []
        await clock.advance(3600.0)
        assert store.attempts == asked
        (event,) = await eventually(lambda: node_events(world))
        assert event["involvedObject"] == {
            "apiVersion": "v1", "kind": "Node", "name": name, "uid": name,
        }  # fmt: skip
        assert "requiresRepublish" in event["message"]
        assert event["message"].startswith("3 volumes")
        warnings = [x for x in caplog.records if "requiresRepublish" in x.getMessage()]
        assert len(warnings) == 1
        assert len(node_events(world)) == 1
        # One publish that kubelet does repeat mends its volume.
        await driver.publish_for(pods[0], context=tokens(clock))
        await clock.settle()
        shown = [(volume / "password").read_bytes() for volume in volumes]
        assert shown == [b"second", b"first", b"first"]
        assert store.attempts == asked + 1
        assert awaiting(driver) == 2


async def test_without_republish_what_does_not_end_is_used_for_ever(
    start: Start, world: scene.Scene, clock: clocks.VirtualClock, store: provider.Provider
) -> None:
    """A volume that needs nothing, and one with a node-publish secret, which has no end."""
    pods = [world.create_pod(f"web-{number}") for number in range(2)]
    async with start(**ROTATING, clock=clock) as driver:
        await driver.watching()
        await driver.publish_for(pods[0])
        request = driver.request(pods[1]["metadata"]["uid"], name="web-1")
        request.secrets["client"] = value = secrets.token_hex(16)
        await driver.csi.NodePublishVolume(request)
        await driver.in_step()
        await clock.advance(12 * 3600.0)
        assert len(store.calls) >= 2 * 320
        assert sum(call.secrets == {"client": value} for call in store.calls) >= 320
        assert awaiting(driver) == 0


async def test_a_restart_waits_for_kubelet_without_an_alarm(
    start: Start,
    world: scene.Scene,
    clock: clocks.VirtualClock,
    store: provider.Provider,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pods = [world.create_pod(f"web-{number}") for number in range(3)]
    async with start(**ROTATING, clock=clock) as driver:
        await driver.watching()
        for pod in pods:
            await driver.publish_for(pod, context=tokens(clock))
    await clock.advance(300.0)
    asked = store.attempts
    async with start(**ROTATING, clock=clock) as driver:
        await driver.watching()
        await clock.advance(60.0)
        assert awaiting(driver) == 3
        assert store.attempts == asked
        for pod in pods:
            await clock.advance(15.0)
            await driver.publish_for(pod, context=tokens(clock))
        await clock.settle()
        assert store.attempts == asked + 3
        assert awaiting(driver) == 0
        await clock.advance(1000.0)
        assert store.attempts > asked + 3
    assert not [x for x in caplog.records if "requiresRepublish" in x.getMessage()]


async def test_one_volume_that_kubelet_forgets_is_no_alarm(
    start: Start,
    world: scene.Scene,
    clock: clocks.VirtualClock,
    store: provider.Provider,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As long as kubelet repeats others, the CSIDriver object is right."""
    pods = [world.create_pod(f"web-{number}") for number in range(2)]
    async with start(**ROTATING, clock=clock) as driver:
        await driver.watching()
        for pod in pods:
            await driver.publish_for(pod, context=tokens(clock, 300.0))
        await driver.in_step()
        for _ in range(24):
            await clock.advance(75.0)
            await driver.publish_for(pods[0], context=tokens(clock, 300.0))
        assert awaiting(driver) == 1
    assert not [x for x in caplog.records if "requiresRepublish" in x.getMessage()]


async def test_a_volume_whose_pod_has_gone_rests(
    start: Start, world: scene.Scene, clock: clocks.VirtualClock, store: provider.Provider
) -> None:
    """kubelet has lost sight of it: mount and record stay, and the provider is left in peace."""
    pods = {name: world.create_pod(name) for name in ("stays", "goes")}
    async with start(
        enable_secret_rotation=True, rotation_poll_interval_s=10.0, clock=clock
    ) as driver:
        await driver.watching()
        volumes = [await driver.publish_for(pod) for pod in pods.values()]
        await driver.in_step()
        await clock.advance(30.0)
        world.delete_pod("goes")
        # The watch's word is seen in what it does to a publish: that would end at once.
        await eventually(lambda: driver.app._pods.get(pods["goes"]["metadata"]["uid"]) is None)
        await clock.advance(75.0)
        store.calls.clear()
        driver.asked.reset()
        store.files = {"password": b"second"}
        counted = driver.total("rotation_reconcile_total")
        await clock.advance(600.0)
        assert driver.total("rotation_reconcile_total") - counted == len(store.calls)
        asked = {call.attributes["csi.storage.k8s.io/pod.name"] for call in store.calls}
        assert asked == {"stays"}
        assert driver.asked.count(["create"], drivers.STATUSES) == 0
        assert len(driver.node.mounts()) == len(driver.records()) == 2
        assert (volumes[1] / "password").read_bytes() == b"first"
        # kubelet remembers it, whatever the watch says.
        await driver.publish_for(pods["goes"])
        await clock.advance(60.0)
        assert (volumes[1] / "password").read_bytes() == b"second"
        await driver.unpublish(pods["goes"]["metadata"]["uid"])
        assert len(driver.node.mounts()) == len(driver.records()) == 1


async def test_nothing_rests_while_the_watch_is_down(
    start: Start, world: scene.Scene, clock: clocks.VirtualClock, store: provider.Provider
) -> None:
    """A token without the right to watch pods: nothing is known of any."""
    rules = [rule for rule in scene.driver_rules() if "pods" not in rule["resources"]]
    token = world.api.account_token("blind", rules)
    async with start(
        enable_secret_rotation=True, rotation_poll_interval_s=10.0, clock=clock, token=token
    ) as driver:
        await eventually(lambda: driver.asked.count(resource="pods", code="403"))
        await driver.publish("web", name="web")
        await clock.advance(600.0)
        assert len(store.calls) >= 54


@pytest.mark.parametrize("in_secrets", [False, True], ids=["in the context", "in the secrets"])
async def test_tokens_go_on_in_the_attributes_and_nowhere_else(
    start: Start, world: scene.Scene, store: provider.Provider, in_secrets: bool
) -> None:
    """Wherever kubelet puts them: most providers look in the attributes only."""
    described = objects.CsiDriver(
        token_requests=(objects.TokenRequest("kms"), objects.TokenRequest("")),
        token_in_secrets=in_secrets,
    )
    store.required_audiences = ["kms", ""]
    pod = objects.Pod.from_dict(world.create_pod("web"))
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=0.2) as driver:
        kubelet = agent.Kubelet(driver.node.kubelet, stage.NODE, [described])
        await kubelet.register(str(driver.node.csi_socket))
        secret = {"user": secrets.token_hex(8)}
        volume = objects.Volume("secrets", {"secretProviderClass": "app"}, secrets=secret)
        await kubelet.publish(pod, volume, attempts=1)
        await eventually(lambda: len(store.calls) >= 3)
        for call in store.calls:
            assert set(call.tokens) == {"kms", ""}
            assert call.secrets == secret
            assert all(isinstance(value, str) for value in call.attributes.values())
        written = b"".join(path.read_bytes() for path in driver.records())
        for hidden in (secret["user"], store.calls[0].tokens["kms"]["token"]):
            assert hidden.encode() not in written
        await kubelet.close()
