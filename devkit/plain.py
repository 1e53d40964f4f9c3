"""The driver on a host that lets nobody mount: `python -m devkit.plain`, with the driver's flags.

Everything is the driver's own but the mounter: a volume is a directory on the disk below, which no
product would ever do with a secret. For the demo only, with secrets that were made up for it.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence

from secrets_store import app, cli, errors, log, metrics, settings
from secrets_store.host import mount, paths
from secrets_store.kube import client, credentials


class Folders(mount.Mounter):
    """Makes volumes that are directories. One that exists counts as mounted."""

    @contextlib.contextmanager
    def look(self, target: str) -> Iterator[tuple[mount.State, int]]:
        """Tell whether there is a volume at a target path, and hold its directory.

        Yields: MOUNTED and a descriptor for reading below it, or ABSENT and -1.
        Raises: errors.PathRejected, errors.MountFailure.
        """
        try:
            with paths.parent(target) as (parent, name):
                held = paths.hold(parent, name, target)
        except FileNotFoundError:
            yield mount.State.ABSENT, -1
            return
        except OSError as error:
            raise errors.MountFailure("check", target, _reason(error)) from error
        try:
            descriptor = os.open(
                f"/proc/self/fd/{held}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            )
        finally:
            os.close(held)
        try:
            yield mount.State.MOUNTED, descriptor
        finally:
            os.close(descriptor)

    def mount(self, target: str) -> None:
        """Make the target's directory. Raises: errors.PathRejected, errors.MountFailure."""
        try:
            with paths.parent(target, create=True) as (parent, name):
                os.mkdir(name, 0o755, dir_fd=parent)
        except OSError as error:
            raise errors.MountFailure("make folder", target, _reason(error)) from error

    def unmount(self, target: str) -> None:
        """Remove a volume with its files; an absent one is a success.

        Raises: errors.PathRejected, errors.MountFailure.
        """
        try:
            with paths.parent(target) as (parent, name):
                shutil.rmtree(name, dir_fd=parent)
        except FileNotFoundError:
            return
        except OSError as error:
            raise errors.MountFailure("remove folder", target, _reason(error)) from error


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


async def _serve(chosen: settings.Settings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    counted = metrics.Metrics()
    driver = app.App(
        chosen,
        api=client.Client(
            credentials.load(chosen.kubeconfig),
            user_agent="devkit-plain",
            observe=counted.api_request,
        ),
        metrics=counted,
        mounter=Folders(size_bytes=chosen.volume_bytes, inodes=chosen.tmpfs_inodes),
    )
    async with driver.serving():
        await stopping.wait()


def main(arguments: Sequence[str]) -> None:
    """Run the driver until SIGTERM or SIGINT. Raises: goflags.UsageError for a bad flag."""
    chosen = cli.parse(arguments)
    chosen.check()
    log.setup(verbosity=chosen.verbosity, as_json=chosen.log_format_json)
    asyncio.run(_serve(chosen))


if __name__ == "__main__":
    main(sys.argv[1:])
