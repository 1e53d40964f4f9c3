"""What a provider is asked for a volume."""

import base64
import datetime
import json
import secrets
from collections.abc import Mapping
from typing import Any

import pytest

from secrets_store.log import Sealed
from secrets_store.model import provider_class, volume
from secrets_store.providers import client
from secrets_store.volumes import questions

CLASS = provider_class.ProviderClass(
    namespace="shop",
    name="cls",
    uid="u",
    generation=1,
    provider="vault",
    parameters={"role": "reader", "url": "https://vault"},
    secret_objects=(),
    annotations={},
)
ATTRIBUTES = {volume.POD_NAME: "web", volume.POD_NAMESPACE: "shop"}


def a_handover(
    tokens: str = "", of_secret: Mapping[str, str] | None = None, **overrides: str
) -> volume.Handover:
    return volume.Handover(Sealed(tokens), Sealed(of_secret or {}), Sealed(overrides))


def a_question(handover: volume.Handover, *, allow_overrides: bool = False) -> client.Question:
    return questions.build(
        CLASS,
        target_path="/t",
        attributes=ATTRIBUTES,
        handover=handover,
        objects={"a": "1"},
        allow_overrides=allow_overrides,
    )


def tokens(*ends: object) -> str:
    """Return kubelet's JSON of one token for each end."""
    entries = {
        f"audience-{number}": {"token": secrets.token_hex(16), "expirationTimestamp": end}
        for number, end in enumerate(ends)
    }
    return json.dumps(entries)


def test_a_question_without_a_handover() -> None:
    asked = a_question(volume.EMPTY_HANDOVER)

    assert (asked.provider, asked.target_path, asked.objects) == ("vault", "/t", {"a": "1"})
    assert json.loads(asked.attributes.open()) == {**CLASS.parameters, **ATTRIBUTES}
    assert asked.secrets.open() == "null"
    assert asked.confidential.open() == ()


def test_tokens_and_secrets_go_in_and_are_not_seen() -> None:
    given, password = tokens("2026-01-01T00:00:00Z"), secrets.token_hex(8)

    asked = a_question(a_handover(given, {"password": password}))

    assert json.loads(asked.attributes.open())[volume.TOKENS] == given
    assert json.loads(asked.secrets.open()) == {"password": password}
    assert password not in repr(asked)
    assert json.loads(given)["audience-0"]["token"] not in repr(asked)


@pytest.mark.parametrize(("allowed", "role"), [(True, "admin"), (False, "reader")])
def test_attributes_of_the_pod_win_only_where_that_is_allowed(allowed: bool, role: str) -> None:
    asked = a_question(a_handover(role="admin"), allow_overrides=allowed)

    assert json.loads(asked.attributes.open())["role"] == role


def test_each_token_and_each_value_is_confidential() -> None:
    given, password = tokens(None, None), secrets.token_hex(8)

    confidential = a_question(a_handover(given, {"p": password})).confidential.open()

    each = [entry["token"] for entry in json.loads(given).values()]
    assert len(each) == 2
    assert {given, password, *each} <= set(confidential)


def test_a_value_is_confidential_in_the_forms_that_programs_write() -> None:
    tail = secrets.token_hex(4)
    value = f'ä"/?> &{tail}\n'

    confidential = a_question(a_handover("", {"p": value})).confidential.open()

    assert set(confidential) == {
        value,
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        # Go's encoder minds HTML, and its query strings have a plus for a blank.
        rf"\u00e4\"/?\u003e \u0026{tail}\n",
        rf"ä\"/?\u003e \u0026{tail}\n",
        f"%C3%A4%22%2F%3F%3E%20%26{tail}%0A",
        f"%C3%A4%22%2F%3F%3E+%26{tail}%0A",
        base64.b64encode(value.encode()).decode().rstrip("="),
        base64.urlsafe_b64encode(value.encode()).decode().rstrip("="),
    }


@pytest.mark.parametrize(("length", "sought"), [(5, False), (6, True)])
def test_short_texts_would_match_by_chance(length: int, sought: bool) -> None:
    value = secrets.token_hex(8)[:length]

    confidential = a_question(a_handover("", {"p": value})).confidential.open()

    assert (value in confidential) is sought


def test_the_first_token_to_end_ends_the_handover() -> None:
    given = tokens("2026-03-01T00:00:00Z", "2026-02-01T12:00:00Z", "2027-01-01T00:00:00Z")

    ends_s = questions.handover_ends_s(a_handover(given))

    first = datetime.datetime(2026, 2, 1, 12, tzinfo=datetime.UTC)
    assert ends_s == first.timestamp()


@pytest.mark.parametrize(
    "given",
    ["", "{", "[]", "7", '{"a": 7}', tokens(None), tokens("soon"), tokens(7)],
    ids=["none", "cut off", "list", "number", "no object", "no end", "no time", "number as end"],
)
def test_without_a_readable_end_a_handover_does_not_end(given: str) -> None:
    assert questions.handover_ends_s(a_handover(given)) == float("inf")


def test_an_unreadable_end_does_not_hide_another() -> None:
    given: dict[str, Any] = json.loads(tokens("soon", "2026-02-01T00:00:00Z"))

    ends_s = questions.handover_ends_s(a_handover(json.dumps(given)))

    assert ends_s == datetime.datetime(2026, 2, 1, tzinfo=datetime.UTC).timestamp()


def test_tokens_that_are_no_json_are_confidential_as_a_whole() -> None:
    given = "{" + secrets.token_hex(8)

    assert given in a_question(a_handover(given)).confidential.open()


def test_the_audit_lists_objects_by_id_and_is_bounded() -> None:
    assert questions.audit({"b": "2", "a": "1"}) == "a@1, b@2"
    assert questions.audit({}) == ""

    many = {f"{number:03}": "v" for number in range(questions.MAX_AUDITED + 7)}
    listed = questions.audit(many).split(", ")

    assert listed[0] == "000@v"
    assert listed[-1] == "and 7 more"
    assert len(listed) == questions.MAX_AUDITED + 1
