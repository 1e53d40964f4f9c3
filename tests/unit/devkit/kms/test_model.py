import threading

import pytest

from devkit.kms import behaviour, identities, model


class Clock:
    now = 1_800_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def world():
    made = model.World(Clock())
    made.add_project("P", environments=["prod"])
    return made


def project(**environments):
    """A project's description: environment → path → (secrets, imports)."""
    return model.ProjectSpec("P", "p", identities.ORGANIZATION, "secret-manager", environments)


def folder(imports=(), **secrets):
    specs = {
        key: each if isinstance(each, model.SecretSpec) else model.SecretSpec(value=each)
        for key, each in secrets.items()
    }
    return model.FolderSpec(specs, tuple(imports))


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("a", "a"),
        ("  a b\t", "a b"),
        ("a\n", "a\n"),
        ("a\n\n\n", "a\n"),
        ("a \n", "a\n"),
        ("a\n ", "a"),
        ("\n", "\n"),
        (" ", ""),
        ("", ""),
        ("\ufeffa\u00a0", "a"),
        ("\x1ca\x85", "\x1ca\x85"),
        ("a\r\n", "a\n"),
    ],
)
def test_trim_value(written, stored):
    assert model.trim_value(written) == stored


def test_values_are_trimmed_when_written(world):
    assert world.set_secret("P", "prod", "/", "K", " v\n\n").value == "v\n"


def test_a_value_is_not_in_the_repr(world, marker):
    secret = world.set_secret("P", "prod", "/", "K", marker)
    spec = model.SecretSpec(value=marker)
    assert marker not in repr(secret) + repr(spec) + repr(world.projects)


def test_every_update_counts_even_an_equal_one(world):
    first = world.set_secret("P", "prod", "/", "K", "v")
    world.clock.now += 5
    second = world.set_secret("P", "prod", "/", "K", "v")
    assert (first.version, second.version) == (1, 2)
    assert first.id == second.id
    assert (second.created_at, second.updated_at) == (first.created_at, first.updated_at + 5)


def test_an_update_keeps_what_it_does_not_mention(world):
    world.set_secret("P", "prod", "/", "K", "v", comment="c", tags=("t",))
    secret = world.set_secret("P", "prod", "/", "K", "w", comment="d")
    assert (secret.value, secret.comment, secret.tags) == ("w", "d", ("t",))


def test_renaming_counts_and_keeps_the_id(world):
    id = world.set_secret("P", "prod", "/", "K", "v").id
    world.rename_secret("P", "prod", "/", "K", "L")
    folder = world.folder("P", "prod", "/")
    assert list(folder.secrets) == ["L"]
    assert (folder.secrets["L"].id, folder.secrets["L"].version) == (id, 2)


def test_made_anew_a_secret_has_another_id_and_version_1(world):
    old = world.set_secret("P", "prod", "/", "K", "v")
    world.set_secret("P", "prod", "/", "K", "w")
    world.delete_secret("P", "prod", "/", "K")
    assert world.folder("P", "prod", "/").history["K"] == {}
    new = world.set_secret("P", "prod", "/", "K", "v")
    assert new.id != old.id
    assert new.version == 1


def test_a_write_with_another_id_makes_the_secret_anew(world):
    world.set_secret("P", "prod", "/", "K", "v", id="a", version=5)
    secret = world.set_secret("P", "prod", "/", "K", "v", id="b")
    assert (secret.id, secret.version) == ("b", 1)


def test_history_is_kept_by_key_and_version(world):
    for value in "abc":
        world.set_secret("P", "prod", "/", "K", value)
    history = world.folder("P", "prod", "/").history["K"]
    assert {version: secret.value for version, secret in history.items()} == {
        1: "a",
        2: "b",
        3: "c",
    }


@pytest.mark.parametrize("key", ["", "  ", "a:b", "a/b"])
def test_bad_keys_are_rejected(world, key):
    with pytest.raises(model.Rejected):
        world.set_secret("P", "prod", "/", key, "v")


