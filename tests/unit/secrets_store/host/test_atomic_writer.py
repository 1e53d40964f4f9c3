"""On tmpfs: of our own where limits and owners matter, on the machine's elsewhere."""

import contextlib
import ctypes
import os
import pathlib
import random
import re
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secrets_store import errors
from secrets_store.host import atomic_writer
from secrets_store.model import payload

SET = re.compile(r"\.\.\d{4}_\d\d_\d\d_\d\d_\d\d_\d\d\.\d+")
SHARED_MEMORY = pathlib.Path("/dev/shm")


def files(*names: str, mode: int = 0o644, **contents: str) -> dict[str, payload.File]:
    """File sets by name alone, or by name and contents with ``__`` for a slash."""
    named = {name: name for name in names} | {
        name.replace("__", "/"): text for name, text in contents.items()
    }
    return {path: payload.File(text.encode(), mode) for path, text in named.items()}


class Volume:
    """One volume's root, as the driver holds it and as a pod sees it."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.root = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def write(self, wanted: payload.Files, group: int | None = None) -> atomic_writer.Outcome:
        return atomic_writer.write(self.root, wanted, group=group)

    def shown(self) -> dict[str, bytes]:
        """Read what a pod sees; a link that leads nowhere is an error."""
        found: dict[str, bytes] = {}
        for top in self.path.iterdir():
            if top.name.startswith(".."):
                continue
            inner = [x for x in top.rglob("*") if not x.is_dir()] if top.is_dir() else [top]
            found |= {str(x.relative_to(self.path)): x.read_bytes() for x in inner}
        return found

    def names(self) -> set[str]:
        return set(os.listdir(self.path))

    def sets(self) -> set[str]:
        return {name for name in self.names() if SET.fullmatch(name)}

    def holds_exactly(self, wanted: payload.Files) -> None:
        """Assert that a pod sees these files and that nothing else is left anywhere."""
        assert self.shown() == {path: file.contents for path, file in wanted.items()}
        tops = {path.split("/")[0] for path in wanted}
        assert self.names() == tops | {"..data"} | {os.readlink(self.path / "..data")}
        for path, file in wanted.items():
            assert stat.S_IMODE((self.path / path).stat().st_mode) == file.mode

    def snapshot(self) -> dict[str, tuple[int, ...]]:
        """Take everything that a write would change: inodes, times, modes, owners, sizes."""
        found: dict[str, tuple[int, ...]] = {}
        for path in (self.path, *self.path.rglob("*")):
            info = path.lstat()
            found[str(path)] = (
                info.st_ino,
                info.st_mode,
                info.st_uid,
                info.st_gid,
                info.st_size,
                info.st_mtime_ns,
                info.st_ctime_ns,
            )
        return found


@pytest.fixture
def place() -> Iterator[pathlib.Path]:
    """A directory on tmpfs where there is one that everybody may use."""
    base = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    path = pathlib.Path(tempfile.mkdtemp(prefix="aw", dir=base))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def volume(place: pathlib.Path) -> Iterator[Volume]:
    (place / "volume").mkdir(0o755)
    made = Volume(place / "volume")
    before = len(os.listdir("/proc/self/fd"))
    yield made
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(made.root)


FIRST = files("a", "b", "dir/c", "dir/deeper/d")
FOR_GROUP = {path: payload.File(file.contents, 0o440) for path, file in FIRST.items()}
SECOND = files("b", "new", a="changed", dir__c="changed", dir__e="e", more__f="f")

# -- layout ------------------------------------------------------------------------------------


def test_the_layout_is_that_of_kubelet_s_volumes(volume: Volume) -> None:
    outcome = volume.write(FIRST)

    assert outcome == atomic_writer.Outcome(changed=True, retired=False)
    (held,) = volume.sets()
    assert volume.names() == {"..data", held, "a", "b", "dir"}
    assert os.readlink(volume.path / "..data") == held
    assert {name: os.readlink(volume.path / name) for name in ("a", "b", "dir")} == {
        "a": "..data/a",
        "b": "..data/b",
        "dir": "..data/dir",
    }
    assert stat.S_IMODE((volume.path / held).stat().st_mode) == 0o755
    assert stat.S_IMODE((volume.path / "dir" / "deeper").stat().st_mode) == 0o755
    assert not (volume.path / held / "a").is_symlink()
    assert atomic_writer.current(volume.root) == held
    volume.holds_exactly(FIRST)


@pytest.mark.parametrize("mask", [0, 0o077])
def test_the_umask_has_no_say(volume: Volume, mask: int) -> None:
    before = os.umask(mask)
    try:
        volume.write({"dir/a": payload.File(b"x", 0o646), "b": payload.File(b"", 0o400)})
    finally:
        os.umask(before)

    assert stat.S_IMODE((volume.path / "dir").stat().st_mode) == 0o755
    assert stat.S_IMODE((volume.path / "dir/a").stat().st_mode) == 0o646
    assert stat.S_IMODE((volume.path / "b").stat().st_mode) == 0o400


@pytest.mark.root
def test_no_permission_at_all_is_a_mode_too(volume: Volume) -> None:
    wanted = {"a": payload.File(b"x", 0)}

    assert volume.write(wanted).changed
    volume.holds_exactly(wanted)
    assert not volume.write(wanted).changed


def test_any_contents(volume: Volume) -> None:
    wanted = {
        "empty": payload.File(b"", 0o644),
        "binary": payload.File(bytes(range(256)) * 5000, 0o644),
        "new\nline": payload.File(b"\n", 0o644),
        "ünïcödé": payload.File("ü".encode(), 0o644),
    }

    volume.write(wanted)

    volume.holds_exactly(wanted)
    assert not volume.write(wanted).changed


@pytest.mark.parametrize(
    "names",
    [
        ("a/b", "a-b/c", "a.b/c", "a/b.c/d", "a/b-c", "ab", "a b/c"),
        ("x/y/z/1", "x/2", "x/y/3", "w", "x/y/z/4"),
        ("d/a", "d/b/a", "d/c", "e/b/a"),
    ],
)
def test_directories_of_like_names(volume: Volume, names: tuple[str, ...]) -> None:
    volume.write(files(*names))

    volume.holds_exactly(files(*names))


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/".join(["d"] * 64), id="deep"),
        pytest.param("/".join(["d" * 255] * 16), id="longer than a path may be"),
    ],
)
def test_the_longest_accepted_paths(volume: Volume, path: str) -> None:
    payload.check_path(path)

    assert volume.write(files(path)).changed
    assert not volume.write(files(path)).changed
    volume.write(files("a"))
    atomic_writer.tidy(volume.root)

    volume.holds_exactly(files("a"))


def test_more_directories_than_files_may_be_open(volume: Volume) -> None:
    wanted = files(*(f"d{n}/a" for n in range(300)))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 30, limits[1]))
    try:
        assert volume.write(wanted).changed
        assert not volume.write(wanted).changed
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    volume.holds_exactly(wanted)


def test_what_is_empty(volume: Volume) -> None:
    assert atomic_writer.is_empty(volume.root)
    (volume.path / ".x").touch()
    assert not atomic_writer.is_empty(volume.root)


# -- writing again -----------------------------------------------------------------------------


def test_the_same_again_touches_nothing(volume: Volume) -> None:
    volume.write(FIRST)
    before = volume.snapshot()

    outcome = volume.write(dict(FIRST))

    assert outcome == atomic_writer.Outcome(changed=False, retired=False)
    assert volume.snapshot() == before


def test_a_changed_set_replaces_the_old_one(volume: Volume) -> None:
    volume.write(FIRST)
    (old,) = volume.sets()

    outcome = volume.write(SECOND)

    assert outcome == atomic_writer.Outcome(changed=True, retired=True)
    assert volume.shown() == {path: file.contents for path, file in SECOND.items()}
    assert (volume.path / old / "a").read_bytes() == b"a"
    atomic_writer.tidy(volume.root)
    volume.holds_exactly(SECOND)


DIFFERENCES = [
    (files(a="1"), files(a="2")),
    (files(a="1"), files(a="12")),
    (files(a="12"), files(a="1")),
    (files(a="1"), files(a="")),
    (files(a="x" * 70_000 + "1"), files(a="x" * 70_000 + "2")),
    (files("a"), files("a", "b")),
    (files("a", "b"), files("a")),
    (files("dir/a", "dir/b"), files("dir/a")),
    (files("dir/a"), files("dir/a", "dir/deeper/b")),
    (files("a"), files("b")),
    pytest.param(files("a"), files("a", mode=0o600), id="the mode alone"),
    pytest.param(files("a", "b"), files("a", mode=0o644) | files("b", mode=0o400), id="one mode"),
    pytest.param(files("a"), files("a/b"), id="a file becomes a directory"),
    pytest.param(files("a/b"), files("a"), id="a directory becomes a file"),
    pytest.param(files("d/a/b"), files("d/a"), id="and deeper down"),
    (files("a"), {}),
]


@pytest.mark.parametrize(("old", "new"), DIFFERENCES)
def test_every_difference_is_applied_and_taken_back(
    volume: Volume, old: payload.Files, new: payload.Files
) -> None:
    volume.write(old)
    for wanted in (new, old):
        assert volume.write(wanted).changed
        assert volume.shown() == {path: file.contents for path, file in wanted.items()}
        assert not volume.write(wanted).changed
        atomic_writer.tidy(volume.root)
        volume.holds_exactly(wanted)


def instead(name: str, make: Callable[[pathlib.Path], object]) -> Callable[[pathlib.Path], None]:
    """Return what puts something else in the place of one file of a set."""

    def tamper(directory: pathlib.Path) -> None:
        (directory / name).rename(directory.parent / "..2000_01_01_00_00_00.0")
        make(directory / name)

    return tamper


@pytest.mark.parametrize(
    "tamper",
    [
        pytest.param(lambda d: (d / "extra").touch(), id="an extra file"),
        pytest.param(lambda d: (d / "a").write_bytes(b"A"), id="other contents"),
        pytest.param(lambda d: (d / "a").chmod(0o666), id="another mode"),
        pytest.param(lambda d: (d / "a").unlink(), id="a missing file"),
        pytest.param(instead("a", lambda p: p.mkdir()), id="a directory"),
        pytest.param(instead("a", lambda p: p.symlink_to("b")), id="a link"),
        pytest.param(instead("a", os.mkfifo), id="a pipe"),
        pytest.param(lambda d: (d / "extra").symlink_to("/etc"), id="a link to a directory"),
        pytest.param(
            instead("dir", lambda p: p.symlink_to("../..2000_01_01_00_00_00.0")),
            id="a linked directory",
        ),
    ],
)
def test_a_set_that_somebody_changed_is_written_anew(
    volume: Volume, tamper: Callable[[pathlib.Path], object]
) -> None:
    volume.write(FIRST)
    (held,) = volume.sets()
    tamper(volume.path / held)

    assert volume.write(FIRST).changed
    atomic_writer.tidy(volume.root)

    volume.holds_exactly(FIRST)


def test_a_lost_link_is_made_again_without_a_new_set(volume: Volume) -> None:
    volume.write(FIRST)
    (volume.path / "a").unlink()
    (volume.path / "b").unlink()
    (volume.path / "b").write_text("planted")

    assert not volume.write(FIRST).changed

    volume.holds_exactly(FIRST)


def long_ago(path: pathlib.Path) -> None:
    os.utime(path, (1.8e9, 1.8e9), follow_symlinks=False)


def test_a_replaced_set_stays_a_moment_for_readers_on_their_way(volume: Volume) -> None:
    for number in range(4):
        outcome = volume.write(files(a=str(number)))
        assert outcome == atomic_writer.Outcome(changed=True, retired=number > 0)
    assert len(volume.sets()) == 4

    assert atomic_writer.tidy(volume.root, grace_s=atomic_writer.GRACE_S)
    assert len(volume.sets()) == 4
    same = volume.write(files(a="3"))
    assert same == atomic_writer.Outcome(changed=False, retired=True)

    assert not atomic_writer.tidy(volume.root)
    volume.holds_exactly(files(a="3"))


@pytest.mark.parametrize("seconds", [-3600.0, 0.6, 3600.0])
def test_a_set_replaced_long_ago_goes_with_the_next_write(volume: Volume, seconds: float) -> None:
    volume.write(files(a="1"))
    (old,) = volume.sets()
    volume.write(files(a="2"))
    then = time.time() - seconds
    os.utime(volume.path / old, (then, then))

    assert volume.write(files(a="2")) == atomic_writer.Outcome(changed=False, retired=False)

    volume.holds_exactly(files(a="2"))


def test_the_moment_counts_from_the_replacement(volume: Volume) -> None:
    volume.write(files(a="1"))
    (old,) = volume.sets()
    long_ago(volume.path / old)

    volume.write(files(a="2"))

    assert volume.write(files(a="2")).retired
    assert old in volume.sets()


@pytest.mark.root
def test_replaced_sets_make_room_the_oldest_first(mount_place: pathlib.Path) -> None:
    volume = mounted(mount_place / "v", "size=128k")
    order = []
    for number in range(60):
        assert volume.write({"a": payload.File(f"{number:02d}".encode() * 5000, 0o644)}).changed
        order.append(atomic_writer.current(volume.root))
        assert volume.sets() == set(order[-len(volume.sets()) :])

    assert len(volume.sets()) > 1
    os.close(volume.root)


def test_files_of_nobody_s_are_left_alone(volume: Volume) -> None:
    (volume.path / "legacy").write_text("mine")
    (volume.path / "..other").mkdir()
    (volume.path / "link").symlink_to("legacy")

    for wanted in (FIRST, SECOND):
        volume.write(wanted)
    atomic_writer.tidy(volume.root)

    assert (volume.path / "legacy").read_text() == "mine"
    assert os.readlink(volume.path / "link") == "legacy"
    assert (volume.path / "..other").is_dir()


# -- groups ------------------------------------------------------------------------------------


@pytest.mark.root
def test_a_group_owns_files_and_directories(volume: Volume, other_group: int) -> None:
    wanted = FOR_GROUP

    assert volume.write(wanted, other_group).changed
    assert not volume.write(wanted, other_group).changed

    volume.holds_exactly(wanted)
    (held,) = volume.sets()
    for path in (volume.path, *volume.path.rglob("*")):
        info = path.lstat()
        if stat.S_ISDIR(info.st_mode):
            assert (info.st_gid, stat.S_IMODE(info.st_mode)) == (other_group, 0o2750), path
        elif stat.S_ISREG(info.st_mode):
            assert (info.st_uid, info.st_gid) == (os.geteuid(), other_group), path
    assert stat.S_IMODE((volume.path / held / "a").stat().st_mode) == 0o440


@pytest.mark.root
def test_another_group_is_a_change(volume: Volume, other_group: int) -> None:
    volume.write(FIRST)

    assert volume.write(FIRST, other_group).changed
    assert (volume.path / "a").stat().st_gid == other_group
    assert volume.write(FIRST, other_group + 1).changed
    assert (volume.path / "a").stat().st_gid == other_group + 1


@pytest.mark.root
def test_a_member_of_the_group_can_read_and_nobody_else(volume: Volume, other_group: int) -> None:
    volume.path.parent.chmod(0o755)
    volume.write(FOR_GROUP, other_group)

    def readable(group: int) -> bool:
        read = subprocess.run(
            ["/bin/cat", volume.path / "dir" / "c"],
            user=4243, group=group, extra_groups=[], capture_output=True, check=False,
        )  # fmt: skip
        return read.stdout == b"dir/c"

    assert readable(other_group)
    assert not readable(other_group + 1)


# -- crashes and failures at every step --------------------------------------------------------


def leave_old_set(path: pathlib.Path) -> None:
    (path / "inner").mkdir(parents=True)
    long_ago(path)


LEFTOVERS: list[tuple[str, Callable[[pathlib.Path], object]]] = [
    ("..data_tmp", lambda p: p.symlink_to("..2026_01_02_03_04_05.6")),
    ("..data_tmp", lambda p: p.write_text("x")),
    ("..data_tmp", lambda p: (p / "inner").mkdir(parents=True)),
    ("..link_tmp", lambda p: p.symlink_to("..data/a")),
    ("..link_tmp0", lambda p: p.symlink_to("..data/a")),
    ("..link_tmp1", lambda p: (p / "inner").mkdir(parents=True)),
    ("..2026_01_02_03_04_05.6", leave_old_set),
    ("..2026_01_02_03_04_05.7", lambda p: p.write_text("x")),
    ("..2026_01_02_03_04_05.8", lambda p: p.symlink_to("/etc")),
]


@pytest.mark.parametrize(("name", "leave"), LEFTOVERS, ids=[name for name, _ in LEFTOVERS])
@pytest.mark.parametrize("again", [FIRST, SECOND], ids=["unchanged", "changed"])
def test_leftovers_are_cleaned_and_in_nobody_s_way(
    volume: Volume,
    name: str,
    leave: Callable[[pathlib.Path], object],
    again: dict[str, payload.File],
) -> None:
    leave(volume.path / name)
    volume.write(FIRST)
    volume.holds_exactly(FIRST)
    leave(volume.path / name)

    assert volume.write(again).changed is (again is SECOND)
    atomic_writer.tidy(volume.root)

    volume.holds_exactly(again)


def test_without_data_a_young_set_is_what_a_crash_left(volume: Volume) -> None:
    (volume.path / "..2026_01_02_03_04_05.6" / "inner").mkdir(parents=True)

    assert volume.write(FIRST) == atomic_writer.Outcome(changed=True, retired=False)

    volume.holds_exactly(FIRST)


class Crash(BaseException):
    """The process is gone: nothing runs after it."""


class Interruption:
    """Lets a call on files go wrong: the nth one, seen by an audit hook."""

    _CHANGES = frozenset(
        {
            "open",
            "os.mkdir",
            "os.symlink",
            "os.rename",
            "os.remove",
            "os.rmdir",
            "os.chmod",
            "os.chown",
            "ctypes.call",
        }
    )

    def __init__(self) -> None:
        self._countdown = 0
        self._thread = 0
        self._error: Callable[[], BaseException] | None = None
        self._events: frozenset[str] = frozenset()
        self._for_good = False
        sys.addaudithook(self._heard)

    def crash(self, step: int) -> None:
        """End the process at the nth change: that one and all later ones do not happen."""
        self._set(step, Crash, self._CHANGES, for_good=True)

    def fail(self, step: int) -> None:
        """Let the nth call that needs an inode find the disk full."""
        self._set(
            step,
            lambda: OSError(28, os.strerror(28)),
            frozenset({"open", "os.mkdir", "os.symlink"}),
            for_good=False,
        )

    def end(self) -> bool:
        """Return whether the step came."""
        self._error = None
        return self._countdown <= 0

    def _set(
        self,
        step: int,
        error: Callable[[], BaseException],
        events: frozenset[str],
        *,
        for_good: bool,
    ) -> None:
        self._countdown, self._events, self._for_good = step, events, for_good
        self._thread, self._error = threading.get_ident(), error

    def _heard(self, event: str, arguments: tuple[object, ...]) -> None:
        if (
            self._error is None
            or event not in self._events
            or threading.get_ident() != self._thread
        ):
            return
        if event == "open" and not _creates(arguments):
            return
        self._countdown -= 1
        if self._countdown == 0 or (self._for_good and self._countdown < 0):
            raise self._error()


def _creates(arguments: tuple[object, ...]) -> bool:
    _, _, flags = arguments
    return isinstance(flags, int) and bool(flags & os.O_CREAT)


@pytest.fixture(scope="module")
def interruption() -> Interruption:
    return Interruption()


PLAIN = "a provider's own files"


def prepare(volume: Volume, before: str) -> dict[str, bytes]:
    if before == "first":
        volume.write(FIRST)
    if before == PLAIN:
        (volume.path / "a").write_text("own")
        (volume.path / "dir").mkdir()
        (volume.path / "dir" / "c").write_text("own")
    return volume.shown()


STEPS_AT_MOST = 200


@pytest.mark.parametrize("before", ["", "first", PLAIN])
def test_a_crash_at_any_step_leaves_whole_sets_and_the_next_write_cleans_up(
    place: pathlib.Path, interruption: Interruption, before: str
) -> None:
    new = {path: file.contents for path, file in SECOND.items()}
    for step in range(1, STEPS_AT_MOST):
        (place / str(step)).mkdir()
        volume = Volume(place / str(step))
        old = prepare(volume, before)
        interruption.crash(step)
        with contextlib.suppress(Crash):
            volume.write(SECOND)
        came = interruption.end()

        if before == "first":
            seen = volume.shown()
            assert seen.items() <= old.items() or seen.items() <= new.items(), step
        if not before and atomic_writer.current(volume.root) is not None:
            # What the driver takes for whole after a crash must be it.
            assert volume.shown() == new, step
        volume.write(SECOND)
        atomic_writer.tidy(volume.root)
        volume.holds_exactly(SECOND)
        os.close(volume.root)
        if not came:
            break
    else:
        pytest.fail("never came to an end")
    assert step > 20


FULL = "No space left on device"


def failure_of(volume: Volume, wanted: payload.Files) -> str:
    """Return why a write failed, empty if it did not."""
    try:
        volume.write(wanted)
    except errors.FileFailure as failure:
        return failure.reason
    return ""


@pytest.mark.parametrize("before", ["", "first", PLAIN])
def test_a_failure_at_any_step_leaves_everything_as_it_was(
    place: pathlib.Path, interruption: Interruption, before: str
) -> None:
    for step in range(1, STEPS_AT_MOST):
        (place / str(step)).mkdir()
        volume = Volume(place / str(step))
        prepare(volume, before)
        names, old = volume.names(), volume.shown()
        interruption.fail(step)
        reason = failure_of(volume, SECOND)
        came = interruption.end()

        assert reason == (FULL if came else "")
        if came:
            assert volume.names() == names, step
            assert volume.shown() == old, step
        else:
            atomic_writer.tidy(volume.root)
            volume.holds_exactly(SECOND)
        os.close(volume.root)
        if not came:
            break
    else:
        pytest.fail("never came to an end")
    assert step > 8


def mounted(place: pathlib.Path, options: str) -> Volume:
    place.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    path = os.fsencode(place)
    assert libc.mount(b"tmpfs", path, b"tmpfs", 0, f"mode=755,{options}".encode()) == 0
    return Volume(place)


@pytest.mark.root
@pytest.mark.parametrize("first", [True, False])
def test_a_volume_without_room_keeps_what_it_has(mount_place: pathlib.Path, first: bool) -> None:
    """Every number of inodes, from too few to enough: each leaves one set, whole."""
    outcomes = set()
    least = 2 if first else 13
    for inodes in range(least, 40):
        volume = mounted(mount_place / str(inodes), f"nr_inodes={inodes},size=1m")
        if not first:
            volume.write(FIRST)
        names, old = volume.names(), volume.shown()
        reason = failure_of(volume, SECOND)
        if reason:
            assert volume.names() == names, inodes
            assert volume.shown() == old, inodes
        else:
            atomic_writer.tidy(volume.root)
            volume.holds_exactly(SECOND)
        outcomes.add(reason)
        os.close(volume.root)

    assert outcomes == {FULL, ""}


@pytest.mark.root
def test_a_file_that_does_not_fit_leaves_nothing(mount_place: pathlib.Path) -> None:
    volume = mounted(mount_place / "v", "size=64k")
    volume.write(FIRST)
    names = volume.names()
    big = {f"big{n}": payload.File(b"x" * 20_000, 0o644) for n in range(5)}

    for _ in range(20):
        with pytest.raises(errors.FileFailure, match="No space left on device") as caught:
            volume.write(FIRST | big)
        assert caught.value.code is errors.Code.UNKNOWN

    assert volume.names() == names
    volume.holds_exactly(FIRST)
    os.close(volume.root)


@pytest.mark.root
def test_a_failed_first_write_leaves_an_empty_volume(mount_place: pathlib.Path) -> None:
    volume = mounted(mount_place / "v", "size=64k")

    with pytest.raises(errors.FileFailure):
        volume.write({"a": payload.File(b"x", 0o644), "b": payload.File(b"x" * 100_000, 0o644)})

    assert atomic_writer.is_empty(volume.root)
    os.close(volume.root)


def test_an_unforeseen_failure_leaves_everything_as_it_was(volume: Volume) -> None:
    volume.write(FIRST)
    before = volume.names()

    with pytest.raises(OverflowError):
        volume.write(SECOND, -2)

    assert volume.names() == before
    volume.holds_exactly(FIRST)


# -- what others planted -----------------------------------------------------------------------


@pytest.fixture
def outside(place: pathlib.Path) -> pathlib.Path:
    """Files of somebody else, with the very names that the writer uses."""
    path = place / "outside"
    (path / "dir").mkdir(parents=True)
    for name in ("a", "b", "dir/c", "new"):
        (path / name).write_text("mine")
    (place / "..2026_01_02_03_04_05.6").symlink_to("outside")
    return path


def untouched(outside: pathlib.Path) -> bool:
    found = {str(x.relative_to(outside)): x for x in outside.rglob("*")}
    return found.keys() == {"a", "b", "new", "dir", "dir/c"} and all(
        x.read_text() == "mine" and stat.S_IMODE(x.stat().st_mode) == 0o644
        for x in found.values()
        if x.is_file()
    )


def plant_real_directory(volume: pathlib.Path) -> None:
    (volume / "..data").mkdir()
    (volume / "..data" / "a").write_text("planted")


def plant_link_behind_a_name_of_ours(volume: pathlib.Path) -> None:
    (volume / "..2026_01_02_03_04_05.6").symlink_to("../outside")
    (volume / "..data").symlink_to("..2026_01_02_03_04_05.6")


def plant_directory_below(volume: pathlib.Path) -> None:
    (volume / "sub" / "..2026_01_02_03_04_05.6").mkdir(parents=True)
    (volume / "..data").symlink_to("sub/..2026_01_02_03_04_05.6")


def plant_link(to: str) -> Callable[[pathlib.Path], None]:
    return lambda volume: (volume / "..data").symlink_to(to)


PLANTED_DATA = [
    pytest.param(plant_link("../outside"), id="link out"),
    pytest.param(plant_link("/etc"), id="absolute link"),
    pytest.param(plant_link("../..2026_01_02_03_04_05.6"), id="a name of ours outside"),
    pytest.param(plant_link("."), id="link to the volume"),
    pytest.param(plant_link("..data"), id="link to itself"),
    pytest.param(plant_link("..2026_01_02_03_04_05.6"), id="link to nowhere"),
    pytest.param(plant_link("..2026_01_02_03_04_05.6/"), id="with a slash"),
    pytest.param(plant_link("..2026_01_02_03_04_05.6\n"), id="with a newline"),
    pytest.param(plant_link("..٢٠٢٦_01_02_03_04_05.6"), id="with other digits"),
    pytest.param(plant_link_behind_a_name_of_ours, id="link behind a name of ours"),
    pytest.param(plant_directory_below, id="directory below"),
    pytest.param(plant_real_directory, id="real directory"),
    pytest.param(lambda v: (v / "..data").write_text("x"), id="file"),
]


@pytest.mark.parametrize("plant", PLANTED_DATA)
@pytest.mark.parametrize("links", [False, True], ids=["alone", "under our links"])
def test_a_planted_data_is_neither_believed_nor_followed(
    volume: Volume,
    outside: pathlib.Path,
    plant: Callable[[pathlib.Path], None],
    links: bool,
) -> None:
    if links:
        volume.write(FIRST)
        (volume.path / "..data").unlink()
    plant(volume.path)
    assert atomic_writer.current(volume.root) is None

    assert volume.write(FIRST).changed
    atomic_writer.tidy(volume.root)

    assert atomic_writer.current(volume.root) is not None
    shutil.rmtree(volume.path / "sub", ignore_errors=True)
    volume.holds_exactly(FIRST)
    assert untouched(outside)


@pytest.mark.parametrize(
    "plant",
    [
        pytest.param(lambda p: p.symlink_to("../outside/a"), id="link to a file outside"),
        pytest.param(lambda p: p.symlink_to("../outside/dir"), id="link to a directory outside"),
        pytest.param(lambda p: p.symlink_to("../outside"), id="link outside"),
        pytest.param(lambda p: p.symlink_to("nowhere"), id="link to nowhere"),
        pytest.param(lambda p: p.symlink_to("..data/../../outside/a"), id="link through data"),
        pytest.param(lambda p: p.write_text("planted"), id="file"),
        pytest.param(lambda p: (p / "inner" / "more").mkdir(parents=True), id="directory"),
        pytest.param(lambda p: os.mkfifo(p), id="pipe"),
        pytest.param(
            lambda p: (p.mkdir(), (p / "c").symlink_to("../../outside/dir/c")),
            id="directory with a link outside",
        ),
    ],
)
@pytest.mark.parametrize("name", ["a", "dir"])
@pytest.mark.parametrize("whole", [False, True], ids=["at first", "later"])
def test_whatever_has_a_visible_name_is_replaced_and_not_followed(
    volume: Volume,
    outside: pathlib.Path,
    plant: Callable[[pathlib.Path], None],
    name: str,
    whole: bool,
) -> None:
    if whole:
        volume.write(FIRST)
        (volume.path / name).unlink()
    plant(volume.path / name)

    volume.write(FIRST)
    atomic_writer.tidy(volume.root)

    volume.holds_exactly(FIRST)
    assert untouched(outside)


def test_tidying_removes_links_and_not_what_they_name(
    volume: Volume, outside: pathlib.Path
) -> None:
    volume.write(FIRST)
    for name in ("..2020_01_02_03_04_05.6", "..data_tmp", "..link_tmp"):
        (volume.path / name).symlink_to("../outside")
    (volume.path / "..2021_01_02_03_04_05.6" / "inner").mkdir(parents=True)
    (volume.path / "..2021_01_02_03_04_05.6" / "inner" / "x").symlink_to("../../../outside")

    atomic_writer.tidy(volume.root)

    volume.holds_exactly(FIRST)
    assert untouched(outside)


# -- readers -----------------------------------------------------------------------------------


class Reader:
    """Opens one path over and over, from a thread of its own."""

    def __init__(self, path: pathlib.Path, allowed: set[bytes]) -> None:
        self._path, self._allowed = path, allowed
        self._stop = threading.Event()
        self._turns = threading.Semaphore(0)
        self.faults: list[str] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Reader":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                found = self._path.read_bytes()
            except OSError as error:
                self.faults.append(str(error))
            else:
                if found not in self._allowed:
                    self.faults.append(f"{len(found)} bytes")
            self._turns.release()

    def wait_reads(self, count: int) -> None:
        """Return after so many further reads."""
        while self._turns.acquire(blocking=False):
            pass
        for _ in range(count):
            self._turns.acquire()


@pytest.mark.parametrize("name", ["token", "dir/token"])
@pytest.mark.timeout(30)
def test_a_provider_s_own_files_are_taken_over_without_a_gap(
    place: pathlib.Path, name: str
) -> None:
    own, ours = b"own" * 1000, b"ours" * 1000
    (place / "link").symlink_to("0")
    for number in range(80):
        made = place / str(number)
        (made / name).parent.mkdir(parents=True)
        (made / name).write_bytes(own)
        volume = Volume(made)
        with Reader(made / name, {own, ours}) as reader:
            volume.write({name: payload.File(ours, 0o644), "other": payload.File(b"", 0o644)})
            reader.wait_reads(2)
        assert not reader.faults
        atomic_writer.tidy(volume.root)
        volume.holds_exactly({name: payload.File(ours, 0o644), "other": payload.File(b"", 0o644)})
        os.close(volume.root)


# -- any answer --------------------------------------------------------------------------------

PARTS = st.sampled_from(["a", "b", ".", "..", "..data", "", "x y", ".h", "\n", "a\0", "é" * 128])
PATHS = st.text(max_size=20) | st.lists(PARTS, max_size=4).map("/".join)
ANSWERS = st.lists(st.tuples(PATHS, st.integers(0, 0o777), st.binary(max_size=50)), max_size=6)


@settings(max_examples=150, deadline=None)
@given(st.lists(ANSWERS, min_size=1, max_size=3))
def test_no_answer_reaches_beyond_its_volume(
    answers: list[list[tuple[str, int, bytes]]],
) -> None:
    base = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="aw", dir=base) as sentinel:
        place = pathlib.Path(sentinel)
        for name in ("a", "b", "..data", "kubelet/a", "kubelet/other/a"):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text("mine")
        (place / "kubelet" / "volume").mkdir()
        volume = Volume(place / "kubelet" / "volume")
        before = {k: v for k, v in tree(place).items() if "/kubelet/volume" not in k}
        for answer in answers:
            try:
                checked = payload.check(answer)
            except errors.PayloadRejected:
                continue
            # Read rights for the owner, so that the test can be run by anybody.
            wanted = {k: payload.File(v.contents, v.mode | 0o400) for k, v in checked.files.items()}
            volume.write(wanted)
            assert volume.shown() == {path: file.contents for path, file in wanted.items()}
        os.close(volume.root)

        assert {k: v for k, v in tree(place).items() if "/kubelet/volume" not in k} == before


def tree(place: pathlib.Path) -> dict[str, tuple[int, int, bytes]]:
    found = {}
    for path in place.rglob("*"):
        info = path.lstat()
        contents = path.read_bytes() if stat.S_ISREG(info.st_mode) else b""
        found[str(path)] = (info.st_ino, info.st_mode, contents)
    return found


def test_names_of_sets_do_not_repeat(volume: Volume) -> None:
    random.seed(7)
    seen = set()
    for number in range(20):
        volume.write(files(a=str(number)))
        seen.add(os.readlink(volume.path / "..data"))

    assert len(seen) == 20
