import re
import socket

import pytest

LOGIN = "/api/v1/auth/kubernetes-auth/login"


def refused(answer):
    return answer.status, answer.json["error"]


@pytest.mark.parametrize("target", ["/", "/login", "/apis", "/v1/kms/auth/login", "/a/b?c=d"])
def test_outside_api_every_get_is_a_page(client, target):
    answer = client.ask("GET", target)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert b"<html>" in answer.body


def test_outside_api_other_methods_find_nothing(client):
    assert client.ask("POST", "/app/api/login", {}).status == 404


@pytest.mark.parametrize("target", ["/api", "/api/", "/api/v9/x", "/api/api/status"])
def test_inside_api_the_framework_answers(client, target):
    answer = client.ask("GET", target)
    assert answer.status == 404
    assert set(answer.json) == {"message", "error", "statusCode"}
    assert answer.json["error"] == "Not Found"
    assert target in answer.json["message"]


def test_a_method_that_a_route_does_not_have(client):
    answer = client.ask("GET", LOGIN)
    assert (answer.status, answer.json["error"]) == (404, "Not Found")
    assert "reqId" not in answer.json


def test_head(client):
    whole = client.ask("GET", "/api/status")
    answer = client.ask("HEAD", "/api/status")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == str(len(whole.body))


def test_a_path_that_is_no_utf_8(kms):
    with socket.create_connection((kms.host, kms.port)) as connection:
        connection.sendall(
            b"GET /api/v3/secrets/raw/%ff HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"Bad Request" in answer


def test_error_bodies(client):
    first, second = client.read("NOPE").json, client.read("NOPE").json
    assert set(first) == {"reqId", "statusCode", "message", "error"}
    assert first["statusCode"] == 404
    assert re.fullmatch(r"req-[A-Za-z0-9]{14}", first["reqId"])
    assert first["reqId"] != second["reqId"]


def test_no_header_carries_the_request_id(client):
    answer = client.read("NOPE")
    assert answer.json["reqId"] not in str(dict(answer.headers))


def test_maintenance_stops_everything_but_get(client, world):
    bearer = client.bearer()
    world.change_settings(maintenance=True)
    assert refused(client.login()) == (500, "InternalServerError")
    assert refused(client.token("renew", "x")) == (500, "InternalServerError")
    assert client.read(bearer=bearer).status == 200
    world.change_settings(maintenance=False)
    assert client.login().status == 200


def test_a_failing_handler_is_a_500_that_tells_nothing(client, world, marker, caplog):
    world.set_secret("P", "prod", "/", "K", marker)
    with world.lock:
        # A world that no seed and no method can make.
        world.folder("P", "prod", "/").secrets["K"] = marker
    answer = client.read("K")
    assert refused(answer) == (500, "InternalServerError")
    assert marker not in answer.body.decode()
    assert "GET /api/v3/secrets/raw/{secretName} failed" in caplog.text


def test_a_delay_of_the_whole_world(client, world):
    world.change_settings(delay_s=0.05)
    client.ask("GET", "/api/status")
    (record,) = client.kms.requests.records("GET /api/status")
    assert record.duration_s >= 0.05
