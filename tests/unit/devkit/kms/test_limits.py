import pytest

from devkit.kms import behaviour

NAMES = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")


@pytest.fixture
def limited(client, world):
    world.change_settings(limits=behaviour.Limits(secrets=2, write=3, all=100))
    return client


def counted(answer):
    return [int(answer.headers[name]) for name in NAMES]


def test_off_by_default(client):
    answer = client.read()
    assert not [name for name in answer.headers if name.lower().startswith("x-ratelimit")]


def test_headers_count_down(limited, clock):
    bearer = limited.bearer()
    assert counted(limited.read(bearer=bearer)) == [2, 1, 60]
    clock.now += 20.5
    assert counted(limited.list(bearer=bearer)) == [2, 0, 40]


def test_too_many(limited, clock):
    bearer = limited.bearer()
    for _ in range(2):
        limited.read(bearer=bearer)
    clock.now += 17.5
    answer = limited.read(bearer=bearer)
    assert (answer.status, answer.json["error"]) == (429, "RateLimitExceeded")
    assert answer.headers["retry-after"] == "43"
    assert counted(answer) == [2, 0, 43]
    assert "43 seconds" in answer.json["message"]
    assert answer.json["reqId"].startswith("req-")


def test_the_window_is_fixed(limited, clock):
    bearer = limited.bearer()
    limited.read(bearer=bearer)
    clock.now += 59
    statuses = [limited.read(bearer=bearer).status for _ in range(2)]
    clock.now += 1
    statuses += [limited.read(bearer=bearer).status for _ in range(3)]
    assert statuses == [200, 429, 200, 200, 429]


def test_buckets_are_apart(limited):
    bearer = limited.bearer()
    assert [limited.read(bearer=bearer).status for _ in range(3)] == [200, 200, 429]
    assert limited.login().status == 200
    assert counted(limited.token("renew", "x")) == [3, 0, 60]
    answer = limited.login("not even looked at")
    assert answer.status == 429


def test_refused_requests_count_as_well(limited):
    bearer = limited.bearer()
    assert limited.read("NOPE", bearer=bearer).headers["x-ratelimit-remaining"] == "1"
    assert limited.read(type="x", bearer=bearer).headers["x-ratelimit-remaining"] == "0"


def test_a_bad_token_comes_before_the_limit(limited):
    bearer = limited.bearer()
    for _ in range(3):
        limited.read(bearer=bearer)
    assert limited.read(bearer="Bearer x").status == 403


def test_all_buckets_together(client, world):
    world.change_settings(limits=behaviour.Limits(all=2))
    bearer = client.bearer()
    assert client.read(bearer=bearer).status == 200
    answer = client.read(bearer=bearer)
    assert answer.status == 429
    assert counted(answer)[0] == 2
    assert client.ask("GET", "/api/status").status == 200


def test_each_address_has_its_own_count(limited):
    bearer = limited.bearer()
    for _ in range(3):
        limited.read(bearer=bearer)
    limited.pool.clear()
    limited.pool.connection_pool_kw["source_address"] = ("127.0.0.2", 0)
    assert limited.read(bearer=bearer).status == 200
