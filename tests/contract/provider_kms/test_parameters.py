"""What classes may ask for, beyond the three fields of an entry."""

import base64
import io
import json
import secrets
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from devkit.kms import faults, identities
from tests.contract.provider_kms.stage import (
    APP,
    DB,
    GET,
    LIST,
    SEED,
    Stage,
    contents,
    versions,
)

Code = grpc.StatusCode


def put(stage: Stage, path: str, **values: str) -> None:
    for key, value in values.items():
        stage.kms.world.set_secret("P", "prod", path, key, value)


class TestManyKeys:
    @pytest.fixture(autouse=True)
    def filled(self, stage: Stage) -> None:
        put(stage, "/web", DB_URL="u", DB_USER="me", API_KEY="k")
        put(stage, "/web/inner", DB_URL="deep", EXTRA="x")

    @pytest.mark.parametrize(
        ("keys", "names"),
        [
            ("*", ["API_KEY", "DB_URL", "DB_USER"]),
            ("DB_*", ["DB_URL", "DB_USER"]),
            ("/^(API|DB)_(KEY|URL)$/", ["API_KEY", "DB_URL"]),
        ],
    )
    async def test_one_file_each(self, stage: Stage, keys: str, names: list[str]) -> None:
        answer = await stage.mount({"secretPath": "/web", "keys": keys})

        assert [file.path for file in answer.files] == names
        assert [entry.id for entry in answer.object_version] == names
        assert stage.asked() == ["LOGIN 200", "LIST 200"]

    async def test_below_the_folder_too(self, stage: Stage) -> None:
        answer = await stage.mount({"secretPath": "/web", "keys": "*", "recursive": "true"})

        assert contents(answer) == {
            "API_KEY": b"k",
            "DB_URL": b"u",
            "DB_USER": b"me",
            "inner/DB_URL": b"deep",
            "inner/EXTRA": b"x",
        }

    async def test_with_a_template(self, stage: Stage) -> None:
        entry = {"secretPath": "/web", "keys": "DB_*", "fileName": "db/{key}.txt"}

        assert set(contents(await stage.mount(entry))) == {"db/DB_URL.txt", "db/DB_USER.txt"}

    async def test_imports_count(self, stage: Stage) -> None:
        answer = await stage.mount({"secretPath": "/app", "keys": "SHARED_*"})

        assert contents(answer) == {"SHARED_KEY": b"high"}

    async def test_nothing_matches(self, stage: Stage) -> None:
        error = await stage.refused({"secretPath": "/web", "keys": "NOPE_*"})

        assert error.code() is Code.NOT_FOUND
        assert '"NOPE_*"' in error.details()

    async def test_nothing_need_match(self, stage: Stage) -> None:
        entry = {"secretPath": "/web", "keys": "NOPE_*", "optional": "true"}

        answer = await stage.mount(entry, DB)

        assert contents(answer) == {"dbPassword": b"hunter2"}
        assert versions(answer)["{key}"] == "absent"

    async def test_a_json_bundle(self, stage: Stage) -> None:
        entry = {"secretPath": "/web", "keys": "*", "format": "json", "fileName": "all.json"}

        answer = await stage.mount(entry)

        expected = {"API_KEY": "k", "DB_URL": "u", "DB_USER": "me"}
        assert json.loads(contents(answer)["all.json"]) == expected
        before = versions(answer)["all.json"]
        put(stage, "/web", DB_USER="you")
        again = await stage.mount(entry, account="front-2")
        assert versions(again)["all.json"] != before

    async def test_a_dotenv_bundle(self, stage: Stage) -> None:
        put(stage, "/web", DB_URL="it's $1\nand `more`")
        entry = {"secretPath": "/web", "keys": "DB_*", "format": "dotenv", "fileName": ".env"}

        answer = await stage.mount(entry)

        assert contents(answer)[".env"] == (
            b'DB_URL="it\'s \\$1\\nand \\`more\\`"\n' + b"DB_USER='me'\n"
        )

    async def test_two_keys_that_make_one_file(self, stage: Stage) -> None:
        entry = {
            "secretPath": "/web",
            "keys": "*",
            "recursive": "true",
            "fileName": "{key}",
        }

        error = await stage.refused(entry)

        assert error.code() is Code.FAILED_PRECONDITION
        assert '"DB_URL"' in error.details()


