import asyncio
import functools
import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest

from csi_spec import csi_pb2, csi_pb2_grpc, rpc
from secrets_store import errors
from secrets_store import log as logs
from secrets_store.csi import interceptors

CANARY = secrets.token_hex()
OK = csi_pb2.NodePublishVolumeResponse()
Behaviour = Callable[[Any, Any], Awaitable[csi_pb2.NodePublishVolumeResponse]]


class Node(csi_pb2_grpc.NodeServicer):
    """Publishes by doing what it was told; the other calls are not implemented."""

    def __init__(self) -> None:
        self.behaviour: Behaviour = answer

    async def NodePublishVolume(self, request: Any, context: Any) -> Any:
        return await self.behaviour(request, context)


async def answer(request: Any, context: Any) -> csi_pb2.NodePublishVolumeResponse:
    return OK


def raising(error: BaseException) -> Behaviour:
    async def behaviour(request: Any, context: Any) -> csi_pb2.NodePublishVolumeResponse:
        token = request.volume_context["token"]
        assert token
        raise error

    return behaviour


class Stage:
    """The servicer and what came of calling it."""

    def __init__(self, serve: Any) -> None:
        # The other calls stay those of the generated class, which refuses them.
        self.node = Node()  # type: ignore[abstract]
        self._serve = serve
        self._register: list[rpc.Register] = [
            functools.partial(csi_pb2_grpc.add_NodeServicer_to_server, self.node)
        ]

    async def publish(self, *behaviours: Behaviour) -> list[tuple[str, str]]:
        """Publish once for each behaviour; return code and text of each answer."""
        found = []
        async with self._serve(self._register) as channel:
            for self.node.behaviour in behaviours:
                try:
                    await csi_pb2_grpc.NodeStub(channel).NodePublishVolume(request(), timeout=3)
                except grpc.aio.AioRpcError as error:
                    found.append((error.code().name, error.details() or ""))
                else:
                    found.append(("OK", ""))
        return found


@pytest.fixture
def stage(serve: Any) -> Stage:
    return Stage(serve)


