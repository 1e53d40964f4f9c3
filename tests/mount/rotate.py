"""The writer of test_rotation: rotates a volume's files without a pause until its input ends.

Prints the number of each change, so that the test knows that it goes on.
"""

import select
import sys

from secrets_store import settings
from secrets_store.host import atomic_writer, mount
from secrets_store.model import payload

SIZE = 20_000


def mounter() -> mount.Mounter:
    """Return what mounts volumes of the driver's usual size."""
    usual = settings.Settings()
    return mount.Mounter(size_bytes=usual.volume_bytes, inodes=usual.tmpfs_inodes)


def contents(number: int) -> bytes:
    """Return what the nth rotation writes: its number, over and over."""
    text = f"{number:08d}".encode()
    return text * (SIZE // len(text))


def files(number: int) -> payload.Files:
    """Return the nth file set; now and then a name comes and goes beside the others."""
    named = {"token", "dir/token", f"extra{number % 3}"}
    return {name: payload.File(contents(number), 0o644) for name in named}


def main(target: str) -> None:
    """Rotate."""
    number = 1
    while not select.select([sys.stdin], [], [], 0)[0]:
        with mounter().root(target) as root:
            atomic_writer.write(root, files(number), group=None)
        print(number, flush=True)
        number += 1


if __name__ == "__main__":
    main(sys.argv[1])
