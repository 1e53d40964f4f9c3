"""Last good answers, in memory only, for classes that ask for `offlineGrace`.

An answer stands in for an unreachable KMS, never for one that refuses: 401, 403, 404 and a value
that is hidden drop it at once. It is found only by a request that would have asked the same with an
equal login, so no account gets what another one read. The loop owns it.
"""

import collections
import dataclasses
import time
from collections.abc import Callable, Hashable

from provider_kms.model.files import Volume
from provider_kms.model.request import Request

MOST_BYTES = 16 * 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """A volume's content, when it was read, and until when its class accepts it."""

    volume: Volume
    read_mono: float
    until_mono: float


class Answers:
    """Last good answers by request.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: collections.OrderedDict[Hashable, Answer] = collections.OrderedDict()
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, request: Request) -> tuple[Volume, float] | None:
        """Return content and its age in seconds, if the class still accepts that age."""
        if not request.offline_grace_s:
            return None
        found = self._kept.get(_key(request))
        if found is None:
            return None
        now = self._clock()
        return (found.volume, now - found.read_mono) if now <= found.until_mono else None

    def keep(self, request: Request, volume: Volume) -> None:
        """Remember a good answer, if the class wants that."""
        if not request.offline_grace_s:
            return
        self.forget(request)
        if volume.size_bytes() > MOST_BYTES // 4:
            return
        now = self._clock()
        self._kept[_key(request)] = Answer(volume, now, now + request.offline_grace_s)
        self._size_bytes += volume.size_bytes()
        while self._size_bytes > MOST_BYTES:
            self._drop(next(iter(self._kept)))

    def forget(self, request: Request) -> None:
        """Drop the answer to this request: the KMS has refused it."""
        if request.offline_grace_s:
            self._drop(_key(request))

    def sweep(self) -> None:
        """Drop what its class accepts no more."""
        now = self._clock()
        for key in [key for key, found in self._kept.items() if found.until_mono < now]:
            self._drop(key)

    def _drop(self, key: Hashable) -> None:
        found = self._kept.pop(key, None)
        if found is not None:
            self._size_bytes -= found.volume.size_bytes()


def _key(request: Request) -> Hashable:
    # Without the proof itself: it changes hourly, and `holder` says whose it is.
    identity = dataclasses.replace(request.identity, proof=None)
    return (
        *(request.sites, request.ca_pem, request.api_version, identity, request.pod.namespace),
        *(request.project, request.environment, request.expand, request.entries, request.mode),
        request.offline_grace_s,
    )