@pytest.fixture(params=[False, True], ids=["text", "json"])
def verbose(request: pytest.FixtureRequest) -> Iterator[Callable[[], None]]:
    """Let everything be logged as the driver does, to what stderr is when it is called."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield functools.partial(logs.setup, verbosity=10, as_json=request.param)
    root.handlers[:] = handlers
    root.setLevel(level)


def request() -> csi_pb2.NodePublishVolumeRequest:
    """A publish with a canary in every place that can hold a secret."""
    return csi_pb2.NodePublishVolumeRequest(
        volume_id="csi-1",
        target_path="/var/lib/kubelet/pods/1/volumes/kubernetes.io~csi/v/mount",
        readonly=True,
        publish_context={"x": CANARY},
        secrets={"password": CANARY, "csi.storage.k8s.io/serviceAccount.tokens": CANARY},
        volume_context={
            "secretProviderClass": "db",
            "csi.storage.k8s.io/pod.name": "web-0",
            "csi.storage.k8s.io/pod.namespace": "team",
            "csi.storage.k8s.io/pod.uid": "11-22",
            "csi.storage.k8s.io/serviceAccount.name": "web",
            "csi.storage.k8s.io/ephemeral": "true",
            "csi.storage.k8s.io/serviceAccount.tokens": CANARY,
            "csi.storage.k8s.io/brandNewKey": CANARY,
            "token": CANARY,
        },
        volume_capability=csi_pb2.VolumeCapability(
            mount=csi_pb2.VolumeCapability.MountVolume(mount_flags=[CANARY])
        ),
    )


# -- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (errors.InvalidRequest("Volume ID missing in request"), "INVALID_ARGUMENT", None),
        (errors.PathRejected("/a", "must be clean"), "INVALID_ARGUMENT", None),
        (errors.ClassNotNamed(), "UNKNOWN", "secretProviderClass is not set"),
        (errors.VolumeBusy("/a"), "ABORTED", None),
        (errors.MountFailure("mount tmpfs at", "/a", "x"), "INTERNAL", None),
        (errors.VolumeAbsent("no volume"), "NOT_FOUND", None),
        (errors.VolumeMismatch("another"), "ALREADY_EXISTS", None),
        (errors.Stopping(), "UNAVAILABLE", "the driver is shutting down"),
        *(
            (errors.ProviderFailed(f"it said {code.name}", code=code), code.name, None)
            for code in errors.Code
        ),
    ],
)
async def test_our_errors_become_their_status(
    stage: Stage, error: errors.DriverError, code: str, told: str | None
) -> None:
    assert await stage.publish(raising(error)) == [(code, told or str(error))]


@pytest.mark.parametrize(
    "error",
    [
        ValueError(CANARY),
        KeyError(CANARY),
        OSError(CANARY),
        RuntimeError(),
        ExceptionGroup("x", [ValueError(CANARY)]),
    ],
)
async def test_the_unforeseen_costs_one_call_and_tells_no_text(
    stage: Stage,
    error: Exception,
    verbose: Callable[[], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    verbose()

    found = await stage.publish(raising(error), answer)

    assert found == [("INTERNAL", f"internal error: {type(error).__name__}"), ("OK", "")]
    out, err = capsys.readouterr()
    assert CANARY not in out + err
    assert "call broke" in err
    assert "test_interceptors.py:" in err


async def test_an_abort_passes_through(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    async def abort(request: Any, context: Any) -> csi_pb2.NodePublishVolumeResponse:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "not here")
        raise AssertionError("aborted")

    assert await stage.publish(abort) == [("UNIMPLEMENTED", "not here")]
    assert not caplog.records


async def test_a_method_nobody_serves_is_unimplemented(serve: Any) -> None:
    async with serve([]) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await csi_pb2_grpc.NodeStub(channel).NodeGetInfo(csi_pb2.NodeGetInfoRequest())

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_caller_that_leaves_is_no_failure(
    stage: Stage, serve: Any, caplog: pytest.LogCaptureFixture
) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def wait(request: Any, context: Any) -> csi_pb2.NodePublishVolumeResponse:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError("ended")

    stage.node.behaviour = wait
    async with serve(stage._register) as channel:
        call = csi_pb2_grpc.NodeStub(channel).NodePublishVolume(request())
        calling = asyncio.ensure_future(call)
        await started.wait()
        call.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        await asyncio.wait_for(ended.wait(), 3)

    assert not [r for r in caplog.records if r.name.startswith("secrets_store")]


# -- logs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (errors.VolumeBusy("/a"), "INFO"),
        (errors.ProviderFailed("x", code=errors.Code.ABORTED), "INFO"),
        (errors.Stopping(), "ERROR"),
        (errors.ClassNotNamed(), "ERROR"),
    ],
)
async def test_a_failure_is_logged_once_with_method_code_and_reason(
    stage: Stage, caplog: pytest.LogCaptureFixture, error: errors.DriverError, level: str
) -> None:
    with caplog.at_level(logging.INFO):
        await stage.publish(raising(error))

    (record,) = caplog.records
    assert (record.levelname, record.message) == (level, "call failed")
    assert record.__dict__["pairs"] == {
        "method": "/csi.v1.Node/NodePublishVolume",
        "code": error.status_code.name,
        "err": str(error),
    }


async def test_requests_are_logged_at_debug_alone(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        await stage.publish(answer)
    assert not caplog.records

    with caplog.at_level(logging.DEBUG, "secrets_store"):
        await stage.publish(answer)

    asked, answered = (r for r in caplog.records if r.name.startswith("secrets_store"))
    assert (asked.message, answered.message) == ("request", "response")
    assert json.loads(asked.__dict__["pairs"]["req"])["volume_id"] == "csi-1"
    assert answered.__dict__["pairs"].keys() == {"method", "code", "seconds"}


async def test_no_secret_of_a_request_is_logged(
    stage: Stage, verbose: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    verbose()

    await stage.publish(
        answer, raising(errors.Stopping()), raising(ValueError(CANARY)), raising(OSError(CANARY))
    )

    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("/csi.v1.Node/NodePublishVolume") == 8
    assert "web-0" in err
    for part in (CANARY, CANARY[:32], CANARY[32:]):
        assert part not in err


def test_a_request_as_it_is_shown() -> None:
    stripped = "***stripped***"

    assert json.loads(interceptors.redacted(request())) == {
        "volume_id": "csi-1",
        "target_path": "/var/lib/kubelet/pods/1/volumes/kubernetes.io~csi/v/mount",
        "readonly": True,
        "publish_context": {"x": stripped},
        "secrets": stripped,
        "volume_capability": stripped,
        "volume_context": {
            "secretProviderClass": "db",
            "csi.storage.k8s.io/pod.name": "web-0",
            "csi.storage.k8s.io/pod.namespace": "team",
            "csi.storage.k8s.io/pod.uid": "11-22",
            "csi.storage.k8s.io/serviceAccount.name": "web",
            "csi.storage.k8s.io/ephemeral": "true",
            "csi.storage.k8s.io/serviceAccount.tokens": stripped,
            "csi.storage.k8s.io/brandNewKey": stripped,
            "token": stripped,
        },
    }


def test_what_has_parts_is_stripped() -> None:
    repeated = csi_pb2.VolumeCapability.MountVolume(fs_type="tmpfs", mount_flags=[CANARY])

    assert json.loads(interceptors.redacted(repeated)) == {
        "fs_type": "tmpfs",
        "mount_flags": "***stripped***",
    }


@pytest.mark.parametrize(
    "message",
    [
        message
        for message in csi_pb2.DESCRIPTOR.message_types_by_name
        if message.endswith("Request")
    ],
)
def test_every_request_of_the_wire_can_be_shown(message: str) -> None:
    assert interceptors.redacted(getattr(csi_pb2, message)()) == "{}"


def test_shown_requests_are_one_line() -> None:
    asked = csi_pb2.NodeUnpublishVolumeRequest(volume_id="a\nE1124 forged", target_path="ü")

    assert interceptors.redacted(asked) == '{"target_path": "ü", "volume_id": "a\\nE1124 forged"}'
