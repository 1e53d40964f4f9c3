"""Reading a Mount request, without a server. `test_provider` has the refusals over the wire."""

import json
import secrets

import pytest

from csi_spec import provider_pb2
from devkit import provider_request


def read(**changes: str) -> provider_request.MountCall:
    fields = {"attributes": "{}", "secrets": "null", "target_path": "/v", "permission": "420"}
    request = provider_pb2.MountRequest(**fields | changes)  # type: ignore[arg-type]
    return provider_request.read_request(request, "localhost", 3.0)


def test_a_plain_request() -> None:
    call = read()
    assert call == provider_request.MountCall({}, None, "/v", 0o644, {}, "localhost", 3.0)
    assert call.tokens == {}


def test_versions_and_tokens_are_taken_apart() -> None:
    tokens = {"kms": {"token": secrets.token_hex(), "expirationTimestamp": "2026-01-02T03:04:05Z"}}
    request = provider_pb2.MountRequest(
        attributes=json.dumps({provider_request.TOKENS_KEY: json.dumps(tokens)}),
        secrets="{}",
        target_path="/v",
        permission="0",
        current_object_version=[provider_pb2.ObjectVersion(id="a", version="1")],
    )
    call = provider_request.read_request(request, "", None)
    assert call.tokens == tokens
    assert call.current_object_version == {"a": "1"}
    assert call.permission == 0


@pytest.mark.parametrize("permission", ["-1", "+420", "4.2e2", "0o644", "٤٢٠", " 420", "0420"])
def test_only_plain_decimal_permissions_pass(permission: str) -> None:
    with pytest.raises(provider_request.BadRequest, match="permission"):
        read(permission=permission)


@pytest.mark.parametrize("field", ["attributes", "secrets"])
def test_a_refusal_never_quotes_a_value(field: str) -> None:
    marker = secrets.token_hex()
    for text in (marker, json.dumps([marker]), json.dumps({"a": [marker]})):
        with pytest.raises(provider_request.BadRequest) as caught:
            read(**{field: text})
        assert marker not in str(caught.value)
