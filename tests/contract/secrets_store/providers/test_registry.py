"""From a provider's name to a living socket."""

import os
import pathlib
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator

import pytest

from devkit import provider
from secrets_store import errors
from secrets_store.providers import registry


@pytest.fixture
def directories() -> Iterator[tuple[pathlib.Path, pathlib.Path]]:
    with tempfile.TemporaryDirectory(prefix="pr", dir="/tmp") as name:
        first, second = pathlib.Path(name, "etc"), pathlib.Path(name, "var")
        first.mkdir()
        second.mkdir()
        yield first, second


@pytest.fixture
async def providers(
    directories: tuple[pathlib.Path, pathlib.Path],
) -> AsyncIterator[registry.Registry]:
    made = registry.Registry([str(x) for x in directories], max_receive_bytes=1 << 20)
    yield made
    await made.close()


@pytest.mark.parametrize("name", ["vault", "e2e-provider", "A_1", "x" * 30])
async def test_names_that_can_be(providers: registry.Registry, name: str) -> None:
    assert [x.rpartition("/")[2] for x in providers.places(name)] == [f"{name}.sock"] * 2


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a.b", "x" * 31, "a b", "a\n", "ä", "a\0"]
)
async def test_names_that_cannot_be(providers: registry.Registry, name: str) -> None:
    with pytest.raises(errors.ProviderMissing, match="invalid provider") as failed:
        await providers.connect(name)
    assert not failed.value.allowed


async def test_nobody_there_tells_the_places(
    providers: registry.Registry, directories: tuple[pathlib.Path, pathlib.Path]
) -> None:
    with pytest.raises(errors.ProviderMissing) as failed:
        await providers.connect("fake")
    first, second = directories
    assert str(failed.value) == (
        'error connecting to provider "fake": provider not found: provider "fake" '
        f"(looked at {first}/fake.sock, {second}/fake.sock)"
    )


async def test_the_first_directory_wins(
    providers: registry.Registry, directories: tuple[pathlib.Path, pathlib.Path]
) -> None:
    first, second = directories
    async with provider.Provider(second, "fake"):
        assert (await providers.connect("fake")).path == f"{second}/fake.sock"
        assert await providers.connect("fake") is await providers.connect("fake")
    async with provider.Provider(first, "fake"), provider.Provider(second, "fake"):
        assert (await providers.connect("fake")).path == f"{first}/fake.sock"


async def test_a_dead_socket_does_not_hide_a_living_one(
    providers: registry.Registry, directories: tuple[pathlib.Path, pathlib.Path]
) -> None:
    first, second = directories
    dead = provider.Provider(first, "fake")
    await dead.start()
    await dead.stop(leave_socket=True)
    assert not providers.alive("fake")
    with pytest.raises(errors.ProviderMissing):
        await providers.connect("fake")
    async with provider.Provider(second, "fake"):
        assert (await providers.connect("fake")).path == f"{second}/fake.sock"
        assert providers.alive("fake")


@pytest.mark.parametrize("what", ["file", "directory", "fifo", "dangling link"])
async def test_what_is_no_socket_is_nobody(
    providers: registry.Registry, directories: tuple[pathlib.Path, pathlib.Path], what: str
) -> None:
    path = directories[0] / "fake.sock"
    if what == "file":
        path.touch()
    elif what == "directory":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere")
    assert not providers.alive("fake")
    with pytest.raises(errors.ProviderMissing):
        await providers.connect("fake")


async def test_a_replaced_socket_gets_a_channel_of_its_own(
    providers: registry.Registry, directories: tuple[pathlib.Path, pathlib.Path]
) -> None:
    first, _ = directories
    async with provider.Provider(first, "fake") as old:
        before = await providers.connect("fake")
        assert not providers.replaced("fake", before)
        async with provider.Provider(first, "fake") as new:
            assert providers.replaced("fake", before)
            after = await providers.connect("fake")
            assert after is not before
            await after.version(1.0)
            assert new.versions_asked == ["v1alpha1"]
            assert old.versions_asked == []


async def test_a_socket_that_went_without_a_successor_is_not_replaced(
    providers: registry.Registry, directories: tuple[pathlib.Path, pathlib.Path]
) -> None:
    first, second = directories
    async with provider.Provider(first, "fake"):
        before = await providers.connect("fake")
    assert not providers.replaced("fake", before)
    async with provider.Provider(second, "fake"):
        assert providers.replaced("fake", before)


async def test_a_dropped_channel_is_made_anew(
    providers: registry.Registry, directories: tuple[pathlib.Path, pathlib.Path]
) -> None:
    async with provider.Provider(directories[0], "fake"):
        before = await providers.connect("fake")
        assert list(providers.in_use()) == ["fake"]
        await providers.drop("fake")
        await providers.drop("fake")
        assert providers.in_use() == {}
        assert await providers.connect("fake") is not before


async def test_a_path_too_long_for_a_socket_is_nobody(tmp_path: pathlib.Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    short = pathlib.Path(tempfile.mkdtemp(prefix="pr", dir="/tmp"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short / "x.sock"))
        listener.listen()
        os.rename(short / "x.sock", deep / "fake.sock")
        assert not registry.accepts(str(deep / "fake.sock"))
    short.rmdir()


async def test_a_full_queue_is_a_sign_of_life(
    directories: tuple[pathlib.Path, pathlib.Path],
) -> None:
    path = str(directories[0] / "fake.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(path)
        assert registry.accepts(path)
        for one in waiting:
            one.close()
