"""What known providers assume of the driver, each as a stand-in of that habit.

A driver that breaks one of them breaks somebody: vault, openbao, aws, azure, gcp, alibaba,
infisical, akeyless, conjur. The numbers in the names go from Version over the request and the
answer to the channel and its socket.
"""

import asyncio
import json
import os
import pathlib
import random
from typing import Any

import grpc
import grpc.aio
import pytest

from csi_spec import provider_pb2
from devkit import provider, provider_request, stage
from tests.contract.secrets_store.conftest import Driver, Start, eventually

pytestmark = pytest.mark.root

Code = grpc.StatusCode
Call = provider_request.MountCall
PREFIX = "csi.storage.k8s.io/"
TOKENS = PREFIX + "serviceAccount.tokens"
TOKENS_JSON = json.dumps(
    {
        "": {"token": "t.0", "expirationTimestamp": "2999-01-01T00:00:00Z"},
        "vault": {"token": "t.1", "expirationTimestamp": "2999-01-01T00:00:00Z"},
    }
)


def rotating(interval_s: float = 0.1) -> dict[str, object]:
    return {"enable_secret_rotation": True, "rotation_poll_interval_s": interval_s}


async def refusal(driver: Driver, **changes: Any) -> tuple[grpc.StatusCode, str]:
    """Publish; return code and text of the failure, of which nothing is left."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await driver.publish(**changes)
    assert driver.node.mounts() == []
    assert driver.records() == []
    return failed.value.code(), str(failed.value.details())


async def refreshed(driver: Driver, times: int = 2) -> None:
    """Wait until the provider has been asked so often from now on, and was answered once more."""
    seen = len(driver.provider.calls)
    await eventually(lambda: len(driver.provider.calls) >= seen + times)


class OddVersion(provider.Provider):
    """Answers Version with whatever it likes, as conjur echoes the request."""

    answer: provider_pb2.VersionResponse | None = None

    async def Version(self, request: Any, context: Any) -> provider_pb2.VersionResponse:
        if self.answer is None:
            await context.abort(Code.UNIMPLEMENTED, "no such method")
        return self.answer or provider_pb2.VersionResponse()


@pytest.mark.parametrize(
    "answer",
    [
        None,
        provider_pb2.VersionResponse(),
        provider_pb2.VersionResponse(version="v99", runtime_name="?", runtime_version=""),
    ],
    ids=["unimplemented", "empty", "another"],
)
async def test_1_nobody_agrees_on_a_version(
    start: Start, answer: provider_pb2.VersionResponse | None
) -> None:
    async with start(provider_health_check=True, provider_health_check_interval_s=0.02) as driver:
        driver.api.create(stage.class_object("odd", provider="odd"))
        odd = OddVersion(driver.node.providers, "odd", {"f": b"x"})
        odd.answer = answer
        async with odd:
            volume = await driver.publish(class_name="odd")
            up = "secrets_store_provider_up", {"provider": "odd"}
            registry = driver.app.metrics.registry
            await eventually(lambda: registry.get_sample_value(*up) is not None)
            await driver.publish("pod2", class_name="odd")
            assert (volume / "f").read_bytes() == b"x"


async def test_2_attributes_are_strings_of_class_and_kubelet(driver: Driver) -> None:
    parameters = {
        "objects": "- a: 1\n",
        "number": "7",
        "yes": "true",
        PREFIX + "pod.name": "forged",
    }
    driver.api.create(stage.class_object("typed", parameters=parameters))
    await driver.publish(class_name="typed", context={TOKENS: TOKENS_JSON})
    attributes = dict(driver.provider.calls[0].attributes)
    assert attributes == {
        "objects": "- a: 1\n",
        "number": "7",
        "yes": "true",
        "secretProviderClass": "typed",
        PREFIX + "pod.name": "pod-pod1",
        PREFIX + "pod.namespace": "default",
        PREFIX + "pod.uid": "pod1",
        PREFIX + "serviceAccount.name": "default",
        PREFIX + "ephemeral": "true",
        TOKENS: TOKENS_JSON,
    }


async def test_2_a_refresh_is_asked_with_the_same_attributes(start: Start) -> None:
    """E4: upstream's reconciler left some of them out."""
    async with start(**rotating()) as driver:
        await driver.publish(context={TOKENS: TOKENS_JSON})
        await refreshed(driver)
        first, *later = driver.provider.calls
        assert all(call.attributes == first.attributes for call in later)
        assert all(call.target_path == first.target_path for call in later)