def test_keys_are_trimmed(world):
    assert world.set_secret("P", "prod", "/", " K ", "v").key == "K"


@pytest.mark.parametrize("path", ["", "app", "/app/", "//", "/a b", "/a/../b", "/ü"])
def test_bad_paths_are_rejected(world, path):
    with pytest.raises(model.Rejected):
        world.add_folder("P", "prod", path)


def test_a_folder_brings_its_parents(world):
    world.add_folder("P", "test", "/a/b-1/c_2")
    assert list(world.projects["P"].environments["test"]) == ["/", "/a", "/a/b-1", "/a/b-1/c_2"]


def test_iso_time():
    assert model.iso_time(1_800_000_000.123) == "2027-01-15T08:00:00.123Z"


def test_writes_from_many_threads_all_count(world):
    def write():
        for _ in range(50):
            world.set_secret("P", "prod", "/", "K", "v")

    threads = [threading.Thread(target=write) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert world.folder("P", "prod", "/").secrets["K"].version == 400


class TestApply:
    def test_what_did_not_change_keeps_id_and_version(self, world):
        described = [project(prod={"/": folder(K="v"), "/a": folder(L="w")})]
        world.apply(described, [])
        before = world.folder("P", "prod", "/a")
        world.apply(described, [])
        assert world.folder("P", "prod", "/a") == before
        assert before.secrets["L"].version == 1

    def test_what_changed_is_updated(self, world):
        world.apply([project(prod={"/": folder(K="v")})], [])
        id = world.folder("P", "prod", "/").secrets["K"].id
        world.apply([project(prod={"/": folder(K="w")})], [])
        secret = world.folder("P", "prod", "/").secrets["K"]
        assert (secret.id, secret.version, secret.value) == (id, 2, "w")

    def test_a_field_that_is_gone_goes_back_to_its_default(self, world):
        noted = model.SecretSpec(value="v", comment="c", hidden=True)
        world.apply([project(prod={"/": folder(K=noted)})], [])
        world.apply([project(prod={"/": folder(K="v")})], [])
        secret = world.folder("P", "prod", "/").secrets["K"]
        assert (secret.comment, secret.hidden, secret.version) == ("", False, 2)

    @pytest.mark.parametrize(("asked", "version"), [(None, 4), (2, 4), (4, 4), (9, 9)])
    def test_a_version_is_the_least(self, world, asked, version):
        world.set_secret("P", "prod", "/", "K", "v", version=3)
        spec = model.SecretSpec(value="w", version=asked)
        world.apply([project(prod={"/": folder(K=spec)})], [])
        assert world.folder("P", "prod", "/").secrets["K"].version == version

    def test_what_is_missing_goes(self, world):
        full = {"/": folder(K="v"), "/a": folder(L="w"), "/a/b": folder(M="x")}
        world.apply([project(prod=full, test={"/": folder()})], [])
        world.apply([project(prod={"/a/b": folder(M="x")})], [])
        folders = world.projects["P"].environments["prod"]
        assert list(world.projects["P"].environments) == ["prod"]
        assert {path: list(each.secrets) for path, each in folders.items()} == {
            "/": [],
            "/a": [],
            "/a/b": ["M"],
        }
        world.apply([project(prod={"/": folder()})], [])
        assert list(world.projects["P"].environments["prod"]) == ["/"]
        world.apply([], [])
        assert world.projects == {}

    def test_imports_identities_and_settings_are_replaced(self, world):
        link = model.Import("prod", "/x")
        world.apply(
            [project(prod={"/": folder([link])})],
            [identities.Identity(id="I")],
            behaviour.Settings(delay_s=1.0),
        )
        assert world.folder("P", "prod", "/").imports == (link,)
        assert list(world.identities) == ["I"]
        assert world.settings.delay_s == 1.0
        world.apply([project(prod={"/": folder()})], [])
        assert world.folder("P", "prod", "/").imports == ()
        assert world.identities == {}
        assert world.settings == behaviour.Settings()
