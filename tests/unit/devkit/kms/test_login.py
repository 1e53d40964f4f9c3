import pytest

from devkit.kms import errors, identities, review


def refused(answer):
    return answer.status, answer.json["error"]


def configure(world, **changes):
    auth = identities.KubernetesAuth(
        **{
            "allowed_namespaces": ("shop",),
            "allowed_names": ("front",),
            "allowed_audience": "kms",
            **changes,
        }
    )
    world.change_identity("I", kubernetes=auth)


def reviewing(status):
    async def review_always(token, audiences):
        if isinstance(status, Exception):
            raise status
        return status

    return review_always


class TestKubernetes:
    """kms-http-api §1.3, by its numbers."""

    def test_1_the_body_has_a_schema(self, client):
        answer = client.ask("POST", "/api/v1/auth/kubernetes-auth/login", {"jwt": 1})
        assert refused(answer) == (422, "ValidationFailure")
        assert [(each["code"], each["path"]) for each in answer.json["message"]] == [
            ("invalid_type", ["identityId"]),
            ("invalid_type", ["jwt"]),
        ]
        assert all(isinstance(each["message"], str) for each in answer.json["message"])

    def test_unknown_fields_are_dropped_and_texts_trimmed(self, client):
        assert client.login(f" {client.pod_token()}\n", " I ", more="x").status == 200

    def test_2_unknown_identity(self, client):
        assert refused(client.login(identity="J")) == (404, "NotFound")

    def test_2_identity_without_kubernetes_auth(self, client, world):
        world.change_identity("I", kubernetes=None)
        assert refused(client.login()) == (404, "NotFound")

    def test_3_identity_that_left(self, client, world):
        world.change_identity("I", organization="")
        assert refused(client.login()) == (401, "UnauthorizedError")

    @pytest.mark.parametrize("changes", [{"token_review_mode": "gateway"}, {"kubernetes_host": ""}])
    def test_4_no_api_server_to_ask(self, client, world, changes):
        configure(world, **changes)
        assert refused(client.login()) == (400, "BadRequest")

    def test_5_the_review_cannot_be_made(self, serve):
        failure = errors.bad_request("refused", "KubernetesConnectionRefused")
        client = serve(reviewer=reviewing(failure))
        assert refused(client.login()) == (400, "KubernetesConnectionRefused")

    def test_5_an_identity_may_have_an_api_server_of_its_own(self, client, world, unused_tcp_port):
        configure(world, kubernetes_host=f"http://127.0.0.1:{unused_tcp_port}")
        assert refused(client.login()) == (400, "KubernetesConnectionRefused")

    @pytest.mark.parametrize(
        ("allowed", "asked"), [("kms", ("kms",)), ("", ())], ids=["audience", "none"]
    )
    def test_5_the_audience_is_asked_for_only_if_configured(self, serve, allowed, asked):
        seen = []

        async def reviewer(token, audiences):
            seen.append((token, audiences))
            return review.Status(True, "system:serviceaccount:shop:front", audiences)

        client = serve(reviewer=reviewer)
        configure(client.kms.world, allowed_audience=allowed)
        assert client.login("the token").status == 200
        assert seen == [("the token", asked)]

    def test_6_expired_pod_token(self, client):
        answer = client.login(client.pod_token(ttl_s=0))
        assert refused(answer) == (401, "KubernetesTokenReviewError")
        assert "expired" in answer.json["message"]

    def test_6_token_that_expires_later(self, client, clock):
        token = client.pod_token(ttl_s=600)
        clock.now += 599
        assert client.login(token).status == 200
        clock.now += 1
        assert refused(client.login(token)) == (401, "KubernetesTokenReviewError")

    @pytest.mark.parametrize("audience", ["vault", None], ids=["other", "API server's own"])
    def test_6_token_for_another_audience(self, client, audience):
        answer = client.login(client.pod_token(audience=audience))
        assert refused(answer) == (401, "KubernetesTokenReviewError")

    def test_6_without_an_allowed_audience_only_the_api_servers_own_will_do(self, client, world):
        configure(world, allowed_audience="")
        assert refused(client.login()) == (401, "KubernetesTokenReviewError")
        assert client.login(client.pod_token(audience=None)).status == 200

    def test_6_not_a_token(self, client, marker):
        answer = client.login(marker)
        assert refused(answer) == (401, "KubernetesTokenReviewError")
        assert marker not in answer.body.decode()

    def test_7_not_authenticated(self, serve):
        client = serve(reviewer=reviewing(review.Status(False)))
        assert refused(client.login()) == (401, "KubernetesTokenReviewError")

    @pytest.mark.parametrize(
        "username", ["", "admin", "system:serviceaccount:shop", "system:serviceaccount::x"]
    )
    def test_8_not_a_service_account(self, serve, username):
        client = serve(reviewer=reviewing(review.Status(True, username, ("kms",))))
        assert refused(client.login()) == (400, "KubernetesUsernameParseError")

    @pytest.mark.parametrize(
        ("allowed", "namespace", "status"),
        [
            (("shop",), "other", 401),
            (("a", "shop"), "shop", 200),
            (("team-*",), "team-x", 200),
            (("team-*",), "shop", 401),
            ((), "anything", 200),
        ],
    )
    def test_9_namespace(self, client, world, allowed, namespace, status):
        configure(world, allowed_namespaces=allowed)
        assert client.login(client.pod_token(namespace=namespace)).status == status

    @pytest.mark.parametrize(
        ("allowed", "name", "status"),
        [(("front",), "back", 401), (("fr*",), "front", 200), ((), "back", 200)],
    )
    def test_10_name(self, client, world, allowed, name, status):
        configure(world, allowed_names=allowed)
        assert client.login(client.pod_token(name=name)).status == status

    def test_9_comes_before_10_and_11(self, serve):
        status = review.Status(True, "system:serviceaccount:other:back", ())
        answer = serve(reviewer=reviewing(status)).login()
        assert refused(answer) == (401, "UnauthorizedError")
        assert "Namespace" in answer.json["message"]

    def test_11_audience(self, serve):
        status = review.Status(True, "system:serviceaccount:shop:front", ("other",))
        answer = serve(reviewer=reviewing(status)).login()
        assert refused(answer) == (401, "UnauthorizedError")
        assert "audience" in answer.json["message"]

    def test_12_organization(self, client, world):
        world.add_project("Q", organization="elsewhere")
        own = client.login(organizationSlug=identities.ORGANIZATION)
        assert own.status == 200
        assert refused(client.login(organizationSlug="nowhere")) == (404, "NotFound")
        assert refused(client.login(organizationSlug="elsewhere")) == (401, "UnauthorizedError")

    def test_13_anything_unexpected(self, serve, marker):
        answer = serve(reviewer=reviewing(RuntimeError(marker))).login()
        assert refused(answer) == (400, "KubernetesAuthLoginError")
        assert marker not in answer.body.decode()

    @pytest.mark.parametrize("body", [b"{", b"", b"\xff", b'"text"'])
    def test_what_is_no_json_object(self, client, body):
        answer = client.ask("POST", "/api/v1/auth/kubernetes-auth/login", body)
        expected = (422, "ValidationFailure") if body == b'"text"' else (500, "InternalServerError")
        assert refused(answer) == expected

    def test_a_body_that_is_too_long(self, client):
        answer = client.login("x" * (1 << 20))
        assert refused(answer) == (500, "InternalServerError")
        assert client.login().status == 200


class TestUniversal:
    def test_right_and_wrong(self, client, world, marker):
        auth = identities.UniversalAuth(client_id="c", client_secret=marker)
        world.change_identity("I", universal=auth)
        answer = client.universal("c", marker)
        assert answer.status == 200
        document = answer.json
        assert client.read(bearer=f"Bearer {document.pop('accessToken')}").status == 200
        assert document == {"expiresIn": 300, "accessTokenMaxTTL": 0, "tokenType": "Bearer"}
        assert refused(client.universal("c", "x")) == (401, "UnauthorizedError")
        assert refused(client.universal("d", marker)) == (401, "UnauthorizedError")

    def test_the_body_has_a_schema(self, client):
        answer = client.ask("POST", "/api/v1/auth/universal-auth/login", {"clientId": "c"})
        assert answer.status == 422
        assert [each["path"] for each in answer.json["message"]] == [["clientSecret"]]
