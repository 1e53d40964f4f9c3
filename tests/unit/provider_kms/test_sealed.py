import pickle

import pytest

from provider_kms import sealed


def test_a_value_is_not_seen() -> None:
    kept = sealed.Sealed("hush")

    assert f"{kept} {kept!r} {[kept]}" == " ".join(
        [sealed.STRIPPED, sealed.STRIPPED, f"[{sealed.STRIPPED}]"]
    )
    assert kept.open() == "hush"


def test_it_does_not_leave_the_process() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(sealed.Sealed("hush"))


def test_equal_by_content() -> None:
    assert sealed.Sealed("a") == sealed.Sealed("a")
    assert sealed.Sealed("a") != sealed.Sealed("b")
    assert sealed.Sealed("a") != "a"
    assert len({sealed.Sealed("a"), sealed.Sealed("a")}) == 1


def test_a_digest_names_and_tells_nothing() -> None:
    assert sealed.digest("hush") == sealed.digest("hush")
    assert sealed.digest("hush") != sealed.digest("hush ")
    assert len(sealed.digest("\ud800")) == 64
