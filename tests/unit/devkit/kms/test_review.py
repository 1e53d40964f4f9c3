import http.server
import json
import socket
import threading

import pytest

from devkit.kms import errors, review, tls


class ApiServer(http.server.ThreadingHTTPServer):
    """Answers every TokenReview with `answer` and keeps what it was asked."""

    daemon_threads = True
    answer = (201, {"status": {}})

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.append((self.path, self.headers["authorization"], json.loads(body)))
        status, document = self.server.answer
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def api():
    server = ApiServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


async def refusal(reviewer):
    with pytest.raises(errors.Refused) as caught:
        await reviewer("the token", ())
    return caught.value.status, caught.value.error


class TestPodTokens:
    async def test_its_own_token(self, clock):
        tokens = review.PodTokens(clock=clock)
        token = tokens.issue_token("shop", "front", "kms", ttl_s=60, pod_uid="u")
        status = await tokens.review(token, ("kms", "other"))
        assert status == review.Status(True, "system:serviceaccount:shop:front", ("kms",))

    async def test_the_default_audience(self):
        tokens = review.PodTokens()
        status = await tokens.review(tokens.issue_token("a", "b"), ())
        assert status.audiences == (review.DEFAULT_AUDIENCE,)

    async def test_expiry(self, clock):
        tokens = review.PodTokens(clock=clock)
        token = tokens.issue_token("a", "b", "kms", ttl_s=60)
        clock.now += 60
        status = await tokens.review(token, ("kms",))
        assert not status.authenticated
        assert "expired" in status.error

    async def test_another_audience(self):
        tokens = review.PodTokens()
        status = await tokens.review(tokens.issue_token("a", "b", "kms"), ("vault",))
        assert not status.authenticated
        assert "kms" in status.error
        assert "vault" in status.error

    async def test_two_with_one_key_agree_and_others_do_not(self):
        key = b"k" * 32
        token = review.PodTokens(key).issue_token("a", "b")
        assert (await review.PodTokens(key).review(token, ())).authenticated
        assert not (await review.PodTokens().review(token, ())).authenticated


class TestApiServer:
    async def test_asks_as_the_kms_does(self, api):
        api.answer = (
            201,
            {
                "status": {
                    "authenticated": True,
                    "user": {"username": "system:serviceaccount:a:b"},
                    "audiences": ["kms"],
                }
            },
        )
        reviewer = review.ApiServer(api.url + "/", reviewer_jwt="reviewer")
        status = await reviewer("the token", ("kms",))
        assert status == review.Status(True, "system:serviceaccount:a:b", ("kms",))
        path, authorization, document = api.asked[0]
        assert path == "/apis/authentication.k8s.io/v1/tokenreviews"
        assert authorization == "Bearer reviewer"
        assert document == {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": "the token", "audiences": ["kms"]},
        }

    async def test_without_a_reviewer_the_token_reviews_itself(self, api):
        await review.ApiServer(api.url)("the token", ())
        _, authorization, document = api.asked[0]
        assert authorization == "Bearer the token"
        assert document["spec"] == {"token": "the token"}

    async def test_its_error_is_handed_on(self, api):
        api.answer = (201, {"status": {"authenticated": False, "error": "expired"}})
        assert await review.ApiServer(api.url)("t", ()) == review.Status(False, error="expired")

    @pytest.mark.parametrize(
        ("answered", "status", "error"),
        [
            (401, 401, "KubernetesTokenReviewerUnauthorized"),
            (403, 401, "KubernetesTokenReviewerForbidden"),
            (500, 400, "KubernetesTokenReviewRequestError"),
            (404, 400, "KubernetesTokenReviewRequestError"),
        ],
    )
    async def test_its_refusals(self, api, answered, status, error):
        api.answer = (answered, {})
        assert await refusal(review.ApiServer(api.url)) == (status, error)

    async def test_connection_refused(self, unused_tcp_port):
        reviewer = review.ApiServer(f"http://127.0.0.1:{unused_tcp_port}")
        assert await refusal(reviewer) == (400, "KubernetesConnectionRefused")

    async def test_no_such_host(self):
        # A label of more than 63 characters can be no host, so no resolver is asked.
        reviewer = review.ApiServer(f"http://{'x' * 64}.example")
        assert await refusal(reviewer) == (400, "KubernetesHostNotFound")

    async def test_no_answer_in_time(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            reviewer = review.ApiServer(
                f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.05
            )
            assert await refusal(reviewer) == (400, "KubernetesConnectionTimeout")

    async def test_connection_broken(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def hang_up():
                listener.accept()[0].close()

            thread = threading.Thread(target=hang_up)
            thread.start()
            reviewer = review.ApiServer(f"http://127.0.0.1:{listener.getsockname()[1]}")
            assert await refusal(reviewer) == (400, "KubernetesConnectionError")
            thread.join()

    async def test_tls(self, api):
        authority = tls.Authority()
        context = authority.issue().server_context()
        api.socket = context.wrap_socket(api.socket, server_side=True)
        url = api.url.replace("http:", "https:")
        trusting = review.ApiServer(url, ca_certificate=authority.certificate_pem)
        assert await trusting("t", ()) == review.Status(False)
        for distrusting in (
            review.ApiServer(url),
            review.ApiServer(url, ca_certificate=tls.Authority().certificate_pem),
            review.ApiServer(url, ca_certificate="no PEM"),
        ):
            assert await refusal(distrusting) == (400, "KubernetesCertificateError")
