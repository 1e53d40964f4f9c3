"""What went wrong is put right by itself, and costs nothing else meanwhile."""

import grpc
import pytest

from devkit import provider
from devkit.apiserver import cluster as apiserver
from tests.cluster import clock as clocks
from tests.cluster import scene
from tests.cluster.conftest import Start
from tests.cluster.drivers import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(30)]

POLICY = "secrets-store.csi.k8s.io/deletion-policy"


@pytest.fixture
def poor_token(api: apiserver.Cluster) -> str:
    """An identity that may do everything but write Secrets."""
    return api.account_token(
        "poor", [rule for rule in scene.driver_rules() if rule["resources"] != ["secrets"]]
    )


def grant_secrets(world: scene.Scene) -> None:
    """Give that identity the missing right after all."""
    name = f"{world.namespace}-late"
    (rule,) = (rule for rule in scene.driver_rules() if rule["resources"] == ["secrets"])
    group, version = "rbac.authorization.k8s.io", "rbac.authorization.k8s.io/v1"
    metadata = {"name": name}
    world.api.client.create(
        {"apiVersion": version, "kind": "ClusterRole", "metadata": metadata, "rules": [rule]}
    )
    world.api.client.create(
        {
            "apiVersion": version,
            "kind": "ClusterRoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": "poor", "namespace": world.namespace}],
        }
    )


@pytest.mark.parametrize("rotation", [True, False], ids=["rotation on", "rotation off"])
async def test_without_the_right_to_secrets_files_keep_their_pace(
    start: Start,
    world: scene.Scene,
    clock: clocks.VirtualClock,
    store: provider.Provider,
    poor_token: str,
    rotation: bool,
) -> None:
    """One event tells; the provider is not asked more often; the right may come later."""
    world.edit_class(secretObjects=scene.SYNCED)
    pod = world.create_pod("web")
    async with start(
        enable_secret_rotation=rotation,
        rotation_poll_interval_s=60.0,
        clock=clock,
        token=poor_token,
    ) as driver:
        await driver.watching()
        volume = await driver.publish_for(pod)
        await driver.in_step()
        (event,) = await eventually(lambda: world.events("FailedToCreateSecret"))
        assert "forbidden" in event["message"].lower()
        await clock.advance(1200.0)
        asked = len(store.calls) - 1
        assert (18 <= asked <= 23) if rotation else asked == 0
        store.files = {"password": b"second"}
        await clock.advance(66.0)
        assert ((volume / "password").read_bytes() == b"second") is rotation
        grant_secrets(world)
        await clock.advance(66.0 if rotation else 3600.0)
        # A real server takes a moment to know of a new right.
        if world.secret() is None:
            await clock.advance(3700.0)
        assert world.secret_value() == b"second"


async def test_a_refresh_that_was_asked_for_is_made_although_the_first_try_fails(
    start: Start, world: scene.Scene, clock: clocks.VirtualClock, store: provider.Provider
) -> None:
    """With rotation off nothing else would do it."""
    pod = world.create_pod("web")
    async with start(clock=clock) as driver:
        await driver.watching()
        volume = await driver.publish_for(pod)
        await driver.in_step()
        store.files = {"password": b"second"}
        store.faults.errors.append(grpc.StatusCode.PERMISSION_DENIED)
        world.ask_for_refresh(world.api.at("pods", "web"), clock.wall_s() + 1)
        await eventually(lambda: store.attempts == 2)
        await clock.settle()
        assert (volume / "password").read_bytes() == b"first"
        await clock.advance(600.0)
        assert (volume / "password").read_bytes() == b"second"
        assert store.attempts == 3
        assert driver.sample("secrets_store_stale_seconds", **labels(world)) == 0


def labels(world: scene.Scene) -> dict[str, str]:
    return {"namespace": world.namespace, "secretproviderclass": "app", "provider": "fake"}


