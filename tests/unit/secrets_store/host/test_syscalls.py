import errno
import os
import pathlib

import pytest

from secrets_store.host import syscalls


def held(path: str | pathlib.Path) -> int:
    return os.open(path, os.O_PATH | os.O_DIRECTORY)


@pytest.mark.parametrize(("path", "is_root"), [("/proc", True), ("/proc/self", False)])
def test_the_root_of_a_mount_is_known(path: str, is_root: bool) -> None:
    descriptor = held(path)

    assert syscalls.is_mount_root(descriptor) is is_root

    os.close(descriptor)


def test_the_kind_of_a_file_system_is_known() -> None:
    descriptor = held("/proc")

    assert syscalls.fs_magic(descriptor) == 0x9FA0

    os.close(descriptor)


@pytest.mark.parametrize("call", [syscalls.is_mount_root, syscalls.fs_magic])
def test_a_closed_descriptor_is_an_error(call: object) -> None:
    assert callable(call)
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        call(-1)

    assert caught.value.errno == errno.EBADF


def test_an_unknown_file_system_is_an_error() -> None:
    with pytest.raises(OSError, match=r".") as caught:
        syscalls.fsopen("no-such-file-system")

    assert caught.value.errno in (errno.ENODEV, errno.EPERM)


@pytest.mark.root
def test_a_tmpfs_is_made_piece_by_piece(mount_place: pathlib.Path) -> None:
    directory = held(mount_place)
    context = syscalls.fsopen("tmpfs")
    syscalls.fsconfig_string(context, "source", "by-hand")
    syscalls.fsconfig_string(context, "size", "65536")
    syscalls.fsconfig_create(context)
    mount = syscalls.fsmount(context, syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV)
    (mount_place / "volume").mkdir()
    target = held(mount_place / "volume")

    syscalls.move_mount(mount, target)

    found = held(mount_place / "volume")
    assert syscalls.is_mount_root(found) is True
    assert syscalls.fs_magic(found) == syscalls.TMPFS_MAGIC
    flags = os.statvfs(mount_place / "volume").f_flag
    assert flags & os.ST_NOSUID
    assert flags & os.ST_NODEV
    for descriptor in (context, mount, target, found):
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)

    syscalls.umount_detached(f"/proc/self/fd/{directory}/volume")
    again = held(mount_place / "volume")
    assert syscalls.is_mount_root(again) is False
    os.close(again)
    os.close(directory)


@pytest.mark.root
@pytest.mark.parametrize("option", ["no-such-option", "size"])
def test_a_wrong_option_is_an_error(option: str) -> None:
    context = syscalls.fsopen("tmpfs")

    with pytest.raises(OSError, match="Invalid argument"):
        syscalls.fsconfig_flag(context, option)

    os.close(context)


@pytest.mark.root
def test_the_old_call_mounts_too(mount_place: pathlib.Path) -> None:
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC

    with pytest.raises(OSError, match="No such device"):
        syscalls.mount("x", str(mount_place), "no-such-file-system", 0, "")
    (mount_place / "volume").mkdir()
    syscalls.mount("by-hand", str(mount_place / "volume"), "tmpfs", flags, "size=64k,mode=0755")

    found = os.statvfs(mount_place / "volume")
    assert found.f_blocks * found.f_frsize == 65536
    assert found.f_flag & os.ST_NOEXEC


def test_two_names_change_places(tmp_path: pathlib.Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory" / "inner").touch()
    (tmp_path / "link").symlink_to("nowhere")
    held_open = held(tmp_path)

    syscalls.exchange(held_open, "directory", "link")

    assert os.readlink(tmp_path / "directory") == "nowhere"
    assert os.listdir(tmp_path / "link") == ["inner"]
    with pytest.raises(OSError, match="No such file") as caught:
        syscalls.exchange(held_open, "link", "nothing")
    assert caught.value.errno == errno.ENOENT
    os.close(held_open)


@pytest.mark.root
def test_no_unmount_through_a_symlink(mount_place: pathlib.Path) -> None:
    (mount_place / "volume").mkdir()
    syscalls.mount("x", str(mount_place / "volume"), "tmpfs", 0, "size=64k")
    (mount_place / "link").symlink_to("volume")

    with pytest.raises(OSError, match="Invalid argument"):
        syscalls.umount_detached(str(mount_place / "link"))

    assert os.path.ismount(mount_place / "volume")
