def test_status_needs_no_token(client):
    answer = client.ask("GET", "/api/status")
    assert answer.status == 200
    assert answer.json["message"] == "Ok"
    assert answer.json["date"].endswith("Z")


def test_vector_1(client):
    answer = client.read()
    assert answer.status == 200
    secret = answer.json["secret"]
    assert (secret["id"], secret["version"], secret["secretValue"]) == ("s1", 3, "hunter2")
    secret = client.read("APP_SECRET", "/app").json["secret"]
    assert (secret["secretPath"], secret["secretValue"]) == ("/app", "line1\nline2\n")


def test_list(client):
    answer = client.list("/app", include_imports="true")
    assert answer.status == 200
    assert [each["secretKey"] for each in answer.json["secrets"]] == ["APP_SECRET", "EMPTY"]
    assert [each["secretPath"] for each in answer.json["imports"]] == ["/shared", "/override"]
