import pytest

from devkit.kms import identities, model


def refused(answer):
    return answer.status, answer.json["error"]


def allow(world, *rules):
    world.change_identity("I", projects={"P": rules})


def rule(actions="read", **globs):
    return identities.Rule(frozenset(actions.split()), **globs)


def keys(answer):
    return [each["secretKey"] for each in answer.json["secrets"]]


class TestVectors:
    """kms-http-api §6, what concerns the server."""

    def test_1(self, client):
        secret = client.read().json["secret"]
        assert (secret["id"], secret["version"], secret["secretValue"]) == ("s1", 3, "hunter2")
        secret = client.read("APP_SECRET", "/app").json["secret"]
        assert (secret["id"], secret["version"]) == ("s2", 1)
        assert secret["secretValue"] == "line1\nline2\n"

    def test_5(self, client):
        secret = client.read("SHARED_KEY", "/app").json["secret"]
        assert (secret["id"], secret["version"], secret["secretValue"]) == ("s5", 1, "high")
        assert (secret["environment"], secret["secretPath"]) == ("prod", "/override")

    def test_6(self, client):
        secret = client.read("EMPTY", "/app").json["secret"]
        assert (secret["id"], secret["version"], secret["secretValue"]) == ("s3", 2, "")

    def test_8(self, client):
        answer = client.read("NOPE", "/app")
        assert refused(answer) == (404, "NotFound")
        assert answer.json["reqId"].startswith("req-")


class TestOrderOfFaults:
    """kms-http-api §2.9: each request has its fault and every later one as well."""

    def test_1_token_before_3_schema(self, client):
        assert refused(client.read(bearer="Bearer x", expandSecretReferences="1")) == (
            403,
            "TokenError",
        )

    def test_3_schema_before_4_project(self, client):
        answer = client.read(workspaceId=None, include_imports="yes")
        assert refused(answer) == (422, "ValidationFailure")
        assert [each["path"] for each in answer.json["message"]] == [["include_imports"]]

    @pytest.mark.parametrize(
        "parameter",
        ["viewSecretValue", "expandSecretReferences", "include_imports"],
    )
    @pytest.mark.parametrize("word", ["1", "True", "yes", ""])
    def test_3_booleans_are_strict(self, client, parameter, word):
        assert refused(client.read(**{parameter: word})) == (422, "ValidationFailure")

    @pytest.mark.parametrize("query", [{"type": "any"}, {"version": "x"}])
    def test_3_words_and_numbers(self, client, query):
        assert client.read(**query).status == 422

    def test_4_no_project(self, client):
        assert refused(client.read(workspaceId=None, path="bad path")) == (400, "BadRequest")

    @pytest.mark.parametrize("environment", [None, ""])
    def test_4_no_environment_before_5(self, client, environment):
        answer = client.read(workspaceId="none", environment=environment)
        assert refused(answer) == (400, "BadRequest")

    def test_5_unknown_project_before_7(self, client):
        assert refused(client.read(workspaceId="none", path="/a b")) == (404, "NotFound")

    def test_6_not_a_member_before_7(self, client, world):
        world.change_identity("I", projects={})
        answer = client.read(path="/a b")
        assert answer.status == 403
        assert " " in answer.json["error"]

    def test_6_another_organization(self, client, world):
        world.add_project("Q", organization="elsewhere", environments=["prod"])
        assert client.read(workspaceId="Q").status == 403

    def test_6a_not_a_secrets_project(self, client, world):
        world.add_project("Q", type="cert-manager", environments=["prod"])
        assert refused(client.read(workspaceId="Q")) == (400, "BadRequest")

    @pytest.mark.parametrize("path", ["/a b", "/a.b", "/../x", "/ü", "/a%2Fb"])
    def test_7_illegal_path_before_8(self, client, path):
        answer = client.read(path=path, environment="none")
        assert refused(answer) == (400, "BadRequest")

    @pytest.mark.parametrize(
        "query", [{"path": "/none"}, {"environment": "none"}, {"path": "app"}, {"path": "//app"}]
    )
    def test_8_unknown_folder_before_9(self, client, world, query):
        allow(world)
        assert refused(client.read(**query)) == (404, "GetSecretByName")

    @pytest.mark.parametrize("key", ["DB_PASSWORD", "NOPE"])
    def test_9_not_even_described_before_11(self, client, world, key):
        allow(world, rule(key="OTHER"))
        answer = client.read(key)
        assert refused(answer) == (403, "PermissionDenied")
        (detail,) = answer.json["details"]
        assert set(detail) == {"action", "inverted", "subject", "conditions"}
        assert detail["conditions"]["secretName"] == key

    def test_10_imported_value_not_readable(self, client, world):
        allow(world, rule("describe"), rule(path="/app"))
        answer = client.read("SHARED_KEY", "/app")
        assert refused(answer) == (403, "ForbiddenReadSecretError")

    def test_11_not_found_without_imports(self, client):
        answer = client.read("SHARED_KEY", "/app", include_imports="false")
        assert refused(answer) == (404, "NotFound")

    def test_12_expansion_before_13_value(self, client, world):
        world.set_secret("P", "prod", "/", "REF", "${prod.app.APP_SECRET}")
        allow(world, rule("describe"))
        assert refused(client.read("REF", expandSecretReferences="true")) == (403, "ForbiddenError")

    def test_13_value_not_readable(self, client, world):
        allow(world, rule("describe"))
        assert refused(client.read()) == (403, "ForbiddenReadSecretError")


