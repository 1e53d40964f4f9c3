import json
import secrets
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider_kms import errors
from provider_kms.kms import answers
from provider_kms.model.secret import Folder

FOLDER = Folder("P", "prod", "/app")
GOOD: dict[str, Any] = {
    "id": "s1",
    "secretKey": "KEY",
    "secretValue": "value\n",
    "secretPath": "/app",
    "version": 3,
    "type": "shared",
    "secretValueHidden": False,
    "unknown": {"x": [1]},
}


def one(**changes: Any) -> Any:
    return answers.one(json.dumps({"secret": GOOD | changes}).encode(), FOLDER, "KEY")


def test_a_secret() -> None:
    found = one()

    assert (found.id, found.key, found.path, found.version) == ("s1", "KEY", "/app", 3)
    assert found.value.open() == b"value\n"


def test_the_old_name_of_the_id() -> None:
    body = json.dumps({"secret": {**GOOD, "id": None, "_id": "old"}}).encode()

    assert answers.one(body, FOLDER, "KEY").id == "old"


def test_a_hidden_value_is_none() -> None:
    assert one(secretValueHidden=True, secretValue="<hidden-by-kms>").value is None


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""},
        {"id": 1},
        {"secretKey": ""},
        {"secretKey": None},
        {"secretKey": "OTHER"},
        {"secretValue": None},
        {"secretValue": 1},
        {"version": "3"},
        {"version": True},
        {"version": None},
        {"secretPath": 1},
        {"secretPath": None},
        {"secretValueHidden": "no"},
        {"secretValue": "\ud800"},
        {"id": "\ud800"},
    ],
)
def test_what_is_no_secret(changes: dict[str, Any]) -> None:
    with pytest.raises(answers.Malformed):
        one(**changes)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b'"x"',
        b"{}",
        b'{"secret": null}',
        b'{"secret": []}',
        b'{"secrets": []}',
        b"\xff",
        b"[" * 100_000,
    ],
    ids=range(11),
)
def test_no_answer_to_a_single_read(body: bytes) -> None:
    with pytest.raises(answers.Malformed):
        answers.one(body, FOLDER, "KEY")


def test_an_approval_is_named() -> None:
    body = b'{"secret": null, "aiAccess": {"status": "pending", "requestId": "r-1"}}'

    with pytest.raises(errors.ApprovalPending, match="r-1"):
        answers.one(body, FOLDER, "KEY")


def test_a_list() -> None:
    personal = GOOD | {"type": "personal", "secretValue": "mine"}
    imported = {key: GOOD[key] for key in GOOD if key != "secretPath"}
    body = {
        "secrets": [personal, GOOD],
        "imports": [{"secretPath": "/x", "environment": "dev", "secrets": [imported]}],
    }

    found = answers.many(json.dumps(body).encode(), FOLDER)

    assert [each.path for each in found.secrets] == ["/app"]
    assert [each.path for block in found.imports for each in block] == ["/x"]


def test_a_list_without_imports() -> None:
    assert answers.many(b'{"secrets": []}', FOLDER).imports == ()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"secrets": {}},
        {"secrets": [1]},
        {"secrets": [], "imports": {}},
        {"secrets": [], "imports": [1]},
        {"secrets": [], "imports": [{"secrets": []}]},
        {"secrets": [], "imports": [{"secretPath": "/x"}]},
        {"secret": GOOD},
    ],
)
def test_no_list(body: dict[str, Any]) -> None:
    with pytest.raises(answers.Malformed):
        answers.many(json.dumps(body).encode(), FOLDER)


def test_a_login() -> None:
    token, life = answers.login(b'{"accessToken": "t", "expiresIn": 7200, "tokenType": "Bearer"}')

    assert (token.open(), life) == ("t", 7200.0)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"accessToken": "", "expiresIn": 1},
        {"accessToken": "a b", "expiresIn": 1},
        {"accessToken": "a\r\nb", "expiresIn": 1},
        {"accessToken": 1, "expiresIn": 1},
        {"accessToken": "a"},
        {"accessToken": "a", "expiresIn": "1"},
        {"accessToken": "a", "expiresIn": True},
        {"accessToken": "a", "expiresIn": -1},
        {"accessToken": "a", "expiresIn": float("inf")},
        {"accessToken": "a", "expiresIn": float("nan")},
    ],
)
def test_no_login(body: dict[str, Any]) -> None:
    with pytest.raises(answers.Malformed):
        answers.login(json.dumps(body).encode())


class TestRefusals:
    def test_the_usual_body(self) -> None:
        body = {"reqId": "req-1", "statusCode": 404, "message": "gone", "error": "NotFound"}

        assert answers.refusal(404, json.dumps(body).encode(), ()) == errors.Answer(
            404, "NotFound", "gone", "req-1"
        )

    def test_issues_of_a_validation_name_fields_and_quote_nothing(self) -> None:
        issues = [{"code": "x", "path": ["query", "version"], "message": "marker"}, {"path": 1}, 2]
        body = {"message": issues, "error": "ValidationFailure"}

        found = answers.refusal(422, json.dumps(body).encode(), ())

        assert found == errors.Answer(422, "ValidationFailure", "invalid: query.version", "")

    def test_secrets_do_not_come_back(self) -> None:
        marker = secrets.token_hex(8)
        body = {"message": f"bad {marker}!", "error": marker, "reqId": marker}

        found = answers.refusal(400, json.dumps(body).encode(), (marker, ""))

        assert marker not in str(found)
        assert "bad ***stripped***!" in str(found)

    def test_foreign_text_is_cut(self) -> None:
        body = {"message": "m" * 9999, "error": "e\n" * 999, "reqId": "r" * 999}

        assert len(str(answers.refusal(400, json.dumps(body).encode(), ()))) < 500

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<html>",
            b"[]",
            b"{}",
            b'{"error": ""}',
            b'{"error": 1}',
            b'{"error": "Not Found", "message": "no route", "statusCode": 404}',
        ],
        ids=range(7),
    )
    def test_bodies_of_others(self, body: bytes) -> None:
        assert answers.refusal(404, body, ()) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*GOOD, "secret", "secrets", "imports", "error"]), inner)
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_read_or_refused(node: Any) -> None:
    body = json.dumps(node).encode()
    for read in (
        lambda: answers.one(body, FOLDER, "KEY"),
        lambda: answers.many(body, FOLDER),
        lambda: answers.login(body),
        lambda: answers.refusal(400, body, ()),
    ):
        try:
            read()
        except (answers.Malformed, errors.ApprovalPending):
            continue
