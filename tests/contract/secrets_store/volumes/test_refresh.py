"""The background refresh, seen from outside."""

import asyncio
import json
import pathlib
import secrets
import time

import grpc
import pytest

from devkit import provider, stage
from tests.contract.secrets_store.conftest import Driver, Start, eventually

pytestmark = pytest.mark.root


def rotating(interval_s: float = 0.2) -> dict[str, object]:
    return {"enable_secret_rotation": True, "rotation_poll_interval_s": interval_s}


async def test_changed_contents_arrive_by_interval(start: Start) -> None:
    async with start(**rotating()) as driver:
        volume = await driver.publish()
        driver.provider.files = {"password": b"second", "new/file": b"n"}
        await eventually(lambda: (volume / "password").read_bytes() == b"second")
        assert (volume / "new" / "file").read_bytes() == b"n"
        event = (await eventually(lambda: driver.events("MountRotationComplete")))[0]
        assert event["message"] == "successfully rotated mounted contents for spc default/app"
        status = await eventually(
            lambda: (s := driver.status()) and len(s["status"]["objects"]) == 2 and s
        )
        assert {x["id"] for x in status["status"]["objects"]} == {
            "secret/new/file",
            "secret/password",
        }


async def test_a_removed_object_disappears(start: Start) -> None:
    driver_files = {"password": b"p", "gone": b"g"}
    async with start(**rotating()) as driver:
        driver.provider.files = driver_files
        volume = await driver.publish()
        assert (volume / "gone").exists()
        driver.provider.files = {"password": b"p"}
        await eventually(lambda: not (volume / "gone").is_symlink())
        assert (volume / "password").read_bytes() == b"p"


async def test_an_unchanged_refresh_costs_no_request(start: Start) -> None:
    async with start(**rotating(0.1)) as driver:
        await driver.publish()
        await eventually(lambda: len(driver.provider.calls) >= 3)
        driver.api.requests.reset()
        seen = len(driver.provider.calls)
        await eventually(lambda: len(driver.provider.calls) >= seen + 5)
        assert driver.api.requests.count() == 0


async def test_the_provider_is_told_what_the_volume_shows(start: Start) -> None:
    async with start(**rotating(0.1)) as driver:
        await driver.publish()
        await eventually(lambda: len(driver.provider.calls) >= 2)
        first, second = driver.provider.calls[:2]
        assert first.current_object_version == {}
        assert set(second.current_object_version) == {"secret/password"}


async def test_rotation_off_leaves_a_volume_alone(driver: Driver) -> None:
    volume = await driver.publish()
    driver.provider.files = {"password": b"second"}
    await driver.publish()
    await asyncio.sleep(0.3)
    assert len(driver.provider.calls) == 1
    assert (volume / "password").read_bytes() == b"first"


async def test_a_failed_refresh_keeps_the_files_tells_and_heals(start: Start) -> None:
    async with start(**rotating(0.1)) as driver:
        volume = await driver.publish()
        driver.provider.faults.every_error = grpc.StatusCode.PERMISSION_DENIED
        await eventually(lambda: driver.events("MountRotationFailed"))
        assert (volume / "password").read_bytes() == b"first"
        driver.provider.faults.every_error = None
        driver.provider.files = {"password": b"second"}
        await eventually(lambda: (volume / "password").read_bytes() == b"second")
        assert len(driver.events("MountRotationFailed")) == 1


async def test_a_provider_that_is_there_but_cannot_answer_is_left_in_peace(start: Start) -> None:
    """UNAVAILABLE from a provider whose store is away: nobody has to come back first."""
    async with start(**rotating(0.1)) as driver:
        await driver.publish()
        driver.provider.faults.every_error = grpc.StatusCode.UNAVAILABLE
        seen = driver.provider.attempts
        await eventually(lambda: driver.provider.attempts > seen)
        await asyncio.sleep(1.0)
        # With half a second at least after the first, the wait doubling from two seconds.
        assert driver.provider.attempts - seen <= 4