@pytest.mark.parametrize("where", ["context", "secrets"])
async def test_3_tokens_are_json_in_a_string_among_the_attributes(
    driver: Driver, where: str
) -> None:
    """Newer kubelets deliver them in the secrets, where almost nobody looks."""
    request = driver.request()
    (request.secrets if where == "secrets" else request.volume_context)[TOKENS] = TOKENS_JSON
    driver.provider.required_audiences = ("", "vault")
    await driver.csi.NodePublishVolume(request)
    call = driver.provider.calls[0]
    assert call.attributes[TOKENS] == TOKENS_JSON
    assert call.tokens["vault"]["expirationTimestamp"] == "2999-01-01T00:00:00Z"
    # A17: and not a second time where other secrets are.
    assert call.secrets is None


async def test_4_secrets_are_json_null_when_there_are_none(driver: Driver) -> None:
    await driver.publish()
    assert driver.provider.calls[0].secrets is None
    request = driver.request("pod2")
    request.secrets["clientid"] = 'a "quoted"\nline'
    await driver.csi.NodePublishVolume(request)
    assert driver.provider.calls[1].secrets == {"clientid": 'a "quoted"\nline'}


async def test_5_the_permission_is_a_decimal_json_number(driver: Driver) -> None:
    volume = await driver.publish()
    assert driver.provider.calls[0].permission == 420
    assert os.stat(volume / "password").st_mode & 0o777 == 0o644


async def test_6_the_target_is_a_tmpfs_before_the_call(driver: Driver) -> None:
    seen: list[tuple[str, bool]] = []

    def files(call: Call) -> dict[str, provider.Content]:
        seen.append((call.target_path, os.path.ismount(call.target_path)))
        return {"f": b"x"}

    driver.provider.files = files
    volume = await driver.publish()
    assert seen == [(str(volume), True)]
    # Infisical takes the volume's name from the path.
    assert volume.parent.name == "secrets"


async def test_7_answers_from_the_files_on_disk_are_possible(start: Start) -> None:
    """AWS and Alibaba read what the volume shows when they are told the right versions."""

    def files(call: Call) -> dict[str, provider.Content]:
        if call.current_object_version:
            return {"f": (pathlib.Path(call.target_path) / "f").read_bytes()}
        return {"f": b"from the store"}

    async with start(**rotating()) as driver:
        driver.provider.files = files
        driver.provider.versions = {"f": "7"}
        volume = await driver.publish()
        await refreshed(driver)
        assert [dict(x.current_object_version) for x in driver.provider.calls[:2]] == [
            {},
            {"f": "7"},
        ]
        assert (volume / "f").read_bytes() == b"from the store"
        assert driver.events("MountRotationFailed") == []


@pytest.mark.parametrize("files", [{}, {"f": b"x"}], ids=["empty list", "files alone"])
async def test_8_an_answer_without_versions_is_an_error(
    driver: Driver, files: dict[str, provider.Content]
) -> None:
    driver.provider.files = files
    driver.provider.faults.no_versions = True
    _, text = await refusal(driver)
    assert text.endswith("missing object versions")


async def test_8_at_a_refresh_it_keeps_the_files(start: Start) -> None:
    async with start(**rotating()) as driver:
        volume = await driver.publish()
        driver.provider.files = {}
        driver.provider.faults.no_versions = True
        await eventually(lambda: driver.events("MountRotationFailed"))
        assert (volume / "password").read_bytes() == b"first"


async def test_9_versions_without_files_leave_the_directory_alone(start: Start) -> None:
    async with start(**rotating()) as driver:
        driver.provider.writes_itself = True
        volume = await driver.publish()
        inode = (volume / "password").stat().st_ino
        await refreshed(driver)
        # It writes anew at each call; nothing of the driver's stands beside.
        assert (volume / "password").stat().st_ino != inode
        names = {x.name for x in volume.iterdir()}
        assert {x for x in names if not x.startswith("tmp")} == {"password"}
        assert (volume / "password").read_bytes() == b"first"


