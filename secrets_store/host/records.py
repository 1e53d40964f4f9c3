"""One file per volume beside the CSI socket, written by rename, readable by root only."""

import contextlib
import os

from secrets_store import log as logs
from secrets_store.model import record

_log = logs.get(__name__)


class Records:
    """The records of one driver.

    A record that cannot be written, because the disk is full or read-only, is not lost: the
    caller keeps it in memory and tells; it only will not survive the process.

    Args:
        directory: Made with mode 0700 at the first write.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def load(self) -> list[record.Record]:
        """Return all readable records; a broken one is removed, so that its work is done again.

        A directory that cannot be read holds none: volumes without a record are adopted.
        """
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return []
        except OSError as error:
            _log.error("records not readable", extra=logs.pairs(reason=error.strerror))
            return []
        found = []
        for name in names:
            path = os.path.join(self._directory, name)
            if not name.endswith(".json"):
                # A crash came between writing and renaming.
                with contextlib.suppress(OSError):
                    os.unlink(path)
                continue
            known = _read(path)
            if known is None or record.file_name(known.target_path) != name:
                _log.warning("broken record removed", extra=logs.pairs(file=name))
                with contextlib.suppress(OSError):
                    os.unlink(path)
                continue
            found.append(known)
        return found

    def save(self, known: record.Record) -> None:
        """Write one record. Raises: OSError: nothing half-written is left under its name."""
        name = record.file_name(known.target_path)
        path = os.path.join(self._directory, name)
        try:
            descriptor = self._create(path + ".tmp")
        except FileNotFoundError:
            os.makedirs(self._directory, 0o700, exist_ok=True)
            descriptor = self._create(path + ".tmp")
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(known.to_json())
            os.rename(path + ".tmp", path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(path + ".tmp")
            raise

    def drop(self, target_path: str) -> None:
        """Remove the record of a volume, if there is one. Raises: OSError."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self._directory, record.file_name(target_path)))

    @staticmethod
    def _create(path: str) -> int:
        return os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )


def _read(path: str) -> record.Record | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return record.Record.from_json(file.read())
    except OSError as error:
        # One that cannot be read must not keep all others from being served.
        _log.warning("record not readable", extra=logs.pairs(file=path, reason=error.strerror))
        return None


def boot_id() -> str:
    """Return the id of the running kernel's boot; no tmpfs outlives it."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
