"""What a pod sees while its files are rotated from another process, on a real tmpfs."""

import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from secrets_store.host import atomic_writer
from tests.mount import rotate

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]
OPENS, ROTATIONS_SEEN = 10_000, 50


class Writer:
    """The process that rotates."""

    def __init__(self, target: pathlib.Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.mount.rotate", str(target)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.wait_first()

    def wait_first(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "1\n"

    def stop(self) -> int:
        """End the process and return how often it has rotated."""
        out, _ = self._process.communicate("\n")
        assert self._process.returncode == 0
        return len(out.splitlines()) + 1


@pytest.fixture
def target(mount_place: pathlib.Path) -> Iterator[pathlib.Path]:
    path = mount_place / "pods/1/volumes/kubernetes.io~csi/store/mount"
    mounter = rotate.mounter()
    mounter.mount(str(path))
    with mounter.root(str(path)) as root:
        atomic_writer.write(root, rotate.files(0), group=None)
    yield path
    mounter.unmount(str(path))


@pytest.mark.parametrize("name", ["token", "dir/token", "..data/token"])
def test_a_reader_never_misses_a_file_or_sees_a_part_of_one(
    target: pathlib.Path, name: str
) -> None:
    writer = Writer(target)
    opens, seen = 0, set[int]()
    try:
        while opens < OPENS or len(seen) < ROTATIONS_SEEN:
            opens += 1
            found = (target / name).read_bytes()
            number = int(found[:8])
            assert found == rotate.contents(number)
            seen.add(number)
    finally:
        rotations = writer.stop()

    assert rotations >= ROTATIONS_SEEN


def test_files_opened_together_through_one_set_are_of_one_age(target: pathlib.Path) -> None:
    """A pair, such as certificate and key, is taken whole by who holds the set's directory."""
    writer = Writer(target)
    try:
        for _ in range(2000):
            held = os.open(target / "..data", os.O_RDONLY | os.O_DIRECTORY)
            try:
                pair = set()
                for name in ("token", "dir/token"):
                    file = os.open(name, os.O_RDONLY, dir_fd=held)
                    pair.add(os.read(file, rotate.SIZE))
                    os.close(file)
            finally:
                os.close(held)
            assert len(pair) == 1
    finally:
        writer.stop()
