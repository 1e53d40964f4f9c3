import asyncio
import os
import pathlib

import pytest

from provider_kms import reload


class Changes:
    """Counts calls and lets one wait for them."""

    def __init__(self) -> None:
        self.count = 0
        self.happened = asyncio.Event()

    def __call__(self) -> None:
        self.count += 1
        self.happened.set()


@pytest.fixture
def changes() -> Changes:
    return Changes()


async def test_a_file_that_is_written(tmp_path: pathlib.Path, changes: Changes) -> None:
    file = tmp_path / "config"
    file.write_text("a")
    watch = reload.Watch([str(file)], changes)
    watch.start()

    file.write_text("b")
    await changes.happened.wait()
    watch.stop()

    assert changes.count == 1


async def test_a_mounted_config_map(tmp_path: pathlib.Path, changes: Changes) -> None:
    """kubelet writes a new directory and renames a link; the file itself is never touched."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config").write_text(name)
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "config").symlink_to("..data/config")
    watch = reload.Watch([str(tmp_path / "config")], changes)
    watch.start()

    (tmp_path / "..data_tmp").symlink_to("two")
    os.rename(tmp_path / "..data_tmp", tmp_path / "..data")
    await changes.happened.wait()
    watch.stop()

    assert changes.count == 1


async def test_a_file_that_appears(tmp_path: pathlib.Path, changes: Changes) -> None:
    watch = reload.Watch([str(tmp_path / "config")], changes)
    watch.start()

    (tmp_path / "config").write_text("a")
    await changes.happened.wait()
    watch.stop()


async def test_a_file_that_is_written_as_it_was(tmp_path: pathlib.Path, changes: Changes) -> None:
    file = tmp_path / "config"
    file.write_text("a")
    watch = reload.Watch([str(file)], changes)

    file.write_text("a")
    watch.check()

    assert changes.count == 0


async def test_an_event_that_was_lost(tmp_path: pathlib.Path, changes: Changes) -> None:
    file = tmp_path / "config"
    watch = reload.Watch([str(file)], changes)

    file.write_text("a")
    watch.check()
    watch.check()

    assert changes.count == 1


async def test_a_directory_that_is_not_there(tmp_path: pathlib.Path, changes: Changes) -> None:
    watch = reload.Watch([str(tmp_path / "absent" / "config")], changes)

    watch.start()
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent" / "config").write_text("a")
    watch.check()
    watch.stop()

    assert changes.count == 1


async def test_nothing_to_watch(changes: Changes) -> None:
    watch = reload.Watch([], changes)

    watch.start()
    watch.check()
    watch.stop()

    assert changes.count == 0


def test_text(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").write_text("é", encoding="utf-8")

    assert reload.read_text(str(tmp_path / "a")) == "é"
