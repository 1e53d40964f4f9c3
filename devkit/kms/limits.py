"""The rate limiter: fixed windows of 60 seconds per client address and bucket.

Off until limits are set, as on a self-hosted KMS. Used by the server's event loop; the numbers may
be changed from any thread through the world's settings.

Source: kms-http-api §3.1.
"""

import math
from dataclasses import dataclass

from devkit.kms import errors, model

_WINDOW_S = 60.0


@dataclass(slots=True)
class _Window:
    ends_at: float
    count: int = 0


class Limiter:
    """Counts requests.

    Args:
        world: for its clock and `settings.limits`.
    """

    def __init__(self, world: model.World) -> None:
        self._world = world
        self._windows: dict[tuple[str, str], _Window] = {}

    def count(self, address: str, bucket: str, headers: dict[str, str]) -> None:
        """Count a request of a bucket, and of all buckets together.

        Args:
            headers: where the `x-ratelimit-*` headers go, and `retry-after` if it is refused.
        Raises: errors.Refused: 429, and the message names the seconds to wait.
        """
        limits = self._world.settings.limits
        if limits is None:
            return
        for name, limit in (("global", limits.all), (bucket, limits.of(bucket))):
            window = self._window(address, name)
            window.count += 1
            # A window that has just ended is replaced above, so there is always time left in it.
            left_s = math.ceil(window.ends_at - self._world.clock())
            headers["x-ratelimit-limit"] = str(limit)
            headers["x-ratelimit-remaining"] = str(max(0, limit - window.count))
            headers["x-ratelimit-reset"] = str(left_s)
            if window.count > limit:
                headers["retry-after"] = str(left_s)
                raise errors.Refused(
                    429, "RateLimitExceeded", f"Too many requests, try again in {left_s} seconds"
                )

    def _window(self, address: str, bucket: str) -> _Window:
        now = self._world.clock()
        window = self._windows.get((address, bucket))
        if window is None or window.ends_at <= now:
            window = self._windows[address, bucket] = _Window(now + _WINDOW_S)
        return window
