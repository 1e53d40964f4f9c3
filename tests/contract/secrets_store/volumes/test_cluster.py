"""What the cluster is told: Secrets, conditions, events; over the real socket."""

import asyncio
import base64
import pathlib
from typing import Any

import grpc
import grpc.aio
import pytest
import yaml

from csi_spec import csi_pb2
from devkit import stage
from tests.contract.secrets_store.conftest import Driver, Start, eventually

pytestmark = pytest.mark.root

CRDS = pathlib.Path(__file__).parents[4] / "deploy" / "yaml"
SYNCED = [{"secretName": "app", "type": "Opaque",
           "data": [{"objectName": "password", "key": "pw"}]}]  # fmt: skip


def replica_pod(driver: Driver, name: str = "web-1") -> str:
    """Create a pod that a ReplicaSet owns; return its uid."""
    owner = driver.api.create(
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {"name": f"rs-{name}", "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": _template()},
        }
    )
    pod = driver.api.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": "default",
                "ownerReferences": [
                    {
                        "apiVersion": "apps/v1",
                        "kind": "ReplicaSet",
                        "name": f"rs-{name}",
                        "uid": owner["metadata"]["uid"],
                    }
                ],
            },
            "spec": {"nodeName": stage.NODE, "containers": [{"name": "c", "image": "i"}]},
        }
    )
    uid = pod["metadata"]["uid"]
    assert isinstance(uid, str)
    return uid


def _template() -> dict[str, Any]:
    return {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }


def context(name: str) -> dict[str, str]:
    return {"csi.storage.k8s.io/pod.name": name}


def secret(driver: Driver) -> dict[str, Any] | None:
    found = driver.api.list_all("v1", "Secret", "default")
    return next((x for x in found if x["metadata"]["name"] == "app"), None)


async def test_a_secret_is_there_with_its_owner_when_the_publish_returns(driver: Driver) -> None:
    driver.api.create(stage.class_object("synced", secretObjects=SYNCED))
    uid = replica_pod(driver)
    await eventually(lambda: driver.api.watches == 3)
    driver.api.requests.reset()
    await driver.publish(uid, class_name="synced", context=context("web-1"))
    assert driver.api.requests.count() <= 4
    made = secret(driver)
    assert made is not None
    assert base64.b64decode(made["data"]["pw"]) == b"first"
    assert made["metadata"]["labels"]["secrets-store.csi.k8s.io/managed"] == "true"
    assert [x["kind"] for x in made["metadata"]["ownerReferences"]] == ["ReplicaSet"]


async def test_changed_contents_reach_the_secret(start: Start) -> None:
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=0.2) as driver:
        driver.api.create(stage.class_object("synced", secretObjects=SYNCED))
        uid = replica_pod(driver)
        await driver.publish(uid, class_name="synced", context=context("web-1"))
        driver.provider.files = {"password": b"second"}
        encoded = base64.b64encode(b"second").decode()
        await eventually(lambda: (s := secret(driver)) and s["data"]["pw"] == encoded)
        await eventually(lambda: driver.events("SecretRotationComplete"))


async def test_a_deleted_secret_is_repaired_and_a_right_one_left_alone(start: Start) -> None:
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=0.2) as driver:
        driver.api.create(stage.class_object("synced", secretObjects=SYNCED))
        uid = replica_pod(driver)
        await driver.publish(uid, class_name="synced", context=context("web-1"))
        seen = len(driver.provider.calls)
        driver.api.requests.reset()
        await eventually(lambda: len(driver.provider.calls) >= seen + 3)
        assert driver.api.requests.count(resource="secrets", method="PATCH") == 0
        assert driver.api.requests.count(resource="secrets", verb="create") == 0
        driver.api.delete("v1", "Secret", "app", "default")
        await eventually(lambda: secret(driver))


