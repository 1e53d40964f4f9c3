import os
import pathlib
import stat
from collections.abc import Callable, Iterator

import pytest

from secrets_store import errors
from secrets_store.host import paths

TAIL = "volumes/kubernetes.io~csi/store/mount"


@pytest.mark.parametrize(
    ("target", "base", "parts"),
    [
        (
            f"/var/lib/kubelet/pods/1-2/{TAIL}",
            "/var/lib/kubelet/pods",
            ("1-2", "volumes", "kubernetes.io~csi", "store", "mount"),
        ),
        (
            f"/pods/1-2/{TAIL}",
            "/pods",
            ("1-2", "volumes", "kubernetes.io~csi", "store", "mount"),
        ),
        pytest.param(
            f"/data/pods/x/pods/1-2/{TAIL}",
            "/data/pods/x/pods",
            ("1-2", "volumes", "kubernetes.io~csi", "store", "mount"),
            id="the last pods directory counts",
        ),
        (f"/1-2/{TAIL}", "/1-2/volumes/kubernetes.io~csi", ("store", "mount")),
        (
            "/var/lib/kubelet/pods/1-2/volumes/kubernetes.io~nfs/store/mount",
            "/var/lib/kubelet/pods/1-2/volumes/kubernetes.io~nfs",
            ("store", "mount"),
        ),
        ("/tmp/csi/mount", "/tmp", ("csi", "mount")),
        ("/a/b", "/", ("a", "b")),
    ],
)
def test_what_is_trusted_and_what_is_not(target: str, base: str, parts: tuple[str, ...]) -> None:
    assert paths.split(target) == (base, parts)


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    before = len(descriptors())
    yield
    assert len(descriptors()) == before


def test_a_parent_is_held_not_named(tmp_path: pathlib.Path) -> None:
    target = tmp_path / "pods" / "1" / TAIL
    target.parent.mkdir(parents=True)

    with paths.parent(str(target)) as (held, name):
        target.parent.rename(target.parent.with_name("elsewhere"))
        os.mkdir(name, dir_fd=held)

    assert (target.parents[1] / "elsewhere" / "mount").is_dir()


def test_a_descriptor_that_can_only_name(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").mkdir()

    with (
        paths.parent(f"{tmp_path}/a/b") as (held, _),
        pytest.raises(OSError, match="Bad file descriptor"),
    ):
        os.listdir(held)


def test_missing_directories_are_made_on_wish_alone(tmp_path: pathlib.Path) -> None:
    target = tmp_path / "kubelet" / "pods" / "1" / TAIL

    with pytest.raises(FileNotFoundError), paths.parent(str(target)):
        pass
    assert list(tmp_path.iterdir()) == []

    with paths.parent(str(target), create=True) as (_, name):
        assert name == "mount"
    made = [path for path in target.parents if tmp_path in path.parents]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o750}
    assert not target.exists()


def test_making_what_is_there_is_fine(tmp_path: pathlib.Path) -> None:
    target = tmp_path / "pods" / "1" / TAIL
    target.mkdir(parents=True)
    (target / "kept").touch()

    with paths.parent(str(target), create=True):
        pass

    assert (target / "kept").exists()


PLANTS = [
    "pods/1",
    "pods/1/volumes",
    "pods/1/volumes/kubernetes.io~csi",
    "pods/1/volumes/kubernetes.io~csi/store",
]


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("planted", PLANTS)
@pytest.mark.parametrize("dangling", [False, True])
def test_no_part_of_a_pod_s_path_may_be_a_symlink(
    tmp_path: pathlib.Path, planted: str, create: bool, dangling: bool
) -> None:
    root, elsewhere = tmp_path / "kubelet", tmp_path / "elsewhere"
    target = root / "pods" / "1" / TAIL
    rest = target.relative_to(root / planted)
    if not dangling:
        (elsewhere / rest).mkdir(parents=True)
    link = root / planted
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)

    with (
        pytest.raises(errors.PathRejected, match="is a symbolic link") as caught,
        paths.parent(str(target), create=create),
    ):
        pass

    assert caught.value.status_code is errors.Code.INVALID_ARGUMENT
    assert elsewhere.exists() is not dangling


def test_the_last_two_parts_of_any_other_path_may_be_no_symlinks(tmp_path: pathlib.Path) -> None:
    (tmp_path / "real" / "b").mkdir(parents=True)
    (tmp_path / "a").symlink_to(tmp_path / "real")

    with (
        pytest.raises(errors.PathRejected, match="'a' is a symbolic link"),
        paths.parent(f"{tmp_path}/a/b"),
    ):
        pass


def test_a_symlinked_kubelet_root_is_fine(tmp_path: pathlib.Path) -> None:
    (tmp_path / "disk" / "pods" / "1" / TAIL).mkdir(parents=True)
    (tmp_path / "kubelet").symlink_to(tmp_path / "disk")

    with paths.parent(f"{tmp_path}/kubelet/pods/1/{TAIL}") as (held, name):
        assert os.stat(name, dir_fd=held).st_ino == (
            (tmp_path / "disk" / "pods" / "1" / TAIL).stat().st_ino
        )


def test_symlinks_above_the_last_two_parts_are_fine(tmp_path: pathlib.Path) -> None:
    (tmp_path / "real" / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")

    with paths.parent(f"{tmp_path}/link/a/b") as (_, name):
        assert name == "b"


@pytest.mark.parametrize("planted", PLANTS)
def test_a_file_in_the_way_is_no_symlink(tmp_path: pathlib.Path, planted: str) -> None:
    (tmp_path / planted).parent.mkdir(parents=True)
    (tmp_path / planted).touch()

    with pytest.raises(NotADirectoryError), paths.parent(f"{tmp_path}/pods/1/{TAIL}"):
        pass


Make = Callable[[pathlib.Path], object]


@pytest.mark.parametrize(
    ("make", "error"),
    [
        pytest.param(lambda p: p.symlink_to("/etc"), errors.PathRejected, id="symlink"),
        pytest.param(lambda p: p.symlink_to("nowhere"), errors.PathRejected, id="dangling"),
        pytest.param(lambda p: p.touch(), NotADirectoryError, id="file"),
        pytest.param(lambda p: os.mkfifo(p), NotADirectoryError, id="fifo"),
        pytest.param(lambda p: None, FileNotFoundError, id="nothing"),
    ],
)
def test_only_a_directory_is_held(
    tmp_path: pathlib.Path, make: Make, error: type[Exception]
) -> None:
    make(tmp_path / "x")
    parent = os.open(tmp_path, os.O_PATH)

    with pytest.raises(error):
        paths.hold(parent, "x", f"{tmp_path}/x")

    os.close(parent)


def test_a_held_directory_is_the_very_one(tmp_path: pathlib.Path) -> None:
    (tmp_path / "x").mkdir()
    parent = os.open(tmp_path, os.O_PATH)

    held = paths.hold(parent, "x", f"{tmp_path}/x")

    assert os.fstat(held).st_ino == (tmp_path / "x").stat().st_ino
    os.close(held)
    os.close(parent)
