import asyncio
import os
import pathlib
import socket
import sys
from collections.abc import Callable

import pytest

from devkit import provider
from secrets_store import errors
from secrets_store.log import Sealed
from secrets_store.providers import client, registry

Directories = tuple[pathlib.Path, pathlib.Path]
QUESTION = client.Question(
    provider="kms",
    attributes=Sealed("{}"),
    secrets=Sealed("null"),
    target_path="/volume",
    objects={},
    confidential=Sealed(()),
)


def serving(directory: pathlib.Path, name: str, contents: bytes = b"") -> provider.Provider:
    """A provider of one file; without the stand-in's relay, which sees connections differently."""
    return provider.Provider(directory, name, {"a": contents}, direct=True)


async def ask(known: registry.Registry, name: str = "kms") -> bytes:
    """Return the contents of the one file that a provider serves."""
    channel = await known.connect(name)
    answer = await channel.mount(QUESTION, 3.0)
    return answer.files[0][2]


async def missing(known: registry.Registry, name: str = "kms") -> errors.ProviderMissing:
    with pytest.raises(errors.ProviderMissing) as caught:
        await known.connect(name)
    return caught.value


# -- names and places --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["k", "kms", "A-b_9", "-", "x" * 30])
async def test_names_and_their_places(
    known: registry.Registry, directories: Directories, name: str
) -> None:
    assert known.places(name) == tuple(f"{x}/{name}.sock" for x in directories)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 31,
        "kms\n",
        "\nkms",
        "../kms",
        "a/b",
        "/etc/kms",
        "k.ms",
        "k ms",
        "kmş",
        "٣",
        "a\0",
    ],
)
async def test_names_that_no_provider_can_have(known: registry.Registry, name: str) -> None:
    with pytest.raises(errors.ProviderMissing) as caught:
        known.places(name)
    error = await missing(known, name)

    assert str(error) == (
        f'error connecting to provider "{name}": invalid provider: provider "{name}"'
    )
    assert not caught.value.allowed
    with pytest.raises(errors.ProviderMissing):
        known.alive(name)


async def test_a_missing_provider_is_told_with_the_places_looked_at(
    known: registry.Registry, directories: Directories
) -> None:
    error = await missing(known)

    assert str(error) == (
        'error connecting to provider "kms": provider not found: provider "kms" '
        f"(looked at {directories[0]}/kms.sock, {directories[1]}/kms.sock)"
    )
    assert (error.status_code, error.metric_type) == (errors.Code.UNKNOWN, "ProviderNotFound")


async def test_relative_directories_are_made_absolute() -> None:
    known = registry.Registry(["run/p"], max_receive_bytes=1)

    assert known.places("kms") == (os.path.abspath("run/p/kms.sock"),)


# -- finding -----------------------------------------------------------------------------------


async def test_a_channel_is_kept(known: registry.Registry, directories: Directories) -> None:
    async with serving(directories[1], "kms", b"x"):
        first = await known.connect("kms")

        assert await known.connect("kms") is first
        assert known.in_use() == {"kms": first}
        assert await ask(known) == b"x"


async def test_callers_at_one_time_share_a_channel(
    known: registry.Registry, directories: Directories
) -> None:
    async with serving(directories[0], "kms"):
        found = await asyncio.gather(*(known.connect("kms") for _ in range(20)))

        assert len(set(map(id, found))) == 1


async def test_the_first_directory_wins(known: registry.Registry, directories: Directories) -> None:
    async with (
        serving(directories[0], "kms", b"first"),
        serving(directories[1], "kms", b"second"),
    ):
        assert await ask(known) == b"first"


async def test_providers_have_channels_of_their_own(
    known: registry.Registry, directories: Directories
) -> None:
    async with (
        serving(directories[0], "kms", b"kms"),
        serving(directories[0], "vault", b"vault"),
    ):
        assert await ask(known, "kms") == b"kms"
        assert await ask(known, "vault") == b"vault"
        assert known.in_use().keys() == {"kms", "vault"}


def leave_dead_socket(directory: pathlib.Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(directory / "kms.sock"))
        bound.listen()


def plant_file(directory: pathlib.Path) -> None:
    (directory / "kms.sock").write_text("no socket")


def plant_directory(directory: pathlib.Path) -> None:
    (directory / "kms.sock").mkdir()


def plant_dangling_link(directory: pathlib.Path) -> None:
    (directory / "kms.sock").symlink_to("nowhere")


def plant_datagram_socket(directory: pathlib.Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(directory / "kms.sock"))


async def test_a_dead_socket_does_not_hide_a_living_one(
    known: registry.Registry, directories: Directories
) -> None:
    leave_dead_socket(directories[0])
    assert not known.alive("kms")

    async with serving(directories[1], "kms", b"alive"):
        assert known.alive("kms")
        assert await ask(known) == b"alive"
    assert (directories[0] / "kms.sock").exists()


@pytest.mark.parametrize(
    "plant", [plant_file, plant_directory, plant_dangling_link, plant_datagram_socket]
)
async def test_what_is_no_provider_s_socket_hides_none(
    known: registry.Registry, directories: Directories, plant: Callable[[pathlib.Path], None]
) -> None:
    plant(directories[0])
    assert not known.alive("kms")
    await missing(known)

    async with serving(directories[1], "kms", b"alive"):
        assert await ask(known) == b"alive"


async def test_a_dead_socket_alone_is_a_missing_provider(
    known: registry.Registry, directories: Directories
) -> None:
    leave_dead_socket(directories[0])

    await missing(known)

    assert known.in_use() == {}


