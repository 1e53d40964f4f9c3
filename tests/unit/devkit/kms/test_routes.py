import pytest

from devkit.kms import errors, messages, routes


def request(method, target):
    return messages.Request(method=method, target=target, headers={}, address="127.0.0.1")


def refused(answer):
    return answer.status, answer.json["error"]


V4 = {"projectId": "P", "environment": "prod"}


@pytest.mark.parametrize(
    ("method", "target", "name", "parameters"),
    [
        ("GET", "/api/status", "GET /api/status", {}),
        ("HEAD", "/api/status/", "GET /api/status", {}),
        ("GET", "/api/v3/secrets/raw?x=/y", "GET /api/v3/secrets/raw", {}),
        ("GET", "/api/v3/secrets/raw/", "GET /api/v3/secrets/raw", {}),
        (
            "GET",
            "/api/v3/secrets/raw/a%20b%2Fc%3F",
            "GET /api/v3/secrets/raw/{secretName}",
            {"secretName": "a b/c?"},
        ),
        ("GET", "/api/v4/secrets/K", "GET /api/v4/secrets/{secretName}", {"secretName": "K"}),
        ("POST", "/api/v1/auth/token/renew", "POST /api/v1/auth/token/renew", {}),
    ],
)
def test_find(method, target, name, parameters):
    route, found = routes.find(request(method, target))
    assert (route.name, found) == (name, parameters)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/api/status"),
        ("GET", "/api/v1/auth/kubernetes-auth/login"),
        ("GET", "/api/v3/secrets/raw/a/b"),
        ("GET", "/api/v3/secrets/raw//K"),
        ("GET", "/api/api/status"),
        ("GET", "/"),
    ],
)
def test_what_is_no_route(method, target):
    with pytest.raises(errors.RouteMissing):
        routes.find(request(method, target))


@pytest.mark.parametrize(
    ("key", "encoded"),
    [("a b", "a%20b"), ("a?b#c%d", "a%3Fb%23c%25d"), ("ü.x", "%C3%BC.x"), ("id", "id")],
)
def test_keys_are_percent_decoded(client, world, key, encoded):
    world.set_secret("P", "prod", "/", key, "v")
    assert client.read(encoded).json["secret"]["secretKey"] == key


def test_keys_are_trimmed(client):
    assert client.read("%20DB_PASSWORD%20").json["secret"]["secretKey"] == "DB_PASSWORD"


def test_a_key_that_is_missing_reaches_the_list(client):
    answer = client.read("")
    assert answer.status == 200
    assert set(answer.json) == {"secrets", "imports"}


def test_status(client, clock):
    document = client.ask("GET", "/api/status").json
    assert document.pop("message") == "Ok"
    assert document.pop("date") == "2027-01-15T08:00:00.000Z"
    assert all(isinstance(each, bool) for each in document.values())


class TestV4:
    def test_single(self, client):
        secret = client.get("/api/v4/secrets/DB_PASSWORD", **V4).json["secret"]
        assert (secret["id"], secret["secretValue"], secret["workspace"]) == ("s1", "hunter2", "P")

    def test_imports_and_expansion_are_on_by_default(self, client, world):
        world.set_secret("P", "prod", "/app", "REF", "${prod.DB_PASSWORD}")
        query = {**V4, "secretPath": "/app"}
        shared = client.get("/api/v4/secrets/SHARED_KEY", **query).json["secret"]
        assert shared["secretValue"] == "high"
        assert client.get("/api/v4/secrets/REF", **query).json["secret"]["secretValue"] == "hunter2"
        listed = client.get("/api/v4/secrets", **query).json
        assert [each["secretPath"] for each in listed["imports"]] == ["/shared", "/override"]
        assert listed["secrets"][-1]["secretValue"] == "hunter2"

    def test_and_can_be_switched_off(self, client, world):
        world.set_secret("P", "prod", "/app", "REF", "${prod.DB_PASSWORD}")
        query = {
            **V4,
            "secretPath": "/app",
            "includeImports": "false",
            "expandSecretReferences": "false",
        }
        assert client.get("/api/v4/secrets/SHARED_KEY", **query).status == 404
        reference = client.get("/api/v4/secrets/REF", **query).json["secret"]
        assert reference["secretValue"] == "${prod.DB_PASSWORD}"
        assert client.get("/api/v4/secrets", **query).json["imports"] == []

    def test_the_schema_wants_a_project(self, client):
        answer = client.get("/api/v4/secrets/DB_PASSWORD", environment="prod", workspaceId="P")
        assert refused(answer) == (422, "ValidationFailure")
        assert [each["path"] for each in answer.json["message"]] == [["projectId"]]

    def test_the_list_wants_one_later(self, client):
        answer = client.get("/api/v4/secrets", environment="prod")
        assert refused(answer) == (400, "BadRequest")

    def test_unknown_folder(self, client):
        query = {**V4, "secretPath": "/none"}
        single, listed = "/api/v4/secrets/K", "/api/v4/secrets"
        assert refused(client.get(single, **query)) == (404, "GetSecretByName")
        assert refused(client.get(listed, **query)) == (404, "SecretPathNotFound")

    @pytest.mark.parametrize("parameter", ["includeImports", "includePersonalOverrides"])
    def test_booleans_are_strict(self, client, parameter):
        assert client.get("/api/v4/secrets", **V4, **{parameter: "True"}).status == 422

    def test_the_snake_case_name_is_v3s_alone(self, client):
        query = {**V4, "secretPath": "/app", "include_imports": "false"}
        assert len(client.get("/api/v4/secrets", **query).json["imports"]) == 2


def test_values_arrive_byte_for_byte(client, world):
    value = 'ü€😀\u2028 \\ " \t\x00\x7f end\n'
    world.set_secret("P", "prod", "/", "K", value)
    answer = client.read("K")
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.json["secret"]["secretValue"] == value
    assert "ü€😀".encode() in answer.body


def test_a_large_value(client, world):
    value = "x" * (8 << 20)
    world.set_secret("P", "prod", "/", "K", value)
    assert client.read("K").json["secret"]["secretValue"] == value
