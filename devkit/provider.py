"""A stand-in provider: a real gRPC server with contents and faults to order.

It serves `v1alpha1.CSIDriverProvider` on `<directory>/<name>.sock`, reads requests
as strictly as the strictest of the known providers, answers with the files it was
given and records every call. Attributes of a `Provider` may be changed at any time
between calls; all of it lives on the loop that called `start`.

As a program: `python -m devkit.provider --dir D --name N --files FOLDER` serves the
files of a folder, read anew at each call.
"""

import argparse
import asyncio
import collections
import dataclasses
import functools
import hashlib
import os
import pathlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NoReturn, Self

import grpc.aio

from csi_spec import provider_pb2, provider_pb2_grpc, rpc
from devkit import provider_front, provider_request

_MountContext = grpc.aio.ServicerContext[provider_pb2.MountRequest, provider_pb2.MountResponse]
_VersionContext = grpc.aio.ServicerContext[
    provider_pb2.VersionRequest, provider_pb2.VersionResponse
]
_AnyContext = _MountContext | _VersionContext


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """Contents with a mode of their own; plain bytes take the request's permission."""

    contents: bytes = dataclasses.field(repr=False)
    mode: int


Content = bytes | File


Files = Mapping[str, Content]
Source = Files | Callable[[provider_request.MountCall], Files]


@dataclasses.dataclass(slots=True)
class Faults:
    """What goes wrong at the next calls. All off at first.

    Attributes:
        errors: gRPC codes to answer with, each at one call, in this order.
        every_error: a code for every call until it is None again.
        error_message: text that goes with both.
        answer_code: `error.code` in an otherwise complete answer.
        delay_s: how long each call takes.
        hang: calls wait for this event; setting it lets all of them go.
        crashes: so many calls end with all connections cut.
        no_versions: answers come without object versions.
        extra_files: (path, content) pairs added behind the files: a path for the
            second time, or one that breaks the driver's rules.
    """

    errors: collections.deque[grpc.StatusCode] = dataclasses.field(
        default_factory=collections.deque
    )
    every_error: grpc.StatusCode | None = None
    error_message: str = "made to fail"
    answer_code: str = ""
    delay_s: float = 0.0
    hang: asyncio.Event | None = None
    crashes: int = 0
    no_versions: bool = False
    extra_files: list[tuple[str, Content]] = dataclasses.field(default_factory=list)


class Provider(provider_pb2_grpc.CSIDriverProviderServicer):
    """The stand-in; an asynchronous context manager that starts and stops it.

    Attributes:
        files: path → content, or a function of the call that returns such a mapping.
        versions: id → version for the answer; None makes one entry per file, with a
            digest of its contents as version.
        writes_itself: write the files into target_path and return only versions.
        required_attributes: keys without which a request is refused.
        required_audiences: audiences for which a token must be there.
        faults: see `Faults`.
        calls: requests that could be read, in order of arrival.
        versions_asked: `version` of each Version request.
        attempts: Mount requests that arrived, readable or not.
        running, peak: calls being answered now, and the most at one time.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        name: str,
        files: Source | None = None,
        *,
        direct: bool = False,
        runtime_version: str = "0.0.1",
    ) -> None:
        """Prepare; nothing is served before `start`.

        Args:
            directory: existing directory for the socket.
            name: provider name, as in a SecretProviderClass.
            files: what to serve; nothing if left out.
            direct: serve without the relay in front. A call is faster by a hop, but
                the authority is not seen and connections cannot be cut.
            runtime_version: answered by Version; may be empty.
        """
        self.name = name
        self.path = os.path.join(os.fspath(directory), f"{name}.sock")
        self.files: Source = {} if files is None else files
        self.versions: Mapping[str, str] | None = None
        self.writes_itself = False
        self.required_attributes: Collection[str] = ()
        self.required_audiences: Collection[str] = ()
        self.faults = Faults()
        self.calls: list[provider_request.MountCall] = []
        self.versions_asked: list[str] = []
        self.attempts = 0
        self.running = 0
        self.peak = 0
        self._direct = direct
        self._runtime_version = runtime_version
        self._arrived = asyncio.Condition()
        self._server: rpc.Server | None = None
        self._front: provider_front.Front | None = None
        self._inner_directory = ""

    async def start(self) -> None:
        """Serve; also again after `stop`."""
        register = functools.partial(
            provider_pb2_grpc.add_CSIDriverProviderServicer_to_server, self
        )
        if self._direct:
            self._server = await rpc.serve(self.path, [register])
            return
        self._inner_directory = tempfile.mkdtemp(prefix="provider-")
        inner = os.path.join(self._inner_directory, "inner.sock")
        self._server = await rpc.serve(inner, [register])
        self._front = provider_front.Front(self.path, inner)
        await self._front.start()

    async def stop(self, *, leave_socket: bool = False) -> None:
        """Stop at once, with running calls cut off.

        Args:
            leave_socket: leave the dead socket behind, as a killed process does.
        """
        if self._front is not None:
            await self._front.stop(leave_socket=leave_socket)
            self._front = None
        elif leave_socket:
            raise ValueError("a provider that serves direct always removes its socket")
        if self._server is not None:
            await self._server.stop(0)
            self._server = None
        if self._inner_directory:
            shutil.rmtree(self._inner_directory)
            self._inner_directory = ""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.stop()

    async def wait_attempts(self, count: int) -> None:
        """Return as soon as `count` Mount requests have arrived in all."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: self.attempts >= count)

    async def Version(
        self, request: provider_pb2.VersionRequest, context: _VersionContext
    ) -> provider_pb2.VersionResponse:
        try:
            self._check_authority(context)
        except provider_request.BadRequest as error:
            await _refuse(context, error)
        self.versions_asked.append(request.version)
        return provider_pb2.VersionResponse(
            version="v1alpha1", runtime_name=self.name, runtime_version=self._runtime_version
        )

    async def Mount(
        self, request: provider_pb2.MountRequest, context: _MountContext
    ) -> provider_pb2.MountResponse:
        async with self._arrived:
            self.attempts += 1
            self._arrived.notify_all()
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            try:
                authority = self._check_authority(context)
                call = provider_request.read_request(request, authority, context.time_remaining())
                self._check_required(call)
            except provider_request.BadRequest as error:
                await _refuse(context, error)
            self.calls.append(call)
            await self._suffer(context)
            return self._answer(call)
        finally:
            self.running -= 1

    def _check_authority(self, context: _AnyContext) -> str:
        """Return the caller's authority, which can only be `localhost`."""
        if self._direct:
            return ""
        entries = dict(context.invocation_metadata() or ())
        authority = str(entries.get(provider_front.AUTHORITY_KEY, ""))
        if authority != "localhost":
            raise provider_request.BadRequest(f"the authority must be localhost, not {authority!r}")
        return authority

    def _check_required(self, call: provider_request.MountCall) -> None:
        for key in self.required_attributes:
            if not call.attributes.get(key):
                raise provider_request.BadRequest(f"attribute {key} is missing")
        for audience in self.required_audiences:
            if audience not in call.tokens:
                raise provider_request.BadRequest(f"no token for audience {audience}")

    async def _suffer(self, context: _MountContext) -> None:
        """Let the call go wrong as ordered; return if it may go on."""
        faults = self.faults
        if faults.delay_s:
            await asyncio.sleep(faults.delay_s)
        if faults.hang is not None:
            await faults.hang.wait()
        if faults.crashes:
            if self._front is None:
                raise ValueError("a provider that serves direct cannot cut connections")
            faults.crashes -= 1
            self._front.cut()
            # The server learns from the closed connection that nobody waits.
            await asyncio.Event().wait()
        if faults.errors:
            await context.abort(faults.errors.popleft(), faults.error_message)
        if faults.every_error is not None:
            await context.abort(faults.every_error, faults.error_message)

    def _answer(self, call: provider_request.MountCall) -> provider_pb2.MountResponse:
        source = self.files(call) if callable(self.files) else self.files
        files = list(source.items())
        versions = dict(digests(files) if self.versions is None else self.versions)
        files += self.faults.extra_files
        answer = provider_pb2.MountResponse()
        if self.faults.answer_code:
            answer.error.code = self.faults.answer_code
        if not self.faults.no_versions:
            for key, version in versions.items():
                answer.object_version.add(id=key, version=version)
        if self.writes_itself:
            write_files(pathlib.Path(call.target_path), files, call.permission)
            return answer
        for path, content in files:
            contents, mode = _split(content, call.permission)
            answer.files.add(path=path, mode=mode, contents=contents)
        return answer


