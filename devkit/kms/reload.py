"""Keeps a running KMS in step with its seed file.

Watches the file's folder, not the file, because editors save by writing another file and renaming
it. A watchdog thread notes that something happened; a thread of ours waits for it to be over,
reads the file and applies it. What cannot be read leaves the world as it is and is told.
"""

import pathlib
import sys
import threading
import time
from collections.abc import Callable

import watchdog.events
import watchdog.observers

from devkit.kms import seed

# An editor truncates, writes and renames within a few milliseconds; reading between two of these
# steps would report an error that is none.
_QUIET_S = 0.05
_PATIENCE_S = 0.5

Report = Callable[[str], None]


def to_stderr(message: str) -> None:
    """Report on standard error."""
    print(message, file=sys.stderr, flush=True)


class Reloader(watchdog.events.FileSystemEventHandler):
    """Applies a seed file whenever it has changed.

    Args:
        path: the seed file.
        loaded: its text as it was applied last; the same text is not applied again.
        apply: what to do with a new seed; called in the reloader's thread.
        report: told of every reload and every error, one line each.
    """

    def __init__(
        self,
        path: pathlib.Path,
        loaded: str,
        apply: Callable[[seed.Seed], None],
        report: Report = to_stderr,
    ) -> None:
        self._path = path.absolute()
        self._text = loaded
        self._apply, self._report = apply, report
        self._touched = threading.Event()
        self._ending = False
        self._observer = watchdog.observers.Observer()
        self._thread = threading.Thread(target=self._run, name="kms-reload", daemon=True)

    def start(self) -> None:
        """Start watching."""
        self._observer.schedule(self, str(self._path.parent), recursive=False)
        self._observer.start()
        self._thread.start()
        # The file may have been saved between its loading and the start of the watch.
        self._touched.set()

    def stop(self) -> None:
        """Stop watching; returns when no reload is under way any more."""
        self._observer.stop()
        self._observer.join()
        self._ending = True
        self._touched.set()
        self._thread.join()

    def on_any_event(self, event: watchdog.events.FileSystemEvent) -> None:
        """Note a change; opening and reading (our own included) are none."""
        if event.event_type not in (
            watchdog.events.EVENT_TYPE_OPENED,
            watchdog.events.EVENT_TYPE_CLOSED_NO_WRITE,
        ):
            self._touched.set()

    def _run(self) -> None:
        while True:
            self._touched.wait()
            latest = time.monotonic() + _PATIENCE_S
            while not self._ending and time.monotonic() < latest:
                self._touched.clear()
                if not self._touched.wait(_QUIET_S):
                    break
            if self._ending:
                return
            self._touched.clear()
            self._reload()

    def _reload(self) -> None:
        try:
            text = self._path.read_text(encoding="utf-8")
            if text == self._text:
                return
            # Remembered even if it turns out broken, so that it is complained about once.
            self._text = text
            self._apply(seed.parse(text))
        except (OSError, ValueError) as e:
            self._report(f"{self._path.name}: {e}; the world stays as it was")
        else:
            self._report(f"{self._path.name}: applied")