class TestSingle:
    def test_defaults_of_v3(self, client, world):
        world.set_secret("P", "prod", "/app", "REF", "${APP_SECRET}")
        query = {"workspaceId": "P", "environment": "prod", "secretPath": "/app"}
        shared = client.get("/api/v3/secrets/raw/SHARED_KEY", **query)
        assert shared.status == 404
        reference = client.get("/api/v3/secrets/raw/REF", **query).json["secret"]
        assert reference["secretValue"] == "${APP_SECRET}"

    def test_the_root_is_the_default_path(self, client):
        answer = client.read(path=None)
        assert answer.json["secret"]["secretPath"] == "/"

    @pytest.mark.parametrize("path", ["/app/", " /app "])
    def test_paths_are_tidied(self, client, path):
        assert client.read("APP_SECRET", path).json["secret"]["secretPath"] == "/app"

    def test_a_project_by_its_slug(self, client):
        assert client.read(workspaceId=None, workspaceSlug="shop").status == 200
        assert refused(client.read(workspaceId=None, workspaceSlug="none")) == (404, "NotFound")

    def test_the_id_wins_over_the_slug(self, client):
        assert client.read(workspaceSlug="none").status == 200
        assert client.read(workspaceId="none", workspaceSlug="shop").status == 404

    def test_a_value_can_be_hidden(self, client):
        secret = client.read(viewSecretValue="false").json["secret"]
        assert secret["secretValueHidden"] is True
        assert secret["secretValue"] == "<hidden-by-kms>"

    def test_hidden_a_value_needs_no_right_to_read(self, client, world):
        allow(world, rule("describe"))
        assert client.read(viewSecretValue="false").json["secret"]["secretValueHidden"] is True

    def test_a_secret_can_be_hidden_by_itself(self, client, world):
        world.set_secret("P", "prod", "/", "H", "v", hidden=True)
        secret = client.read("H").json["secret"]
        assert (secret["secretValueHidden"], secret["secretValue"]) == (True, "<hidden-by-kms>")

    def test_personal_secrets_are_never_there(self, client):
        assert refused(client.read(type="personal")) == (404, "NotFound")
        assert refused(client.read("SHARED_KEY", "/app", type="personal")) == (404, "NotFound")

    def test_older_versions(self, client, world):
        world.set_secret("P", "prod", "/", "K", "one")
        world.set_secret("P", "prod", "/", "K", "two")
        values = [
            client.read("K", version=version).json["secret"]["secretValue"]
            for version in ("1", "2", "1.0")
        ]
        assert values == ["one", "two", "one"]

    @pytest.mark.parametrize("version", ["", "0", "9", "1.5", "-1"])
    def test_missing_versions(self, client, version):
        assert refused(client.read(version=version)) == (404, "NotFound")

    def test_for_a_missing_version_the_imports_are_searched(self, client, world):
        world.set_secret("P", "prod", "/app", "SHARED_KEY", "own")
        assert client.read("SHARED_KEY", "/app").json["secret"]["secretValue"] == "own"
        answer = client.read("SHARED_KEY", "/app", version="7")
        assert answer.json["secret"]["secretValue"] == "high"

    def test_the_folders_own_secret_comes_first(self, client, world):
        world.set_secret("P", "prod", "/app", "SHARED_KEY", "own")
        assert client.read("SHARED_KEY", "/app").json["secret"]["secretValue"] == "own"

    def test_an_import_that_may_not_be_described_is_passed_over(self, client, world):
        allow(world, rule(path="/{app,shared}"))
        assert client.read("SHARED_KEY", "/app").json["secret"]["secretValue"] == "low"

    def test_expansion(self, client, world):
        world.set_secret("P", "prod", "/", "URL", "db://${DB_PASSWORD}@${prod.override.SHARED_KEY}")
        secret = client.read("URL", expandSecretReferences="true").json["secret"]
        assert secret["secretValue"] == "db://hunter2@high"
        assert client.read("URL").json["secret"]["secretValue"].startswith("db://${")

    def test_an_imported_secret_expands_where_it_lives(self, client, world):
        world.set_secret("P", "prod", "/shared", "NEAR", "near")
        world.set_secret("P", "prod", "/shared", "REF", "${NEAR}")
        secret = client.read("REF", "/app", expandSecretReferences="true").json["secret"]
        assert secret["secretValue"] == "near"

    def test_an_expansion_that_is_not_permitted(self, client, world):
        world.set_secret("P", "prod", "/", "REF", "${prod.app.APP_SECRET}")
        allow(world, rule(path="/"))
        answer = client.read("REF", expandSecretReferences="true")
        assert refused(answer) == (403, "ForbiddenError")
        assert "details" not in answer.json
        assert client.read("REF").status == 200


