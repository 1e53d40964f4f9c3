import pytest

from devkit.kms import identities

READ_DB = identities.Rule(frozenset({"read"}), "prod", "/app/**", "DB_*")


@pytest.mark.parametrize(
    ("action", "environment", "path", "key", "allowed"),
    [
        ("read", "prod", "/app", "DB_HOST", True),
        ("describe", "prod", "/app", "DB_HOST", True),
        ("read", "prod", "/app/a/b", "DB_HOST", True),
        ("read", "prod", "/app", None, True),
        ("read", "prod", "/app", "HOST", False),
        ("read", "prod", "/", "DB_HOST", False),
        ("read", "dev", "/app", "DB_HOST", False),
        ("read", "prod", "/", None, False),
    ],
)
def test_a_rule_needs_all_three_globs(action, environment, path, key, allowed):
    assert READ_DB.allows(action, environment, path, key) is allowed


def test_describing_is_not_reading():
    rule = identities.Rule(frozenset({"describe"}))
    assert rule.allows("describe", "prod", "/a/b", "K")
    assert not rule.allows("read", "prod", "/a/b", "K")


def test_without_projects_an_identity_reads_everything():
    identity = identities.Identity(id="I")
    assert identity.is_member("P")
    assert identity.may("read", "P", "prod", "/", "K")


def test_with_projects_it_is_confined_to_them():
    identity = identities.Identity(id="I", projects={"P": [READ_DB], "Q": []})
    assert identity.is_member("Q")
    assert not identity.is_member("R")
    assert identity.may("read", "P", "prod", "/app", "DB_HOST")
    assert not identity.may("read", "Q", "prod", "/app", "DB_HOST")


def test_secrets_are_not_in_the_repr(marker):
    identity = identities.Identity(
        id="I",
        kubernetes=identities.KubernetesAuth(token_reviewer_jwt=marker),
        universal=identities.UniversalAuth(client_id="c", client_secret=marker),
    )
    assert marker not in repr(identity)
