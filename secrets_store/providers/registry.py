"""From a provider's name to a channel: sockets are looked up anew whenever one moved or died.

Lives on the event loop. Looking costs a stat per directory; nothing watches the directories.
"""

import dataclasses
import errno
import os
import re
import socket
import stat
from collections.abc import Sequence

from secrets_store import errors
from secrets_store.providers import client

_NAME = re.compile(r"[A-Za-z0-9_-]{1,30}")


@dataclasses.dataclass(slots=True)
class _Known:
    client: client.Client
    identity: tuple[int, int, int]


class Registry:
    """The providers of one node.

    Args:
        directories: Searched in this order.
        max_receive_bytes: Largest answer that is taken from a provider.
    """

    def __init__(self, directories: Sequence[str], *, max_receive_bytes: int) -> None:
        self._directories = tuple(os.path.abspath(x) for x in directories)
        self._max_receive_bytes = max_receive_bytes
        self._known: dict[str, _Known] = {}

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
        if known is not None:
            if _identity(known.client.path) == known.identity:
                return known.client
            await self.drop(name)
        for path in places:
            identity = _identity(path)
            if identity is not None and accepts(path):
                fresh = client.Client(path, max_receive_bytes=self._max_receive_bytes)
                self._known[name] = _Known(fresh, identity)
                return fresh
        raise errors.ProviderMissing(name, places)

    def alive(self, name: str) -> bool:
        """Tell whether a socket of that name accepts connections now."""
        return any(_identity(path) is not None and accepts(path) for path in self.places(name))

    async def drop(self, name: str) -> None:
        """Forget a channel; the next `connect` looks for the socket again."""
        known = self._known.pop(name, None)
        if known is not None:
            await known.client.close()

    def in_use(self) -> dict[str, client.Client]:
        """Return the channels that exist, by provider name."""
        return {name: known.client for name, known in self._known.items()}

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


def _identity(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISSOCK(found.st_mode):
        return None
    return found.st_dev, found.st_ino, found.st_ctime_ns
