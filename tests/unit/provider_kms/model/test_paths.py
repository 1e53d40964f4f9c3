import pytest

from provider_kms.model import paths


@pytest.mark.parametrize("path", ["a", ".env", "a/b", "a/..b", "é", "a" * 255, "a/" * 2047 + "a"])
def test_good(path: str) -> None:
    assert paths.fault(path) is None


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("", "empty"),
        ("/a", "relative"),
        ("..", '".."'),
        ("a/../b", '".."'),
        ("..data", "begin"),
        ("..x/a", "begin"),
        ("a//b", "clean"),
        ("./a", "clean"),
        ("a/.", "clean"),
        ("a/", "clean"),
        ("a\0b", "zero"),
        ("\ud800", "Unicode"),
        ("a" * 256, "255"),
        ("é" * 128, "255"),
        ("a/" * 2048 + "a", "4096"),
    ],
)
def test_faults(path: str, rule: str) -> None:
    assert rule in (paths.fault(path) or "")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([], None),
        (["a", "b/c", "b/d"], None),
        (["a", "b", "a"], "a"),
        (["a/b", "a"], "a"),
        (["a", "a/b/c"], "a"),
        (["a-b", "a/b"], None),
    ],
)
def test_clash(names: list[str], found: str | None) -> None:
    assert paths.clash(names) == found
