"""No secret comes out of the driver except as a file of its pod.

A driver process goes through success and every kind of failure with canaries in all that is
secret; then everything it has said is searched for them. CVE-2023-2878, CVE-2024-3744 and
CVE-2025-7445 were leaks of this sort in other drivers.
"""

import asyncio
import base64
import contextlib
import dataclasses
import json
import pathlib
import re
import secrets
import socket
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest

from csi_spec import csi_pb2, csi_pb2_grpc, provider_pb2
from devkit import provider, stage
from devkit.apiserver import server

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]

TOKENS = "csi.storage.k8s.io/serviceAccount.tokens"
Code = grpc.StatusCode


@dataclasses.dataclass(frozen=True)
class Canaries:
    """What must not come out; each recognisable by its own hexadecimal digits."""

    token: str = dataclasses.field(default_factory=lambda: f"eyJ.{secrets.token_hex(16)}.sig")
    token_in_secrets: str = dataclasses.field(
        default_factory=lambda: f"eyJ.{secrets.token_hex(16)}.sig"
    )
    # Such that JSON, Go's %q and a URL all write it in another way.
    password: str = dataclasses.field(
        default_factory=lambda: f'pass "word"\n{secrets.token_hex(16)}/é'
    )
    attribute: str = dataclasses.field(default_factory=lambda: secrets.token_hex(16))
    mount_flag: str = dataclasses.field(default_factory=lambda: secrets.token_hex(16))
    contents: str = dataclasses.field(default_factory=lambda: secrets.token_hex(16))

    def found_in(self, text: bytes) -> list[str]:
        """Return the names of the canaries that a text holds, in whatever form."""
        return [
            name
            for name, canary in dataclasses.asdict(self).items()
            if any(form in text for form in forms(canary))
        ]


def forms(canary: str) -> Iterator[bytes]:
    """Yield the forms by which a canary is recognised: whole or by halves, plain or in base64."""
    digits = re.findall(r"[0-9a-f]{32}", canary)[0]
    yield from (digits[:16].encode(), digits[16:].encode())
    raw = canary.encode()
    for shift in range(3):
        # What stands before it in the same base64 shifts its digits; the ends depend on others.
        encoded = base64.b64encode(b"\0" * shift + raw)
        yield encoded[4:-4]
        yield base64.urlsafe_b64encode(b"\0" * shift + raw)[4:-4]


def test_each_form_of_a_canary_is_recognised() -> None:
    """The search itself must find what is there."""
    canaries = Canaries()
    for name, canary in dataclasses.asdict(canaries).items():
        for text in (
            canary,
            json.dumps(canary),
            urllib.parse.quote(canary),
            base64.b64encode(f"ab{canary}".encode()).decode(),
            base64.urlsafe_b64encode(f"a{canary}b".encode()).decode(),
        ):
            assert canaries.found_in(f"before {text} after".encode()) == [name]


class Echo(provider.Provider):
    """Fails, when told so, with all that it was given in its text, as careless ones do."""

    refuses = answers_code = False

    async def Mount(
        self,
        request: provider_pb2.MountRequest,
        context: grpc.aio.ServicerContext[provider_pb2.MountRequest, provider_pb2.MountResponse],
    ) -> provider_pb2.MountResponse:
        if self.refuses:
            await context.abort(Code.PERMISSION_DENIED, _echo(request))
        if self.answers_code:
            return provider_pb2.MountResponse(error=provider_pb2.Error(code=_echo(request)))
        return await super().Mount(request, context)


def _echo(request: provider_pb2.MountRequest) -> str:
    attributes = json.loads(request.attributes)
    tokens = json.loads(attributes.get(TOKENS, "{}")).values()
    given = [*(x["token"] for x in tokens), *(json.loads(request.secrets) or {}).values()]
    return " ".join(
        [
            *given,
            *(json.dumps(x) for x in given),
            *(json.dumps(x, ensure_ascii=False) for x in given),
            *(urllib.parse.quote(x, safe="") for x in given),
            *(base64.b64encode(x.encode()).decode() for x in given),
            *(base64.urlsafe_b64encode(x.encode()).decode().rstrip("=") for x in given),
            request.attributes,
            request.secrets,
        ]
    )