async def test_9_a_live_volume_may_change_hands_and_back(start: Start) -> None:
    """AWS: --driver-writes-secrets. Readers find the file at any time."""
    async with start(**rotating()) as driver:
        driver.provider.writes_itself = True
        volume = await driver.publish()
        driver.provider.writes_itself = False
        driver.provider.files = {"password": b"by the driver"}
        await eventually(lambda: (volume / "password").read_bytes() == b"by the driver")
        assert (volume / "password").is_symlink()
        driver.provider.writes_itself = True
        driver.provider.files = {"password": b"by the provider"}
        await eventually(lambda: (volume / "password").read_bytes() == b"by the provider")
        assert not (volume / "password").is_symlink()
        assert driver.events("MountRotationFailed") == []
        await driver.unpublish()
        assert not volume.exists()


async def test_10_an_error_code_in_the_answer_is_an_error(driver: Driver) -> None:
    driver.provider.faults.answer_code = "AuthFailed"
    code, text = await refusal(driver)
    assert code is Code.UNKNOWN
    assert text.endswith("mount request failed with provider error code AuthFailed")


@pytest.mark.parametrize("code", [Code.UNKNOWN, Code.INVALID_ARGUMENT, Code.INTERNAL])
async def test_10_most_errors_are_unknown_and_gcps_are_not(
    driver: Driver, code: grpc.StatusCode
) -> None:
    driver.provider.faults.errors.append(code)
    found, text = await refusal(driver)
    assert found is code
    assert "made to fail" in text
    assert driver.provider.attempts == 1


async def test_10_a_provider_that_vanishes_in_mid_call_is_asked_again(driver: Driver) -> None:
    """Alibaba and akeyless can panic."""
    driver.provider.faults.crashes = 1
    volume = await driver.publish()
    assert (volume / "password").read_bytes() == b"first"
    assert driver.provider.attempts == 2


async def test_11_order_means_nothing(start: Start) -> None:
    contents: dict[str, provider.Content] = {f"file{n}": f"{n}".encode() for n in range(20)}

    def files(call: Call) -> dict[str, provider.Content]:
        return dict(random.sample(list(contents.items()), len(contents)))

    async with start(**rotating()) as driver:
        driver.provider.files = files
        volume = await driver.publish()
        shown = os.readlink(volume / "..data")
        status = driver.status()
        await refreshed(driver, 4)
        assert os.readlink(volume / "..data") == shown
        assert driver.status() == status
        assert driver.events("MountRotationComplete") == []


async def test_12_one_path_twice_the_last_wins_and_is_told(driver: Driver) -> None:
    driver.provider.faults.extra_files = [("password", b"second"), ("dir/x", b"1"), ("dir/x", b"2")]
    volume = await driver.publish()
    assert (volume / "password").read_bytes() == b"second"
    assert (volume / "dir" / "x").read_bytes() == b"2"
    event = (await eventually(lambda: driver.events("DuplicateFiles")))[0]
    assert "dir/x, password" in event["message"]


class TwoVersions(provider.Provider):
    """Names one object twice, as azure does for a certificate's two files."""

    async def Mount(self, request: Any, context: Any) -> provider_pb2.MountResponse:
        answer = await super().Mount(request, context)
        answer.object_version.add(id="secret/password", version="the last")
        return answer


async def test_12_one_version_id_twice_the_last_wins(driver: Driver) -> None:
    driver.api.create(stage.class_object("twice", provider="twice"))
    async with TwoVersions(driver.node.providers, "twice", {"password": b"p"}):
        await driver.publish(class_name="twice")
    status = driver.status("pod-pod1-default-twice")
    assert status is not None
    assert status["status"]["objects"] == [{"id": "secret/password", "version": "the last"}]


@pytest.mark.parametrize(
    "path",
    [
        "", ".", "..", "../x", "/x", "a/../b", "a/./b", "a//b", "a/", "./a", "..data", "..data/x",
        "..2024_01_01", "..name", "a/..", "x" * 256, "a\0b",
    ],
)  # fmt: skip
async def test_13_the_driver_stops_paths_that_providers_let_pass(driver: Driver, path: str) -> None:
    """CVE-2020-8567. Nothing of the answer is used, also not its good files."""
    sentinel = driver.node.root / "sentinel"
    sentinel.write_bytes(b"precious")
    driver.provider.faults.extra_files = [(path, b"evil")]
    await refusal(driver)
    assert sentinel.read_bytes() == b"precious"
    assert sorted(x.name for x in driver.node.kubelet.rglob("*") if x.is_file()) == []