async def test_a_failing_secret_leaves_the_volume_and_tells_the_pod(driver: Driver) -> None:
    broken = [{"secretName": "app", "type": "Opaque",
               "data": [{"objectName": "absent", "key": "pw"}]}]  # fmt: skip
    driver.api.create(stage.class_object("broken", secretObjects=broken))
    volume = await driver.publish(class_name="broken")
    assert (volume / "password").exists()
    event = (await eventually(lambda: driver.events("FailedToCreateSecret")))[0]
    assert "absent" in event["message"]


async def test_require_sync_makes_the_secret_part_of_success(start: Start) -> None:
    async with start(require_sync=True) as driver:
        driver.api.create(stage.class_object("synced", secretObjects=SYNCED))
        foreign = {"apiVersion": "v1", "kind": "Secret",
                   "metadata": {"name": "app", "namespace": "default"}}  # fmt: skip
        driver.api.create(foreign)
        uid = replica_pod(driver)
        request = driver.request(uid, class_name="synced", context=context("web-1"))
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await driver.csi.NodePublishVolume(request, timeout=10)
        assert "failed to sync secret default/app" in str(failed.value.details())
        assert driver.node.mounts() == []
        assert driver.records() == []
        driver.api.delete("v1", "Secret", "app", "default")
        await driver.csi.NodePublishVolume(request, timeout=10)
        assert secret(driver) is not None


def install_our_crd(driver: Driver) -> None:
    """The stand-in comes with upstream's, which prunes conditions."""
    ours = yaml.safe_load((CRDS / "crd-secretproviderclasspodstatuses.yaml").read_text())
    there = driver.api.get(
        "apiextensions.k8s.io/v1", "CustomResourceDefinition", ours["metadata"]["name"]
    )
    driver.api.update(there | {"spec": ours["spec"]})


async def test_under_upstreams_crd_no_condition_is_tried_twice(start: Start) -> None:
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=0.1) as driver:
        await driver.publish()
        await eventually(lambda: driver.api.watches == 3)
        driver.api.requests.reset()
        seen = len(driver.provider.calls)
        await eventually(lambda: len(driver.provider.calls) >= seen + 3)
        assert driver.api.requests.count() == 0


async def test_a_failed_refresh_shows_in_the_status_object_once(start: Start) -> None:
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=0.1) as driver:
        install_our_crd(driver)
        await driver.publish()
        await eventually(lambda: driver.api.watches == 3)

        def condition() -> tuple[str, str]:
            status = driver.status()
            assert status is not None
            (found,) = status["status"]["conditions"]
            return found["status"], found["reason"]

        assert condition() == ("True", "Checked")
        driver.provider.faults.every_error = grpc.StatusCode.NOT_FOUND
        await eventually(lambda: condition() == ("False", "GRPCProviderError"))
        driver.api.requests.reset()
        seen = driver.provider.attempts
        await eventually(lambda: driver.provider.attempts >= seen + 3)
        assert (
            driver.api.requests.count(resource="secretproviderclasspodstatuses", verb="update") == 0
        )
        driver.provider.faults.every_error = None
        await eventually(lambda: condition() == ("True", "Checked"))


async def test_a_class_that_is_gone_shows_in_the_status_object(start: Start) -> None:
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=0.5) as driver:
        install_our_crd(driver)
        volume = await driver.publish()
        await eventually(lambda: driver.api.watches == 3)
        driver.api.delete("secrets-store.csi.x-k8s.io/v1", "SecretProviderClass", "app", "default")

        def condition() -> tuple[str, str]:
            status = driver.status()
            assert status is not None
            (found,) = status["status"]["conditions"]
            return found["status"], found["reason"]

        await eventually(lambda: condition() == ("False", "SecretProviderClassNotFound"), 1.0)
        assert (volume / "password").read_bytes() == b"first"


def due_in_s(driver: Driver) -> float | None:
    """Return when the only volume is checked next."""
    (found,) = driver.app._table
    due = found.check_due_mono
    return None if due is None else due - asyncio.get_running_loop().time()


