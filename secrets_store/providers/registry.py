"""From a provider's name to a channel: sockets are looked up anew whenever one moved or died.

Lives on the event loop. Looking costs a stat per directory; nothing watches the directories.
"""

import errno
import os
import re
import socket
import stat
from collections.abc import Sequence

from secrets_store import errors
from secrets_store.providers import client

_NAME = re.compile(r"[A-Za-z0-9_-]{1,30}")


class Registry:
    """The providers of one node.

    Args:
        directories: Searched in this order.
        max_receive_bytes: Largest answer that is taken from a provider.
    """

    def __init__(self, directories: Sequence[str], *, max_receive_bytes: int) -> None:
        self._directories = tuple(os.path.abspath(x) for x in directories)
        self._max_receive_bytes = max_receive_bytes
        self._known: dict[str, client.Client] = {}

    def places(self, name: str) -> tuple[str, ...]:
        """Return the paths at which a provider's socket may be, in the order of search.

        Raises: errors.ProviderMissing: no provider can have that name.
        """
        if not _NAME.fullmatch(name):
            raise errors.ProviderMissing(name, allowed=False)
        return tuple(f"{directory}/{name}.sock" for directory in self._directories)

    async def connect(self, name: str) -> client.Client:
        """Return a channel to the provider; kept as long as its socket is the same file.

        Of several sockets the first that accepts a connection is taken, so that a dead one left
        in the old place does not hide the living one in the new.

        Raises: errors.ProviderMissing: no socket, or none that accepts.
        """
        places = self.places(name)
        known = self._known.get(name)
        if known is not None and _identity(known.path) == known.identity:
            return known
        # No await between the look and the entry: two callers must not make two channels.
        self._known.pop(name, None)
        fresh = self._open(name, places)
        if known is not None:
            await known.close()
        if fresh is None:
            raise errors.ProviderMissing(name, places)
        return fresh

    def _open(self, name: str, places: Sequence[str]) -> client.Client | None:
        for path in places:
            identity = _identity(path)
            if identity is not None and accepts(path):
                self._known[name] = client.Client(
                    path, identity, max_receive_bytes=self._max_receive_bytes
                )
                return self._known[name]
        return None

    def alive(self, name: str) -> bool:
        """Tell whether a socket of that name accepts connections now."""
        return any(_identity(path) is not None and accepts(path) for path in self.places(name))

    def replaced(self, name: str, channel: client.Client) -> bool:
        """Tell whether another process has taken over from the one a channel leads to."""
        identity = _identity(channel.path)
        if identity is None:
            return self.alive(name)
        return identity != channel.identity

    async def drop(self, name: str, channel: client.Client | None = None) -> None:
        """Forget a channel; the next `connect` looks for the socket again.

        Args:
            channel: The one that is of no use; one that was made since stays. None: whichever.
        """
        known = self._known.get(name)
        if known is not None and channel in (None, known):
            del self._known[name]
            await known.close()

    def in_use(self) -> dict[str, client.Client]:
        """Return the channels that exist, by provider name."""
        return dict(self._known)

    async def close(self) -> None:
        """Close all channels."""
        for name in list(self._known):
            await self.drop(name)


def accepts(path: str) -> bool:
    """Tell whether somebody listens on a unix socket; a full queue counts as listening."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            result = probe.connect_ex(path)
        except OSError:
            # The path is longer than a socket's address can be.
            return False
    return result in (0, errno.EAGAIN)


def _identity(path: str) -> client.Identity | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISSOCK(found.st_mode):
        return None
    return found.st_dev, found.st_ino, found.st_ctime_ns
