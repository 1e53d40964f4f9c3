"""A reader that a pod's program stands for: it reads its files while they are being exchanged.

Every read must give the whole old contents or the whole new contents. The files taken together,
opened through one hold on `..data`, must be of one set. Runs in a thread of its own.
"""

import dataclasses
import os
import pathlib
import threading
import time
from collections.abc import Mapping, Sequence

PAUSE_S = 0.001
"""Between two rounds; some thousand reads a second, and the machine is not held up."""


@dataclasses.dataclass(slots=True)
class Tally:
    """What a reader has met.

    Attributes:
        reads: files read by their path.
        missing: reads that found no file.
        partial: reads whose contents are of no set.
        sets: times that all files were read through one hold on the directory.
        mixed: of these, how often they were of different sets.
        arrived_mono: volume → monotonic time at which all its files were first new.
    """

    reads: int = 0
    missing: int = 0
    partial: int = 0
    sets: int = 0
    mixed: int = 0
    arrived_mono: dict[str, float] = dataclasses.field(default_factory=dict)


class Reader:
    """Reads the files of several volumes in turn until told to stop. A context manager.

    Args:
        volumes: name → directory.
        old, new: file name → contents, before and after.
    """

    def __init__(
        self,
        volumes: Mapping[str, pathlib.Path],
        old: Mapping[str, bytes],
        new: Mapping[str, bytes],
    ) -> None:
        self._volumes = volumes
        self._old, self._new = old, new
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self.tally = Tally()

    def __enter__(self) -> "Reader":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.wait(PAUSE_S):
            for volume, directory in self._volumes.items():
                self._read_paths(volume, directory)
                self._read_set(directory)

    def _read_paths(self, volume: str, directory: pathlib.Path) -> None:
        """Read each file by its path, as a program does that knows nothing of `..data`."""
        new = 0
        for name in self._new:
            self.tally.reads += 1
            try:
                contents = (directory / name).read_bytes()
            except FileNotFoundError:
                self.tally.missing += 1
                continue
            new += contents == self._new[name]
            self.tally.partial += contents not in (self._old[name], self._new[name])
        if new == len(self._new):
            self.tally.arrived_mono.setdefault(volume, time.monotonic())

    def _read_set(self, directory: pathlib.Path) -> None:
        """Read all files through one hold on the set, as a careful program does."""
        self.tally.sets += 1
        try:
            held = os.open(directory / "..data", os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            self.tally.missing += 1
            return
        try:
            found = {name: _read_at(held, name) for name in self._new}
        except FileNotFoundError:
            self.tally.missing += 1
            return
        finally:
            os.close(held)
        self.tally.mixed += not _is_one_of(found, (self._old, self._new))


def _read_at(directory: int, name: str) -> bytes:
    descriptor = os.open(name, os.O_RDONLY, dir_fd=directory)
    with open(descriptor, "rb") as file:
        return file.read()


def _is_one_of(found: Mapping[str, bytes], sets: Sequence[Mapping[str, bytes]]) -> bool:
    return any(dict(found) == dict(each) for each in sets)
