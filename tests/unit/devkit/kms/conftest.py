"""A running KMS with the fixture of the API's test vectors, and a client for it."""

import contextlib
import dataclasses
import json
import secrets
import urllib.parse
from collections.abc import Callable, Iterator

import pytest
import urllib3

from devkit.kms import model, seed, server

SEED = """
projects:
  shop:
    id: P
    environments:
      prod:
        /:
          secrets:
            DB_PASSWORD: {value: hunter2, id: s1, version: 3}
        /app:
          imports: [/shared, /override]
          secrets:
            APP_SECRET: {value: "line1\\nline2\\n", id: s2}
            EMPTY: {value: "", id: s3, version: 2}
        /shared:
          secrets:
            SHARED_KEY: {value: low, id: s4, version: 7}
        /override:
          secrets:
            SHARED_KEY: {value: high, id: s5}
identities:
  I:
    kubernetes:
      allowedNamespaces: [shop]
      allowedNames: [front]
      allowedAudience: kms
    accessTokenTTL: 300
    accessTokenMaxTTL: 0
"""


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclasses.dataclass
class Answer:
    status: int
    headers: urllib3.HTTPHeaderDict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class Client:
    """Asks a KMS over real HTTP; every answer comes back whole, none is retried."""

    def __init__(self, kms: server.KMS, **pool_arguments: object) -> None:
        self.kms = kms
        self.pool = urllib3.PoolManager(retries=False, timeout=4.0, **pool_arguments)

    def ask(self, method: str, target: str, body: object = None, **headers: str) -> Answer:
        """Send one request; `headers` spell a hyphen as an underscore."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            fields["content-type"] = "application/json"
        answer = self.pool.request(
            method, self.kms.url + target, body=data, headers=fields, redirect=False
        )
        return Answer(answer.status, answer.headers, answer.data)

    def login(self, jwt: str | None = None, identity: str = "I", **more: str) -> Answer:
        jwt = jwt if jwt is not None else self.pod_token()
        body = {"identityId": identity, "jwt": jwt, **more}
        return self.ask("POST", "/api/v1/auth/kubernetes-auth/login", body)

    def pod_token(self, namespace: str = "shop", name: str = "front", **more: object) -> str:
        arguments = {"audience": "kms", **more}
        return self.kms.pod_tokens.issue_token(namespace, name, **arguments)

    def bearer(self, identity: str = "I") -> str:
        answer = self.login(identity=identity)
        assert answer.status == 200, answer.body
        return f"Bearer {answer.json['accessToken']}"

    def read(
        self, key: str = "DB_PASSWORD", path: str = "/", bearer: str | None = None, **query: str
    ) -> Answer:
        """Read one secret of the fixture's project as the CSI provider does."""
        parameters = {
            "workspaceId": "P",
            "environment": "prod",
            "secretPath": path,
            "type": "shared",
            "include_imports": "true",
            "expandSecretReferences": "false",
            **query,
        }
        return self._get(f"/api/v3/secrets/raw/{key}", parameters, bearer)

    def list(self, path: str = "/", bearer: str | None = None, **query: str) -> Answer:
        parameters = {"workspaceId": "P", "environment": "prod", "secretPath": path, **query}
        return self._get("/api/v3/secrets/raw", parameters, bearer)

    def get(self, path: str, bearer: str | None = None, **query: str) -> Answer:
        return self._get(path, query, bearer)

    def _get(self, path: str, query: dict[str, str], bearer: str | None) -> Answer:
        encoded = urllib.parse.urlencode({k: v for k, v in query.items() if v is not None})
        bearer = bearer if bearer is not None else self.bearer()
        return self.ask("GET", f"{path}?{encoded}", authorization=bearer)

    def universal(self, client_id: str, client_secret: str) -> Answer:
        body = {"clientId": client_id, "clientSecret": client_secret}
        return self.ask("POST", "/api/v1/auth/universal-auth/login", body)

    def token(self, action: str, token: str) -> Answer:
        """Renew or revoke a token."""
        return self.ask("POST", f"/api/v1/auth/token/{action}", {"accessToken": token})

    def close(self) -> None:
        self.pool.clear()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def serve(clock: Clock) -> Iterator[Callable[..., Client]]:
    """Start KMSes on demand: serve(seed text, KMS arguments…) → client."""
    with contextlib.ExitStack() as stack:

        def start(text: str = SEED, **arguments: object) -> Client:
            world = model.World(clock)
            kms = server.KMS(world, **arguments)
            seed.parse(text).apply(world, kms.faults)
            client = Client(stack.enter_context(kms))
            stack.callback(client.close)
            return client

        yield start


@pytest.fixture
def client(serve: Callable[..., Client]) -> Client:
    return serve()


@pytest.fixture
def kms(client: Client) -> server.KMS:
    return client.kms


@pytest.fixture
def world(kms: server.KMS) -> model.World:
    return kms.world


@pytest.fixture
def marker() -> str:
    """A text that must not turn up anywhere."""
    return secrets.token_hex(16)
