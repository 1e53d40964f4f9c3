from provider_kms import sealed
from provider_kms.model import secret

FOLDER = secret.Folder("P", "prod", "/app")


def make(key: str, value: str, path: str = "/app") -> secret.Secret:
    return secret.Secret(f"id-{value[:9]}", key, path, 1, sealed.Sealed(value.encode()))


def test_the_folder_itself_goes_before_its_imports() -> None:
    listing = secret.Listing((make("A", "own"),), ((make("A", "imported", "/x"),),))

    assert listing.merged(FOLDER)["", "A"].id == "id-own"


def test_the_last_import_wins_and_its_first_entry() -> None:
    blocks = (
        (make("A", "low", "/x"), make("B", "only", "/x")),
        (make("A", "high", "/y"), make("A", "higher", "/y")),
    )

    found = secret.Listing((), blocks).merged(FOLDER)

    assert found["", "A"].id == "id-high"
    assert found["", "B"].id == "id-only"


def test_a_recursive_list_keeps_folders_apart() -> None:
    folder = secret.Folder("P", "prod", "/app", recursive=True)
    listing = secret.Listing((make("A", "1"), make("A", "2", "/app/x/y")))

    assert {name: one.id for name, one in listing.merged(folder).items()} == {
        ("", "A"): "id-1",
        ("x/y", "A"): "id-2",
    }


def test_below_the_root() -> None:
    root = secret.Folder("P", "prod", "/", recursive=True)

    assert secret.relative("/app/x", root) == "app/x"
    assert secret.relative("/", root) == ""


def test_a_plain_list_has_one_folder() -> None:
    assert secret.relative("/elsewhere", FOLDER) == ""


def test_sizes_and_places() -> None:
    one, hidden = make("KEY", "hush" * 25), secret.Secret("i", "KEY", "/", 1, None)

    assert secret.size_bytes(one) == secret.size_bytes(hidden) + 100
    assert secret.Listing((one,), ((hidden,),)).size_bytes() == sum(
        map(secret.size_bytes, (one, hidden))
    )
    assert str(FOLDER.place("K")) == 'environment "prod", path "/app", key "K"'
    assert "hushhushhush" not in repr(one)
