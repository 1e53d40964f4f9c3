"""Serve gRPC on a unix socket or a TCP port, the same way for every program.

This is the only server-side use of `grpc.aio`. A caller hands over an endpoint
and the functions that register its servicers, and gets a `Server` back that
answers already; everything runs on the loop that called `serve`.

The socket's life is ours, not that of the gRPC core. The core binds whatever
name it is given, replaces a socket that lies there, and deletes that *name* at
shutdown, whoever owns it by then. After an update the old process would thus
delete the socket of its successor. So the core is given a random name beside
the final one, and the socket is renamed once it can answer: it never appears
too early, it replaces a stale one atomically, and the name that the core
deletes at the end has long been gone.
"""

import contextlib
import dataclasses
import errno
import os
import secrets
import stat
from collections.abc import Callable, Sequence

import grpc.aio

SOCKET_PATH_BYTES = 107
"""Longest path of a unix socket: sun_path less its final zero, unix(7)."""

Register = Callable[[grpc.aio.Server], None]
"""Adds one servicer to a server, such as a partial of a generated add_…_to_server."""


@dataclasses.dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to listen: exactly one of the two fields is set.

    Attributes:
        path: absolute, normalised path of a unix socket, or None.
        address: `host:port`, or None; port 0 lets the kernel choose.
    """

    path: str | None = None
    address: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Endpoint":
        """Read `unix://PATH`, `tcp://HOST:PORT` or an absolute path.

        A unix path is taken from the root even without its leading slash:
        `unix://tmp/csi.sock` is /tmp/csi.sock. Manifests in use rely on it.

        Raises:
            ValueError: another form, nothing after the scheme, or a path that
                does not fit into a socket address.
        """
        scheme, found, rest = text.partition("://")
        if not found and text.startswith("/"):
            scheme, rest = "unix", text
        scheme = scheme.lower()
        if scheme not in ("unix", "tcp") or not rest.strip("/"):
            raise ValueError(f"invalid endpoint: {text!r}: want unix://PATH or tcp://HOST:PORT")
        if scheme == "tcp":
            return cls(address=rest)
        path = os.path.normpath("/" + rest.lstrip("/"))
        size_bytes = len(os.fsencode(path))
        if size_bytes > SOCKET_PATH_BYTES:
            raise ValueError(
                f"socket path too long: {path}: {size_bytes} bytes, "
                f"the system allows {SOCKET_PATH_BYTES}"
            )
        return cls(path=path)


class Server:
    """A server that answers; made by `serve` alone.

    Attributes:
        target: what a client on this machine dials, `unix:PATH` or `host:port`
            with the port that was really bound.
    """

    def __init__(self, core: grpc.aio.Server, target: str, socket: "_Socket | None") -> None:
        self.target = target
        self._core = core
        self._socket = socket

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, wait for running ones, remove the socket.

        Args:
            grace_s: how long running calls may take; then they are cancelled.
        """
        if self._socket is not None:
            # Before the core closes it: as long as the socket is open its inode
            # number cannot be given to another file, so "still ours" is certain.
            self._socket.remove_if_ours()
            self._socket = None
        await self._core.stop(grace_s)

    async def wait_stopped(self) -> None:
        """Return when the server has stopped, for whatever reason."""
        await self._core.wait_for_termination()


async def serve(
    endpoint: str,
    register: Sequence[Register],
    *,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    options: Sequence[tuple[str, int | str]] = (),
) -> Server:
    """Start a gRPC server without transport security.

    Args:
        endpoint: `unix://PATH`, `tcp://HOST:PORT` or an absolute socket path; see
            `Endpoint.parse`. The directory of the socket must exist. The socket
            gets mode 0700: access by file permission is the only protection that
            the CSI specification knows.
        register: called with the server before it starts, in order.
        interceptors: the first is outermost.
        options: gRPC channel arguments, such as ("grpc.max_receive_message_length", n).

    Returns:
        A server that answers from this moment on.

    Raises:
        ValueError: the endpoint is malformed or its path too long.
        FileExistsError: something that is not a socket has the socket's name.
        OSError: the directory is missing or not writable, the address is in use.
    """
    where = Endpoint.parse(endpoint)
    core = grpc.aio.server(
        interceptors=list(interceptors),
        # Without this a second process on the same port would silently get
        # every other connection.
        options=[("grpc.so_reuseport", 0), *options],
    )
    for add in register:
        add(core)
    if where.path is None:
        assert where.address is not None
        port = _bind(core, where.address)
        await core.start()
        return Server(core, f"{where.address.rpartition(':')[0]}:{port}", None)
    socket = _Socket.bind(core, where.path)
    try:
        await core.start()
        socket.publish()
    except BaseException:
        await core.stop(None)
        socket.discard()
        raise
    return Server(core, f"unix:{where.path}", socket)


class _Socket:
    """The file of a listening unix socket, from its hidden name to its removal."""

    def __init__(self, hidden: str, path: str) -> None:
        self._hidden = hidden
        self._path = path
        self._identity = _identity(hidden)

    @classmethod
    def bind(cls, core: grpc.aio.Server, path: str) -> "_Socket":
        """Bind under a hidden name beside `path`, accessible to the owner only."""
        directory = os.path.dirname(path)
        os.stat(directory)
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise FileExistsError(errno.EEXIST, "not a socket, will not replace it", path)
        hidden = hidden_name(path)
        # The mask is the process's; bind is one system call away, and a file that
        # another thread creates meanwhile comes out narrower, never wider.
        mask = os.umask(0o077)
        try:
            _bind(core, f"unix:{hidden}")
        finally:
            os.umask(mask)
        return cls(hidden, path)

    def publish(self) -> None:
        """Let the socket appear under its final name, in place of a stale one."""
        os.rename(self._hidden, self._path)

    def discard(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._hidden)

    def remove_if_ours(self) -> None:
        """Remove the socket unless a successor has put its own in this place."""
        with contextlib.suppress(FileNotFoundError):
            if _identity(self._path) == self._identity:
                os.unlink(self._path)


def hidden_name(path: str) -> str:
    """Make up a free name beside `path` that fits into a socket address if `path` does.

    Random rather than derived from `path` or the process id: the predecessor, whose
    core deletes its own hidden name when it stops, may run in another container.
    """
    directory = os.path.join(os.path.dirname(path), "")
    room = SOCKET_PATH_BYTES - len(os.fsencode(directory))
    # Watchers of plugin directories skip names with a dot in front.
    dot = "." if room > len(".") + 4 else ""
    while True:
        hidden = directory + (dot + secrets.token_hex(8))[:room]
        if hidden != path and not os.path.lexists(hidden):
            return hidden


def _bind(core: grpc.aio.Server, address: str) -> int:
    try:
        return core.add_insecure_port(address)
    except RuntimeError as error:
        # The core tells the reason on standard error only.
        raise OSError(f"cannot listen on {address}") from error


def _identity(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino
