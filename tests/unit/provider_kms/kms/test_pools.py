import asyncio

import pytest

from devkit.kms import tls
from provider_kms import errors
from provider_kms.kms import pools
from provider_kms.model import site
from tests.unit.provider_kms import store

HTTP = site.Site("http", "127.0.0.1", 1, "/api")


async def test_one_client_for_equal_site_and_certificates() -> None:
    made = pools.Pools("test/1")

    found = await asyncio.gather(*(made.client(store.account(str(n))) for n in range(5)))

    assert len({id(one) for one in found}) == 1


async def test_certificates_keep_connections_apart() -> None:
    made = pools.Pools("test/1")
    ca_pem = tls.Authority().certificate_pem

    assert await made.client(store.account()) is not await made.client(store.account(ca_pem=ca_pem))


async def test_certificates_that_cannot_be_read() -> None:
    with pytest.raises(errors.InvalidRequest, match="caCertificate"):
        await pools.Pools("test/1").client(store.account(ca_pem="x"))


async def test_plain_http_has_no_context() -> None:
    asked = []
    made = pools.Pools("test/1", lambda: asked.append(1) or "")  # type: ignore[func-returns-value]

    await made.client(store.account(site=HTTP))

    assert asked == []


async def test_renewing_makes_clients_anew() -> None:
    trusted = [""]
    made = pools.Pools("test/1", lambda: trusted[0])
    first = await made.client(store.account())
    trusted[0] = tls.Authority().certificate_pem

    made.renew()

    assert await made.client(store.account()) is not first


async def test_what_changes_while_it_is_loaded_counts() -> None:
    old, new = tls.Authority("old").certificate_pem, tls.Authority("new").certificate_pem
    trusted = [old]
    made = pools.Pools("test/1", lambda: trusted[0])
    loading = asyncio.ensure_future(made.client(store.account()))
    await asyncio.sleep(0)
    trusted[0] = new
    made.renew()
    await loading

    await made.client(store.account())

    names = [cert["subject"] for cert in made._contexts[""].get_ca_certs()]
    assert ((("commonName", "new"),),) in names
    assert ((("commonName", "old"),),) not in names


async def test_the_number_of_clients_is_bounded() -> None:
    made = pools.Pools("test/1")
    sites = [site.Site("http", "127.0.0.1", port, "/api") for port in range(1, 201)]

    for one in sites:
        await made.client(store.account(site=one))

    first, last = store.account(site=sites[0]), store.account(site=sites[-1])
    newest = await made.client(last)
    assert await made.client(last) is newest
    assert len(made._clients) <= 65
    assert (sites[0], "") not in made._clients
    await made.client(first)
    assert made.open_connections == 0