async def test_a_secret_that_could_not_be_written_is_not_forgotten_for_an_edit(
    driver: Driver,
) -> None:
    """Rotation is off: no other check would come."""
    driver.api.create(stage.class_object("synced", secretObjects=SYNCED))
    uid = replica_pod(driver)
    await eventually(lambda: driver.api.watches == 3)
    fault = driver.api.faults.add(resource="secrets", code=403)
    await driver.publish(uid, class_name="synced", context=context("web-1"))
    assert (due_in_s(driver) or 0.0) > 3000.0
    driver.api.faults.remove(fault)
    obj = driver.api.get(
        "secrets-store.csi.x-k8s.io/v1", "SecretProviderClass", "synced", "default"
    )
    obj["metadata"]["annotations"] = {"secrets-store.csi.k8s.io/rotation-interval": "never"}
    driver.api.update(obj)
    await eventually(lambda: secret(driver))


async def test_what_the_api_server_rejects_is_not_asked_for_again_soon(driver: Driver) -> None:
    """It cannot become right before the class is edited: the provider would be asked in vain."""
    wrong = [SYNCED[0] | {"labels": {"team": "not a legal label"}}]
    driver.api.create(stage.class_object("synced", secretObjects=wrong))
    uid = replica_pod(driver)
    await driver.publish(uid, class_name="synced", context=context("web-1"))
    await eventually(lambda: driver.events("FailedToCreateSecret"))
    assert (due_in_s(driver) or 0.0) > 3000.0


@pytest.mark.parametrize("changed", [False, True])
async def test_an_api_server_that_is_away_sends_nobody_to_the_provider(
    start: Start, changed: bool
) -> None:
    """Secrets that were right and cannot be looked at now; only new contents are urgent."""
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=3600.0) as driver:
        driver.api.create(stage.class_object("synced", secretObjects=SYNCED))
        uid = replica_pod(driver)
        await driver.publish(uid, class_name="synced", context=context("web-1"))
        driver.api.faults.add(resource="secrets", code=500, retry_after_s=60)
        if changed:
            driver.provider.files = {"password": b"second"}
        (found,) = driver.app._table
        driver.app.refresher.request(found)
        await eventually(lambda: driver.events("SecretRotationFailed"), 8.0)
        await eventually(lambda: not found.working)
        due_s = due_in_s(driver)
        assert due_s is not None
        assert (due_s < 300.0) is changed


async def test_to_be_unknown_to_the_api_server_for_a_moment_is_no_missing_right(
    driver: Driver,
) -> None:
    """401 comes while it starts or changes its keys; Secrets are not to wait an hour for that."""
    driver.api.create(stage.class_object("synced", secretObjects=SYNCED))
    uid = replica_pod(driver)
    fault = driver.api.faults.add(resource="secrets", code=401)
    await driver.publish(uid, class_name="synced", context=context("web-1"))
    assert (due_in_s(driver) or 3600.0) < 300.0
    driver.api.faults.remove(fault)
    await eventually(lambda: secret(driver), 6.0)


async def test_secrets_that_may_not_be_written_make_no_contents_old(driver: Driver) -> None:
    """As where the rights for copies are not installed, the default of upstream's chart."""
    driver.api.create(stage.class_object("synced", secretObjects=SYNCED))
    uid = replica_pod(driver)
    driver.api.faults.add(resource="secrets", code=403)
    volume = await driver.publish(uid, class_name="synced", context=context("web-1"))
    labels = {"namespace": "default", "secretproviderclass": "synced", "provider": "fake"}
    assert driver.app.metrics.registry.get_sample_value("secrets_store_stale_seconds", labels) == 0
    stats = await driver.csi.NodeGetVolumeStats(
        csi_pb2.NodeGetVolumeStatsRequest(volume_id=f"csi-{uid}-secrets", volume_path=str(volume))
    )
    assert not stats.volume_condition.abnormal


