from provider_kms import backend, sealed
from tests.unit.provider_kms import store


def test_equal_accounts_share() -> None:
    assert store.account() == store.account()
    assert len({store.account(), store.account()}) == 1


def test_what_must_not_share_differs() -> None:
    changes = (
        {"holder": "other"},
        {"ca_pem": "x"},
        {"identity": "J"},
        {"audience": ""},
        {"method": "universal-auth"},
    )

    for change in changes:
        assert store.account(**change) != store.account()


def test_sessions_are_known_by_themselves() -> None:
    first = backend.Session(store.account(), sealed.Sealed("t"), 1.0)
    second = backend.Session(store.account(), sealed.Sealed("t"), 1.0)

    assert first != second
    assert first.serial != second.serial
    assert "'t'" not in repr(first)


def test_the_stand_in_is_a_backend() -> None:
    kept: backend.Backend = store.Store()

    assert kept is not None
