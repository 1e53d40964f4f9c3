import os.path
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secrets_store import errors
from secrets_store.model import payload

File = payload.File


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "a b",
        ".x",
        "a/b",
        "a/..b",
        "a/...",
        "nested/deeply/file",
        "new\nline",
        "ünïcödé/文件",
        "․․/x",  # two one-dot leaders, a look-alike of ".."
        "n" * 255,
        "é" * 127,
        "/".join(["d" * 255] * 16),
        "/".join(["d"] * 64),
    ],
)
def test_accepted_paths(path: str) -> None:
    payload.check_path(path)


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("", "must not be empty"),
        ("/", "must be relative"),
        ("/etc/passwd", "must be relative"),
        ("//x", "must be relative"),
        ("a\0b", "NUL"),
        ("..", "must not contain '..'"),
        ("../x", "must not contain '..'"),
        ("a/..", "must not contain '..'"),
        ("a/../b", "must not contain '..'"),
        ("a/../../b", "must not contain '..'"),
        ("..data", "must not start with '..'"),
        ("..data/x", "must not start with '..'"),
        ("..x", "must not start with '..'"),
        ("...", "must not start with '..'"),
        ("..data_tmp", "must not start with '..'"),
        (".", "invalid filepath"),
        ("./a", "invalid filepath"),
        ("a/./b", "invalid filepath"),
        ("a//b", "invalid filepath"),
        ("a/", "invalid filepath"),
        ("a/.", "invalid filepath"),
        ("n" * 256, "filenames must be less"),
        ("é" * 128, "filenames must be less"),
        ("a/" + "n" * 256, "filenames must be less"),
        ("/".join(["d" * 200] * 21), "must be less than or equal to 4096"),
        ("/".join(["d"] * 65), "at most 64"),
    ],
)
def test_refused_paths(path: str, rule: str) -> None:
    with pytest.raises(errors.PayloadRejected, match=rule):
        payload.check_path(path)


def test_the_error_quotes_a_long_path_shortened() -> None:
    with pytest.raises(errors.PayloadRejected) as caught:
        payload.check_path("../" + "x" * 4000)

    assert len(str(caught.value)) < 400


SMALL_PARTS = st.sampled_from(["a", "b", ".", "..", "..data", "", "...", "x y", ".hid", "a\0"])
PATHS = st.text(max_size=50) | st.lists(SMALL_PARTS, max_size=5).map("/".join)


@given(PATHS)
def test_what_is_accepted_stays_inside_and_is_clean(path: str) -> None:
    try:
        payload.check_path(path)
    except errors.PayloadRejected:
        return
    volume = "/volume/root"
    assert os.path.normpath(f"{volume}/{path}") == f"{volume}/{path}"
    assert not path.startswith(("/", ".."))
    assert "\0" not in path


@pytest.mark.parametrize(
    ("mode", "bits"),
    [(0o644, 0o644), (0, 0), (0o777, 0o777), (0o4755, 0o755), (-1, 0o777), (2**31 - 1, 0o777)],
)
def test_only_permission_bits_are_taken(mode: int, bits: int) -> None:
    checked = payload.check([("a", mode, b"")])

    assert checked.files["a"].mode == bits


def test_the_last_of_one_path_wins_and_is_told() -> None:
    answer = [("b", 0o644, b"1"), ("a", 0o644, b"2"), ("b", 0o600, b"3"), ("b", 0o600, b"4")]

    checked = payload.check(answer)

    assert checked.files == {"b": File(b"4", 0o600), "a": File(b"2", 0o644)}
    assert checked.duplicates == ("b",)


def test_no_files_is_an_answer_too() -> None:
    assert payload.check([]) == payload.Payload({}, ())


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("x/y", "x/y/z/w"), ("a", "a/b/c")])
def test_a_path_cannot_be_a_file_and_a_directory(names: tuple[str, ...]) -> None:
    with pytest.raises(errors.PayloadRejected, match="is a file and the directory of"):
        payload.check([(name, 0o644, b"") for name in names])


def test_a_common_prefix_alone_is_no_clash() -> None:
    names = {"a.b", "a-b/c", "ab", "a/b", "a/b.c"}

    assert payload.check([(name, 0o644, b"") for name in names]).files.keys() == names


def test_one_bad_path_rejects_the_whole_answer() -> None:
    with pytest.raises(errors.PayloadRejected):
        payload.check([("good", 0o644, b""), ("../bad", 0o644, b"")])


def test_contents_show_in_no_repr() -> None:
    contents = secrets.token_hex()

    checked = payload.check([("a", 0o644, contents.encode())])

    assert contents not in f"{checked} {checked!r} {checked.files['a']}"


@pytest.mark.parametrize(
    ("mode", "for_group"),
    [(0o644, 0o440), (0o600, 0o640), (0o400, 0o440), (0, 0o040), (0o755, 0o755), (0o640, 0o640)],
)
def test_a_group_can_read(mode: int, for_group: int) -> None:
    files = {"a": File(b"x", mode)}
    assert payload.with_modes(files, group=2000, default_mode=None) == {"a": File(b"x", for_group)}


@pytest.mark.parametrize("group", [None, 2000])
def test_a_class_s_mode_takes_the_place_of_the_default(group: int | None) -> None:
    files = {"default": File(b"x", 0o644), "chosen": File(b"x", 0o600)}
    assert payload.with_modes(files, group=group, default_mode=0o400) == {
        "default": File(b"x", 0o400),
        "chosen": File(b"x", 0o600),
    }


def test_without_group_and_mode_the_files_stay_as_they_are() -> None:
    files = {"a": File(b"x", 0o644)}
    assert payload.with_modes(files, group=None, default_mode=None) is files


A, B = File(b"a", 0o644), File(b"b", 0o644)


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ({}, {}, payload.Changes((), (), ())),
        ({"x": A}, {"x": A}, payload.Changes((), (), ())),
        ({}, {"y": A, "x": A}, payload.Changes(("x", "y"), (), ())),
        ({"y": A, "x": A}, {}, payload.Changes((), (), ("x", "y"))),
        ({"x": A}, {"x": B}, payload.Changes((), ("x",), ())),
        ({"x": A}, {"x": File(b"a", 0o600)}, payload.Changes((), ("x",), ())),
        ({"x": A, "y": A}, {"y": B, "z": A}, payload.Changes(("z",), ("y",), ("x",))),
    ],
)
def test_differences(old: payload.Files, new: payload.Files, changes: payload.Changes) -> None:
    got = payload.diff(old, new)

    assert got == changes
    assert bool(got) is (old != new)
