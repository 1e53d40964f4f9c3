import pytest

from devkit.kms import imports, model, rendering

BASE = {
    "id",
    "_id",
    "workspace",
    "environment",
    "secretKey",
    "secretValue",
    "secretValueHidden",
    "secretComment",
    "version",
    "type",
    "skipMultilineEncoding",
    "secretMetadata",
}


@pytest.fixture
def secret():
    return model.Secret(
        id="s",
        key="K",
        value="v",
        version=2,
        created_at=0.0,
        updated_at=60.0,
        comment="c",
        tags=("red",),
        metadata=(("owner", "web"),),
    )


def test_own(secret):
    rendered = rendering.own(secret, "v", "P", "prod", "/app")
    assert set(rendered) == BASE | {"secretPath", "createdAt", "updatedAt", "tags"}
    assert rendered["id"] == rendered["_id"] == "s"
    assert rendered["createdAt"] == "1970-01-01T00:00:00.000Z"
    assert rendered["updatedAt"] == "1970-01-01T00:01:00.000Z"
    assert (rendered["workspace"], rendered["secretPath"]) == ("P", "/app")
    assert (rendered["type"], rendered["version"]) == ("shared", 2)
    assert (rendered["secretValue"], rendered["secretValueHidden"]) == ("v", False)
    assert rendered["secretMetadata"] == [{"key": "owner", "value": "web", "isEncrypted": False}]
    (tag,) = rendered["tags"]
    assert (tag["slug"], tag["name"]) == ("red", "red")


def test_imported(secret):
    rendered = rendering.imported(secret, "v", "dev")
    assert set(rendered) == BASE
    assert (rendered["workspace"], rendered["environment"]) == ("", "dev")


def test_a_value_that_is_not_shown_is_masked(secret):
    rendered = rendering.own(secret, None, "P", "prod", "/")
    assert (rendered["secretValue"], rendered["secretValueHidden"]) == ("<hidden-by-kms>", True)


def test_an_empty_value_is_a_value(secret):
    rendered = rendering.own(secret, "", "P", "prod", "/")
    assert (rendered["secretValue"], rendered["secretValueHidden"]) == ("", False)


def test_block():
    found = imports.Block("dev", "/base", "f", ())
    assert rendering.block(found, [{"a": 1}]) == {
        "secretPath": "/base",
        "environment": "dev",
        "folderId": "f",
        "secrets": [{"a": 1}],
    }
