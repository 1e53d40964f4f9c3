import pytest

from devkit.kms import behaviour


def test_a_server_is_quick_unlimited_and_open_by_default():
    settings = behaviour.Settings()
    assert (settings.delay_s, settings.limits, settings.maintenance) == (0.0, None, False)


def test_the_forks_numbers():
    limits = behaviour.Limits()
    assert [limits.of(each) for each in ("read", "write", "secrets")] == [60, 200, 40]
    assert limits.all == 600


def test_a_bucket_that_does_not_exist():
    with pytest.raises(KeyError):
        behaviour.Limits().of("other")
