"""NodePublishVolume over the real socket: a valid request and one thing changed."""

import asyncio
import pathlib
from collections.abc import Callable

import grpc
import grpc.aio
import pytest

from csi_spec import csi_pb2
from devkit import provider, stage
from tests.contract.secrets_store.conftest import Driver, Start, eventually

pytestmark = pytest.mark.root
Request = csi_pb2.NodePublishVolumeRequest
Code = grpc.StatusCode


def set_field(name: str, value: object) -> Callable[[Request], None]:
    return lambda request: setattr(request, name, value)


def set_context(key: str, value: str) -> Callable[[Request], None]:
    def change(request: Request) -> None:
        request.volume_context[key] = value

    return change


def drop_context(key: str) -> Callable[[Request], None]:
    def change(request: Request) -> None:
        del request.volume_context[key]

    return change


CASES: list[tuple[str, Callable[[Request], None], Code, str]] = [
    (
        "no capability",
        lambda r: r.ClearField("volume_capability"),
        Code.INVALID_ARGUMENT,
        "Volume capability missing in request",
    ),
    (
        "no volume id",
        set_field("volume_id", ""),
        Code.INVALID_ARGUMENT,
        "Volume ID missing in request",
    ),
    (
        "no target",
        set_field("target_path", ""),
        Code.INVALID_ARGUMENT,
        "Target path missing in request",
    ),
    (
        "no context",
        lambda r: r.ClearField("volume_context"),
        Code.INVALID_ARGUMENT,
        "Volume attributes missing in request",
    ),
    (
        "block volume",
        lambda r: r.volume_capability.block.SetInParent(),
        Code.INVALID_ARGUMENT,
        "Block volumes are not supported",
    ),
    (
        "writable",
        set_field("readonly", False),
        Code.INVALID_ARGUMENT,
        "Readonly is not true in request",
    ),
    (
        "relative target",
        set_field("target_path", "a/b/c"),
        Code.INVALID_ARGUMENT,
        "invalid target path",
    ),
    (
        "dots in target",
        set_field("target_path", "/tmp/a/../b/mount"),
        Code.INVALID_ARGUMENT,
        "invalid target path",
    ),
    (
        "no class",
        drop_context("secretProviderClass"),
        Code.UNKNOWN,
        "secretProviderClass is not set",
    ),
    (
        "unknown class",
        set_context("secretProviderClass", "nope"),
        Code.UNKNOWN,
        "failed to get secretproviderclass default/nope, error: "
        'SecretProviderClass.secrets-store.csi.x-k8s.io "nope" not found',
    ),
    (
        "class without provider",
        set_context("secretProviderClass", "no-provider"),
        Code.UNKNOWN,
        "provider not set in default/no-provider",
    ),
    (
        "class without parameters",
        set_context("secretProviderClass", "no-parameters"),
        Code.UNKNOWN,
        "parameters not set in default/no-parameters",
    ),
    (
        "provider of an impossible name",
        set_context("secretProviderClass", "odd-provider"),
        Code.UNKNOWN,
        "failed to mount secrets store objects for pod default/pod-pod1, err: "
        'error connecting to provider "../x": invalid provider: provider "../x"',
    ),
    (
        "no pod name",
        drop_context("csi.storage.k8s.io/pod.name"),
        Code.INVALID_ARGUMENT,
        "csi.storage.k8s.io/pod.name missing",
    ),
]


@pytest.mark.parametrize(("change", "code", "message"), [c[1:] for c in CASES],
                         ids=[c[0] for c in CASES])  # fmt: skip
async def test_a_broken_request_gets_its_code_and_leaves_nothing(
    driver: Driver, change: Callable[[Request], None], code: Code, message: str
) -> None:
    driver.api.create(stage.class_object("no-provider", provider=""))
    no_parameters = stage.class_object("no-parameters")
    no_parameters["spec"] = {"provider": "fake"}
    driver.api.create(no_parameters)
    driver.api.create(stage.class_object("odd-provider", provider="../x"))
    request = driver.request()
    change(request)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await driver.csi.NodePublishVolume(request, timeout=10)
    assert failed.value.code() is code
    assert str(failed.value.details()).startswith(message)
    assert driver.node.mounts() == []
    assert driver.records() == []
    assert not pathlib.Path(driver.node.target("pod1")).exists()


