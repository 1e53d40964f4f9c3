"""Access tokens: issue, judge, renew, revoke.

A token is an HMAC-signed JWT whose id names a row; the row holds what the server remembers (use
count, creation, whether it was revoked). Not thread-safe by itself: callers hold the world's lock.

Source: kms-http-api §1.2 (claims), §1.4 (renewal, revocation), §1.5 (faults).
"""

import ipaddress
import secrets
import uuid
from dataclasses import dataclass

from devkit.kms import errors, identities, jwt, model

_KIND = "identityAccessToken"
_SCHEME_LENGTH = len("Bearer ")


@dataclass(slots=True)
class Row:
    """What the server remembers of one token; times in seconds since the epoch."""

    id: str
    identity: str
    auth: dict[str, object]
    created_at: float
    ttl_s: int
    max_ttl_s: int
    uses_limit: int
    uses: int = 0
    expired: bool = False


class Tokens:
    """The access tokens of one server, signed with a key of its own."""

    def __init__(self, world: model.World) -> None:
        self._world = world
        self._key = secrets.token_bytes(32)
        self._rows: dict[str, Row] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def issue(self, identity: identities.Identity, auth: dict[str, object]) -> errors.JSON:
        """Create a token and return the login answer.

        Args:
            auth: the `identityAuth` claim, e.g. `{"kubernetes": {"namespace": …, "name": …}}`.
        """
        row = Row(
            id=str(uuid.uuid4()),
            identity=identity.id,
            auth=auth,
            created_at=self._world.clock(),
            ttl_s=identity.access_token_ttl_s,
            max_ttl_s=identity.access_token_max_ttl_s,
            uses_limit=identity.access_token_uses_limit,
        )
        self._rows[row.id] = row
        return self._answer(row)

    def authenticate(self, authorization: str, address: str) -> identities.Identity:
        """Judge an `Authorization` header, count the use and return who it is.

        The scheme word is not looked at: the first seven characters go, whatever they are.

        Raises: errors.Refused: 401, 403 or 400, in the order of §1.5.
        """
        value = authorization[_SCHEME_LENGTH:]
        if value.startswith("st."):
            raise errors.unauthorized("Service tokens are not known here")
        row = self._row(value)
        self._spend(row)
        identity = self._world.identities.get(row.identity)
        if identity is None:
            del self._rows[row.id]
            raise errors.unauthorized("The identity of this access token is gone")
        if not _trusts(identity, address):
            raise errors.forbidden("This address may not use the access token")
        if not identity.organization:
            raise errors.bad_request("The identity belongs to no organization")
        row.uses += 1
        return identity

    def renew(self, token: str) -> errors.JSON:
        """Return a new token of the same row, or destroy the row if its ceiling is near.

        Raises: errors.Refused: 401 and the token is gone, when now + TTL passes creation + max
            TTL; else as `authenticate`.
        """
        row = self._row(token)
        self._spend(row)
        # Whole seconds, as the tokens count them: with TTL = max TTL a renewal within the first
        # second still passes, and every later one costs the token.
        ends = int(self._world.clock()) + row.ttl_s
        if row.max_ttl_s > 0 and ends > int(row.created_at) + row.max_ttl_s:
            del self._rows[row.id]
            raise errors.unauthorized("The access token would outlive its maximum lifetime")
        return self._answer(row)

    def revoke(self, token: str) -> None:
        """Forget a token."""
        del self._rows[self._row(token).id]

    def revoke_all(self) -> None:
        """Forget every token: whoever uses one gets 401."""
        self._rows.clear()

    def expire_all(self) -> None:
        """Make every token issued so far look expired: whoever uses one gets 403 TokenError."""
        for row in self._rows.values():
            row.expired = True

    def _answer(self, row: Row) -> errors.JSON:
        now = int(self._world.clock())
        claims: dict[str, object] = {
            "identityId": row.identity,
            "identityAccessTokenId": row.id,
            "authTokenType": _KIND,
            "identityAuth": row.auth,
            "iat": now,
            # Two tokens of one row and one second would otherwise be the same text.
            "jti": secrets.token_hex(8),
        }
        if row.ttl_s > 0:
            claims["exp"] = now + row.ttl_s
        return {
            "accessToken": jwt.encode(claims, self._key),
            "expiresIn": row.ttl_s,
            "accessTokenMaxTTL": row.max_ttl_s,
            "tokenType": "Bearer",
        }

    def _row(self, token: str) -> Row:
        try:
            claims = jwt.decode(token, self._key)
        except jwt.Malformed as e:
            raise errors.forbidden("The access token is malformed", "TokenError") from e
        expires = claims.get("exp")
        row = self._rows.get(str(claims.get("identityAccessTokenId")))
        past = isinstance(expires, int) and expires <= self._world.clock()
        if past or (row is not None and row.expired):
            raise errors.forbidden("The access token has expired", "TokenError")
        if row is None:
            raise errors.unauthorized("The access token is unknown or revoked")
        return row

    def _spend(self, row: Row) -> None:
        if row.uses_limit > 0 and row.uses >= row.uses_limit:
            del self._rows[row.id]
            raise errors.unauthorized("The access token has been used as often as it may")


def _trusts(identity: identities.Identity, address: str) -> bool:
    if not identity.trusted_ips:
        return True
    client = ipaddress.ip_address(address)
    networks = (ipaddress.ip_network(each, strict=False) for each in identity.trusted_ips)
    return any(client in network for network in networks)