async def test_a_provider_that_dies_of_a_check_is_left_in_peace(start: Start) -> None:
    """Each time it is back it would be asked at once, and serve nobody else."""
    async with start(**rotating(0.3)) as driver:
        await driver.publish()
        served = driver.provider
        served.faults.hang = asyncio.Event()

        async def die_and_come_back() -> None:
            while True:
                await served.wait_attempts(served.attempts + 1)
                await served.stop()
                await asyncio.sleep(0.05)
                await served.start()

        seen = served.attempts
        dying = asyncio.create_task(die_and_come_back())
        await asyncio.sleep(6.0)
        dying.cancel()
        await asyncio.wait({dying})
        # Three times in a row, and after that with a back-off of its own.
        assert 3 <= served.attempts - seen <= 8


async def test_volumes_that_were_held_go_on_when_their_provider_answers_one(start: Start) -> None:
    """It may have asked for a day of peace, of which its people need only half an hour."""
    async with start(**rotating(3600.0)) as driver:
        for uid in ("pod1", "pod2"):
            await driver.publish(uid)
        driver.provider.faults.every_error = grpc.StatusCode.RESOURCE_EXHAUSTED
        first, second = driver.app._table
        driver.app.refresher.request(first)
        await eventually(lambda: first.failures == 1)
        (gate,) = driver.app.refresher._gates._gates.values()
        gate.opens_mono += 86400.0
        second.failures, second.requested = 1, False
        driver.app.refresher.handed_over(second, None, renewed=True)
        await eventually(lambda: (second.check_due_mono or 0.0) > gate.opens_mono)
        driver.provider.faults.every_error = None
        seen = driver.provider.attempts
        driver.app.refresher.request(first)
        await eventually(lambda: first.failures == second.failures == 0)
        assert driver.provider.attempts == seen + 2


async def test_a_republish_is_answered_at_once_while_the_provider_hangs(start: Start) -> None:
    async with start(**rotating(0.1)) as driver:
        await driver.publish()
        driver.provider.faults.hang = asyncio.Event()
        seen = driver.provider.attempts
        await eventually(lambda: driver.provider.attempts > seen)
        started = time.monotonic()
        await driver.publish()
        assert time.monotonic() - started < 0.5
        await asyncio.wait_for(driver.unpublish(), 1.0)
        driver.provider.faults.hang.set()


async def test_what_a_hanging_provider_answers_after_the_unpublish_is_thrown_away(
    start: Start,
) -> None:
    async with start(**rotating(0.1)) as driver:
        volume = await driver.publish()
        driver.provider.faults.hang = asyncio.Event()
        seen = driver.provider.attempts
        await eventually(lambda: driver.provider.attempts > seen)
        await driver.unpublish()
        driver.provider.files = {"late": b"secret"}
        driver.provider.faults.hang.set()
        await eventually(lambda: driver.provider.running == 0)
        await driver.publish("pod2")
        assert not volume.exists()
        assert not list(volume.parent.iterdir())


async def test_a_class_edit_reaches_the_files(start: Start) -> None:
    async with start(**rotating(3600.0)) as driver:
        driver.provider.files = lambda call: {"which": call.attributes["key"].encode()}
        volume = await driver.publish()
        await eventually(lambda: driver.api.watches == 3)
        edited = driver.api.get(
            "secrets-store.csi.x-k8s.io/v1", "SecretProviderClass", "app", "default"
        )
        edited["spec"]["parameters"] = {"key": "edited"}
        driver.api.update(edited)
        await eventually(lambda: (volume / "which").read_bytes() == b"edited", 1.0)


