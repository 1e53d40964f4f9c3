"""The bearer token, which kubelet renews in its file under the running process."""

import os
import threading
import time
from collections.abc import Callable

from secrets_store import log
from secrets_store.kube import access

RECHECK_S = 1.0
"""At most so often the token file is looked at."""


def is_token(text: str) -> bool:
    """Tell whether a text can be a bearer token.

    What cannot be a header is kept away from the HTTP library, whose error would show it.
    """
    return bool(text) and text.isascii() and text.isprintable()


class Token:
    """The bearer token, read again when kubelet has renewed it. Safe in any thread."""

    def __init__(self, config: access.Config, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._clock = config, clock
        self._lock = threading.Lock()
        self._value = config.token
        self._seen: tuple[int, int, int] | None = None
        self._looked_mono = float("-inf")

    def get(self) -> str:
        """Return the token; empty when the identity is not a token.

        A file that cannot be read just now leaves the last token in use.
        """
        if not self._config.token_file:
            return self._value.open()
        with self._lock:
            if self._clock() - self._looked_mono >= RECHECK_S:
                self._look()
            return self._value.open()

    def reload(self, refused: str) -> bool:
        """Read the file at once, because ``refused`` was not believed; tell if it has another."""
        if not self._config.token_file:
            return False
        with self._lock:
            self._look(force=True)
            return self._value.open() not in ("", refused)

    def _look(self, *, force: bool = False) -> None:
        self._looked_mono = self._clock()
        try:
            # stat follows kubelet's symlinks: a swapped directory shows as another inode.
            facts = os.stat(self._config.token_file)
            seen = (facts.st_ino, facts.st_mtime_ns, facts.st_size)
            if seen == self._seen and not force:
                return
            with open(self._config.token_file, encoding="utf-8") as file:
                value = file.read().strip()
        except (OSError, UnicodeDecodeError):
            return
        if is_token(value):
            self._value, self._seen = log.Sealed(value), seen
