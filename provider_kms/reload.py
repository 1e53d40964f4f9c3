"""Files that are read again when they change: configuration and certificates.

Their directories are watched, not they themselves: a mounted ConfigMap is replaced by renaming a
link beside the file. Events come on a thread of the watcher and are handed to the loop, which
compares contents; so a burst of events costs one reading and an unchanged file no reload.
"""

import asyncio
import hashlib
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from provider_kms import log

_SETTLE_S = 0.1
"""Editors and kubelet touch several names in a row."""

_log = log.get(__name__)


class Watch:
    """Calls back on the loop when the content of any file has changed.

    Args:
        paths: files; they need not exist yet.
        changed: called on the loop.
    """

    def __init__(self, paths: Sequence[str], changed: Callable[[], None]) -> None:
        self._paths, self._changed = tuple(paths), changed
        self._digest = self._read()
        self._observer: Any = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to watch; without inotify the periodic `check` is all there is."""
        if not self._paths:
            return
        # Imported here: its half MiB is spent only where there is something to watch.
        from watchdog import events, observers

        loop = asyncio.get_running_loop()

        class Handler(events.FileSystemEventHandler):
            def on_any_event(_, event: Any) -> None:
                # Reading a file makes events too; only changes are worth a look.
                if event.event_type not in ("opened", "closed_no_write"):
                    loop.call_soon_threadsafe(self._settle)

        observer = observers.Observer()
        try:
            for directory in sorted({os.path.dirname(os.path.abspath(p)) for p in self._paths}):
                observer.schedule(Handler(), directory)
            observer.start()
        except OSError as error:
            _log.warning(
                "files are not watched, only looked at from time to time",
                extra=log.pairs(reason=error.strerror),
            )
            return
        self._observer = observer

    def stop(self) -> None:
        """End watching."""
        if self._timer is not None:
            self._timer.cancel()
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()

    def check(self) -> None:
        """Compare contents now; called periodically too, in case an event was lost."""
        self._timer = None
        digest = self._read()
        if digest != self._digest:
            self._digest = digest
            self._changed()

    def _settle(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SETTLE_S, self.check)

    def _read(self) -> bytes:
        digest = hashlib.sha256()
        for path in self._paths:
            try:
                digest.update(pathlib.Path(path).read_bytes())
            except OSError:
                digest.update(b"\0absent")
            digest.update(b"\0")
        return digest.digest()


def read_text(path: str) -> str:
    """Return a file's text.

    Raises: OSError, UnicodeDecodeError.
    """
    return pathlib.Path(path).read_text(encoding="utf-8")
