import pytest

from devkit.kms import globs


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("shop", "shop", True),
        ("shop", "shop2", False),
        ("team-*", "team-a", True),
        ("team-*", "team-", True),
        ("team-*", "xteam-a", False),
        ("a.c", "abc", False),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("{dev,prod}", "prod", True),
        ("{dev,prod}", "test", False),
        ("/*", "/app", True),
        ("/*", "/app/a", False),
        ("/**", "/", True),
        ("/**", "/app/a", True),
        ("/app/**", "/app", True),
        ("/app/**", "/app/a/b", True),
        ("/app/**", "/apple", False),
        ("**", "any/thing", True),
        ("a\n*", "a\nb", True),
    ],
)
def test_match(pattern, text, matches):
    assert globs.match(pattern, text) is matches