async def test_a_class_that_is_made_anew_reaches_the_files(start: Start) -> None:
    """Its generation is 1 again."""
    async with start(**rotating(3600.0)) as driver:
        driver.provider.files = lambda call: {"which": call.attributes["key"].encode()}
        volume = await driver.publish()
        await eventually(lambda: driver.api.watches == 3)
        driver.api.delete("secrets-store.csi.x-k8s.io/v1", "SecretProviderClass", "app", "default")
        driver.api.create(stage.class_object(parameters={"key": "anew"}))
        await eventually(lambda: (volume / "which").read_bytes() == b"anew", 6.0)


async def test_a_volume_that_was_taken_over_counts_under_its_provider(start: Start) -> None:
    """Rotation is off, so that nobody asks the provider who it is."""
    async with start() as driver:
        await driver.publish()
    for path in driver.records():
        path.unlink()
    async with start() as driver:
        await driver.publish()
        labels = {"namespace": "default", "secretproviderclass": "app", "provider": "fake"}
        series = driver.app.metrics.registry.get_sample_value
        await eventually(lambda: series("secrets_store_mounted_volumes", labels) == 1)
        assert len(driver.provider.calls) == 1


@pytest.mark.parametrize("where", ["class", "pod"])
@pytest.mark.parametrize("ahead_s", [1, 0, -90])
async def test_a_refresh_is_made_when_asked_for(start: Start, where: str, ahead_s: int) -> None:
    """Also in the second of the last check, and by somebody whose clock is behind."""
    async with start() as driver:
        pod = driver.api.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "asked", "namespace": "default"},
                "spec": {"nodeName": "node-1", "containers": [{"name": "c", "image": "i"}]},
            }
        )
        volume = await driver.publish(pod["metadata"]["uid"])
        await eventually(lambda: driver.api.watches == 3)
        driver.provider.files = {"password": b"second"}
        obj = (
            driver.api.get("v1", "Pod", "asked", "default")
            if where == "pod"
            else driver.api.get(
                "secrets-store.csi.x-k8s.io/v1", "SecretProviderClass", "app", "default"
            )
        )
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + ahead_s))
        obj["metadata"].setdefault("annotations", {})[
            "secrets-store.csi.k8s.io/refresh-requested-at"
        ] = at
        driver.api.update(obj)
        await eventually(lambda: (volume / "password").read_bytes() == b"second", 1.0)


async def test_after_a_restart_a_volume_that_needs_tokens_waits_for_kubelet(start: Start) -> None:
    tokens = json.dumps({"kms": {"token": "t" * 20, "expirationTimestamp": "2999-01-01T00:00:00Z"}})
    context = {"csi.storage.k8s.io/serviceAccount.tokens": tokens}
    async with start(**rotating(0.2)) as driver:
        volume = await driver.publish(context=context)
    async with start(**rotating(0.2)) as driver:
        driver.provider.files = {"password": b"second"}
        seen = driver.provider.attempts
        await asyncio.sleep(0.5)
        assert driver.provider.attempts == seen
        assert (volume / "password").read_bytes() == b"first"
        await driver.publish(context=context)
        await eventually(lambda: (volume / "password").read_bytes() == b"second")


def in_context(token: str) -> dict[str, str]:
    """Return the volume context in which kubelet hands over a token."""
    entry = {"token": token, "expirationTimestamp": "2999-01-01T00:00:00Z"}
    return {"csi.storage.k8s.io/serviceAccount.tokens": json.dumps({"kms": entry})}


async def test_a_volume_that_gets_tokens_no_more_is_checked_without(start: Start) -> None:
    """Somebody has taken tokenRequests out of the CSIDriver object."""
    async with start(**rotating(0.2)) as driver:
        volume = await driver.publish(context=in_context(secrets.token_hex(16)))
        await driver.publish()
        driver.provider.files = {"password": b"second"}
        await eventually(lambda: (volume / "password").read_bytes() == b"second")
        assert driver.provider.calls[-1].tokens == {}


