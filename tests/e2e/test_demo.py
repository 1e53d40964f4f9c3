"""The demo as its user starts it: a process, with everything real that this host allows."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from devkit.demo import reader

pytestmark = pytest.mark.timeout(60)

PATIENCE_S = 40.0


class Demo:
    """A running demo whose output is read along."""

    def __init__(self, *flags: str, before: Sequence[str] = ()) -> None:
        self.process = subprocess.Popen(
            [*before, sys.executable, "-m", "devkit.demo", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "CI": "true"},
            text=True,
            process_group=0,
        )
        self.text = ""
        self._grown, self._ended = threading.Condition(), False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                with self._grown:
                    self.text += line
                    self._grown.notify_all()
        with self._grown:
            self._ended = True
            self._grown.notify_all()

    def until(self, pattern: str) -> re.Match[str]:
        """Wait until the output matches."""
        with self._grown:
            self._grown.wait_for(lambda: self._ended or re.search(pattern, self.text), PATIENCE_S)
            found = re.search(pattern, self.text)
            assert found is not None, f"no {pattern!r} in:\n{self.text}"
            return found

    def interrupt(self) -> None:
        """Do what Ctrl-C does: the signal goes to the whole group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> int:
        """Wait for the end and return the exit code."""
        code = self.process.wait(PATIENCE_S)
        self._thread.join(PATIENCE_S)
        return code

    def pid(self, part: str) -> int:
        return int(self.until(rf"{part} +pid (\d+)")[1])

    def place(self) -> pathlib.Path:
        """Return the directory that the demo works in; to be asked while it runs."""
        command = pathlib.Path(f"/proc/{self.pid('API server stand-in')}/cmdline").read_text()
        found = re.search(r"/tmp/demo-\w+", command)
        assert found is not None, command
        return pathlib.Path(found[0])


Start = Callable[..., Demo]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start demos; at the end none may run any more or have left anything."""
    demos: list[Demo] = []
    places: list[pathlib.Path] = []

    def begin(*flags: str, before: Sequence[str] = ()) -> Demo:
        demos.append(demo := Demo(*flags, before=before))
        places.append(demo.place())
        return demo

    yield begin
    for demo in demos:
        if demo.process.poll() is None:
            demo.process.terminate()
        demo.end()
    mounts = pathlib.Path("/proc/self/mountinfo").read_text()
    assert [place for place in places if place.exists() or str(place) in mounts] == []


def test_every_step_is_checked(start: Start) -> None:
    demo = start()
    assert demo.end() == 0, demo.text
    for line in (
        r"1  Start, each part as a process of its own +\d",
        r"both pods run after \d",
        r"api-key +-r-------- +\d+ B +first-[0-9a-f]{24} *\n",
        r"db-password +first-[0-9a-f]+ → second-[0-9a-f]+ +after \d",
        r"[\d,]{4,} reads of a file meanwhile: 0 missing, 0 partial",
        r"Secret shop-db, type Opaque\n +password +first-",
        r"Secret +db-password +first-[0-9a-f]+ → second-[0-9a-f]+ +after \d",
        r"SecretProviderClassPodStatus shop-1-default-shop-secrets",
        r"MountVolume.SetUp failed for volume \"secrets\" : rpc\s+error",
        r"no mount, no directory, no record",
        r"All \d steps checked in \d",
    ):
        assert re.search(line, demo.text), f"no {line!r} in:\n{demo.text}"
    assert "\x1b" not in demo.text


def test_volumes_are_plain_folders_where_nothing_can_be_mounted(start: Start) -> None:
    # Nobody but root can mount, and root cannot without this capability.
    before = ["setpriv", "--bounding-set=-sys_admin"] if os.geteuid() == 0 else []
    demo = start(before=before)
    assert demo.end() == 0, demo.text
    assert "Mounting is refused here" in demo.text
    assert "shop-1: a plain folder" in demo.text
    assert "tmpfs (" not in demo.text


def test_a_broken_part_fails_the_demo(start: Start) -> None:
    demo = start()
    driver = demo.pid("driver")
    demo.until(r"3  What the pods see")
    os.kill(driver, signal.SIGKILL)
    assert demo.end() == 1, demo.text
    assert "This was not as it should be" in demo.text
    assert re.search(r"expected +\S.*\n +found +\S", demo.text), demo.text
    assert '"volume published"' in demo.text, "the driver's log is not shown"


def test_an_interrupt_ends_everything(start: Start) -> None:
    demo = start()
    pids = [demo.pid(part) for part in ("API server stand-in", "KMS stand-in", "KMS provider")]
    pids.append(demo.pid("driver"))
    demo.until(r"both pods run")
    demo.interrupt()
    assert demo.end() == 130, demo.text
    assert [pid for pid in pids if pathlib.Path(f"/proc/{pid}").exists()] == []


def test_keep_stays_up_and_cleans_up_at_the_end(start: Start) -> None:
    demo = start("--keep")
    seed = pathlib.Path(demo.until(r"secrets +(/tmp/demo-\S+/kms.yaml)")[1])
    demo.until(r"pod shop-0 has its files")
    seed.write_text(re.sub(r"DB_PASSWORD: .*", "DB_PASSWORD: third", seed.read_text()))
    demo.until(r"pod shop-0: db-password is now third\n")
    demo.until(r"pod shop-1: db-password is now third\n")
    demo.interrupt()
    assert demo.end() == 0, demo.text
    assert "no mount, no directory, no record" in demo.text


def read_along(directory: pathlib.Path, change: "list[tuple[str, bytes]]") -> reader.Tally:
    """Read a folder, without any care for its readers, while it is changed."""
    old, new = {"a": b"old", "b": b"old"}, {"a": b"new", "b": b"new"}
    first = directory / "..1"
    first.mkdir()
    (directory / "..data").symlink_to("..1")
    for name, contents in old.items():
        (first / name).write_bytes(contents)
        (directory / name).symlink_to(f"..data/{name}")
    with reader.Reader({"v": directory}, old, new) as reading:
        for name, contents in change:
            if contents:
                (first / name).write_bytes(contents)
            else:
                (first / name).unlink()
            seen, ends = reading.tally.sets + 2, time.monotonic() + PATIENCE_S
            while reading.tally.sets < seen and time.monotonic() < ends:
                time.sleep(0.001)
    return reading.tally


def test_the_reader_sees_a_partial_file(tmp_path: pathlib.Path) -> None:
    tally = read_along(tmp_path, [("a", b"ne")])
    assert tally.partial > 0
    assert tally.missing == 0


def test_the_reader_sees_a_missing_file(tmp_path: pathlib.Path) -> None:
    assert read_along(tmp_path, [("b", b"")]).missing > 0


def test_the_reader_sees_files_of_two_sets(tmp_path: pathlib.Path) -> None:
    tally = read_along(tmp_path, [("a", b"new"), ("b", b"new")])
    assert tally.mixed > 0
    assert tally.partial == 0
    assert list(tally.arrived_mono) == ["v"]
