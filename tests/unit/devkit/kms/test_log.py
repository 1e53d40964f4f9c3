import threading

import pytest

from devkit.kms import faults, identities, log

STATUS = "GET /api/status"
LOGIN = "POST /api/v1/auth/kubernetes-auth/login"
SINGLE = "GET /api/v3/secrets/raw/{secretName}"


def test_a_record(client, kms):
    client.ask("GET", "/api/status?a=b", user_agent="test/1")
    (record,) = kms.requests.records()
    assert (record.method, record.route, record.status) == ("GET", STATUS, 200)
    assert (record.path, record.query, record.user_agent) == ("/api/status", "a=b", "test/1")
    assert record.started_at > 1_600_000_000
    assert 0 <= record.duration_s < 5
    assert not record.abandoned


def test_identities_are_named_where_a_token_was_accepted(client, kms):
    client.read()
    client.read(bearer="Bearer x")
    records = kms.requests.records(SINGLE)
    assert [(each.identity, each.status) for each in records] == [("I", 200), ("", 403)]


def test_counters(client, kms):
    client.read()
    client.read("NOPE")
    client.ask("GET", "/nothing")
    assert kms.requests.counts() == {LOGIN: 2, SINGLE: 2, "": 1}
    assert kms.requests.count(SINGLE) == 2
    assert kms.requests.count("") == 1
    assert kms.requests.count() == 5
    kms.requests.clear()
    assert (kms.requests.counts(), kms.requests.records()) == ({}, [])


def test_neither_values_nor_tokens_are_kept(client, kms, world, marker):
    world.set_secret("P", "prod", "/", "K", marker)
    auth = identities.UniversalAuth(client_id="c", client_secret=marker)
    world.change_identity("I", universal=auth)
    jwt = client.pod_token()
    token = client.login(jwt).json["accessToken"]
    client.universal("c", marker)
    client.read("K", bearer=f"Bearer {token}")
    client.token("renew", token)
    kept = repr(kms.requests.records())
    assert kms.requests.count() == 4
    for each in (marker, jwt, token):
        assert each not in kept


def test_records_are_copies(client, kms):
    client.ask("GET", "/api/status")
    kms.requests.records()[0].status = 0
    assert kms.requests.records()[0].status == 200


def test_waiting_for_requests(client, kms):
    thread = threading.Thread(target=client.ask, args=("GET", "/api/status"))
    thread.start()
    kms.requests.wait_for(STATUS, 1)
    thread.join()
    assert kms.requests.count(STATUS) == 1
    with pytest.raises(TimeoutError):
        kms.requests.wait_for(STATUS, 2, timeout_s=0.01)


def test_requests_in_flight(serve):
    client = serve()
    kms = client.kms
    kms.faults.add(faults.delay(0.2), STATUS, times=3)
    threads = [threading.Thread(target=client.ask, args=("GET", "/api/status")) for _ in range(3)]
    client.pool.connection_pool_kw.update(maxsize=3)
    for each in threads:
        each.start()
    kms.requests.wait_until(lambda: kms.requests.in_flight() == 3)
    for each in threads:
        each.join()
    assert kms.requests.in_flight() == 0
    assert kms.requests.most_in_flight() == 3
    kms.requests.clear()
    assert kms.requests.most_in_flight() == 0


def test_the_oldest_records_go_first():
    requests = log.RequestLog(kept=2)
    for path in "abc":
        requests.begin(log.Record(method="GET", path=path, query=""))
    assert [each.path for each in requests.records()] == ["b", "c"]
    assert requests.count() == 3


def test_a_listener_hears_of_complete_requests(serve):
    heard = []
    client = serve(listener=heard.append)
    client.ask("GET", "/api/status")
    client.kms.stop()
    assert [(each.route, each.status) for each in heard] == [(STATUS, 200)]