async def test_a_volume_that_gets_tokens_later_needs_them_after_a_restart(start: Start) -> None:
    async with start(**rotating(0.2)) as driver:
        await driver.publish()
        await driver.publish(context=in_context(secrets.token_hex(16)))
        await eventually(lambda: driver.provider.calls[-1].tokens)
        await eventually(lambda: json.loads(driver.records()[0].read_text())["needs_handover"])
    seen = driver.provider.attempts
    async with start(**rotating(0.2)) as driver:
        await eventually(lambda: all(found.awaits_handover for found in driver.app._table))
        assert driver.provider.attempts == seen


@pytest.mark.parametrize("allowed", [True, False])
async def test_attributes_of_the_pod_are_waited_for_only_where_they_count(
    start: Start, allowed: bool
) -> None:
    chosen = rotating(0.2) | {"allow_attribute_override": allowed}
    async with start(**chosen) as driver:
        await driver.publish(context={"role": "admin"})
        seen = driver.provider.attempts
    async with start(**chosen) as driver:
        if allowed:
            await eventually(lambda: all(found.awaits_handover for found in driver.app._table))
            assert driver.provider.attempts == seen
        else:
            await eventually(lambda: driver.provider.attempts > seen)


async def test_new_credentials_are_tried_at_once(start: Start) -> None:
    """Whoever has mended the node-publish secret does not wait for the end of a back-off."""
    async with start(**rotating(3600.0)) as driver:
        request = driver.request()
        request.secrets["client"] = secrets.token_hex(16)
        await driver.csi.NodePublishVolume(request)
        (found,) = driver.app._table
        driver.provider.faults.every_error = grpc.StatusCode.UNAUTHENTICATED
        found.failures = 30
        driver.app.refresher.request(found)
        await eventually(lambda: found.failures == 31)
        due, seen = found.check_due_mono, driver.provider.attempts
        await driver.csi.NodePublishVolume(request)
        assert found.check_due_mono == due
        request.secrets["client"] = mended = secrets.token_hex(16)
        driver.provider.faults.every_error = None
        await driver.csi.NodePublishVolume(request)
        await eventually(lambda: driver.provider.attempts == seen + 1)
        await eventually(lambda: found.failures == 0)
        assert driver.provider.calls[-1].secrets == {"client": mended}


async def test_after_a_restart_a_volume_without_tokens_goes_on(start: Start) -> None:
    async with start(**rotating(0.2)) as driver:
        volume = await driver.publish()
    async with start(**rotating(0.2)) as driver:
        driver.provider.files = {"password": b"second"}
        await eventually(lambda: (volume / "password").read_bytes() == b"second")
        assert driver.node.mounts() == [str(volume)]


async def test_a_self_writing_provider_is_asked_again(start: Start) -> None:
    async with start(**rotating(0.2)) as driver:
        driver.provider.writes_itself = True
        volume = await driver.publish()
        driver.provider.files = {"password": b"second"}
        await eventually(lambda: (volume / "password").read_bytes() == b"second")


async def test_a_provider_that_moves_to_the_other_directory_is_found(start: Start) -> None:
    async with start(**rotating(0.2)) as driver:
        volume = await driver.publish()
        await driver.provider.stop()
        async with provider.Provider(driver.node.more_providers, "fake", {"password": b"moved"}):
            await eventually(lambda: (volume / "password").read_bytes() == b"moved")
        await driver.provider.start()


async def test_a_refresh_never_remounts_a_lost_volume(start: Start) -> None:
    async with start(**rotating(0.2)) as driver:
        volume = await driver.publish()
        await asyncio.to_thread(_unmount, volume)
        await eventually(lambda: driver.events("MountRotationFailed"))
        assert driver.node.mounts() == []
        assert list(volume.iterdir()) == []
        await driver.publish()
        assert (volume / "password").read_bytes() == b"first"


def _unmount(path: pathlib.Path) -> None:
    from secrets_store.host import syscalls

    syscalls.umount_detached(str(path))
