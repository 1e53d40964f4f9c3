"""On real tmpfs: these tests mount."""

import ctypes
import os
import pathlib
import platform
import stat
from collections.abc import Iterator

import pytest

from secrets_store import errors
from secrets_store.host import mount, syscalls
from secrets_store.model import mountinfo

pytestmark = pytest.mark.root

SIZE_BYTES, INODES = 1 << 20, 100
TAIL = "pods/11-22/volumes/kubernetes.io~csi/store/mount"
MS_BIND = 4096
State = mount.State


@pytest.fixture(params=["fsopen", "mount(2)"])
def mounter(request: pytest.FixtureRequest) -> mount.Mounter:
    return mount.Mounter(size_bytes=SIZE_BYTES, inodes=INODES, new_api=request.param == "fsopen")


@pytest.fixture
def target(mount_place: pathlib.Path) -> pathlib.Path:
    return mount_place / TAIL


@pytest.fixture(autouse=True)
def _nothing_stays_open(mount_place: pathlib.Path) -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def elsewhere(mount_place: pathlib.Path) -> pathlib.Path:
    """Somebody's files on a file system of another kind."""
    place = mount_place / "elsewhere"
    place.mkdir()
    syscalls.mount("x", str(place), "ramfs", 0, "")
    (place / "inner").mkdir()
    (place / "precious").write_text("mine")
    (place / "inner" / "precious").write_text("mine too")
    return place


def untouched(place: pathlib.Path) -> bool:
    return {str(x.relative_to(place)): x.read_text() for x in place.rglob("precious")} == {
        "precious": "mine",
        "inner/precious": "mine too",
    }


def bind(source: pathlib.Path, at: pathlib.Path) -> None:
    at.mkdir(parents=True, exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.mount(os.fsencode(source), os.fsencode(at), None, ctypes.c_ulong(MS_BIND), None)
    assert result == 0, os.strerror(ctypes.get_errno())


def mounts_at(target: pathlib.Path) -> list[mountinfo.Mount]:
    with open("/proc/self/mountinfo", encoding="utf-8", newline="\n") as lines:
        return mountinfo.at(lines.read(), os.path.realpath(target))


def kernel() -> tuple[int, ...]:
    return tuple(int(x) for x in platform.release().split("-")[0].split(".")[:2])


def real_root() -> bool:
    uids = pathlib.Path("/proc/self/uid_map").read_text(encoding="ascii").split()
    return uids == ["0", "0", "4294967295"]


# -- mounting ----------------------------------------------------------------------------------


def test_what_is_mounted(mounter: mount.Mounter, target: pathlib.Path) -> None:
    mounter.mount(str(target))

    (found,) = mounts_at(target)
    assert (found.fs_type, found.source, found.root) == ("tmpfs", "tmpfs", "/")
    assert {"rw", "nosuid", "nodev", "noexec"} <= set(found.options)
    assert {"size=1024k", "nr_inodes=100", "mode=755"} <= set(found.super_options)
    assert stat.S_IMODE(target.stat().st_mode) == 0o755
    assert os.listdir(target) == []


def test_contents_are_kept_from_the_swap_where_the_kernel_can(
    mounter: mount.Mounter, target: pathlib.Path
) -> None:
    mounter.mount(str(target))

    (found,) = mounts_at(target)
    assert mounter.noswap is ("noswap" in found.super_options)
    if real_root() and kernel() >= (6, 4):
        assert mounter.noswap


def test_a_kernel_without_the_new_calls_serves_as_well(target: pathlib.Path) -> None:
    old = mount.Mounter(size_bytes=SIZE_BYTES, inodes=INODES, new_api=False)

    for number in range(3):
        old.mount(str(target.with_name(str(number))))
        assert old.state(str(target.with_name(str(number)))) is State.MOUNTED


def test_a_volume_holds_no_more_than_told(mounter: mount.Mounter, target: pathlib.Path) -> None:
    mounter.mount(str(target))

    with pytest.raises(OSError, match="No space left"):
        (target / "big").write_bytes(b"x" * (SIZE_BYTES + 1))
    (target / "big").unlink()
    for number in range(INODES - 1):
        (target / str(number)).touch()
    with pytest.raises(OSError, match="No space left"):
        (target / "one more").touch()


def test_no_program_can_be_started_from_a_volume(
    mounter: mount.Mounter, target: pathlib.Path
) -> None:
    mounter.mount(str(target))
    program = target / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)

    with pytest.raises(PermissionError):
        os.posix_spawn(program, [str(program)], {})


