"""Single attempts: what the driver is sent, and what each outcome leaves behind."""

import pathlib
import secrets

import grpc
import pytest

from csi_spec import csi_pb2
from devkit.kubelet import node_client, objects, operations, plugins, pod_dirs, tokens
from tests.unit.devkit.kubelet import node_driver

NAME = objects.DRIVER_NAME
FINAL = [
    code for code in grpc.StatusCode if code not in {grpc.StatusCode.OK, *node_client.NOT_FINAL}
]


class Node:
    """Operations on one volume of one pod, with the driver's view of mounts."""

    def __init__(
        self, driver: node_driver.NodeDriver, directory: pathlib.Path, *, old: bool = False
    ) -> None:
        self.drivers = {NAME: objects.CsiDriver()}
        self.registered = {NAME: plugins.Plugin(NAME, f"{directory}/csi.sock", "node-1", 0, {})}
        self.dirs = pod_dirs.PodDirs(directory / "kubelet", driver.is_mount_point)
        self.token = secrets.token_hex()
        self.mint_fails = False
        self.operations = operations.Operations(
            "node-1",
            self.drivers,
            self.registered,
            self.dirs,
            tokens.Cache(self._mint),
            deadline_s=3,
            keep_connection=False,
            removes_after_failed_republish=old,
        )
        self.known = operations.PodVolume(
            objects.Pod("web", uid="u1"), objects.Volume("store", {"secretProviderClass": "one"})
        )

    async def _mint(self, pod: objects.Pod, asked: objects.TokenRequest) -> tokens.Token:
        if self.mint_fails:
            raise tokens.MintFailed("no such service account")
        return tokens.Token(self.token, 2e9)

    async def fail(self) -> operations.VolumeFailed:
        with pytest.raises(operations.VolumeFailed) as caught:
            await self.operations.set_up(self.known)
        return caught.value

    @property
    def target(self) -> pathlib.Path:
        return self.operations.target(self.known)

    @property
    def has_data(self) -> bool:
        return (self.target.parent / "vol_data.json").exists()


@pytest.fixture
def node(driver: node_driver.NodeDriver, directory: pathlib.Path) -> Node:
    return Node(driver, directory)


class TestSetUp:
    async def test_asks_twice_for_capabilities_then_publishes(
        self, node: Node, driver: node_driver.NodeDriver
    ) -> None:
        call_s = await node.operations.set_up(node.known)
        assert driver.calls == ["NodeGetCapabilities"] * 2 + ["NodePublishVolume"]
        assert 0 < call_s < 3
        assert node.known.state is operations.State.MOUNTED
        [sent] = driver.published
        assert sent.target_path == str(node.target)
        assert sent.volume_context["csi.storage.k8s.io/pod.uid"] == "u1"

    async def test_notes_the_volume_before_the_call(
        self, node: Node, driver: node_driver.NodeDriver
    ) -> None:
        await node.operations.set_up(node.known)
        data = node.dirs.read("u1", "store")
        assert (data.volume_name, data.driver, data.node_name) == ("store", NAME, "node-1")
        assert data.volume_id == driver.published[0].volume_id

    async def test_the_drivers_capabilities_shape_the_request(
        self, node: Node, driver: node_driver.NodeDriver
    ) -> None:
        driver.capabilities = [csi_pb2.NodeServiceCapability.RPC.VOLUME_MOUNT_GROUP]
        node.known.pod = objects.Pod("web", uid="u1", fs_group=2000)
        await node.operations.set_up(node.known)
        assert driver.published[0].volume_capability.mount.volume_mount_group == "2000"

    async def test_tokens_are_sent_when_the_driver_asks(
        self, node: Node, driver: node_driver.NodeDriver
    ) -> None:
        node.drivers[NAME] = objects.CsiDriver(token_requests=(objects.TokenRequest("kms"),))
        await node.operations.set_up(node.known)
        key = "csi.storage.k8s.io/serviceAccount.tokens"
        assert node.token in driver.published[0].volume_context[key]


class TestNoCall:
    """Reasons why it does not come to NodePublishVolume: nothing is made, nothing ends."""

    async def test_no_driver_object(self, node: Node, driver: node_driver.NodeDriver) -> None:
        node.drivers.clear()
        failed = await node.fail()
        assert "no CSIDriver object secrets-store.csi.k8s.io" in str(failed)
        self.check(node, failed, driver)

    async def test_no_registered_plugin(self, node: Node, driver: node_driver.NodeDriver) -> None:
        node.registered.clear()
        failed = await node.fail()
        assert "not found in the list of registered CSI drivers" in str(failed)
        self.check(node, failed, driver)

    async def test_no_token(self, node: Node, driver: node_driver.NodeDriver) -> None:
        node.drivers[NAME] = objects.CsiDriver(token_requests=(objects.TokenRequest("kms"),))
        node.mint_fails = True
        failed = await node.fail()
        assert "failed to get service account tokens: no such service account" in str(failed)
        self.check(node, failed, driver)

    async def test_no_capabilities(self, node: Node, driver: node_driver.NodeDriver) -> None:
        driver.capabilities_code = grpc.StatusCode.INTERNAL
        failed = await node.fail()
        assert "node capabilities: rpc error: code = Internal desc = as ordered" in str(failed)
        self.check(node, failed, driver)

    def check(
        self, node: Node, failed: operations.VolumeFailed, driver: node_driver.NodeDriver
    ) -> None:
        assert (failed.code, failed.final) == (None, False)
        assert node.known.state is None
        assert not node.target.parent.exists()
        assert not driver.published