async def test_encodings(stage: Stage) -> None:
    raw = secrets.token_bytes(300)
    put(stage, "/bin", B64=base64.encodebytes(raw).decode(), HEX=raw.hex(), PLAIN="text")

    answer = await stage.mount(
        {"secretPath": "/bin", "secretKey": "B64", "fileName": "a", "encoding": "base64"},
        {"secretPath": "/bin", "secretKey": "HEX", "fileName": "b", "encoding": "hex"},
        {"secretPath": "/bin", "secretKey": "PLAIN", "fileName": "c", "encoding": "utf-8"},
    )

    assert contents(answer) == {"a": raw, "b": raw, "c": b"text"}


@pytest.mark.parametrize(
    "fields",
    [{"encoding": "base64"}, {"encoding": "hex"}, {"jsonPath": "a.b"}],
    ids=["base64", "hex", "jsonPath"],
)
async def test_a_value_that_is_not_what_the_entry_says(
    stage: Stage, fields: dict[str, str], logged: io.StringIO
) -> None:
    marker = "{not:" + secrets.token_hex(16)
    put(stage, "/bad", BAD=marker)

    error = await stage.refused(
        {"secretPath": "/bad", "secretKey": "BAD", "fileName": "x", **fields}
    )

    assert error.code() is Code.FAILED_PRECONDITION
    assert '"BAD"' in error.details()
    assert marker not in error.details() + logged.getvalue()


async def test_json_path(stage: Stage) -> None:
    put(stage, "/json", J='{"db": {"password": "p\\u00e9", "ports": [1, {"x": null}]}}')
    entry = {"secretPath": "/json", "secretKey": "J"}

    answer = await stage.mount(
        entry | {"fileName": "a", "jsonPath": "$.db.password"},
        entry | {"fileName": "b", "jsonPath": "db.ports[0]"},
        entry | {"fileName": "c", "jsonPath": 'db["ports"]'},
    )

    assert contents(answer) == {"a": "pé".encode(), "b": b"1", "c": b'[1,{"x":null}]'}


async def test_modes(stage: Stage) -> None:
    answer = await stage.mount(DB | {"mode": "0400"}, APP)

    assert {file.path: file.mode for file in answer.files} == {
        "dbPassword": 0o400,
        "appSecret": 0o644,
    }


class TestOptional:
    async def test_a_missing_key_is_left_out(self, stage: Stage) -> None:
        missing = {"secretKey": "NOPE", "fileName": "x", "optional": "true"}

        answer = await stage.mount(missing, DB)

        assert contents(answer) == {"dbPassword": b"hunter2"}
        assert versions(answer)["x"] == "absent"

    async def test_a_missing_folder_is_left_out(self, stage: Stage) -> None:
        entries = [
            {"secretPath": "/nope", "secretKey": key, "fileName": key, "optional": "true"}
            for key in ("A", "B")
        ]

        answer = await stage.mount(*entries, DB)

        assert contents(answer) == {"dbPassword": b"hunter2"}

    async def test_a_forbidden_key_is_an_error(self, stage: Stage) -> None:
        rules = (identities.Rule(path="/app"),)
        stage.kms.world.change_identity("I", projects={"P": rules})

        error = await stage.refused(DB | {"optional": "true"})

        assert error.code() is Code.PERMISSION_DENIED


class TestV4:
    GET = "GET /api/v4/secrets/{secretName}"
    LIST = "GET /api/v4/secrets"

    async def test_single_and_list(self, stage: Stage) -> None:
        shared = {"secretPath": "/app", "secretKey": "SHARED_KEY", "fileName": "shared"}

        answer = await stage.mount(DB, APP, shared, apiVersion="v4")

        assert contents(answer)["shared"] == b"high"
        assert versions(answer)["dbPassword"] == "s1-/-DB_PASSWORD-3"
        assert (stage.count(self.GET), stage.count(self.LIST)) == (1, 1)
        assert (stage.count(GET), stage.count(LIST)) == (0, 0)

    async def test_by_flag(self, stage_of: Callable[..., Any]) -> None:
        stage = await stage_of(api_version="v4")

        await stage.mount(DB)

        assert stage.count(self.GET) == 1