async def test_a_publish_mounts_writes_records_and_tells(driver: Driver) -> None:
    driver.provider.files = {"password": b"p", "dir/nested": b"\x00\xff"}
    volume = await driver.publish()
    assert driver.node.mounts() == [str(volume)]
    assert (volume / "password").read_bytes() == b"p"
    assert (volume / "dir" / "nested").read_bytes() == b"\x00\xff"
    assert len(driver.records()) == 1
    status = driver.status()
    assert status is not None
    assert status["status"]["mounted"] is True
    assert status["status"]["targetPath"] == str(volume)
    assert status["metadata"]["ownerReferences"][0]["uid"] == "pod1"
    assert status["metadata"]["labels"]["internal.secrets-store.csi.k8s.io/node-name"] == stage.NODE


async def test_the_provider_is_asked_in_upstreams_form(driver: Driver) -> None:
    await driver.publish(context={"csi.storage.k8s.io/serviceAccount.tokens": '{"kms":{}}'})
    call = driver.provider.calls[0]
    assert call.attributes["key"] == "value"
    assert call.attributes["secretProviderClass"] == "app"
    assert call.attributes["csi.storage.k8s.io/pod.uid"] == "pod1"
    assert call.attributes["csi.storage.k8s.io/serviceAccount.tokens"] == '{"kms":{}}'


async def test_volume_attributes_do_not_override_the_class(driver: Driver) -> None:
    await driver.publish(context={"key": "of the pod", "other": "x"})
    assert driver.provider.calls[0].attributes["key"] == "value"
    assert "other" not in driver.provider.calls[0].attributes
    event = (await eventually(lambda: driver.events("VolumeAttributesIgnored")))[0]
    assert "key, other" in event["message"]


async def test_the_flag_restores_upstreams_override(start: Start) -> None:
    async with start(allow_attribute_override=True) as driver:
        await driver.publish(context={"key": "of the pod"})
        assert driver.provider.calls[0].attributes["key"] == "of the pod"


async def test_a_republish_of_a_complete_volume_asks_nobody(driver: Driver) -> None:
    await driver.publish()
    driver.api.requests.reset()
    for _ in range(5):
        await driver.publish()
    assert len(driver.provider.calls) == 1
    assert driver.api.requests.count() == 0


async def test_a_first_publish_costs_at_most_three_requests(driver: Driver) -> None:
    await eventually(lambda: driver.api.watches == 3)
    driver.api.requests.reset()
    await driver.publish()
    assert driver.api.requests.count() <= 3


async def test_another_volume_at_the_same_target_is_refused(driver: Driver) -> None:
    await driver.publish()
    request = driver.request()
    request.volume_id = "csi-other"
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await driver.csi.NodePublishVolume(request)
    assert failed.value.code() is Code.ALREADY_EXISTS


async def test_unavailable_once_with_rotation_on_mounts_on_retry(start: Start) -> None:
    """Upstream answers the retry with OK over nothing (user-needs rank 2)."""
    async with start(enable_secret_rotation=True) as driver:
        for _ in range(2):
            driver.provider.faults.errors.append(Code.UNAVAILABLE)
        volume = await driver.publish()
        assert (volume / "password").read_bytes() == b"first"
        assert driver.provider.attempts == 3


async def test_a_provider_that_stays_unavailable_fails_the_publish_whole(start: Start) -> None:
    async with start(enable_secret_rotation=True) as driver:
        driver.provider.faults.every_error = Code.UNAVAILABLE
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await driver.publish()
        assert failed.value.code() is Code.UNAVAILABLE
        assert driver.provider.attempts == 3
        assert driver.node.mounts() == []
        driver.provider.faults.every_error = None
        volume = await driver.publish()
        assert (volume / "password").read_bytes() == b"first"


@pytest.mark.parametrize("code", [Code.PERMISSION_DENIED, Code.NOT_FOUND, Code.RESOURCE_EXHAUSTED])
async def test_the_providers_code_reaches_kubelet(driver: Driver, code: Code) -> None:
    driver.provider.faults.errors.append(code)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await driver.publish()
    assert failed.value.code() is code
    assert "failed to mount secrets store objects for pod default/pod-pod1, err: rpc error" in str(
        failed.value.details()
    )
    assert driver.node.mounts() == []


async def test_a_bad_path_rejects_the_whole_answer(driver: Driver) -> None:
    driver.provider.faults.extra_files = [("../evil", b"x")]
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await driver.publish()
    assert "invalid path: must not contain '..'" in str(failed.value.details())
    assert driver.node.mounts() == []


async def test_a_provider_that_writes_itself_writes_into_the_tmpfs(driver: Driver) -> None:
    driver.provider.writes_itself = True
    volume = await driver.publish()
    assert (volume / "password").read_bytes() == b"first"
    assert driver.node.mounts() == [str(volume)]
    await driver.publish()
    assert len(driver.provider.calls) == 1
    await driver.unpublish()
    assert not volume.exists()
    assert list(volume.parent.iterdir()) == []