class TestList:
    def test_a_folder_without_imports(self, client):
        answer = client.list("/app")
        assert keys(answer) == ["APP_SECRET", "EMPTY"]
        assert answer.json["imports"] == []

    def test_with_imports_in_their_order(self, client):
        blocks = client.list("/app", include_imports="true").json["imports"]
        assert [(each["environment"], each["secretPath"]) for each in blocks] == [
            ("prod", "/shared"),
            ("prod", "/override"),
        ]
        assert [[s["secretValue"] for s in each["secrets"]] for each in blocks] == [
            ["low"],
            ["high"],
        ]

    @pytest.mark.parametrize("query", [{"workspaceId": None}, {"environment": None}])
    def test_project_and_environment_are_needed(self, client, query):
        assert refused(client.list(**query)) == (400, "BadRequest")

    @pytest.mark.parametrize("query", [{"path": "/none"}, {"environment": "none"}])
    def test_unknown_folder(self, client, query):
        assert refused(client.list(**query)) == (404, "SecretPathNotFound")

    @pytest.mark.parametrize("parameter", ["recursive", "include_imports", "viewSecretValue"])
    def test_booleans_are_strict(self, client, parameter):
        assert refused(client.list(**{parameter: "1"})) == (422, "ValidationFailure")

    def test_recursive(self, client, world):
        world.set_secret("P", "prod", "/app/deep/er", "D", "d")
        world.set_secret("P", "prod", "/apple", "A", "a")
        found = client.list("/app", recursive="true").json["secrets"]
        assert [(each["secretPath"], each["secretKey"]) for each in found] == [
            ("/app", "APP_SECRET"),
            ("/app", "EMPTY"),
            ("/app/deep/er", "D"),
        ]
        everything = client.list("/", recursive="true")
        assert {"DB_PASSWORD", "APP_SECRET", "D", "A"} <= set(keys(everything))

    def test_recursive_to_depth_20(self, client, world):
        deepest = "/app" + "/x" * 21
        world.set_secret("P", "prod", deepest, "DEEPEST", "v")
        world.set_secret("P", "prod", deepest.removesuffix("/x"), "DEEP", "v")
        assert keys(client.list("/app", recursive="true")) == ["APP_SECRET", "EMPTY", "DEEP"]

    def test_recursive_with_the_imports_of_all_folders(self, client):
        blocks = client.list("/", recursive="true", include_imports="true").json["imports"]
        assert [each["secretPath"] for each in blocks] == ["/shared", "/override"]

    def test_what_may_not_be_described_is_left_out(self, client, world):
        allow(world, rule(key="EMPTY"))
        assert keys(client.list("/app")) == ["EMPTY"]

    def test_what_may_be_described_but_not_read_fails_the_whole_list(self, client, world):
        allow(world, rule("describe"), rule(key="APP_SECRET"))
        assert refused(client.list("/app")) == (403, "ForbiddenReadSecretError")
        assert client.read("APP_SECRET", "/app").status == 200

    def test_three_keys_may_be_read_while_the_list_is_refused(self, client, world):
        for key in "ABCD":
            world.set_secret("P", "prod", "/three", key, key)
        allow(world, rule("describe", path="/three"), rule(path="/three", key="{A,B,C}"))
        assert [client.read(key, "/three").status for key in "ABCD"] == [200, 200, 200, 403]
        assert client.list("/three").status == 403

    def test_hidden_a_list_needs_no_right_to_read(self, client, world):
        allow(world, rule("describe"))
        found = client.list("/app", viewSecretValue="false", include_imports="true").json
        shown = [*found["secrets"], *(s for each in found["imports"] for s in each["secrets"])]
        assert len(shown) == 4
        assert all(each["secretValueHidden"] for each in shown)
        assert {each["secretValue"] for each in shown} == {"<hidden-by-kms>"}

    def test_below_the_folder_unreadable_values_are_masked(self, client, world):
        allow(world, rule("describe"), rule(path="/"))
        found = client.list("/", recursive="true").json["secrets"]
        assert {each["secretKey"]: each["secretValueHidden"] for each in found} == {
            "DB_PASSWORD": False,
            "APP_SECRET": True,
            "EMPTY": True,
            "SHARED_KEY": True,
        }

    def test_imports_are_filtered_by_rights(self, client, world):
        allow(world, rule(path="/app"), rule("describe", path="/shared"))
        blocks = client.list("/app", include_imports="true").json["imports"]
        assert [each["secretPath"] for each in blocks] == ["/shared"]
        (secret,) = blocks[0]["secrets"]
        assert secret["secretValueHidden"] is True

    def test_expansion(self, client, world):
        world.set_secret("P", "prod", "/app", "REF", "${prod.DB_PASSWORD}")
        world.set_secret("P", "prod", "/shared", "REF2", "${SHARED_KEY}!")
        found = client.list("/app", include_imports="true", expandSecretReferences="true").json
        values = {each["secretKey"]: each["secretValue"] for each in found["secrets"]}
        assert values["REF"] == "hunter2"
        assert found["imports"][0]["secrets"][1]["secretValue"] == "low!"

    def test_an_expansion_that_is_not_permitted_has_details(self, client, world):
        world.set_secret("P", "prod", "/app", "REF", "${prod.DB_PASSWORD}")
        allow(world, rule(path="/app"))
        answer = client.list("/app", expandSecretReferences="true")
        assert refused(answer) == (403, "ForbiddenError")
        (detail,) = answer.json["details"]
        assert isinstance(detail, str)

    def test_filters(self, client, world):
        world.set_secret("P", "prod", "/f", "A", "a", tags=("red",), metadata=(("o", "x"),))
        world.set_secret("P", "prod", "/f", "B", "b", tags=("red", "blue"))
        world.set_secret("P", "prod", "/f", "C", "c", metadata=(("o", "x"), ("p", "y")))
        assert keys(client.list("/f", tagSlugs="blue, green")) == ["B"]
        assert keys(client.list("/f", tagSlugs="red")) == ["A", "B"]
        assert keys(client.list("/f", metadataFilter="key=o,value=x")) == ["A", "C"]
        assert keys(client.list("/f", metadataFilter="key=o,value=x|key=p,value=y")) == ["C"]

    def test_an_unreadable_secret_outside_the_filter_does_no_harm(self, client, world):
        world.set_secret("P", "prod", "/f", "A", "a", tags=("red",))
        world.set_secret("P", "prod", "/f", "B", "b")
        allow(world, rule("describe"), rule(key="A"))
        assert keys(client.list("/f", tagSlugs="red")) == ["A"]


def test_a_change_is_seen_by_the_next_request(client, world):
    world.set_secret("P", "prod", "/", "DB_PASSWORD", "changed")
    secret = client.read().json["secret"]
    assert (secret["secretValue"], secret["version"], secret["id"]) == ("changed", 4, "s1")
    world.delete_secret("P", "prod", "/", "DB_PASSWORD")
    assert client.read().status == 404
    world.set_imports("P", "prod", "/", [model.Import("prod", "/shared")])
    assert client.read("SHARED_KEY").json["secret"]["secretValue"] == "low"