async def test_a_class_that_goes_and_comes_makes_nothing_stale_where_rotation_is_off(
    start: Start, world: scene.Scene, clock: clocks.VirtualClock, store: provider.Provider
) -> None:
    pod = world.create_pod("web")
    async with start(clock=clock) as driver:
        await driver.watching()
        await driver.publish_for(pod)
        await driver.in_step()
        world.api.client.request("DELETE", world.api.classes("app")).decoded()
        await eventually(lambda: world.events("MountRotationFailed"))
        world.create_class()
        # The watch tells of it, or the next look finds it.
        for _ in range(10):
            await clock.skip(300.0)
        await eventually(lambda: driver.sample("secrets_store_stale_seconds", **labels(world)) == 0)
        await clock.advance(3600.0)
        assert len(store.calls) == 1


@pytest.mark.parametrize("policy", ["Delete", ""], ids=["policy Delete", "no policy"])
async def test_a_deleted_class_takes_its_secrets_along_only_by_policy(
    start: Start, world: scene.Scene, policy: str
) -> None:
    world.create_class("going", {POLICY: policy}, secretObjects=scene.SYNCED)
    pod = world.create_pod("web", world.create_replica_set())
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=3600.0) as driver:
        await driver.watching()
        volume = await driver.publish_for(pod, class_name="going")
        assert world.secret() is not None
        driver.asked.reset()
        world.api.client.request("DELETE", world.api.classes("going")).decoded()
        await eventually(lambda: world.events("MountRotationFailed"))
        await eventually(lambda: driver.asked.count(["get"], "secrets", "200"))
        if policy:
            await eventually(lambda: world.secret() is None)
        else:
            assert driver.asked.count(["delete"]) == 0
            assert world.secret() is not None
        assert (volume / "password").read_bytes() == b"first"


async def test_a_missing_class_stops_nobody_elses_secret(
    start: Start, world: scene.Scene, clock: clocks.VirtualClock, store: provider.Provider
) -> None:
    """Upstream's round over all Secrets of the node ends at the first class that is not there."""
    world.edit_class(secretObjects=scene.SYNCED)
    gone, owner = world.create_class("gone"), world.create_replica_set()
    orphan, pod = world.create_pod("orphan"), world.create_pod("web", owner)
    late = world.create_pod("late", world.create_replica_set("late"))
    async with start(
        enable_secret_rotation=True, rotation_poll_interval_s=60.0, clock=clock
    ) as driver:
        await driver.watching()
        await driver.publish_for(orphan, class_name="gone")
        await driver.publish_for(pod)
        world.api.client.delete(gone)
        await eventually(lambda: world.events("MountRotationFailed"))
        await driver.publish_for(late)
        await driver.in_step()
        secret = world.secret()
        assert secret is not None
        assert len(secret["metadata"]["ownerReferences"]) == 2
        store.files = {"password": b"second"}
        await clock.advance(70.0)
        assert world.secret_value() == b"second"


async def test_a_touched_status_object_moves_no_secret(
    start: Start, world: scene.Scene, clock: clocks.VirtualClock
) -> None:
    """Whatever others write there is put right; Secrets are not made of it."""
    world.edit_class(secretObjects=scene.SYNCED)
    pod = world.create_pod("web", world.create_replica_set())
    async with start(
        enable_secret_rotation=True, rotation_poll_interval_s=60.0, clock=clock
    ) as driver:
        await driver.watching()
        await driver.publish_for(pod)
        await driver.in_step()
        secret, path = world.secret(), world.api.pod_statuses(f"web-{world.namespace}-app")
        told = driver.app._statuses.version(world.namespace, f"web-{world.namespace}-app")
        forged = f"/var/lib/kubelet/pods/{pod['metadata']['uid']}/volumes/kubernetes.io~csi/x/mount"
        world.patch(path, {"status": {"targetPath": forged, "objects": []}})
        await eventually(
            lambda: (
                driver.app._statuses.version(world.namespace, f"web-{world.namespace}-app") != told
            )
        )
        await clock.advance(140.0)
        status = world.status("web")
        assert status is not None
        assert status["status"]["targetPath"] == driver.node.target(pod["metadata"]["uid"])
        assert status["status"]["objects"]
        assert world.secret() == secret
