import base64
import hashlib

import pytest

from devkit.kms import messages


def request(target):
    return messages.Request(method="GET", target=target, headers={}, address="127.0.0.1")


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/a", "/a", []),
        ("/a/", "/a", []),
        ("/", "/", []),
        (
            "/a%2F?x=1&y=a%20b+c&z=&x=2",
            "/a%2F",
            [("x", "1"), ("y", "a b c"), ("z", ""), ("x", "2")],
        ),
    ],
)
def test_request(target, path, query):
    assert (request(target).path, list(request(target).query)) == (path, query)


def test_json_response():
    response = messages.json_response(200, {"a": "ü"}, {"x": "y"}, None)
    assert response.body == '{"a":"ü"}'.encode()
    digest = base64.b64encode(hashlib.sha1(response.body).digest()).decode()
    assert response.headers["etag"] == f'"{digest}"'
    assert response.headers["x"] == "y"


def test_not_modified():
    first = messages.json_response(200, {"a": 1}, {}, None)
    etag = first.headers["etag"]
    for sent in (etag, f"W/{etag}"):
        again = messages.json_response(200, {"a": 1}, {}, sent)
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", etag)
    for sent in ('"other"', f"{etag}, {etag}", "*", etag.strip('"')):
        assert messages.json_response(200, {"a": 1}, {}, sent).status == 200


def test_values_are_not_in_the_repr(marker):
    response = messages.json_response(200, {"a": marker}, {}, None)
    assert marker not in repr(response)


class TestOverHttp:
    def test_single_reads_and_lists_have_etags(self, client):
        for ask in (client.read, client.list):
            first = ask()
            etag = first.headers["etag"]
            bearer = client.bearer()
            target = (
                "/api/v3/secrets/raw/DB_PASSWORD?include_imports=true&"
                if ask == client.read
                else "/api/v3/secrets/raw?"
            ) + "workspaceId=P&environment=prod&secretPath=/"
            again = client.ask("GET", target, authorization=bearer, if_none_match=etag)
            assert (again.status, again.body) == (304, b"")
            assert again.headers["etag"] == etag

    def test_a_changed_secret_has_another(self, client, world):
        etag = client.read().headers["etag"]
        assert client.read().headers["etag"] == etag
        world.set_secret("P", "prod", "/", "DB_PASSWORD", "other")
        assert client.read().headers["etag"] != etag

    def test_a_304_costs_a_use_of_the_token(self, client, world):
        world.change_identity("I", access_token_uses_limit=2)
        bearer = client.bearer()
        target = "/api/v3/secrets/raw?workspaceId=P&environment=prod"
        etag = client.ask("GET", target, authorization=bearer).headers["etag"]
        statuses = [
            client.ask("GET", target, authorization=bearer, if_none_match=etag).status
            for _ in range(2)
        ]
        assert statuses == [304, 401]

    def test_errors_never_match(self, client):
        first = client.read("NOPE")
        assert first.headers["etag"] != client.read("NOPE").headers["etag"]
