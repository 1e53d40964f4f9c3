"""Accepting connections, and ending so that none is left behind.

asyncio's own Server leaves connections that are still in their handshake to the loop's end, where
their sockets stay open; this one breaks them off.
"""

import asyncio
import contextlib
import socket
import ssl

from devkit.kms import connection


async def serve(
    listener: socket.socket,
    answer: connection.Answer,
    opened: connection.Opened,
    ssl_context: ssl.SSLContext | None,
    ending: asyncio.Event,
) -> None:
    """Accept and serve connections until told to end; returns when all are closed.

    Args:
        listener: listening and non-blocking; closed in the end.
        answer: makes the answers.
        opened: keeps the connections.
        ssl_context: None serves plain HTTP.
        ending: set to end.
    """
    arriving: dict[asyncio.Task[None], socket.socket] = {}

    def accept() -> None:
        # Not loop.sock_accept(), which loses the connection it has when it is cancelled.
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            while True:
                accepted, _ = listener.accept()
                accepted.setblocking(False)
                task = loop.create_task(_attach(accepted, answer, opened, ssl_context))
                arriving[task] = accepted
                task.add_done_callback(arriving.pop)

    loop = asyncio.get_running_loop()
    loop.add_reader(listener, accept)
    await ending.wait()
    loop.remove_reader(listener)
    listener.close()
    for each in arriving.values():
        # The end of the stream is what a handshake cannot outlive.
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
    await asyncio.gather(*arriving)
    await opened.close()


async def _attach(
    accepted: socket.socket,
    answer: connection.Answer,
    opened: connection.Opened,
    ssl_context: ssl.SSLContext | None,
) -> None:
    # A failed handshake is the client's affair, and the transport has closed the socket by then.
    with contextlib.suppress(OSError):
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: connection.Connection(answer, opened), accepted, ssl=ssl_context
        )
