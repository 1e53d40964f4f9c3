import time

import pytest
import urllib3

from devkit.kms import faults

STATUS = "GET /api/status"
SINGLE = "GET /api/v3/secrets/raw/{secretName}"


def status(client):
    return client.ask("GET", "/api/status")


def test_a_status_in_the_apis_form(client, kms):
    kms.faults.add(faults.status(503, error="Gone"), STATUS)
    answer = status(client)
    assert answer.status == 503
    body = answer.json
    assert body.pop("reqId").startswith("req-")
    assert (body["statusCode"], body["error"]) == (503, "Gone")
    assert status(client).status == 200


def test_a_status_with_headers_and_body(client, kms):
    fault = faults.status(418, headers={"x-a": "b", "content-type": "text/plain"}, body=b"tea")
    kms.faults.add(fault)
    answer = status(client)
    assert (answer.status, answer.body) == (418, b"tea")
    assert (answer.headers["x-a"], answer.headers["content-type"]) == ("b", "text/plain")


def test_a_200_that_is_no_answer(client, kms):
    kms.faults.add(faults.status(200, body=b"{}"), SINGLE)
    answer = client.read()
    assert (answer.status, answer.body) == (200, b"{}")


def test_as_often_as_asked(client, kms):
    kms.faults.add(faults.status(500), STATUS, times=2)
    assert [status(client).status for _ in range(3)] == [500, 500, 200]


def test_until_removed(client, kms):
    planned = kms.faults.add(faults.status(500), STATUS, times=None)
    assert [status(client).status for _ in range(3)] == [500, 500, 500]
    kms.faults.remove(planned)
    kms.faults.remove(planned)
    assert status(client).status == 200


def test_until_cleared(client, kms):
    kms.faults.add(faults.status(500), times=None)
    kms.faults.add(faults.status(501), times=None)
    assert status(client).status == 500
    kms.faults.clear()
    assert status(client).status == 200


def test_only_on_its_route(client, kms):
    kms.faults.add(faults.status(500), SINGLE)
    assert status(client).status == 200
    assert client.read().status == 500


def test_on_any_route_even_none(client, kms):
    kms.faults.add(faults.status(500))
    assert client.ask("GET", "/api/none").status == 500


def test_only_where_the_target_says_so(client, kms):
    kms.faults.add(faults.status(500), where="raw/EMPTY?", times=None)
    assert client.read("APP_SECRET", "/app").status == 200
    assert client.read("EMPTY", "/app").status == 500


def test_one_after_the_other(client, kms):
    for each in (500, 502, 503):
        kms.faults.add(faults.status(each), STATUS)
    assert [status(client).status for _ in range(4)] == [500, 502, 503, 200]


def test_a_replaced_answer_leaves_no_trace_in_the_world(client, kms, world):
    world.change_identity("I", access_token_uses_limit=1)
    bearer = client.bearer()
    kms.faults.add(faults.status(500), SINGLE, times=3)
    assert [client.read(bearer=bearer).status for _ in range(4)] == [500, 500, 500, 200]


def test_retry_after(client, kms):
    kms.faults.add(faults.retry_after("7"))
    kms.faults.add(faults.retry_after("Fri, 15 Jan 2027 08:00:10 GMT", status=503))
    first, second = status(client), status(client)
    assert (first.status, first.headers["retry-after"]) == (429, "7")
    assert first.json["error"] == "RateLimitExceeded"
    assert (second.status, second.headers["retry-after"][:3]) == (503, "Fri")


def test_html(client, kms):
    kms.faults.add(faults.html())
    kms.faults.add(faults.html(502))
    first, second = client.login(), client.login()
    assert (first.status, second.status) == (200, 502)
    assert first.headers["content-type"].startswith("text/html")
    assert b"<html>" in first.body


def test_redirect(client, kms):
    kms.faults.add(faults.redirect("http://127.0.0.1:1/elsewhere", 307), SINGLE)
    answer = client.read()
    assert (answer.status, answer.body) == (307, b"")
    assert answer.headers["location"] == "http://127.0.0.1:1/elsewhere"


def test_delay(client, kms):
    kms.faults.add(faults.delay(0.1), SINGLE)
    began = time.monotonic()
    assert client.read().json["secret"]["secretValue"] == "hunter2"
    assert time.monotonic() - began >= 0.1


def test_slow_body(client, kms):
    kms.faults.add(faults.slow(chunk_bytes=100, interval_s=0.02), SINGLE)
    bearer = client.bearer()
    began = time.monotonic()
    answer = client.read(bearer=bearer)
    assert answer.json["secret"]["secretValue"] == "hunter2"
    assert time.monotonic() - began >= 0.02 * (len(answer.body) // 100)


def test_truncated_body(client, kms):
    kms.faults.add(faults.truncated(20), SINGLE)
    with pytest.raises(urllib3.exceptions.ProtocolError) as caught:
        client.read()
    assert "20 bytes read" in str(caught.value)
    assert client.read().status == 200


def test_reset(client, kms):
    kms.faults.add(faults.reset(), SINGLE)
    with pytest.raises(urllib3.exceptions.ProtocolError) as caught:
        client.read()
    assert isinstance(caught.value.args[1], ConnectionResetError)
    assert client.read().status == 200


def test_the_log_tells(client, kms):
    kms.faults.add(faults.status(503), STATUS)
    kms.faults.add(faults.reset(), SINGLE)
    status(client)
    with pytest.raises(urllib3.exceptions.ProtocolError):
        client.read()
    records = [kms.requests.records(route)[0] for route in (STATUS, SINGLE)]
    assert [(each.status, each.fault) for each in records] == [(503, "status 503"), (0, "reset")]


def test_those_of_a_seed_take_the_place_of_those_before():
    target = faults.Faults()
    own = target.add(faults.status(500), times=None)
    first, second = (faults.Planned(faults.status(each)) for each in (501, 502))
    target.seed([first])
    target.seed([second])
    target.remove(own)
    assert target.take("", "/").status == 502
    assert target.take("", "/") is None


def test_a_body_is_not_in_the_repr(marker):
    assert marker not in repr(faults.status(200, body=marker.encode()))
