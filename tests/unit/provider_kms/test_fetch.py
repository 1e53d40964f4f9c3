import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from provider_kms import (
    auth,
    budget,
    cluster,
    errors,
    fetch,
    metrics,
    offline,
    reads,
    settings,
)
from provider_kms.model import files
from tests.unit.provider_kms import store
from tests.unit.provider_kms.model.test_request import parse
from tests.unit.provider_kms.test_budget import Clock

REFUSED = errors.AccessTokenRefused(store.FOLDER.place(), errors.Answer(401, "UnauthorizedError"))


class Bench:
    """A fetcher over a stand-in store."""

    def __init__(self, *keys: str, **changes: Any) -> None:
        self.clock = Clock()
        self.store = store.Store(*(store.secret(key) for key in keys))
        self.metrics = metrics.Metrics()
        self.settings = settings.Settings(**changes)
        self.fetcher = fetch.Fetcher(
            lambda: self.settings,
            auth.Logins(self.store, lambda: 3600.0, self.metrics, clock=self.clock),
            reads.Reads(self.store, self.metrics, clock=self.clock),
            cluster.Cluster("", "test/1", environment={}),
            offline.Answers(self.clock),
            self.metrics,
            clock=self.clock,
        )

    async def volume(
        self, source: fetch.Source | None = None, **changes: str | None
    ) -> files.Volume:
        limits = budget.Budget(30, clock=self.clock)
        return await self.fetcher.volume(parse(**changes), limits, source or fetch.Source())

    @property
    def asked(self) -> list[str]:
        return [what for what, _ in self.store.asked]


async def test_a_volume_and_where_it_came_from() -> None:
    bench = Bench("A")
    source = fetch.Source()

    volume = await bench.volume(source)

    assert volume.versions == (("a", "id-A-/app-A-1"),)
    assert source == fetch.Source("kms.example.com", "new", None)
    await bench.volume(source)
    assert source.login == "kept"


async def test_a_stale_login_is_made_once_more() -> None:
    bench = Bench("A", cache_bound_s=0.0)
    await bench.volume()
    bench.store.failures["get"] = [REFUSED]
    source = fetch.Source()

    await bench.volume(source)

    assert bench.asked == ["login", "get", "get", "login", "get"]
    assert source.login == "renewed"


async def test_a_fresh_login_is_not() -> None:
    bench = Bench("A")
    bench.store.failures["get"] = [REFUSED]

    with pytest.raises(errors.AccessTokenRefused):
        await bench.volume()
    assert bench.asked == ["login", "get"]
    await bench.volume()
    assert bench.asked == ["login", "get", "login", "get"]


async def test_a_renewed_login_is_not() -> None:
    bench = Bench("A", cache_bound_s=0.0)
    await bench.volume()
    bench.store.failures["get"] = [REFUSED, REFUSED]

    with pytest.raises(errors.AccessTokenRefused):
        await bench.volume()
    assert bench.asked == ["login", "get", "get", "login", "get"]


