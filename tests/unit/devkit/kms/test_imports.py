import pytest

from devkit.kms import imports, model


@pytest.fixture
def world():
    made = model.World()
    made.add_project("P", environments=["prod", "dev"])
    return made


def link(world, path, *targets):
    links = [
        model.Import(*each) if isinstance(each, tuple) else model.Import("prod", each)
        for each in targets
    ]
    world.set_imports("P", "prod", path, links)


def put(world, path, key, value="v", environment="prod"):
    world.set_secret("P", environment, path, key, value)


def resolved(world, path):
    """The blocks as (path, keys)."""
    blocks = imports.resolve(world.projects["P"], "prod", path)
    return [(each.path, [entry.secret.key for entry in each.secrets]) for each in blocks]


def test_blocks_stand_in_the_configured_order(world):
    for path in ("/b", "/a", "/c"):
        put(world, path, path[1:].upper())
    link(world, "/", "/b", "/c", "/a")
    assert resolved(world, "/") == [("/b", ["B"]), ("/c", ["C"]), ("/a", ["A"])]


def test_the_imports_of_an_import_are_appended_to_its_block(world):
    put(world, "/one", "ONE")
    put(world, "/two", "TWO")
    put(world, "/other", "OTHER")
    link(world, "/", "/one", "/other")
    link(world, "/one", "/two")
    assert resolved(world, "/") == [("/one", ["ONE", "TWO"]), ("/other", ["OTHER"])]
    block = imports.resolve(world.projects["P"], "prod", "/")[0]
    assert [entry.path for entry in block.secrets] == ["/one", "/two"]


def test_the_third_level_is_not_reached(world):
    put(world, "/three", "THREE")
    link(world, "/", "/one")
    world.add_folder("P", "prod", "/one")
    link(world, "/one", "/two")
    link(world, "/two", "/three")
    assert resolved(world, "/") == [("/one", [])]


def test_cycles_are_cut(world):
    put(world, "/a", "A")
    put(world, "/b", "B")
    link(world, "/a", "/b", "/a")
    link(world, "/b", "/a", "/b")
    assert resolved(world, "/a") == [("/b", ["B"])]


def test_each_place_appears_once(world):
    put(world, "/a", "A")
    put(world, "/b", "B")
    link(world, "/", "/a", "/b", "/a")
    link(world, "/a", "/b")
    assert resolved(world, "/") == [("/a", ["A"]), ("/b", ["B"])]


def test_replicated_and_missing_ones_are_left_out(world):
    put(world, "/a", "A")
    link(world, "/", ("prod", "/a", True), "/missing", ("none", "/a"))
    assert resolved(world, "/") == []


def test_environments_may_be_crossed(world):
    put(world, "/a", "A", environment="dev")
    link(world, "/", ("dev", "/a"))
    (block,) = imports.resolve(world.projects["P"], "prod", "/")
    assert (block.environment, block.secrets[0].environment) == ("dev", "dev")
    assert block.folder_id == world.folder("P", "dev", "/a").id


def test_over_http_the_last_import_wins_and_inside_a_block_the_first_entry(client, world_with_two):
    assert client.read("X", "/top").json["secret"]["secretValue"] == "second"
    secret = client.read("Y", "/top").json["secret"]
    assert (secret["secretValue"], secret["secretPath"]) == ("own", "/second")
    secret = client.read("DEEP", "/top").json["secret"]
    assert (secret["secretValue"], secret["secretPath"]) == ("deep", "/second")


@pytest.fixture
def world_with_two(client):
    world = client.kms.world
    put(world, "/first", "X", "first")
    put(world, "/second", "X", "second")
    put(world, "/second", "Y", "own")
    put(world, "/deep", "Y", "deeper")
    put(world, "/deep", "DEEP", "deep")
    link(world, "/top", "/first", "/second")
    link(world, "/second", "/deep")
    return world