class TestFailure:
    async def test_the_text_is_that_of_kubelets_event(
        self, node: Node, driver: node_driver.NodeDriver
    ) -> None:
        driver.publish_codes.append(grpc.StatusCode.INVALID_ARGUMENT)
        failed = await node.fail()
        assert str(failed) == (
            'MountVolume.SetUp failed for volume "store" : '
            "rpc error: code = InvalidArgument desc = as ordered"
        )
        assert failed.code is grpc.StatusCode.INVALID_ARGUMENT
        assert failed.details == "as ordered"

    @pytest.mark.parametrize("code", FINAL, ids=lambda code: code.name)
    async def test_a_final_one_removes_everything(
        self, node: Node, driver: node_driver.NodeDriver, code: grpc.StatusCode
    ) -> None:
        driver.publish_codes.append(code)
        assert (await node.fail()).final
        assert node.known.state is None
        assert not node.target.parent.exists()
        assert node.operations.problems == []

    @pytest.mark.parametrize("code", sorted(node_client.NOT_FINAL, key=str), ids=lambda c: c.name)
    async def test_any_other_keeps_the_directory_and_the_doubt(
        self, node: Node, driver: node_driver.NodeDriver, code: grpc.StatusCode
    ) -> None:
        driver.publish_codes.append(code)
        assert not (await node.fail()).final
        assert node.known.state is operations.State.UNCERTAIN
        assert node.has_data

    async def test_a_final_one_ends_the_doubt(
        self, node: Node, driver: node_driver.NodeDriver
    ) -> None:
        driver.publish_codes.extend([grpc.StatusCode.ABORTED, grpc.StatusCode.INTERNAL])
        await node.fail()
        await node.fail()
        assert node.known.state is None
        assert not node.target.parent.exists()

    async def test_a_final_one_leaves_a_mount_alone(
        self, node: Node, driver: node_driver.NodeDriver
    ) -> None:
        driver.publish_codes.append(grpc.StatusCode.INTERNAL)
        driver.mounted.add(str(node.target))
        await node.fail()
        assert node.has_data

    async def test_files_without_a_mount_are_a_problem(
        self, node: Node, driver: node_driver.NodeDriver
    ) -> None:
        driver.publish_codes.append(grpc.StatusCode.INTERNAL)
        driver.crumb = True
        await node.fail()
        [problem] = node.operations.problems
        assert "failed to remove the mount directory" in problem
        assert (node.target / "crumb").exists()

    @pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE])
    async def test_a_failed_repeat_leaves_a_mounted_volume_mounted(
        self, node: Node, driver: node_driver.NodeDriver, code: grpc.StatusCode
    ) -> None:
        await node.operations.set_up(node.known)
        driver.mounted.clear()  # As if the mount could not be seen.
        driver.publish_codes.append(code)
        await node.fail()
        assert node.known.state is operations.State.MOUNTED
        assert node.has_data

    async def test_an_old_kubelet_removes_after_a_failed_repeat(
        self, driver: node_driver.NodeDriver, directory: pathlib.Path
    ) -> None:
        node = Node(driver, directory, old=True)
        await node.operations.set_up(node.known)
        driver.mounted.clear()
        driver.publish_codes.append(grpc.StatusCode.INTERNAL)
        await node.fail()
        assert not node.target.parent.exists()

    async def test_a_deadline_passes_without_an_answer(
        self, node: Node, driver: node_driver.NodeDriver
    ) -> None:
        driver.publish_codes.append(grpc.StatusCode.DEADLINE_EXCEEDED)
        failed = await node.fail()
        assert "code = DeadlineExceeded" in str(failed)


class TestTearDown:
    async def test_unpublishes_and_removes_the_directory(
        self, node: Node, driver: node_driver.NodeDriver
    ) -> None:
        await node.operations.set_up(node.known)
        await node.operations.tear_down(node.known)
        [sent] = driver.unpublished
        assert sent.volume_id == driver.published[0].volume_id
        assert sent.target_path == str(node.target)
        assert node.known.state is None
        assert not node.target.parent.exists()

    async def test_a_failure_changes_nothing(
        self, node: Node, driver: node_driver.NodeDriver
    ) -> None:
        await node.operations.set_up(node.known)
        driver.unpublish_codes.append(grpc.StatusCode.INTERNAL)
        with pytest.raises(operations.VolumeFailed) as caught:
            await node.operations.tear_down(node.known)
        assert str(caught.value) == (
            'UnmountVolume.TearDown failed for volume "store" : '
            "rpc error: code = Internal desc = as ordered"
        )
        assert node.known.state is operations.State.MOUNTED
        assert node.has_data

    async def test_needs_what_was_noted(self, node: Node, driver: node_driver.NodeDriver) -> None:
        await node.operations.set_up(node.known)
        (node.target.parent / "vol_data.json").unlink()
        with pytest.raises(operations.VolumeFailed, match=r"vol_data\.json is gone"):
            await node.operations.tear_down(node.known)
        assert not driver.unpublished