class Bed:
    """A driver process, its stand-ins, and the canaries that are put in."""

    def __init__(self, node: stage.Node, api: server.APIServer, fake: Echo, port: int) -> None:
        self.node, self.api, self.provider, self.port = node, api, fake, port
        self.canaries = Canaries()
        self.told: list[str] = []

    def request(self, uid: str, *, in_secrets: bool = False, **changes: Any) -> (
        csi_pb2.NodePublishVolumeRequest
    ):  # fmt: skip
        request = stage.request(self.node, uid, **changes)
        canaries = self.canaries
        token = canaries.token_in_secrets if in_secrets else canaries.token
        tokens = json.dumps({"kms": {"token": token, "expirationTimestamp": _later()}})
        (request.secrets if in_secrets else request.volume_context)[TOKENS] = tokens
        request.secrets["password"] = canaries.password
        request.volume_context["objects"] = canaries.attribute
        request.volume_capability.mount.mount_flags.append(canaries.mount_flag)
        request.volume_capability.mount.fs_type = canaries.mount_flag
        return request

    async def publish(
        self, uid: str, *, timeout_s: float = 10.0, in_secrets: bool = False, **changes: Any
    ) -> grpc.StatusCode:
        request = self.request(uid, in_secrets=in_secrets, **changes)
        async with self._channel() as channel:
            try:
                await csi_pb2_grpc.NodeStub(channel).NodePublishVolume(request, timeout=timeout_s)
            except grpc.aio.AioRpcError as error:
                self.told.append(f"{error.details()} {error.trailing_metadata()}")
                return error.code()
        return Code.OK

    async def send_broken(self, uid: str) -> grpc.StatusCode:
        """Send a request that protobuf cannot read, with a canary in it."""
        text = self.canaries.password.encode()
        raw = self.request(uid).SerializeToString()
        broken = raw.replace(text, b"\xff" + text[1:])
        assert broken != raw
        async with self._channel() as channel:
            call: Any = channel.unary_unary("/csi.v1.Node/NodePublishVolume")
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await call(broken, timeout=5.0)
        self.told.append(str(failed.value.details()))
        return failed.value.code()

    def _channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(f"unix:{self.node.csi_socket}")

    def events(self, reason: str) -> list[str]:
        found = self.api.list_all("v1", "Event", "default")
        return [json.dumps(x) for x in found if x["reason"] == reason]

    def said(self, log: pathlib.Path) -> dict[str, bytes]:
        """Return everything that the driver has said, by where."""
        state = self.node.csi_socket.parent / "state"
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            scraped = answer.read()
        group = "secrets-store.csi.x-k8s.io/v1"
        listed = {
            "events": self.api.list_all("v1", "Event"),
            "status objects": self.api.list_all(group, "SecretProviderClassPodStatus"),
            "requests": [dataclasses.asdict(x) for x in self.api.requests.entries()],
        }
        return {
            "log": log.read_bytes(),
            "metrics": scraped,
            "errors": "\n".join(self.told).encode(),
            "records": b"\n".join(x.read_bytes() for x in state.iterdir()),
        } | {name: json.dumps(found).encode() for name, found in listed.items()}


def _later() -> str:
    return "2999-01-01T00:00:00Z"


@contextlib.asynccontextmanager
async def laid(flags: list[str], log: pathlib.Path) -> AsyncIterator[Bed]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with stage.Node("leak") as node, server.APIServer() as api:
        async with Echo(node.providers, "fake") as fake:
            for name, spec in classes().items():
                api.create(stage.class_object(name, **spec))
            driver = stage.DriverProcess(
                node,
                api.kubeconfig(node.root / "kubeconfig", tls=False),
                flags=[
                    f"--metrics-addr=127.0.0.1:{port}",
                    "--enable-secret-rotation",
                    "--rotation-poll-interval=100ms",
                    "--tmpfs-size=65536",
                    *flags,
                ],
                log=log,
            )
            await driver.start()
            try:
                yield Bed(node, api, fake, port)
            finally:
                await driver.stop()