async def test_a_failed_self_writing_provider_leaves_nothing_on_the_disk_below(
    driver: Driver,
) -> None:
    driver.provider.writes_itself = True
    driver.provider.faults.no_versions = True
    with pytest.raises(grpc.aio.AioRpcError, match="missing object versions"):
        await driver.publish()
    assert not pathlib.Path(driver.node.target("pod1")).exists()


async def test_parallel_publishes_with_cancellations_make_one_mount(driver: Driver) -> None:
    """Issue 3: one mount, complete files, the others ABORTED or OK."""
    driver.provider.faults.delay_s = 0.2
    calls = [driver.csi.NodePublishVolume(driver.request(), timeout=60) for _ in range(20)]
    await asyncio.sleep(0.05)
    for call in calls[::3]:
        call.cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    codes = {
        result.code() if isinstance(result, grpc.aio.AioRpcError) else type(result).__name__
        for result in results
    }
    allowed: set[object] = {Code.ABORTED, "NodePublishVolumeResponse", "CancelledError"}
    assert codes <= allowed
    volume = pathlib.Path(driver.node.target("pod1"))
    # The publish goes on without its callers; its record is its last step.
    await eventually(driver.records)
    assert (volume / "password").read_bytes() == b"first"
    assert driver.node.mounts() == [str(volume)]
    assert driver.provider.attempts == 1


async def test_a_missing_provider_is_waited_for(driver: Driver) -> None:
    driver.api.create(stage.class_object("late", provider="late"))
    publishing = asyncio.create_task(driver.publish(class_name="late"))
    await asyncio.sleep(0.3)
    assert not publishing.done()
    async with provider.Provider(driver.node.more_providers, "late", {"f": b"x"}):
        volume = await asyncio.wait_for(publishing, 1.0)
        assert (volume / "f").read_bytes() == b"x"


async def test_the_wait_for_a_provider_ends_with_the_callers_time(driver: Driver) -> None:
    driver.api.create(stage.class_object("late", provider="late"))
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await driver.csi.NodePublishVolume(driver.request(class_name="late"), timeout=1.0)
    assert failed.value.code() is Code.UNKNOWN
    assert 'provider not found: provider "late"' in str(failed.value.details())
    assert driver.node.mounts() == []


async def test_the_wait_ends_at_once_when_the_pod_is_deleted(driver: Driver) -> None:
    driver.api.create(stage.class_object("late", provider="late"))
    pod = driver.api.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "waiting", "namespace": "default"},
            "spec": {"nodeName": stage.NODE, "containers": [{"name": "c", "image": "i"}]},
        }
    )
    uid = pod["metadata"]["uid"]
    publishing = asyncio.create_task(driver.publish(uid, class_name="late"))
    await asyncio.sleep(0.2)
    driver.api.delete("v1", "Pod", "waiting", "default")
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await asyncio.wait_for(publishing, 2.0)
    assert failed.value.code() is Code.ABORTED
    assert driver.node.mounts() == []


async def test_an_unpublish_ends_a_publish_in_flight(driver: Driver) -> None:
    driver.provider.faults.hang = asyncio.Event()
    publishing = asyncio.create_task(driver.publish())
    await eventually(lambda: driver.provider.attempts == 1)
    await asyncio.wait_for(driver.unpublish(), 1.0)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await publishing
    assert failed.value.code() is Code.ABORTED
    driver.provider.faults.hang.set()
    assert driver.node.mounts() == []
    assert driver.records() == []


async def test_a_hanging_provider_that_is_replaced_does_not_hold_the_pod(driver: Driver) -> None:
    driver.provider.faults.hang = asyncio.Event()
    publishing = asyncio.create_task(driver.publish())
    await eventually(lambda: driver.provider.attempts == 1)
    async with provider.Provider(driver.node.providers, "fake", {"password": b"second"}):
        volume = await asyncio.wait_for(publishing, 1.5)
    assert (volume / "password").read_bytes() == b"second"
    driver.provider.faults.hang.set()


@pytest.mark.timeout(30)
async def test_without_an_api_server_a_known_class_still_mounts(driver: Driver) -> None:
    await driver.publish("pod1")
    driver.api.pause()
    try:
        volume = await driver.publish("pod2")
        assert (volume / "password").read_bytes() == b"first"
    finally:
        driver.api.resume()
    # The status object follows with the next try of the background.
    assert await eventually(lambda: driver.status("pod-pod2-default-app"), 20.0)
