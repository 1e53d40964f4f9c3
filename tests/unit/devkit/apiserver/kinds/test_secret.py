import base64
from collections.abc import Callable
from typing import Any

import pytest

from devkit.apiserver import errors
from devkit.apiserver.kinds import secret, strategy

Rules = Callable[[str, str], strategy.Strategy]


@pytest.fixture
def secrets(rules: Rules) -> strategy.Strategy:
    return rules("v1", "Secret")


def completed(found: strategy.Strategy, **fields: Any) -> dict[str, Any]:
    obj = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "a"}, **fields}
    found.decode(obj)
    found.complete(obj)
    return obj


def test_texts_are_folded_into_the_data(secrets: strategy.Strategy) -> None:
    obj = completed(secrets, data={"a": "dg=="}, stringData={"a": "w", "b": None})
    assert (obj["data"], obj["type"]) == ({"a": "dw==", "b": ""}, "Opaque")
    assert "stringData" not in obj


@pytest.mark.parametrize("value", ["%canary", "canary=", "canary", "dg==canary"])
def test_bad_base64_is_refused(secrets: strategy.Strategy, value: str) -> None:
    with pytest.raises(errors.StatusError, match="illegal base64") as caught:
        completed(secrets, data={"k": value})
    assert "canary" not in str(caught.value)


def test_lines_in_base64_are_read(secrets: strategy.Strategy) -> None:
    assert secrets.validate(completed(secrets, data={"k": "dg\r\n=="})) == []


@pytest.mark.parametrize("key", ["a b", "..", ".", "..a", "x" * 254, "ä"])
def test_keys(secrets: strategy.Strategy, key: str) -> None:
    (cause,) = secrets.validate(completed(secrets, data={key: ""}))
    assert cause.field == f"data[{key}]"


def test_the_size_counts_all_values(secrets: strategy.Strategy) -> None:
    half = base64.b64encode(b"x" * (secret.LIMIT_BYTES // 2)).decode()
    assert secrets.validate(completed(secrets, data={"a": half, "b": half})) == []
    (cause,) = secrets.validate(completed(secrets, data={"a": half, "b": half, "c": "dg=="}))
    assert cause.reason == "FieldValueTooLong"


def test_a_bad_value_is_not_told(secrets: strategy.Strategy) -> None:
    data = {".dockercfg": base64.b64encode(b"canary").decode()}
    (cause,) = secrets.validate(completed(secrets, type="kubernetes.io/dockercfg", data=data))
    assert "redacted" in cause.message
    assert "canary" not in cause.message
    assert data[".dockercfg"] not in cause.message


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"data": {"a": "dw=="}}, ["data"]),
        ({"immutable": False}, ["immutable"]),
        ({"data": {}, "immutable": None}, ["immutable", "data"]),
        ({"metadata": {"name": "a", "labels": {}}}, []),
        ({"type": "other"}, ["type"]),
    ],
)
def test_what_cannot_change(
    secrets: strategy.Strategy, change: dict[str, Any], fields: list[str]
) -> None:
    old = completed(secrets, data={"a": "dg=="}, immutable=True)
    causes = secrets.validate_update({**old, **change}, old)
    assert [cause.field for cause in causes] == fields


def test_configmaps(rules: Rules) -> None:
    maps = rules("v1", "ConfigMap")
    obj = completed(maps, data={"a": "x" * secret.LIMIT_BYTES}, binaryData={"b": "dg=="})
    (cause,) = maps.validate(obj)
    assert cause.reason == "FieldValueTooLong"
    with pytest.raises(errors.StatusError):
        completed(maps, binaryData={"b": "%"})
