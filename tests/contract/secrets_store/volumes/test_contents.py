"""The files of a volume: exchanges, crashes, full volumes, and what others plant there."""

import os
import pathlib

import grpc
import grpc.aio
import pytest

from tests.contract.secrets_store.conftest import Driver, Start, eventually

pytestmark = pytest.mark.root


def rotating(interval_s: float = 0.1) -> dict[str, object]:
    return {"enable_secret_rotation": True, "rotation_poll_interval_s": interval_s}


def sets(volume: pathlib.Path) -> list[str]:
    return [x.name for x in volume.iterdir() if x.name.startswith("..2")]


async def test_the_mount_is_bounded_and_narrow(driver: Driver) -> None:
    """A15: upstream's may take half of the memory, each, and run programs from it."""
    volume = await driver.publish()
    lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    line = next(x for x in lines if x.split(" ")[4] == str(volume))
    assert {"nosuid", "nodev", "noexec"} <= set(line.split(" ")[5].split(","))
    assert "size=65536k" in line
    assert "nr_inodes=32768" in line
    assert os.stat(volume).st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("leftover", ["..data_tmp", "..link_tmp", "..2024_01_01_00_00_00.1"])
async def test_what_a_crash_left_is_cleared_away(start: Start, leftover: str) -> None:
    """B1: in upstream each later write fails with «exists», until somebody deletes it."""
    async with start(**rotating()) as driver:
        volume = await driver.publish()
        if leftover.startswith("..2"):
            (volume / leftover).mkdir()
            (volume / leftover / "password").write_bytes(b"of before")
        else:
            (volume / leftover).symlink_to("..2024_01_01_00_00_00.1")
        driver.provider.files = {"password": b"second"}
        await eventually(lambda: (volume / "password").read_bytes() == b"second")
        await eventually(lambda: not (volume / leftover).is_symlink(), 3.0)
        await eventually(lambda: not (volume / leftover).exists(), 3.0)


async def test_a_file_becomes_a_directory_and_back(start: Start) -> None:
    """In upstream every later refresh is then blocked, and masked as a success."""
    async with start(**rotating()) as driver:
        driver.provider.files = {"x": b"file"}
        volume = await driver.publish()
        driver.provider.files = {"x/y": b"below"}
        await eventually((volume / "x" / "y").exists)
        driver.provider.files = {"x": b"file again"}
        await eventually((volume / "x").is_file)
        assert (volume / "x").read_bytes() == b"file again"


async def test_a_new_file_is_never_dangling_and_a_removed_one_goes(start: Start) -> None:
    """B9: upstream makes the links of new files before their contents."""
    async with start(**rotating()) as driver:
        driver.provider.files = {"stays": b"1", "goes": b"1"}
        volume = await driver.publish()
        driver.provider.files = {"stays": b"2", "comes": b"2"}

        def look() -> bool:
            names = [x for x in os.listdir(volume) if not x.startswith("..")]
            # A link that is listed may be gone a moment later, but never leads nowhere.
            assert all((volume / x).exists() or not (volume / x).is_symlink() for x in names)
            return "comes" in names

        await eventually(look)
        assert sorted(x for x in os.listdir(volume) if not x.startswith("..")) == ["comes", "stays"]
        assert (volume / "stays").read_bytes() == b"2"


async def test_a_write_that_fails_leaves_the_old_files_and_nothing_new(start: Start) -> None:
    """B2, B5: upstream leaves half a set behind each time, until the volume is full."""
    async with start(**rotating(), tmpfs_size=65536) as driver:
        driver.provider.files = {"password": b"small"}
        volume = await driver.publish()
        shown = os.readlink(volume / "..data")
        driver.provider.files = {"password": b"x" * 100_000}
        event = (await eventually(lambda: driver.events("MountRotationFailed")))[0]
        assert "No space left on device: the volume holds at most 65536 bytes" in event["message"]
        seen = len(driver.provider.calls)
        await eventually(lambda: len(driver.provider.calls) > seen, 4.5)
        assert sets(volume) == [shown]
        assert (volume / "password").read_bytes() == b"small"
        used = os.statvfs(volume)
        assert (used.f_blocks - used.f_bfree) * used.f_frsize < 32768


async def test_a_first_publish_that_does_not_fit_leaves_nothing(start: Start) -> None:
    async with start(tmpfs_size=65536) as driver:
        driver.provider.files = {"a": b"small", "b": b"x" * 100_000}
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await driver.publish()
        assert failed.value.code() is grpc.StatusCode.UNKNOWN
        assert "tmpfs-size" in str(failed.value.details())
        assert driver.node.mounts() == []


@pytest.mark.parametrize("where", ["absolute", "above", "beside"])
async def test_a_planted_data_link_is_neither_followed_nor_cleaned(
    start: Start, where: str
) -> None:
    """In upstream root deletes the directory that it points to."""
    async with start(**rotating()) as driver:
        volume = await driver.publish()
        victim = volume.parent / "victim"
        victim.mkdir()
        (victim / "password").write_bytes(b"precious")
        (volume / "..data").unlink()
        target = {"absolute": str(victim), "above": "../victim", "beside": "victim"}[where]
        (volume / "..data").symlink_to(target)
        driver.provider.files = {"password": b"second"}
        await driver.publish()
        await eventually(lambda: (volume / "password").read_bytes() == b"second")
        await driver.unpublish()
        assert (victim / "password").read_bytes() == b"precious"
        (victim / "password").unlink()
        victim.rmdir()


async def test_planted_names_are_replaced_never_followed(start: Start) -> None:
    async with start(**rotating()) as driver:
        volume = await driver.publish()
        victim = driver.node.root / "victim"
        victim.write_bytes(b"precious")
        (volume / "password").unlink()
        (volume / "password").symlink_to(victim)
        driver.provider.files = {"password": b"second"}
        await eventually(lambda: (volume / "password").read_bytes() == b"second")
        assert victim.read_bytes() == b"precious"


async def test_a_refresh_reads_and_writes_nothing_below_a_lost_mount(start: Start) -> None:
    """E2: upstream's reconciler then puts the secrets on the disk."""
    from secrets_store.host import syscalls

    async with start(**rotating()) as driver:
        volume = await driver.publish()
        syscalls.umount_detached(str(volume))
        driver.provider.files = {"password": b"second"}
        await eventually(lambda: driver.events("MountRotationFailed"))
        assert list(volume.iterdir()) == []


async def test_an_empty_answer_with_versions_does_not_clear_the_volume(start: Start) -> None:
    """B6 is by contract: it says that the provider has written the files itself."""
    async with start(**rotating()) as driver:
        volume = await driver.publish()
        driver.provider.versions = {"a": "1"}
        driver.provider.files = {}
        seen = len(driver.provider.calls)
        await eventually(lambda: len(driver.provider.calls) > seen + 2)
        assert (volume / "password").read_bytes() == b"first"


async def test_contents_of_all_sizes_arrive_exactly(driver: Driver) -> None:
    files = {
        "empty": b"",
        "binary": bytes(range(256)) * 4096,
        "lines": b"a\r\nb\n\n",
        "bom": b"\xef\xbb\xbfx",
    }
    driver.provider.files = files
    volume = await driver.publish()
    assert {name: (volume / name).read_bytes() for name in files} == files