async def test_a_socket_by_a_link_is_fine(
    known: registry.Registry, directories: Directories
) -> None:
    async with serving(directories[1], "real", b"x"):
        (directories[0] / "kms.sock").symlink_to(directories[1] / "real.sock")

        assert await ask(known) == b"x"


async def test_a_path_too_long_for_a_socket_is_a_missing_provider(
    directories: Directories,
) -> None:
    long = directories[0] / ("d" * 100)
    long.mkdir()
    known = registry.Registry([str(long), str(directories[1])], max_receive_bytes=1 << 20)
    with socket.socket(socket.AF_UNIX) as bound:
        (directories[0] / "s").unlink(missing_ok=True)
        bound.bind(str(directories[0] / "s"))
        os.rename(directories[0] / "s", long / "kms.sock")
        await missing(known)

    async with serving(directories[1], "kms", b"x"):
        assert await ask(known) == b"x"
    await known.close()


async def test_a_full_queue_counts_as_listening(directories: Directories) -> None:
    path = str(directories[0] / "kms.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        assert not registry.accepts(path)
        listener.listen(0)
        waiting = []
        for _ in range(5):
            assert registry.accepts(path)
            extra = socket.socket(socket.AF_UNIX)
            extra.setblocking(False)
            extra.connect_ex(path)
            waiting.append(extra)
        for extra in waiting:
            extra.close()


# -- providers come and go ---------------------------------------------------------------------


async def test_a_restarted_provider_gets_a_new_channel(
    known: registry.Registry, directories: Directories
) -> None:
    async with serving(directories[0], "kms", b"old"):
        assert await ask(known) == b"old"
        old = await known.connect("kms")
        assert not known.replaced("kms", old)
    assert not known.replaced("kms", old)
    await missing(known)

    async with serving(directories[0], "kms", b"new"):
        assert known.replaced("kms", old)
        assert await ask(known) == b"new"
        assert await known.connect("kms") is not old


async def test_a_provider_that_replaces_a_living_one_gets_a_new_channel(
    known: registry.Registry, directories: Directories
) -> None:
    async with serving(directories[0], "kms", b"old"):
        old = await known.connect("kms")
        async with serving(directories[0], "kms", b"new"):
            assert known.replaced("kms", old)
            assert await ask(known) == b"new"


@pytest.mark.timeout(20)
async def test_a_killed_provider_that_comes_back_over_its_socket(
    known: registry.Registry, directories: Directories
) -> None:
    words = ["--dir", str(directories[0]), "--name", "kms", "--files", str(directories[1])]
    (directories[1] / "a").write_text("old")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "devkit.provider", *words, "--direct", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()
    assert await ask(known) == b"old"
    process.kill()
    await process.wait()

    with pytest.raises(errors.ProviderFailed) as caught:
        await ask(known)
    assert caught.value.status_code is errors.Code.UNAVAILABLE
    assert not known.alive("kms")
    async with serving(directories[0], "kms", b"new"):
        assert await ask(known) == b"new"


@pytest.mark.parametrize("order", [1, -1], ids=["to the last", "to the first"])
async def test_a_socket_may_move_between_directories(
    known: registry.Registry, directories: Directories, order: int
) -> None:
    old, new = directories[::order]
    async with serving(old, "kms", b"old"):
        assert await ask(known) == b"old"
        channel = await known.connect("kms")
    async with serving(new, "kms", b"new"):
        assert known.replaced("kms", channel)
        assert await ask(known) == b"new"
        assert (await known.connect("kms")).path == f"{new}/kms.sock"


async def test_a_dropped_channel_is_looked_for_again(
    known: registry.Registry, directories: Directories
) -> None:
    async with serving(directories[0], "kms", b"x"):
        old = await known.connect("kms")
        await known.drop("kms")
        await known.drop("kms")
        assert known.in_use() == {}

        assert await known.connect("kms") is not old
        assert await ask(known) == b"x"


async def test_who_heard_of_an_old_channel_drops_no_newer_one(
    known: registry.Registry, directories: Directories
) -> None:
    """Of many calls that fail together, the last must not close what the first has opened."""
    async with serving(directories[0], "kms", b"x"):
        old = await known.connect("kms")
        await known.drop("kms", old)
        new = await known.connect("kms")

        await known.drop("kms", old)

        assert known.in_use() == {"kms": new}


async def test_an_old_channel_s_calls_end_after_its_provider_was_replaced(
    known: registry.Registry, directories: Directories
) -> None:
    async with serving(directories[0], "kms", b"old") as slow:
        slow.faults.hang = asyncio.Event()
        running = asyncio.ensure_future(ask(known))
        await slow.wait_attempts(1)
        async with serving(directories[0], "kms", b"new"):
            assert await ask(known) == b"new"
            slow.faults.hang.set()

            assert await running == b"old"


async def test_closing_closes_all(known: registry.Registry, directories: Directories) -> None:
    async with (
        serving(directories[0], "kms"),
        serving(directories[0], "vault"),
    ):
        channels = [await known.connect(name) for name in ("kms", "vault")]

        await known.close()

        assert known.in_use() == {}
        for channel in channels:
            with pytest.raises(errors.ProviderFailed):
                await channel.version(1.0)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.timeout(30)
async def test_no_channel_leaks(known: registry.Registry, directories: Directories) -> None:
    async def once(number: int) -> None:
        async with serving(directories[number % 2], "kms", b"x"):
            assert await ask(known) == b"x"

    for number in range(5):
        await once(number)
    await known.drop("kms")
    before = descriptors()
    for number in range(50):
        await once(number)
    await known.drop("kms")

    # The core closes sockets on its own threads, a moment later.
    for _ in range(100):
        if descriptors() <= before:
            break
        await asyncio.sleep(0.02)
    assert descriptors() <= before
    assert known.in_use() == {}
