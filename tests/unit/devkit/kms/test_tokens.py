import base64
import json

import pytest

from devkit.kms import identities, model, tokens


def configure(world, **changes):
    world.change_identity("I", **changes)


def refused(answer):
    return answer.status, answer.json["error"]


def test_login_answer(client):
    document = client.login().json
    assert document.pop("accessToken")
    assert document == {"expiresIn": 300, "accessTokenMaxTTL": 0, "tokenType": "Bearer"}


def test_claims(client, clock):
    token = client.login().json["accessToken"]
    payload = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert payload["identityId"] == "I"
    assert payload["identityAccessTokenId"]
    assert payload["authTokenType"]
    assert payload["identityAuth"] == {"kubernetes": {"namespace": "shop", "name": "front"}}
    assert (payload["iat"], payload["exp"]) == (clock.now, clock.now + 300)


def test_a_lifetime_of_0_never_ends(client, world, clock):
    configure(world, access_token_ttl_s=0)
    answer = client.login().json
    assert answer["expiresIn"] == 0
    clock.now += 10**9
    assert client.read(bearer=f"Bearer {answer['accessToken']}").status == 200


class TestUse:
    """kms-http-api §1.5."""

    def test_missing_header(self, client):
        answer = client.ask("GET", "/api/v3/secrets/raw/K?workspaceId=P&environment=prod")
        assert refused(answer) == (401, "UnauthorizedError")

    def test_expired(self, client, clock):
        bearer = client.bearer()
        clock.now += 299
        assert client.read(bearer=bearer).status == 200
        clock.now += 1
        assert refused(client.read(bearer=bearer)) == (403, "TokenError")

    @pytest.mark.parametrize("value", ["Bearer x", "Bearer a.b.c", "x"])
    def test_malformed(self, client, value):
        assert refused(client.read(bearer=value)) == (403, "TokenError")

    def test_signed_with_another_key(self, client):
        assert refused(client.read(bearer=f"Bearer {client.pod_token()}")) == (403, "TokenError")

    def test_the_scheme_word_does_not_matter(self, client):
        token = client.login().json["accessToken"]
        assert client.read(bearer=f"Xearer {token}").status == 200
        assert refused(client.read(bearer=token)) == (403, "TokenError")

    def test_service_tokens_are_unknown(self, client):
        assert refused(client.read(bearer="Bearer st.a.b.c")) == (401, "UnauthorizedError")

    def test_revoked(self, client, kms):
        bearer = client.bearer()
        with kms.world.lock:
            kms.tokens.revoke_all()
        assert refused(client.read(bearer=bearer)) == (401, "UnauthorizedError")

    def test_expired_on_demand(self, client, kms):
        bearer = client.bearer()
        with kms.world.lock:
            kms.tokens.expire_all()
        assert refused(client.read(bearer=bearer)) == (403, "TokenError")
        assert client.read().status == 200

    def test_used_up(self, client, world, kms):
        configure(world, access_token_uses_limit=2)
        bearer = client.bearer()
        assert [client.read(bearer=bearer).status for _ in range(2)] == [200, 200]
        assert len(kms.tokens) == 1
        assert refused(client.read(bearer=bearer)) == (401, "UnauthorizedError")
        assert len(kms.tokens) == 0

    def test_identity_gone(self, client, world):
        bearer = client.bearer()
        world.remove_identity("I")
        assert refused(client.read(bearer=bearer)) == (401, "UnauthorizedError")

    def test_untrusted_address(self, client, world):
        bearer = client.bearer()
        configure(world, trusted_ips=("10.0.0.0/8", "192.0.2.1"))
        assert refused(client.read(bearer=bearer)) == (403, "ForbiddenError")
        configure(world, trusted_ips=("10.0.0.0/8", "127.0.0.0/8"))
        assert client.read(bearer=bearer).status == 200

    def test_left_its_organization(self, client, world):
        bearer = client.bearer()
        configure(world, organization="")
        assert refused(client.read(bearer=bearer)) == (400, "BadRequest")

    def test_an_api_key_spoils_the_request(self, client):
        answer = client.ask("GET", "/api/status", x_api_key="k")
        assert refused(answer) == (400, "BadRequest")

    def test_a_stale_token_spoils_even_a_login(self, client):
        answer = client.ask(
            "POST",
            "/api/v1/auth/kubernetes-auth/login",
            {"identityId": "I", "jwt": client.pod_token()},
            authorization="Bearer x",
        )
        assert refused(answer) == (403, "TokenError")