class TestReferences:
    @pytest.fixture(autouse=True)
    def filled(self, stage: Stage) -> None:
        put(stage, "/ref", URL="db://${HOST}", HOST="one")

    async def test_stay_as_they_are(self, stage: Stage) -> None:
        answer = await stage.mount({"secretPath": "/ref", "secretKey": "URL", "fileName": "u"})

        assert contents(answer) == {"u": b"db://${HOST}"}

    async def test_are_expanded_on_demand_and_change_the_version(self, stage: Stage) -> None:
        entry = {"secretPath": "/ref", "secretKey": "URL", "fileName": "u"}
        first = await stage.mount(entry, expandReferences="true")
        put(stage, "/ref", HOST="two")

        second = await stage.mount(entry, expandReferences="true", account="front-2")

        assert contents(first) == {"u": b"db://one"}
        assert contents(second) == {"u": b"db://two"}
        assert versions(first)["u"][:-12] == versions(second)["u"][:-12]
        assert versions(first)["u"] != versions(second)["u"]


class TestUniversalAuth:
    CLIENT = "client-7"

    @pytest.fixture
    def secret(self, stage: Stage) -> str:
        value = secrets.token_hex(16)
        universal = identities.UniversalAuth(client_id=self.CLIENT, client_secret=value)
        stage.kms.world.change_identity("I", universal=universal)
        return value

    def parameters(self) -> dict[str, str | None]:
        return {
            "authMethod": "universal-auth",
            "identityId": None,
            "csi.storage.k8s.io/serviceAccount.tokens": None,
        }

    async def test_logs_in_with_the_published_secret(
        self, stage: Stage, secret: str, logged: io.StringIO
    ) -> None:
        published = json.dumps({"clientId": self.CLIENT, "clientSecret": secret})

        answer = await stage.mount(DB, published=published, **self.parameters())

        assert contents(answer) == {"dbPassword": b"hunter2"}
        assert stage.asked()[0] == "POST /api/v1/auth/universal-auth/login 200"
        assert secret not in logged.getvalue()

    async def test_a_wrong_secret_shares_nothing(
        self, stage: Stage, secret: str, logged: io.StringIO
    ) -> None:
        good = json.dumps({"clientId": self.CLIENT, "clientSecret": secret})
        await stage.mount(DB, published=good, **self.parameters())
        wrong = secrets.token_hex(16)
        published = json.dumps({"clientId": self.CLIENT, "clientSecret": wrong})

        error = await stage.refused(DB, published=published, **self.parameters())

        assert error.code() is Code.PERMISSION_DENIED
        assert wrong not in error.details() + logged.getvalue()

    @pytest.mark.parametrize("published", ["null", "{}", '{"clientId": "x"}'])
    async def test_without_the_secret(self, stage: Stage, published: str) -> None:
        error = await stage.refused(DB, published=published, **self.parameters())

        assert error.code() is Code.FAILED_PRECONDITION
        assert "nodePublishSecretRef" in error.details()


class TestSites:
    async def test_the_first_that_answers(
        self, stage_of: Callable[..., Any], kms_at: Callable[..., Any]
    ) -> None:
        down, up = kms_at(), kms_at()
        stage = await stage_of(up, cache_bound_s=0.0)
        down.stop()
        urls = f"{down.url}, {up.url}"
        token = up.pod_tokens.issue_token("shop", "front", audience="kms")

        answer = await stage.mount(DB, kmsUrl=urls, token=token)

        assert contents(answer) == {"dbPassword": b"hunter2"}

    async def test_one_that_is_down_is_not_asked_first_again(
        self, stage_of: Callable[..., Any], kms_at: Callable[..., Any]
    ) -> None:
        first, second = kms_at(), kms_at()
        stage = await stage_of(second, cache_bound_s=0.0)
        planned = first.faults.add(faults.status(503), times=None)
        urls = f"{first.url},{second.url}"
        await stage.mount(DB, kmsUrl=urls)
        asked = first.requests.count()
        first.faults.remove(planned)

        await stage.mount(DB, kmsUrl=urls)

        assert asked == 1
        assert first.requests.count() == 1

    async def test_a_refusal_is_no_reason_to_ask_elsewhere(
        self, stage_of: Callable[..., Any], kms_at: Callable[..., Any]
    ) -> None:
        first, second = kms_at(SEED.replace("shop]", "other]")), kms_at()
        stage = await stage_of(first)

        error = await stage.refused(DB, kmsUrl=f"{first.url},{second.url}")

        assert error.code() is Code.PERMISSION_DENIED
        assert second.requests.count() == 0