async def _refuse(context: _AnyContext, error: provider_request.BadRequest) -> NoReturn:
    """Answer as nearly all providers do: with the code UNKNOWN."""
    await context.abort(grpc.StatusCode.UNKNOWN, str(error))


def digests(files: Collection[tuple[str, Content]]) -> Iterator[tuple[str, str]]:
    """Make up an object version per file: id from the path, version from contents."""
    for path, content in files:
        yield f"secret/{path}", hashlib.sha256(_split(content, 0)[0]).hexdigest()[:16]


def _split(content: Content, permission: int) -> tuple[bytes, int]:
    if isinstance(content, File):
        return content.contents, content.mode
    return content, permission


def write_files(
    target: pathlib.Path, files: Collection[tuple[str, Content]], permission: int
) -> None:
    """Write into a volume as the AWS provider does: temporary file, fsync, rename."""
    for path, content in files:
        contents, mode = _split(content, permission)
        descriptor, temporary = tempfile.mkstemp(dir=target)
        with os.fdopen(descriptor, "wb") as file:
            file.write(contents)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        os.rename(temporary, target / path)


def read_folder(folder: pathlib.Path) -> dict[str, Content]:
    """Read the files below a folder: relative path → contents."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


async def run(options: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT, with a line on standard output when ready."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def files(_: provider_request.MountCall) -> Files:
        return read_folder(options.files) if options.files else {}

    stand_in = Provider(options.dir, options.name, files, direct=options.direct)
    stand_in.writes_itself = options.writes_itself
    stand_in.faults.delay_s = options.delay_s
    if options.error:
        stand_in.faults.every_error = grpc.StatusCode[options.error]
    async with stand_in:
        print(f"provider {options.name} is ready on {stand_in.path}", flush=True)
        await stop.wait()


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m devkit.provider")
    parser.add_argument("--dir", required=True, help="directory for the socket")
    parser.add_argument("--name", required=True, help="provider name")
    parser.add_argument("--files", type=pathlib.Path, help="folder whose files are served")
    parser.add_argument("--delay-s", type=float, default=0.0, help="time each Mount takes")
    parser.add_argument("--error", choices=grpc.StatusCode.__members__, help="fail every Mount")
    parser.add_argument("--writes-itself", action="store_true", help="write into the volume")
    parser.add_argument("--direct", action="store_true", help="without the relay in front")
    asyncio.run(run(parser.parse_args(arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
