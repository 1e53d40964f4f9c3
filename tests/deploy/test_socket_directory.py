"""The provider's init container: a directory for a user that is not root, and a link to it."""

import os
import pathlib
import socket
import stat
import tempfile
from collections.abc import Iterator

import pytest

from deploy.images import socket_directory

OWNER = os.getuid()


@pytest.fixture
def providers() -> Iterator[pathlib.Path]:
    """The node's directory of sockets; short, for they lie below it."""
    with tempfile.TemporaryDirectory(prefix="sd", dir="/tmp") as name:
        yield pathlib.Path(name)


def run(providers: pathlib.Path, *more: str, owner: int = OWNER) -> int:
    return socket_directory.main(
        [f"--directory={providers}", "--name=kms", f"--owner={owner}", *more]
    )


def test_the_name_leads_to_a_socket_in_a_private_directory(providers: pathlib.Path) -> None:
    assert run(providers) == 0
    assert stat.S_IMODE((providers / "kms").stat().st_mode) == 0o700
    with socket.socket(socket.AF_UNIX) as served, socket.socket(socket.AF_UNIX) as driver:
        served.bind(f"{providers}/kms/kms.sock")
        served.listen()
        driver.connect(f"{providers}/kms.sock")
    assert sorted(path.name for path in providers.iterdir()) == ["kms", "kms.sock"]


def test_again_changes_nothing(providers: pathlib.Path) -> None:
    run(providers)
    before = (providers / "kms.sock").lstat().st_ino, (providers / "kms").stat().st_ctime_ns
    assert run(providers) == 0
    after = (providers / "kms.sock").lstat().st_ino, (providers / "kms").stat().st_ctime_ns
    assert after == before


def test_a_socket_of_an_earlier_provider_is_replaced(providers: pathlib.Path) -> None:
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(f"{providers}/kms.sock")
        assert run(providers, "--alias=infisical") == 0
    assert os.readlink(providers / "kms.sock") == "kms/kms.sock"
    assert os.readlink(providers / "infisical.sock") == "kms/infisical.sock"


def test_another_link_and_a_left_over_are_replaced(providers: pathlib.Path) -> None:
    (providers / "kms.sock").symlink_to("/elsewhere")
    (providers / ".kms.sock.new").symlink_to("/left")
    assert run(providers) == 0
    assert os.readlink(providers / "kms.sock") == "kms/kms.sock"
    assert not os.path.lexists(providers / ".kms.sock.new")


def test_a_directory_with_a_wider_mode_is_narrowed(providers: pathlib.Path) -> None:
    (providers / "kms").mkdir(0o755)
    assert run(providers) == 0
    assert stat.S_IMODE((providers / "kms").stat().st_mode) == 0o700


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_is_no_directory_is_not_followed(
    providers: pathlib.Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = providers / "elsewhere"
    elsewhere.mkdir(0o755)
    if kind == "link":
        (providers / "kms").symlink_to(elsewhere)
    else:
        (providers / "kms").touch()
    assert run(providers) == 1
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o755
    assert not os.path.lexists(providers / "kms.sock")
    assert "kms" in capsys.readouterr().err


@pytest.mark.root
def test_the_directory_is_given_away(providers: pathlib.Path, other_group: int) -> None:
    assert run(providers, owner=other_group) == 0
    found = (providers / "kms").stat()
    assert (found.st_uid, found.st_gid) == (other_group, other_group)
    assert run(providers, owner=other_group) == 0