class TestAddresses:
    async def test_hosts_that_the_operator_allows(self, stage_of: Callable[..., Any]) -> None:
        stage = await stage_of(allowed_hosts=("kms.example.com", "*.example.org"))

        error = await stage.refused(DB)

        assert error.code() is Code.PERMISSION_DENIED
        assert "-allowed-hosts" in error.details()
        assert stage.asked() == []

    async def test_the_operators_own_default_is_allowed(
        self, stage_of: Callable[..., Any], kms_at: Callable[..., Any]
    ) -> None:
        kms = kms_at()
        stage = await stage_of(kms, kms_url=kms.url, allowed_hosts=("kms.example.com",))

        answer = await stage.mount(DB, kmsUrl=None)

        assert contents(answer) == {"dbPassword": b"hunter2"}

    async def test_plain_http_to_this_machine(
        self, stage_of: Callable[..., Any], kms_at: Callable[..., Any]
    ) -> None:
        stage = await stage_of(kms_at(ssl_context=None))

        answer = await stage.mount(DB, caCertificate=None)

        assert contents(answer) == {"dbPassword": b"hunter2"}

    async def test_plain_http_to_elsewhere(self, stage: Stage) -> None:
        error = await stage.refused(DB, kmsUrl="http://kms.example.com")

        assert error.code() is Code.INVALID_ARGUMENT
        assert "--allow-plain-http" in error.details()

    async def test_the_old_name_of_the_url_is_known_and_told_once(
        self, stage: Stage, logged: io.StringIO
    ) -> None:
        old = {"kmsUrl": None, "infisicalUrl": stage.kms.url}

        await stage.mount(DB, **old)
        await stage.mount(DB, **old, pod="front-2")

        # Each line is there twice, as text and as JSON.
        assert logged.getvalue().count("infisicalUrl is an old name of kmsUrl") == 2

    async def test_the_old_audience_is_known(
        self, stage_of: Callable[..., Any], kms_at: Callable[..., Any]
    ) -> None:
        stage = await stage_of(kms_at(SEED.replace("Audience: kms", "Audience: infisical")))
        token = stage.pod_token(audience="infisical")
        tokens = json.dumps({"infisical": {"token": token}})

        answer = await stage.mount(DB, **{"csi.storage.k8s.io/serviceAccount.tokens": tokens})

        assert contents(answer) == {"dbPassword": b"hunter2"}


async def test_a_key_that_means_something_in_a_url(stage: Stage) -> None:
    put(stage, "/odd", **{"a?b#c%d &é": "odd"})

    answer = await stage.mount({"secretPath": "/odd", "secretKey": "a?b#c%d &é", "fileName": "o"})

    assert contents(answer) == {"o": b"odd"}


async def test_scalars_keep_their_source_text(stage: Stage) -> None:
    put(stage, "/raw", yes="y", **{"0123": "n"})
    text = """
    - {secretPath: /raw, secretKey: yes, fileName: 0123}
    - secretPath: /raw
      secretKey: 0123
      fileName: 1e3
    """

    answer = await stage.mount(secrets=text)

    assert contents(answer) == {"0123": b"y", "1e3": b"n"}


async def test_tokens_may_come_in_the_published_secrets(stage: Stage) -> None:
    token = stage.pod_token()
    name = "csi.storage.k8s.io/serviceAccount.tokens"
    published = json.dumps({name: json.dumps({"kms": {"token": token}})})

    answer = await stage.mount(DB, published=published, **{name: None})

    assert contents(answer) == {"dbPassword": b"hunter2"}


async def test_the_identity_may_have_another_audience(
    stage_of: Callable[..., Any], kms_at: Callable[..., Any]
) -> None:
    stage = await stage_of(kms_at(SEED.replace("Audience: kms", "Audience: vault")))
    tokens = json.dumps({"vault": {"token": stage.pod_token(audience="vault")}})

    answer = await stage.mount(
        DB, audience="vault", **{"csi.storage.k8s.io/serviceAccount.tokens": tokens}
    )

    assert contents(answer) == {"dbPassword": b"hunter2"}