def classes() -> dict[str, dict[str, Any]]:
    pair = [
        {"objectName": "f", "key": "tls.crt"},
        {"objectName": "f", "key": "tls.key"},
    ]
    return {
        "app": {},
        "never": {"provider": "nobody"},
        "synced": {
            "secretObjects": [{"secretName": "pair", "type": "kubernetes.io/tls", "data": pair}]
        },
    }


@pytest.mark.parametrize(
    "flags",
    [
        ["-v=0"],
        ["-v=0", "--log-format-json"],
        ["-v=5"],
        ["-v=10"],
        ["-v=10", "--log-format-json"],
    ],
    ids="".join,
)
async def test_nothing_secret_is_said(flags: list[str], tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log"
    async with laid(flags, log) as bed:
        contents = bed.canaries.contents.encode()
        bed.provider.files = {"f": contents, "dir/g": contents * 2}
        assert await bed.publish("ok1") is Code.OK
        assert (pathlib.Path(bed.node.target("ok1")) / "f").read_bytes() == contents
        assert await bed.publish("ok2", in_secrets=True) is Code.OK
        assert await bed.publish("ok2", in_secrets=True) is Code.OK
        assert await bed.publish("ok3", class_name="synced") is Code.OK
        await _failures_of_requests(bed)
        await _failures_of_the_provider(bed)
        await _failures_of_the_api_server(bed)
        said = bed.said(log)
    said["log"] = log.read_bytes()
    assert b"volume published" in said["log"]
    assert b"call failed" in said["log"]
    assert b"refresh failed" in said["log"]
    assert b"***stripped***" in said["errors"]
    assert (b"volume_context" in said["log"]) == (flags[0] != "-v=0"), "requests are logged"
    assert all(said.values())
    leaks = {where: found for where, text in said.items() if (found := bed.canaries.found_in(text))}
    assert leaks == {}


async def _failures_of_requests(bed: Bed) -> None:
    assert await bed.publish("no-class", class_name="absent") is Code.UNKNOWN
    assert await bed.publish("no-provider", timeout_s=0.3, class_name="never") in (
        Code.UNKNOWN,
        Code.DEADLINE_EXCEEDED,
    )
    assert await bed.send_broken("broken") is Code.UNKNOWN


async def _failures_of_the_provider(bed: Bed) -> None:
    fake = bed.provider
    contents = bed.canaries.contents.encode()
    fake.refuses = True
    assert await bed.publish("denied") is Code.PERMISSION_DENIED
    assert await bed.publish("denied-too", in_secrets=True) is Code.PERMISSION_DENIED
    await _told(bed, "MountRotationFailed")
    fake.refuses = False
    fake.answers_code = True
    assert await bed.publish("coded") is Code.UNKNOWN
    fake.answers_code = False
    fake.faults.hang = asyncio.Event()
    assert await bed.publish("slow", timeout_s=0.5) is Code.DEADLINE_EXCEEDED
    fake.faults.hang.set()
    fake.faults.hang = None
    fake.faults.crashes = 1
    assert await bed.publish("crashed") is Code.OK
    fake.faults.extra_files = [("../out", contents)]
    assert await bed.publish("outside") is Code.UNKNOWN
    fake.faults.extra_files = []
    fake.files = {"f": contents * 4096}
    assert await bed.publish("too-large") is Code.UNKNOWN
    fake.files = {"f": contents, "dir/g": contents * 3}
    await _told(bed, "MountRotationComplete")
    await _told(bed, "FailedToCreateSecret")


async def _failures_of_the_api_server(bed: Bed) -> None:
    faults = bed.api.faults
    faults.add(verb="create", resource="secretproviderclasspodstatuses", code=500, count=2)
    faults.add(verb="create", resource="events", code=403, count=1)
    faults.add(verb="get", resource="secretproviderclasses", drop=True, count=1)
    assert await bed.publish("faulty") is Code.OK
    assert await bed.publish("refused", class_name="other") is Code.UNKNOWN


async def _told(bed: Bed, reason: str) -> None:
    loop = asyncio.get_running_loop()
    ends = loop.time() + 5.0
    while not bed.events(reason):
        assert loop.time() < ends, f"no event {reason}"
        await asyncio.sleep(0.02)
