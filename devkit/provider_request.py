"""What a provider makes of a Mount request.

The rules are those of the known providers taken together: what breaks one of them
is refused here, so that a driver that passes works with all.
"""

import dataclasses
import json
from collections.abc import Mapping

from csi_spec import provider_pb2

TOKENS_KEY = "csi.storage.k8s.io/serviceAccount.tokens"


@dataclasses.dataclass(frozen=True, slots=True)
class MountCall:
    """One Mount request as a provider reads it.

    Attributes:
        attributes: as decoded from JSON, tokens included.
        secrets: as decoded from JSON; None when the driver sent `null`.
        permission: default mode of files, such as 0o644.
        current_object_version: id → version.
        authority: HTTP/2 authority of the caller; empty when serving direct.
        deadline_s: what was left of the caller's deadline; None without one.
    """

    attributes: Mapping[str, str] = dataclasses.field(repr=False)
    secrets: Mapping[str, str] | None = dataclasses.field(repr=False)
    target_path: str
    permission: int
    current_object_version: Mapping[str, str]
    authority: str
    deadline_s: float | None

    @property
    def tokens(self) -> dict[str, dict[str, str]]:
        """Service account tokens: audience → token and expirationTimestamp."""
        tokens: dict[str, dict[str, str]] = json.loads(self.attributes.get(TOKENS_KEY, "{}"))
        return tokens


class BadRequest(Exception):
    """The request breaks the contract; the text holds none of its values."""


def read_request(
    request: provider_pb2.MountRequest, authority: str, deadline_s: float | None
) -> MountCall:
    """Read a request as strictly as the strictest provider does.

    Args:
        request: as it came.
        authority: see `MountCall`.
        deadline_s: see `MountCall`.

    Raises:
        BadRequest: attributes or secrets are not JSON objects of strings (secrets
            may be `null`), permission is not a plain decimal number, or the target
            path is empty.
    """
    attributes = _strings("attributes", request.attributes)
    secrets = _strings("secrets", request.secrets)
    if attributes is None:
        raise BadRequest("attributes are null")
    # One provider reads JSON, another base-10 text: only plain digits suit both.
    if not request.permission.isdecimal() or str(int(request.permission)) != request.permission:
        raise BadRequest("permission is not a decimal number")
    if not request.target_path:
        raise BadRequest("target_path is empty")
    return MountCall(
        attributes=attributes,
        secrets=secrets,
        target_path=request.target_path,
        permission=int(request.permission),
        current_object_version={v.id: v.version for v in request.current_object_version},
        authority=authority,
        deadline_s=deadline_s,
    )


def _strings(name: str, text: str) -> dict[str, str] | None:
    try:
        value = json.loads(text)
    except ValueError as error:
        # The decoder's text may quote a value, so only the fact goes on.
        raise BadRequest(f"{name} are not JSON") from error
    if value is None:
        return None
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise BadRequest(f"{name} are not an object of strings")
    return value