@pytest.mark.parametrize(
    "path", ["a..b", "a/..b", ".hidden", "a b", "ü", "-x", "a/b/c/d", "x" * 255]
)
async def test_13_other_paths_pass(driver: Driver, path: str) -> None:
    driver.provider.files = {path: b"good"}
    volume = await driver.publish()
    assert (volume / path).read_bytes() == b"good"


async def test_14_a_provider_that_crashes_on_each_call_is_asked_three_times(
    driver: Driver,
) -> None:
    driver.provider.faults.crashes = 9
    code, _ = await refusal(driver)
    assert code is Code.UNAVAILABLE
    assert driver.provider.attempts == 3


async def test_14_a_provider_that_starts_later_is_waited_for(driver: Driver) -> None:
    await driver.provider.stop()
    publishing = asyncio.create_task(driver.publish())
    await asyncio.sleep(0.4)
    assert not publishing.done()
    await driver.provider.start()
    volume = await asyncio.wait_for(publishing, 1.0)
    assert (volume / "password").read_bytes() == b"first"


async def test_14_answers_up_to_four_mebibytes_are_taken(driver: Driver) -> None:
    driver.provider.files = {"big": b"x" * (4 * 1024 * 1024 - 4096)}
    volume = await driver.publish()
    assert (volume / "big").stat().st_size == 4 * 1024 * 1024 - 4096
    driver.provider.files = {"big": b"x" * (4 * 1024 * 1024 + 1)}
    code, text = await refusal_of(driver, "pod2")
    assert code is Code.RESOURCE_EXHAUSTED
    assert "--max-call-recv-msg-size" in text


async def refusal_of(driver: Driver, uid: str) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await driver.publish(uid)
    assert not pathlib.Path(driver.node.target(uid)).exists()
    return failed.value.code(), str(failed.value.details())


async def test_15_a_socket_left_by_a_crash_is_outlived(driver: Driver) -> None:
    """Conjur fails until its old socket is removed by hand; then it has a new one."""
    await driver.publish("pod1")
    await driver.provider.stop(leave_socket=True)
    publishing = asyncio.create_task(driver.publish("pod2"))
    await asyncio.sleep(0.3)
    assert not publishing.done()
    os.unlink(driver.provider.path)
    await driver.provider.start()
    volume = await asyncio.wait_for(publishing, 1.0)
    assert (volume / "password").read_bytes() == b"first"


async def test_15_a_socket_of_mode_0600_is_used(driver: Driver) -> None:
    os.chmod(driver.provider.path, 0o600)
    volume = await driver.publish()
    assert (volume / "password").read_bytes() == b"first"


async def test_15_the_deprecated_directory_is_searched_first(driver: Driver) -> None:
    async with provider.Provider(driver.node.more_providers, "fake", {"password": b"other"}):
        volume = await driver.publish()
    assert (volume / "password").read_bytes() == b"other"
    assert driver.provider.attempts == 0


async def test_constant_versions_do_not_hide_changed_contents(start: Start) -> None:
    """Alibaba's OOS and Conjur always say the same version."""
    async with start(**rotating()) as driver:
        driver.provider.versions = {"f": "v1"}
        driver.provider.files = {"f": b"first"}
        volume = await driver.publish()
        driver.provider.files = {"f": b"second"}
        await eventually(lambda: (volume / "f").read_bytes() == b"second")
        assert await eventually(lambda: driver.events("MountRotationComplete"))


async def test_changed_versions_of_equal_contents_are_told_and_not_written(start: Start) -> None:
    async with start(**rotating()) as driver:
        driver.provider.versions = {"f": "1"}
        volume = await driver.publish()
        shown = os.readlink(volume / "..data")
        driver.provider.versions = {"f": "2"}

        def told() -> bool:
            status = driver.status()
            return status is not None and status["status"]["objects"] == [
                {"id": "f", "version": "2"}
            ]

        await eventually(told)
        assert os.readlink(volume / "..data") == shown


async def test_modes_of_the_answer_are_applied_also_when_they_alone_change(start: Start) -> None:
    """B4: upstream compares bytes only."""
    async with start(**rotating()) as driver:
        driver.provider.files = {"f": provider.File(b"x", 0o600)}
        volume = await driver.publish()
        assert os.stat(volume / "f").st_mode & 0o777 == 0o600
        driver.provider.files = {"f": provider.File(b"x", 0o440)}
        await eventually(lambda: os.stat(volume / "f").st_mode & 0o777 == 0o440)
