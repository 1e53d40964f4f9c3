"""What a case works with: the KMS, the provider, a driver's client and their usual request."""

import asyncio
import dataclasses
import json
from typing import Any

import grpc.aio
import pytest

from csi_spec import provider_pb2
from devkit.kms import faults, server
from provider_kms import app

LOGIN = "POST /api/v1/auth/kubernetes-auth/login"
GET = "GET /api/v3/secrets/raw/{secretName}"
LIST = "GET /api/v3/secrets/raw"

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
      allowedNames: [front, front-*]
      allowedAudience: kms
    accessTokenTTL: 300
    accessTokenMaxTTL: 0
"""
DB = {"secretPath": "/", "secretKey": "DB_PASSWORD", "fileName": "dbPassword"}
APP = {"secretPath": "/app", "secretKey": "APP_SECRET", "fileName": "appSecret"}


def entries(*items: dict[str, Any]) -> str:
    return json.dumps(list(items))


@dataclasses.dataclass
class Stage:
    """Everything a case needs: change the KMS, mount, look at what was asked."""

    kms: server.KMS
    app: app.App
    stub: Any
    ca_pem: str
    socket: str

    def pod_token(self, account: str = "front", **more: Any) -> str:
        arguments = {"audience": "kms", **more}
        return self.kms.pod_tokens.issue_token("shop", account, **arguments)

    def request(
        self,
        *items: dict[str, Any],
        account: str = "front",
        pod: str = "front-1",
        published: str = "null",
        versions: dict[str, str] | None = None,
        token: str | None = None,
        volume: str = "secrets",
        **parameters: str | None,
    ) -> provider_pb2.MountRequest:
        """Make the request that the driver sends; a parameter of None is left out."""
        token = self.pod_token(account) if token is None else token
        tokens = {"kms": {"token": token, "expirationTimestamp": "2030-01-01T00:00:00Z"}}
        attributes = {
            "kmsUrl": self.kms.url,
            "caCertificate": self.ca_pem,
            "authMethod": "kubernetes",
            "identityId": "I",
            "projectId": "P",
            "envSlug": "prod",
            "secrets": entries(*(items or (DB,))),
            "secretProviderClass": "front",
            "csi.storage.k8s.io/ephemeral": "true",
            "csi.storage.k8s.io/pod.name": pod,
            "csi.storage.k8s.io/pod.namespace": "shop",
            "csi.storage.k8s.io/pod.uid": f"uid-of-{pod}",
            "csi.storage.k8s.io/serviceAccount.name": account,
            "csi.storage.k8s.io/serviceAccount.tokens": json.dumps(tokens),
            **parameters,
        }
        return provider_pb2.MountRequest(
            attributes=json.dumps({k: v for k, v in attributes.items() if v is not None}),
            secrets=published,
            target_path=f"/var/lib/kubelet/pods/uid/volumes/kubernetes.io~csi/{volume}/mount",
            permission="420",
            current_object_version=[
                provider_pb2.ObjectVersion(id=k, version=v) for k, v in (versions or {}).items()
            ],
        )

    async def mount(
        self, *items: dict[str, Any], timeout: float | None = 30.0, **more: Any
    ) -> provider_pb2.MountResponse:
        return await self.stub.Mount(self.request(*items, **more), timeout=timeout)

    async def refused(self, *items: dict[str, Any], **more: Any) -> grpc.aio.AioRpcError:
        """Mount and return the error that it must end in."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.mount(*items, **more)
        return caught.value

    async def quiet(self) -> None:
        """Wait until the KMS works on nothing."""
        requests = self.kms.requests
        await asyncio.to_thread(requests.wait_until, lambda: requests.in_flight() == 0)

    def asked(self) -> list[str]:
        """Return what the KMS was asked so far: route and status, in order of arrival."""
        names = {LOGIN: "LOGIN", GET: "GET", LIST: "LIST"}
        self.kms.requests.wait_until(lambda: self.kms.requests.in_flight() == 0)
        return [
            f"{names.get(record.route, record.route or record.path)} {record.status}"
            for record in self.kms.requests.records()
        ]

    def count(self, route: str) -> int:
        return self.kms.requests.count(route)

    def fail(self, fault: faults.Fault, route: str = "*", **more: Any) -> faults.Planned:
        return self.kms.faults.add(fault, route, **more)


def contents(response: provider_pb2.MountResponse) -> dict[str, bytes]:
    return {file.path: file.contents for file in response.files}


def versions(response: provider_pb2.MountResponse) -> dict[str, str]:
    return {entry.id: entry.version for entry in response.object_version}