def test_the_directories_above_are_made(mounter: mount.Mounter, target: pathlib.Path) -> None:
    mounter.mount(str(target))
    mounter.unmount(str(target))

    assert not target.exists()
    assert stat.S_IMODE(target.parent.stat().st_mode) == 0o750


def test_an_existing_directory_is_used(mounter: mount.Mounter, target: pathlib.Path) -> None:
    target.mkdir(parents=True)

    mounter.mount(str(target))

    assert mounter.state(str(target)) is State.MOUNTED


@pytest.mark.parametrize("new_api", [True, False])
@pytest.mark.parametrize("existed", [True, False])
def test_a_failed_mount_leaves_nothing(target: pathlib.Path, new_api: bool, existed: bool) -> None:
    impossible = mount.Mounter(size_bytes=-1, inodes=INODES, new_api=new_api)
    if existed:
        target.mkdir(parents=True)

    with pytest.raises(errors.MountFailure, match="failed to mount tmpfs at") as caught:
        impossible.mount(str(target))

    assert caught.value.reason == "Invalid argument"
    assert caught.value.status_code is errors.Code.INTERNAL
    assert target.exists() is existed
    assert mounts_at(target) == []


def test_a_file_in_the_way_is_left_alone(mounter: mount.Mounter, target: pathlib.Path) -> None:
    target.parent.mkdir(parents=True)
    target.write_text("mine")

    for attempt in (mounter.mount, mounter.unmount, mounter.state):
        with pytest.raises(errors.MountFailure, match="Not a directory"):
            attempt(str(target))

    assert target.read_text() == "mine"


# -- symlinks ----------------------------------------------------------------------------------

PLANTS = [
    "pods/11-22",
    "pods/11-22/volumes",
    "pods/11-22/volumes/kubernetes.io~csi",
    "pods/11-22/volumes/kubernetes.io~csi/store",
    TAIL,
]


@pytest.mark.parametrize("planted", PLANTS)
def test_nothing_is_done_through_a_symlink(
    mounter: mount.Mounter, mount_place: pathlib.Path, elsewhere: pathlib.Path, planted: str
) -> None:
    target, link = mount_place / TAIL, mount_place / planted
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    (elsewhere / target.relative_to(link)).mkdir(parents=True, exist_ok=True)

    def root(path: str) -> None:
        with mounter.root(path):
            raise AssertionError("held")

    for attempt in (mounter.mount, mounter.unmount, mounter.state, mounter.usage, root):
        with pytest.raises(errors.PathRejected, match="is a symbolic link") as caught:
            attempt(str(target))
        assert caught.value.status_code is errors.Code.INVALID_ARGUMENT

    assert len(mounts_at(elsewhere)) == 1
    assert mounts_at(target) == [] or planted == TAIL
    assert (elsewhere / target.relative_to(link)).is_dir()
    assert untouched(elsewhere)


@pytest.mark.parametrize("planted", ["a", "a/b"])
def test_nor_at_the_end_of_any_other_path(
    mounter: mount.Mounter, mount_place: pathlib.Path, elsewhere: pathlib.Path, planted: str
) -> None:
    (elsewhere / "b").mkdir()
    (mount_place / planted).parent.mkdir(exist_ok=True)
    (mount_place / planted).symlink_to(elsewhere)

    for attempt in (mounter.mount, mounter.unmount, mounter.state):
        with pytest.raises(errors.PathRejected):
            attempt(f"{mount_place}/a/b")

    assert len(mounts_at(elsewhere)) == 1
    assert untouched(elsewhere)


def test_a_symlinked_kubelet_root_is_fine(
    mounter: mount.Mounter, mount_place: pathlib.Path
) -> None:
    (mount_place / "disk").mkdir()
    (mount_place / "kubelet").symlink_to("disk")
    target = mount_place / "kubelet" / TAIL

    mounter.mount(str(target))
    assert mounter.state(str(target)) is State.MOUNTED
    assert mounts_at(mount_place / "disk" / TAIL)
    mounter.unmount(str(target))

    assert mounter.state(str(target)) is State.ABSENT


# -- looking -----------------------------------------------------------------------------------


