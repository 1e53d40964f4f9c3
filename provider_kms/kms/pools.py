"""Connections to all sites in use, and the TLS contexts they are made with.

A context costs 20 ms and 0.8 MiB with the system's certificates in it, so it is made in a thread,
once per set of additional certificates, and only a few are kept. Clients are keyed by site and
certificates: a connection that was verified against one class's CA is never used for another's.
"""

import asyncio
import collections
import ssl
from collections.abc import Callable

from provider_kms.backend import Account
from provider_kms.http1 import client as http_client
from provider_kms.http1 import connection, trust
from provider_kms.model.site import Site

_MOST_CONTEXTS = 8
_MOST_CLIENTS = 64
_FORGET_S = 120.0


class Pools:
    """Clients by site and certificates. The loop owns it.

    Args:
        user_agent: how we introduce ourselves.
        trusted: returns the PEM text that the operator trusts beside the system's, for all
            sites; "" for none. Asked for each context; after a change call `renew`.
    """

    def __init__(self, user_agent: str, trusted: Callable[[], str] = lambda: "") -> None:
        self._user_agent = user_agent
        self._trusted = trusted
        self._lock = asyncio.Lock()
        self._contexts: collections.OrderedDict[str, ssl.SSLContext] = collections.OrderedDict()
        self._clients: dict[tuple[Site, str], http_client.Client] = {}

    async def client(self, account: Account) -> http_client.Client:
        """Return the client for an account's site and certificates.

        Raises: errors.InvalidRequest: caCertificate cannot be read.
        """
        key = (account.site, account.ca_pem)
        found = self._clients.get(key)
        if found is None:
            tls = await self._context(account.ca_pem) if account.site.scheme == "https" else None
            # Another Mount may have made it while the context was loaded.
            found = self._clients.get(key) or http_client.Client(
                account.site,
                tls,
                user_agent=self._user_agent,
                proxy=connection.proxy_for(account.site),
            )
            self._clients[key] = found
            self.sweep()
        return found

    async def _context(self, ca_pem: str) -> ssl.SSLContext:
        async with self._lock:
            while ca_pem not in self._contexts:
                trusted = self._trusted()
                made = await asyncio.to_thread(trust.context, trusted, ca_pem)
                # What was trusted may have changed, and `renew` cannot drop what is not here yet.
                if trusted == self._trusted():
                    self._contexts[ca_pem] = made
            if len(self._contexts) > _MOST_CONTEXTS:
                self._contexts.popitem(last=False)
            self._contexts.move_to_end(ca_pem)
            return self._contexts[ca_pem]

    def renew(self) -> None:
        """Trust the certificates anew: drop contexts and connections."""
        self._contexts.clear()
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def sweep(self) -> None:
        """Close idle connections; forget clients that nobody has used for a while."""
        by_use = sorted(self._clients.items(), key=lambda item: item[1].used_mono)
        for count, (key, client) in enumerate(by_use):
            client.sweep()
            crowded = len(by_use) - count > _MOST_CLIENTS
            if not client.busy and (crowded or client.unused_s() > _FORGET_S):
                client.close()
                del self._clients[key]

    def close(self) -> None:
        """Close every connection."""
        self.renew()

    @property
    def open_connections(self) -> int:
        """How many connections are kept idle."""
        return sum(client.idle for client in self._clients.values())
