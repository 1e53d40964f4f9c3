import pytest

from devkit.kms import errors, identities, model, references


@pytest.fixture
def world():
    made = model.World()
    made.add_project("P", environments=["prod"])
    for environment, path, key, value in [
        ("prod", "/", "ROOT", "root"),
        ("prod", "/app", "NEAR", "near"),
        ("prod", "/app/deep", "D", "deep"),
        ("dev", "/app", "NEAR", "dev"),
        ("prod", "/app", "EMPTY", ""),
        ("prod", "/app", "CHAIN", "<${NEAR}>"),
        ("dev", "/app", "SIBLING", "${NEAR}"),
        ("prod", "/app", "SELF", "${SELF}"),
        ("prod", "/app", "PING", "${PONG}"),
        ("prod", "/app", "PONG", "${PING}"),
        ("prod", "/app", "LINES", "a\nb"),
    ]:
        made.set_secret("P", environment, path, key, value)
    return made


def expand(world, value, identity=None, **attributes):
    expander = references.Expander(world.projects["P"], identity or identities.Identity(id="I"))
    secret = world.set_secret("P", "prod", "/app", "IT", value, **attributes)
    return expander.expand(secret, "prod", "/app")


@pytest.mark.parametrize(
    ("value", "expanded"),
    [
        ("plain", "plain"),
        ("${NEAR}", "near"),
        ("a-${NEAR}-${NEAR}-b", "a-near-near-b"),
        ("${prod.ROOT}", "root"),
        ("${prod.app.deep.D}", "deep"),
        ("${dev.app.NEAR}", "dev"),
        ("${dev.app.SIBLING}", "dev"),
        ("${CHAIN}", "<near>"),
        ("${MISSING}", "${MISSING}"),
        ("${none.app.NEAR}", "${none.app.NEAR}"),
        ("${prod.none.NEAR}", "${prod.none.NEAR}"),
        ("${EMPTY}", "${EMPTY}"),
        ("${SELF}", "${SELF}"),
        ("${IT}", "${IT}"),
        ("${PING}", "${PING}"),
        ("${no space}", "${no space}"),
        ("$NEAR ${} {NEAR}", "$NEAR ${} {NEAR}"),
        ("${LINES}", "a\nb"),
    ],
)
def test_expand(world, value, expanded):
    assert expand(world, value) == expanded


def test_depth(world):
    world.set_secret("P", "prod", "/app", "N0", "end")
    for n in range(1, 15):
        world.set_secret("P", "prod", "/app", f"N{n}", f"${{N{n - 1}}}")
    assert expand(world, "${N9}") == "end"
    assert expand(world, "${N10}") == "${N0}"


def test_lines_are_encoded_only_if_that_is_on_and_something_was_expanded(world):
    assert expand(world, "${LINES}", skip_multiline_encoding=True) == '"a\\nb"'
    assert expand(world, "${NEAR}", skip_multiline_encoding=True) == "near"
    assert expand(world, "a\nb", skip_multiline_encoding=True) == "a\nb"


def test_no_right_to_what_is_referenced(world):
    rule = identities.Rule(frozenset({"read"}), path="/app")
    identity = identities.Identity(id="I", projects={"P": [rule]})
    assert expand(world, "${NEAR}", identity) == "near"
    with pytest.raises(errors.Refused) as caught:
        expand(world, "${prod.ROOT}", identity)
    assert (caught.value.status, caught.value.error) == (403, "ForbiddenError")