async def test_other_servers_get_one_try_each_and_the_last_all(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench("A")
    bench.store.failures["login"] = [errors.KmsUnavailable("h", "down")] * 2
    source = fetch.Source()
    urls = "https://a.example.com,https://b.example.com,https://c.example.com"

    await bench.volume(source, kmsUrl=urls)

    assert source.site == "c.example.com"
    passed: list[Any] = [record.pairs for record in caplog.records]  # type: ignore[attr-defined]
    assert [(one["site"].host, one["next"].host) for one in passed] == [
        ("a.example.com", "b.example.com"),
        ("b.example.com", "c.example.com"),
    ]


async def test_a_server_that_was_down_comes_last_for_a_while() -> None:
    bench = Bench("A", cache_bound_s=0.0)
    bench.store.failures["login"] = [errors.KmsUnavailable("h", "down")]
    urls = "https://a.example.com,https://b.example.com"
    source = fetch.Source()
    await bench.volume(source, kmsUrl=urls)
    assert source.site == "b.example.com"

    await bench.volume(source, kmsUrl=urls)
    assert source.site == "b.example.com"
    bench.clock.now += fetch.DOWN_S + 1
    bench.fetcher.sweep()
    await bench.volume(source, kmsUrl=urls)

    assert source.site == "a.example.com"


async def test_a_server_that_took_all_the_time_comes_last_too() -> None:
    bench = Bench("A", cache_bound_s=0.0)
    bench.store.failures["login"] = [errors.KmsTooSlow("h")]
    urls = "https://a.example.com,https://b.example.com"
    with pytest.raises(errors.KmsTooSlow):
        await bench.volume(kmsUrl=urls)
    source = fetch.Source()

    await bench.volume(source, kmsUrl=urls)

    assert source.site == "b.example.com"


async def test_all_servers_down() -> None:
    bench = Bench("A")
    bench.store.failures["login"] = [errors.KmsUnavailable("h", "down")] * 2

    with pytest.raises(errors.KmsUnavailable):
        await bench.volume(kmsUrl="https://a.example.com,https://b.example.com")


async def test_a_stand_in_is_told() -> None:
    bench = Bench("A", cache_bound_s=0.0)
    await bench.volume(offlineGrace="1h")
    bench.clock.now += 60
    bench.store.failures["get"] = [errors.KmsUnavailable("h", "down")]
    source = fetch.Source()

    volume = await bench.volume(source, offlineGrace="1h")

    assert volume.versions == (("a", "id-A-/app-A-1-offline"),)
    assert source.offline_age_s == 60


@pytest.mark.parametrize(
    "failure",
    [
        errors.CertificateRefused("h", "expired"),
        errors.NotKmsAnswer("h", "HTML"),
        errors.RateLimited("h", 60.0),
    ],
)
async def test_other_failures_have_no_stand_in_and_leave_it(failure: errors.ProviderError) -> None:
    bench = Bench("A", cache_bound_s=0.0)
    await bench.volume(offlineGrace="1h")
    bench.store.failures["get"] = [failure, errors.KmsUnavailable("h", "down")]

    with pytest.raises(type(failure)):
        await bench.volume(offlineGrace="1h")
    assert (await bench.volume(offlineGrace="1h")).versions[0][1].endswith("-offline")


async def test_a_value_that_is_hidden_now_has_no_stand_in_later() -> None:
    bench = Bench("A", cache_bound_s=0.0)
    await bench.volume(offlineGrace="1h")
    bench.store.secrets["A"] = dataclasses.replace(store.secret("A"), value=None)
    with pytest.raises(errors.ValueHidden):
        await bench.volume(offlineGrace="1h")
    bench.store.failures["get"] = [errors.KmsUnavailable("h", "down")]

    with pytest.raises(errors.KmsUnavailable):
        await bench.volume(offlineGrace="1h")


async def test_keys_that_are_gone_have_no_stand_in_later() -> None:
    bench = Bench("A", cache_bound_s=0.0)
    parameters = {"offlineGrace": "1h", "secrets": "[{secretPath: /app, keys: 'A*'}]"}
    await bench.volume(**parameters)
    del bench.store.secrets["A"]
    with pytest.raises(errors.NothingMatched):
        await bench.volume(**parameters)
    bench.store.failures["list"] = [errors.KmsUnavailable("h", "down")]

    with pytest.raises(errors.KmsUnavailable):
        await bench.volume(**parameters)


async def test_no_token_is_made_without_the_flag() -> None:
    bench = Bench("A")

    with pytest.raises(errors.TokenAbsent, match="-allow-default-audience"):
        await bench.volume(useDefaultAudience="true")


async def test_patterns_are_served_too() -> None:
    bench = Bench("A", "B")

    volume = await bench.volume(secrets="[{secretPath: /app, keys: '*'}]")

    assert [file.path for file in volume.files] == ["A", "B"]


class Pods(cluster.Cluster):
    """Tells a pod that has no start."""

    async def pod(self, *_: Any) -> Mapping[str, Any]:
        return {}


async def test_a_pod_without_a_start_has_no_window() -> None:
    bench = Bench("A")
    bench.fetcher._cluster = Pods("", "test/1", environment={})

    with pytest.raises(errors.ClusterRefused, match="no start time"):
        await bench.volume(windowDuration="5m")
