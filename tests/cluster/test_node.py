"""The life of a node: its taint at start, files of non-root pods, names that do not fit."""

import pathlib
import secrets
import stat

import pytest

from devkit import provider, stage
from devkit.kubelet import agent, objects
from tests.cluster import clock as clocks
from tests.cluster import scene
from tests.cluster.conftest import Start
from tests.cluster.drivers import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(30)]

TAINT = {"key": "secrets-store.csi.k8s.io/agent-not-ready", "effect": "NoSchedule"}
OTHER = {"key": "example.com/other", "value": "stays", "effect": "NoExecute"}
PACE = 20.0


@pytest.fixture
def name() -> str:
    """A node of the test's own: a real server is shared."""
    return f"node-{secrets.token_hex(4)}"


def create_node(world: scene.Scene, name: str, *taints: scene.Json) -> None:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
    world.api.client.create({**node, "spec": {"taints": list(taints)}})


def register(world: scene.Scene, name: str) -> None:
    """Do what kubelet does when it has registered the driver."""
    world.api.client.create(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "CSINode",
            "metadata": {"name": name},
            "spec": {"drivers": [{"name": "secrets-store.csi.k8s.io", "nodeID": name}]},
        }
    )


def taint_keys(world: scene.Scene, name: str) -> list[str]:
    node = world.find(f"/api/v1/nodes/{name}")
    assert node is not None
    # Admission of a real server adds one of its own.
    keys = [taint["key"] for taint in node["spec"].get("taints", [])]
    return [key for key in keys if not key.startswith("node.kubernetes.io/")]


async def test_the_taint_goes_when_volumes_can_be_mounted(
    start: Start, world: scene.Scene, clock: clocks.VirtualClock, node: stage.Node, name: str
) -> None:
    create_node(world, name, OTHER, TAINT)
    chosen = {"remove_startup_taint": True, "required_providers": "fake, late"}
    async with start(clock=clock, node_id=name, **chosen) as driver, clock.flowing(PACE):
        looks = driver.asked
        await eventually(lambda: looks.count(["get"], "csinodes", "404") >= 2)
        assert taint_keys(world, name) == [OTHER["key"], TAINT["key"]]
        register(world, name)
        seen = looks.count(["get"], "csinodes", "200")
        await eventually(lambda: looks.count(["get"], "csinodes", "200") >= seen + 3)
        assert taint_keys(world, name) == [OTHER["key"], TAINT["key"]]
        async with provider.Provider(node.providers, "late"):
            await eventually(lambda: taint_keys(world, name) == [OTHER["key"]])
        # It has done its work and asks no more.
        seen = looks.count(resource="nodes")
        await clock.skip(600.0)
        await driver.publish()
        assert looks.count(resource="nodes") == seen


async def test_the_taint_stays_where_the_flag_is_not_set(
    start: Start, world: scene.Scene, clock: clocks.VirtualClock, name: str
) -> None:
    create_node(world, name, TAINT)
    register(world, name)
    async with start(clock=clock, node_id=name) as driver:
        await driver.watching()
        await driver.publish()
        await clock.advance(60.0)
        assert taint_keys(world, name) == [TAINT["key"]]
        assert driver.asked.count(resource="nodes") == driver.asked.count(resource="csinodes") == 0


def modes(volume: pathlib.Path) -> dict[str, tuple[str, int]]:
    """Return mode and group of a volume's root, directories and files, by path."""
    shown = (volume / "..data").resolve()
    found = {
        ".": volume,
        "..data": shown,
        **{str(x.relative_to(shown)): x for x in shown.rglob("*")},
    }
    return {
        path: (oct(stat.S_IMODE(where.stat().st_mode)), where.stat().st_gid)
        for path, where in found.items()
    }


@pytest.mark.parametrize("group", [None, 4242], ids=["no group", "a group"])
async def test_files_have_mode_and_group_at_first_and_at_each_rotation(
    start: Start,
    world: scene.Scene,
    clock: clocks.VirtualClock,
    store: provider.Provider,
    group: int | None,
    other_group: int,
) -> None:
    """What a pod's fsGroup asks for, through kubelet; without one nothing changes for anybody."""
    assert group in (None, other_group)
    store.files = {"password": b"first", "dir/nested": b"x", "key": provider.File(b"k", 0o600)}
    made = objects.Pod.from_dict(world.create_pod("web"))
    pod = objects.Pod(made.name, made.namespace, made.uid, fs_group=group)
    async with start(
        enable_secret_rotation=True, rotation_poll_interval_s=60.0, clock=clock
    ) as driver:
        kubelet = agent.Kubelet(driver.node.kubelet, stage.NODE)
        await kubelet.register(str(driver.node.csi_socket))
        await driver.watching()
        mounted = objects.Volume("secrets", {"secretProviderClass": "app"})
        volume = (await kubelet.publish(pod, mounted, attempts=1)).target
        await driver.in_step()
        first = modes(volume)
        if group is None:
            assert {first["password"], first["dir/nested"]} == {("0o644", 0)}
            assert first["key"] == ("0o600", 0)
        else:
            assert {first["password"], first["dir/nested"]} == {("0o440", group)}
            # The provider's own mode, opened for the group alone.
            assert first["key"] == ("0o640", group)
            assert {first["."], first["..data"], first["dir"]} == {("0o2750", group)}
        store.files = store.files | {"password": b"second"}
        await clock.advance(70.0)
        assert (volume / "password").read_bytes() == b"second"
        assert modes(volume) == first
        await kubelet.close()


async def test_names_that_do_not_fit(
    start: Start, world: scene.Scene, clock: clocks.VirtualClock, store: provider.Provider
) -> None:
    """Upstream's status object of this pod has no legal name, and its label no legal value."""
    node_name = f"{'n' * 60}.{secrets.token_hex(4)}.example.com"
    pod_name, class_name = f"{'p' * 60}.{'q' * 140}", f"{'c' * 60}.{'d' * 60}"
    world.create_class(class_name)
    pod = world.create_pod(pod_name, node=node_name)
    async with start(
        enable_secret_rotation=True, rotation_poll_interval_s=60.0, clock=clock, node_id=node_name
    ) as driver:
        await driver.watching()
        for volume in ("one", "two"):
            await driver.publish_for(pod, class_name=class_name, volume=volume)
        await driver.in_step()
        statuses = world.api.client.items(world.api.pod_statuses())
        assert len(statuses) == 2
        targets = {status["status"]["targetPath"] for status in statuses}
        assert len(targets) == 2
        for status in statuses:
            assert len(status["metadata"]["name"]) <= 253
            assert node_name in status["metadata"]["annotations"].values()
        store.files = {"password": b"second"}
        driver.asked.reset()
        await clock.advance(70.0)
        assert [(pathlib.Path(x) / "password").read_bytes() for x in targets] == [b"second"] * 2
        assert driver.asked.count(["create"], "secretproviderclasspodstatuses") == 0
