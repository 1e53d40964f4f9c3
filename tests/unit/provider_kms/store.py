"""A secret store in memory, for tests of what stands before a `backend.Backend`."""

import asyncio
from collections.abc import Callable
from typing import Any

from provider_kms import backend, budget, errors, sealed
from provider_kms.model import site
from provider_kms.model.secret import Folder, Listing, Secret

SITE = site.Site("https", "kms.example.com", 443, "/api")
FOLDER = Folder("P", "prod", "/app")


def account(holder: str = "front", **changes: Any) -> backend.Account:
    fields = {
        "site": SITE,
        "ca_pem": "",
        "api_version": "v3",
        "method": "kubernetes",
        "identity": "I",
        "audience": "kms",
        "holder": holder,
    }
    return backend.Account(**(fields | changes))


def secret(key: str, value: str = "v", version: int = 1) -> Secret:
    return Secret(f"id-{key}", key, "/app", version, sealed.Sealed(value.encode()))


class Store:
    """Answers from `secrets`; writes down what it was asked, fails where told.

    Attributes:
        asked: ("login", holder), ("get", key) or ("list", path), in order.
        failures: what to raise by the first word of a question, each once, in order.
        tagged: answer with ETags and to ETags.
        lifetime_s: of each login.
    """

    def __init__(self, *secrets: Secret) -> None:
        self.secrets = {one.key: one for one in secrets}
        self.asked: list[tuple[str, str]] = []
        self.failures: dict[str, list[errors.ProviderError]] = {}
        self.tagged = False
        self.lifetime_s = 300.0
        self.before: Callable[[], Any] = lambda: asyncio.sleep(0)

    async def login(
        self, account: backend.Account, proof: sealed.Sealed[str], limits: budget.Budget
    ) -> backend.Session:
        await self._ask("login", account.holder)
        return backend.Session(account, sealed.Sealed("token"), self.lifetime_s)

    async def get(
        self,
        session: backend.Session,
        folder: Folder,
        key: str,
        etag: str,
        limits: budget.Budget,
    ) -> backend.Read[Secret]:
        await self._ask("get", key)
        if key not in self.secrets:
            raise errors.SecretMissing(folder.place(key), errors.Answer(404, "NotFound"))
        found = self.secrets[key]
        return self._read(found, f"{key}-{found.version}", etag)

    async def list(
        self, session: backend.Session, folder: Folder, etag: str, limits: budget.Budget
    ) -> backend.Read[Listing]:
        await self._ask("list", folder.path)
        tag = "-".join(f"{one.key}{one.version}" for one in self.secrets.values())
        return self._read(Listing(tuple(self.secrets.values())), tag, etag)

    def _read(self, value: Any, tag: str, etag: str) -> Any:
        if not self.tagged:
            return backend.Read(value, "")
        return backend.Read(None if tag == etag else value, tag)

    async def _ask(self, what: str, name: str) -> None:
        self.asked.append((what, name))
        await self.before()
        if self.failures.get(what):
            raise self.failures[what].pop(0)