async def test_of_two_failures_the_one_that_passes_sets_the_pace(driver: Driver) -> None:
    wrong = {"secretName": "wrong", "type": "Opaque", "labels": {"team": "not a legal label"}}
    both = [SYNCED[0], wrong | {"data": SYNCED[0]["data"]}]
    driver.api.create(stage.class_object("synced", secretObjects=both))
    uid = replica_pod(driver)
    driver.api.faults.add(resource="secrets", name="app", code=500)
    await driver.publish(uid, class_name="synced", context=context("web-1"))
    assert (due_in_s(driver) or 3600.0) < 300.0


async def test_a_provider_that_is_back_is_asked_at_once(start: Start) -> None:
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=0.3) as driver:
        volume = await driver.publish()
        await driver.provider.stop()
        await eventually(lambda: driver.events("MountRotationFailed"))
        await asyncio.sleep(1.0)
        driver.provider.files = {"password": b"second"}
        await driver.provider.start()
        await eventually(lambda: (volume / "password").read_bytes() == b"second", 1.5)


async def test_two_volumes_of_one_pod_with_one_class_have_two_status_objects(
    driver: Driver,
) -> None:
    await driver.publish(volume="one")
    await driver.publish(volume="two")
    statuses = driver.api.list_all(
        "secrets-store.csi.x-k8s.io/v1", "SecretProviderClassPodStatus", "default"
    )
    assert len(statuses) == 2
    assert {x["status"]["targetPath"] for x in statuses} == {
        driver.node.target("pod1", "one"),
        driver.node.target("pod1", "two"),
    }


async def test_a_status_object_without_labels_is_taken_over(driver: Driver) -> None:
    """Upstream's process dies of it."""
    driver.api.create(
        {
            "apiVersion": "secrets-store.csi.x-k8s.io/v1",
            "kind": "SecretProviderClassPodStatus",
            "metadata": {"name": "pod-pod1-default-app", "namespace": "default"},
        }
    )
    await driver.publish()
    status = driver.status()
    assert status is not None
    assert status["metadata"]["labels"]
    assert status["status"]["mounted"] is True


async def test_a_long_node_name_has_a_legal_label(start: Start) -> None:
    name = "n" * 70
    async with start(node_id=name) as driver:
        await driver.publish()
        status = driver.status()
        assert status is not None
        (label,) = status["metadata"]["labels"].values()
        assert len(label) == 63
        assert name in status["metadata"]["annotations"].values()


async def test_the_group_of_the_pod_can_read(driver: Driver) -> None:
    request = driver.request()
    request.volume_capability.mount.volume_mount_group = "0"
    await driver.csi.NodePublishVolume(request)
    volume = driver.node.kubelet / "pods/pod1/volumes/kubernetes.io~csi/secrets/mount"
    assert (volume / "password").stat().st_mode & 0o7777 == 0o440
    assert volume.stat().st_mode & 0o7777 == 0o2750


async def test_a_class_may_set_the_mode(driver: Driver) -> None:
    driver.api.create(
        stage.class_object("strict", parameters={"key": "value", "defaultMode": "0400"})
    )
    volume = await driver.publish(class_name="strict")
    assert (volume / "password").stat().st_mode & 0o777 == 0o400


async def test_freshness_is_scraped(start: Start) -> None:
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=0.1) as driver:
        await driver.publish()
        labels = {"namespace": "default", "secretproviderclass": "app", "provider": "fake"}
        registry = driver.app.metrics.registry
        assert registry.get_sample_value("secrets_store_mounted_volumes", labels) == 1
        assert registry.get_sample_value("secrets_store_stale_seconds", labels) == 0
        driver.provider.faults.every_error = grpc.StatusCode.NOT_FOUND
        await eventually(
            lambda: (registry.get_sample_value("secrets_store_stale_seconds", labels) or 0) > 0
        )