def by_mountinfo(_: int) -> bool | None:
    """What a kernel before 5.8 says."""
    return None


@pytest.fixture(params=[syscalls.is_mount_root, by_mountinfo])
def looker(request: pytest.FixtureRequest) -> mount.Mounter:
    return mount.Mounter(size_bytes=SIZE_BYTES, inodes=INODES, is_mount_root=request.param)


def test_what_stands_at_a_target(
    looker: mount.Mounter, target: pathlib.Path, elsewhere: pathlib.Path
) -> None:
    assert looker.state(str(target)) is State.ABSENT
    target.parent.mkdir(parents=True)
    assert looker.state(str(target)) is State.ABSENT
    target.mkdir()
    assert looker.state(str(target)) is State.PLAIN
    looker.mount(str(target))
    assert looker.state(str(target)) is State.MOUNTED
    (target / "inner").mkdir()
    assert looker.state(str(target / "inner")) is State.PLAIN
    bind(elsewhere, target)
    assert looker.state(str(target)) is State.FOREIGN


def test_a_directory_of_another_tmpfs_is_no_mount(
    looker: mount.Mounter, target: pathlib.Path, mount_place: pathlib.Path
) -> None:
    syscalls.mount("x", str(mount_place), "tmpfs", 0, "")
    target.mkdir(parents=True)

    assert looker.state(str(target)) is State.PLAIN
    syscalls.umount_detached(str(mount_place))


def test_odd_names_are_found_in_mountinfo(mount_place: pathlib.Path) -> None:
    looker = mount.Mounter(size_bytes=SIZE_BYTES, inodes=INODES, is_mount_root=by_mountinfo)
    target = mount_place / "a b\\134\tc\nd\re\u2028f"

    looker.mount(str(target))

    assert looker.state(str(target)) is State.MOUNTED
    looker.unmount(str(target))
    assert looker.state(str(target)) is State.ABSENT


def test_a_mounted_volume_is_held_open(mounter: mount.Mounter, target: pathlib.Path) -> None:
    mounter.mount(str(target))
    (target / "a").touch()

    with mounter.look(str(target)) as (state, descriptor):
        assert state is State.MOUNTED
        assert os.listdir(descriptor) == ["a"]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_what_is_no_volume_is_not_held(mounter: mount.Mounter, target: pathlib.Path) -> None:
    with mounter.look(str(target)) as found:
        assert found == (State.ABSENT, -1)
    target.mkdir(parents=True)
    with mounter.look(str(target)) as found:
        assert found == (State.PLAIN, -1)


@pytest.mark.parametrize("stands", ["nothing", "plain", "foreign"])
def test_nothing_is_written_to_what_is_no_volume(
    mounter: mount.Mounter, target: pathlib.Path, elsewhere: pathlib.Path, stands: str
) -> None:
    if stands == "plain":
        target.mkdir(parents=True)
    if stands == "foreign":
        bind(elsewhere, target)

    with pytest.raises(errors.VolumeAbsent) as caught, mounter.root(str(target)):
        pass
    with pytest.raises(errors.VolumeAbsent):
        mounter.usage(str(target))

    assert caught.value.status_code is errors.Code.NOT_FOUND
    assert str(target) in str(caught.value)


def test_an_error_while_a_volume_is_held_passes_through(
    mounter: mount.Mounter, target: pathlib.Path
) -> None:
    mounter.mount(str(target))

    with pytest.raises(FileNotFoundError), mounter.root(str(target)) as root:
        os.stat("nothing", dir_fd=root)


def test_usage(mounter: mount.Mounter, target: pathlib.Path) -> None:
    mounter.mount(str(target))
    page = os.sysconf("SC_PAGE_SIZE")

    empty = mounter.usage(str(target))
    assert empty == mount.Usage(
        total_bytes=SIZE_BYTES,
        available_bytes=SIZE_BYTES,
        total_inodes=INODES,
        available_inodes=INODES - 1,
    )
    (target / "a").write_bytes(b"x")
    used = mounter.usage(str(target))

    assert used.available_bytes == SIZE_BYTES - page
    assert used.available_inodes == INODES - 2


# -- unmounting --------------------------------------------------------------------------------


def test_an_absent_target_is_a_success(mounter: mount.Mounter, target: pathlib.Path) -> None:
    mounter.unmount(str(target))
    target.parent.mkdir(parents=True)
    mounter.unmount(str(target))

    assert os.listdir(target.parent) == []


