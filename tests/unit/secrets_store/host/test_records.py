import ctypes
import dataclasses
import errno
import logging
import os
import pathlib
import stat
from collections.abc import Iterator

import pytest

from secrets_store.host import records
from secrets_store.model import record, volume

RECORD = record.Record(
    volume_id="csi-1",
    target_path="/var/lib/kubelet/pods/1/volumes/kubernetes.io~csi/v/mount",
    pod=volume.Pod("team", "web-0", "11-22"),
    service_account="web",
    class_name="db",
    class_uid="1-2-3",
    class_generation=7,
    provider="kms",
    objects={"secret/a": "v1"},
    attributes={"secretProviderClass": "db"},
    last_check_s=1.8e9,
    last_change_s=1.7e9,
    status_name="web-0-team-db",
    group=None,
    boot_id="b-1",
)
NAME = record.file_name(RECORD.target_path)
OTHER = dataclasses.replace(RECORD, target_path="/var/lib/kubelet/other/mount")


@pytest.fixture
def directory(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "state"


@pytest.fixture
def kept(directory: pathlib.Path) -> records.Records:
    return records.Records(str(directory))


def mode(path: pathlib.Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def _open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_open_umask")
def test_a_record_is_for_its_owner_alone(kept: records.Records, directory: pathlib.Path) -> None:
    kept.save(RECORD)

    assert [path.name for path in directory.iterdir()] == [NAME]
    assert (mode(directory), mode(directory / NAME)) == (0o700, 0o600)


def test_what_is_saved_is_loaded(kept: records.Records) -> None:
    kept.save(RECORD)
    kept.save(OTHER)

    found = {known.target_path: known for known in kept.load()}

    assert found == {RECORD.target_path: RECORD, OTHER.target_path: OTHER}


def test_no_directory_is_no_records(kept: records.Records, directory: pathlib.Path) -> None:
    assert kept.load() == []
    kept.drop(RECORD.target_path)
    assert not directory.exists()


def test_a_record_is_exchanged_whole(kept: records.Records, directory: pathlib.Path) -> None:
    kept.save(RECORD)
    changed = dataclasses.replace(RECORD, objects={"secret/a": "v2"})

    with open(directory / NAME, encoding="utf-8") as before:
        kept.save(changed)

        assert record.Record.from_json(before.read()) == RECORD
    assert kept.load() == [changed]


def test_a_dropped_record_is_gone(kept: records.Records, directory: pathlib.Path) -> None:
    kept.save(RECORD)
    kept.save(OTHER)

    kept.drop(RECORD.target_path)
    kept.drop(RECORD.target_path)

    assert kept.load() == [OTHER]
    assert len(list(directory.iterdir())) == 1


def test_what_a_crash_left_is_removed_and_in_nobody_s_way(
    kept: records.Records, directory: pathlib.Path
) -> None:
    kept.save(RECORD)
    leftover = directory / f"{NAME}.tmp"
    leftover.write_text('{"schema":1,"half')

    assert kept.load() == [RECORD]
    assert not leftover.exists()

    leftover.write_text("x" * 10_000)
    kept.save(OTHER)
    kept.save(RECORD)
    assert len(kept.load()) == 2
    assert not leftover.exists()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="empty"),
        pytest.param(RECORD.to_json().encode()[:-20], id="cut"),
        pytest.param(b"\xff\xfe\0\0" * 100, id="bytes"),
        pytest.param(b"[" * 50_000, id="nested"),
        pytest.param(RECORD.to_json().replace('"schema":1', '"schema":2').encode(), id="schema"),
    ],
)
def test_a_broken_record_is_removed_and_told(
    kept: records.Records,
    directory: pathlib.Path,
    text: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept.save(OTHER)
    (directory / NAME).write_bytes(text)

    with caplog.at_level(logging.WARNING):
        assert kept.load() == [OTHER]

    assert not (directory / NAME).exists()
    assert [r.message for r in caplog.records] == ["broken record removed"]
    assert caplog.records[0].__dict__["pairs"] == {"file": NAME}


def test_a_record_under_another_s_name_is_not_believed(
    kept: records.Records, directory: pathlib.Path
) -> None:
    kept.save(RECORD)
    (directory / NAME).rename(directory / record.file_name("/some/other/path"))
    kept.save(OTHER)

    assert kept.load() == [OTHER]
    assert len(list(directory.iterdir())) == 1


@pytest.mark.parametrize("name", ["lost+found", "folder.json", NAME])
def test_a_directory_in_between_stops_nothing(
    kept: records.Records, directory: pathlib.Path, name: str
) -> None:
    kept.save(OTHER)
    (directory / name / "inner").mkdir(parents=True)

    assert kept.load() == [OTHER]
    assert (directory / name / "inner").is_dir()


def test_a_planted_link_is_not_written_through(
    kept: records.Records, directory: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    kept.save(OTHER)
    (directory / f"{NAME}.tmp").symlink_to(outside)
    (directory / NAME).symlink_to(outside)

    with pytest.raises(OSError, match="symbolic link"):
        kept.save(RECORD)
    assert kept.load() == [OTHER]
    kept.save(RECORD)

    assert outside.read_text() == "mine"
    assert not (directory / NAME).is_symlink()


def mount(target: pathlib.Path, options: str, flags: int = 0) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.mount(
        b"tmpfs", os.fsencode(target), b"tmpfs", ctypes.c_ulong(flags), options.encode()
    )
    assert result == 0, os.strerror(ctypes.get_errno())


@pytest.fixture
def small(mount_place: pathlib.Path) -> pathlib.Path:
    """A file system of two pages."""
    place = mount_place / "small"
    place.mkdir()
    mount(place, "size=8192,mode=700")
    return place


BIG = dataclasses.replace(RECORD, attributes={"a": "x" * 3000, "b": "x" * 3000})


@pytest.mark.root
def test_a_full_disk_keeps_the_old_record_and_no_half_one(small: pathlib.Path) -> None:
    kept = records.Records(str(small))
    kept.save(RECORD)

    with pytest.raises(OSError, match="No space left") as caught:
        kept.save(BIG)
    with pytest.raises(OSError, match="No space left"):
        kept.save(dataclasses.replace(BIG, target_path=OTHER.target_path))

    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(small) == [NAME]
    assert kept.load() == [RECORD]


@pytest.mark.root
def test_a_disk_that_is_full_already(small: pathlib.Path) -> None:
    (small / "state").mkdir()
    (small / "ballast").write_bytes(b"x" * 8192)
    kept = records.Records(str(small / "state"))

    with pytest.raises(OSError, match="No space left"):
        kept.save(RECORD)

    assert os.listdir(small / "state") == []


@pytest.mark.root
def test_a_read_only_disk_changes_nothing(small: pathlib.Path) -> None:
    kept = records.Records(str(small))
    kept.save(RECORD)
    read_only, remount = 1, 32
    mount(small, "", read_only | remount)

    with pytest.raises(OSError, match="Read-only") as caught:
        kept.save(OTHER)
    with pytest.raises(OSError, match="Read-only"):
        kept.drop(RECORD.target_path)

    assert caught.value.errno == errno.EROFS
    assert kept.load() == [RECORD]


@pytest.mark.root
def test_a_directory_that_cannot_be_made_is_told(small: pathlib.Path) -> None:
    mount(small, "", 1 | 32)

    with pytest.raises(OSError, match="Read-only"):
        records.Records(str(small / "state")).save(RECORD)


def test_the_boot_id_is_the_kernel_s_and_stays() -> None:
    first, second = records.boot_id(), records.boot_id()

    assert first == second
    assert len(first) == 36
    assert first.count("-") == 4


def test_a_directory_that_cannot_be_read_holds_no_records(
    directory: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory.write_text("no directory")

    with caplog.at_level(logging.ERROR):
        assert records.Records(str(directory)).load() == []

    assert [r.message for r in caplog.records] == ["records not readable"]