class TestRenewal:
    """kms-http-api §1.4."""

    def test_gives_a_new_token_with_a_new_lifetime(self, client, clock):
        old = client.login().json["accessToken"]
        clock.now += 200
        answer = client.token("renew", old)
        assert answer.status == 200
        assert set(answer.json) == {"accessToken", "expiresIn", "accessTokenMaxTTL", "tokenType"}
        new = answer.json["accessToken"]
        assert new != old
        clock.now += 200
        assert client.read(bearer=f"Bearer {new}").status == 200
        assert client.read(bearer=f"Bearer {old}").status == 403

    def test_with_the_default_lifetimes_it_destroys_the_token(self, client, world, clock):
        configure(
            world,
            access_token_ttl_s=identities.LIFETIME_S,
            access_token_max_ttl_s=identities.LIFETIME_S,
        )
        token = client.login().json["accessToken"]
        clock.now += 2
        assert client.read(bearer=f"Bearer {token}").status == 200
        assert refused(client.token("renew", token)) == (401, "UnauthorizedError")
        assert refused(client.read(bearer=f"Bearer {token}")) == (401, "UnauthorizedError")

    def test_is_granted_up_to_the_ceiling(self, client, world, clock):
        configure(world, access_token_ttl_s=60, access_token_max_ttl_s=100)
        token = client.login().json["accessToken"]
        clock.now += 40
        token = client.token("renew", token).json["accessToken"]
        clock.now += 1
        assert client.token("renew", token).status == 401

    def test_the_ceiling_does_not_end_a_token_that_is_only_used(self, client, world, clock):
        configure(world, access_token_ttl_s=0, access_token_max_ttl_s=10)
        bearer = client.bearer()
        clock.now += 11
        assert client.read(bearer=bearer).status == 200

    def test_of_an_expired_or_malformed_token(self, client, clock):
        token = client.login().json["accessToken"]
        assert refused(client.token("renew", "x")) == (403, "TokenError")
        clock.now += 300
        assert refused(client.token("renew", token)) == (403, "TokenError")

    def test_of_a_used_up_token(self, client, world):
        configure(world, access_token_uses_limit=1)
        token = client.login().json["accessToken"]
        client.read(bearer=f"Bearer {token}")
        assert refused(client.token("renew", token)) == (401, "UnauthorizedError")
        assert refused(client.token("renew", token)) == (401, "UnauthorizedError")


class TestRevocation:
    def test_ends_a_token_and_its_renewals(self, client):
        token = client.login().json["accessToken"]
        renewed = client.token("renew", token).json["accessToken"]
        answer = client.token("revoke", token)
        assert answer.status == 200
        assert isinstance(answer.json["message"], str)
        for each in (token, renewed):
            assert refused(client.read(bearer=f"Bearer {each}")) == (401, "UnauthorizedError")

    def test_twice_is_unauthorized(self, client):
        token = client.login().json["accessToken"]
        client.token("revoke", token)
        assert refused(client.token("revoke", token)) == (401, "UnauthorizedError")

    def test_of_nonsense(self, client):
        assert refused(client.token("revoke", "x")) == (403, "TokenError")


def test_two_tokens_of_one_second_differ(clock):
    world = model.World(clock)
    issued = tokens.Tokens(world)
    identity = identities.Identity(id="I")
    assert issued.issue(identity, {})["accessToken"] != issued.issue(identity, {})["accessToken"]