def test_an_empty_plain_directory_goes(mounter: mount.Mounter, target: pathlib.Path) -> None:
    target.mkdir(parents=True)

    mounter.unmount(str(target))
    mounter.unmount(str(target))

    assert target.parent.is_dir()
    assert not target.exists()


def test_a_full_volume_goes_at_once(mounter: mount.Mounter, target: pathlib.Path) -> None:
    mounter.mount(str(target))
    (target / "inner").mkdir()
    (target / "inner" / "a").write_bytes(b"x" * 10_000)

    mounter.unmount(str(target))

    assert not target.exists()
    assert mounts_at(target) == []


def test_an_open_file_does_not_hold_a_volume(mounter: mount.Mounter, target: pathlib.Path) -> None:
    mounter.mount(str(target))
    (target / "a").write_text("still here")

    with open(target / "a", encoding="ascii") as reader:
        mounter.unmount(str(target))

        assert not target.exists()
        assert reader.read() == "still here"


def test_a_working_directory_does_not_hold_a_volume(
    mounter: mount.Mounter, target: pathlib.Path
) -> None:
    mounter.mount(str(target))
    before = os.getcwd()
    os.chdir(target)
    try:
        mounter.unmount(str(target))
        assert not target.exists()
    finally:
        os.chdir(before)


def test_stacked_volumes_all_go(mounter: mount.Mounter, target: pathlib.Path) -> None:
    for _ in range(3):
        mounter.mount(str(target))
    assert len(mounts_at(target)) == 3

    mounter.unmount(str(target))

    assert mounts_at(target) == []
    assert not target.exists()


def test_a_mount_inside_a_volume_goes_along_and_its_files_stay(
    mounter: mount.Mounter, target: pathlib.Path, elsewhere: pathlib.Path
) -> None:
    mounter.mount(str(target))
    bind(elsewhere, target / "inner")

    mounter.unmount(str(target))

    assert not target.exists()
    assert untouched(elsewhere)


@pytest.mark.parametrize("below", [False, True], ids=["alone", "over a volume"])
def test_another_file_system_is_refused_and_left_as_it_is(
    looker: mount.Mounter, target: pathlib.Path, elsewhere: pathlib.Path, below: bool
) -> None:
    if below:
        looker.mount(str(target))
    bind(elsewhere, target)
    mounted = mounts_at(target)

    with pytest.raises(errors.MountFailure, match="no tmpfs of this driver"):
        looker.unmount(str(target))

    assert mounts_at(target) == mounted
    assert untouched(target)


def test_a_volume_over_another_file_system_goes_and_the_other_stays(
    mounter: mount.Mounter, target: pathlib.Path, elsewhere: pathlib.Path
) -> None:
    bind(elsewhere, target)
    mounter.mount(str(target))

    with pytest.raises(errors.MountFailure, match="no tmpfs of this driver"):
        mounter.unmount(str(target))

    assert [found.fs_type for found in mounts_at(target)] == ["ramfs"]
    assert untouched(target)


def test_a_plain_directory_with_files_is_not_ours_to_delete(
    mounter: mount.Mounter, target: pathlib.Path
) -> None:
    (target / "inner").mkdir(parents=True)
    (target / "precious").write_text("mine")
    (target / "inner" / "precious").write_text("mine too")

    with pytest.raises(errors.MountFailure, match="Directory not empty"):
        mounter.unmount(str(target))

    assert untouched(target)


def test_what_lay_below_a_volume_is_not_deleted_with_it(
    mounter: mount.Mounter, target: pathlib.Path
) -> None:
    (target / "inner").mkdir(parents=True)
    (target / "precious").write_text("mine")
    (target / "inner" / "precious").write_text("mine too")
    mounter.mount(str(target))
    assert os.listdir(target) == []

    with pytest.raises(errors.MountFailure, match="Directory not empty"):
        mounter.unmount(str(target))

    assert mounts_at(target) == []
    assert untouched(target)


def test_the_same_place_again_and_again(mounter: mount.Mounter, target: pathlib.Path) -> None:
    for number in range(50):
        mounter.mount(str(target))
        assert os.listdir(target) == []
        (target / str(number)).touch()
        mounter.unmount(str(target))

    assert not target.exists()
