import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from provider_kms import backend, budget, errors, metrics
from provider_kms.http1 import client as http_client
from provider_kms.http1 import connection
from provider_kms.kms import caller
from tests.unit.provider_kms import store
from tests.unit.provider_kms.test_budget import Clock

ASK = http_client.Request("GET", "/x", {})


def answer(status: int, body: bytes = b"{}", **headers: str) -> http_client.Response:
    return http_client.Response(status, {k.replace("_", "-"): v for k, v in headers.items()}, body)


def refusal(status: int, error: str) -> http_client.Response:
    return answer(status, f'{{"error": "{error}", "reqId": "req-1"}}'.encode())


class Bench:
    """A caller over scripted exchanges, with a clock that waiting moves."""

    def __init__(self, *script: Any, chance: float = 1.0) -> None:
        self.clock = Clock()
        self.script = list(script)
        self.waits: list[float] = []
        self.timeouts: list[float] = []
        self.joins: Callable[[], None] = lambda: None
        self.metrics = metrics.Metrics()
        self.caller = caller.Caller(
            self,
            self.metrics,
            clock=self.clock,
            sleep=self.sleep,
            chance=lambda: chance,
        )

    async def sleep(self, seconds: float) -> None:
        self.waits.append(round(seconds, 3))
        self.clock.now += seconds

    async def client(self, account: backend.Account) -> Any:
        return self

    async def exchange(
        self, request: http_client.Request, timeout_s: float
    ) -> http_client.Response:
        self.timeouts.append(timeout_s)
        self.joins()
        step = self.script.pop(0)
        if isinstance(step, TimeoutError):
            self.clock.now += timeout_s
        if isinstance(step, BaseException):
            raise step
        assert isinstance(step, http_client.Response)
        return step

    async def call(
        self, route: str = caller.GET, seconds: float = 30.0, retries: int = 3
    ) -> http_client.Response:
        limits = budget.Budget(seconds, retries=retries, clock=self.clock)
        return await self.caller(route, store.account(), ASK, limits, ())

    def requests(self, code: str, route: str = caller.GET) -> float | None:
        labels = {"route": route, "code": code}
        name = "kms_provider_requests_total"
        return self.metrics.registry.get_sample_value(name, labels)


@contextlib.contextmanager
def refused(kind: type[errors.ProviderError], text: str = "") -> Iterator[Any]:
    with pytest.raises(kind) as caught:
        yield caught
    assert text in str(caught.value)


@pytest.mark.parametrize("status", [200, 304, 401, 403, 404, 422])
async def test_final_answers_come_back(status: int) -> None:
    bench = Bench(answer(status))

    assert (await bench.call()).status == status
    assert bench.requests(str(status)) == 1


async def test_waits_grow_with_full_jitter_and_are_bounded() -> None:
    bench = Bench(*[answer(503)] * 7)

    with refused(errors.KmsUnavailable, "after 7 tries"):
        await bench.call(seconds=100, retries=6)

    assert bench.waits == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    half = Bench(*[answer(503)] * 4, chance=0.5)
    with refused(errors.KmsUnavailable):
        await half.call()
    assert half.waits == [0.25, 0.5, 1.0]


@pytest.mark.parametrize(
    "fault",
    [
        connection.Unreachable("no connection: refused"),
        http_client.Broken("the answer was cut off"),
        answer(500),
        answer(502),
        answer(504),
        refusal(500, "InternalServerError"),
    ],
)
async def test_passing_faults_are_tried_again(fault: Any) -> None:
    bench = Bench(fault, answer(200))

    assert (await bench.call()).status == 200
    assert bench.waits == [0.5]


async def test_without_retries_the_first_fault_counts() -> None:
    bench = Bench(answer(503))

    with refused(errors.KmsUnavailable, "503"):
        await bench.call(retries=0)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (connection.CertificateRefused("expired"), errors.CertificateRefused),
        (http_client.TooLarge(), errors.AnswerTooLarge),
        (connection.Unreachable("no such name", final=True), errors.KmsUnavailable),
    ],
)
async def test_lasting_faults_are_not(fault: Any, kind: type[errors.ProviderError]) -> None:
    bench = Bench(fault)

    with refused(kind):
        await bench.call()
    assert bench.waits == []


async def test_a_wait_that_does_not_fit_is_not_begun() -> None:
    bench = Bench(*[answer(503)] * 4)

    with refused(errors.KmsUnavailable, "after 3 tries"):
        await bench.call(seconds=2.0)
    assert bench.waits == [0.5, 1.0]


async def test_exchanges_get_what_time_is_left() -> None:
    bench = Bench(answer(503), answer(200))

    await bench.call(seconds=10.0)

    assert bench.timeouts == [10.0, 9.5]


async def test_time_that_runs_out_is_its_own_failure() -> None:
    with refused(errors.KmsTooSlow, "kms.example.com"):
        await Bench(TimeoutError()).call()


async def test_time_that_was_added_meanwhile_is_used() -> None:
    bench = Bench(TimeoutError(), answer(200))
    limits = budget.Budget(3.0, retries=0, clock=bench.clock)
    patient = budget.Budget(10.0, clock=bench.clock)
    bench.joins = lambda: limits.grow(patient)

    assert (await bench.caller(caller.GET, store.account(), ASK, limits, ())).status == 200
    assert bench.timeouts == [3.0, 7.0]


async def test_unless_something_went_wrong_before() -> None:
    with refused(errors.KmsUnavailable, "503"):
        await Bench(answer(503), TimeoutError()).call()


class TestLimits:
    async def test_a_named_time_is_waited_for(self) -> None:
        bench = Bench(answer(429, retry_after="7"), answer(200), chance=0.0)

        await bench.call()

        assert bench.waits == [7.0]

    async def test_and_a_little_longer_so_that_not_all_come_at_once(self) -> None:
        bench = Bench(answer(429, retry_after="7"), answer(200), chance=1.0)

        await bench.call()

        assert bench.waits == [7.25]

    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({}, 60),
            ({"retry_after": "31"}, 31),
            ({"retry_after": "31", "x_ratelimit_reset": "99"}, 31),
            ({"x_ratelimit_reset": "45"}, 45),
            ({"retry_after": "soon"}, 60),
            ({"retry_after": "-5"}, 60),
            ({"retry_after": "9" * 30}, 3600),
            ({"retry_after": "Fri, 01 Jan 2100 00:00:00 GMT"}, 3600),
        ],
    )
    async def test_a_time_that_does_not_fit_fails_at_once(
        self, headers: dict[str, str], seconds: float
    ) -> None:
        bench = Bench(answer(429, **headers))

        with refused(errors.RateLimited) as caught:
            await bench.call(seconds=30)
        assert caught.value.retry_after_s == seconds
        assert bench.waits == []

    @pytest.mark.parametrize("year", [2001, 2100], ids=["clock behind", "clock ahead"])
    async def test_a_date_is_read_by_the_servers_own_clock(self, year: int) -> None:
        then = {"retry_after": f"Sat, 01 Jan {year} 00:00:07 GMT"}
        bench = Bench(
            answer(429, date=f"Sat, 01 Jan {year} 00:00:00 GMT", **then), answer(200), chance=0.0
        )

        await bench.call()

        assert bench.waits == [7.0]

    async def test_is_shared_by_all_who_ask_for_the_same(self) -> None:
        bench = Bench(answer(429, retry_after="40"), answer(200))
        with refused(errors.RateLimited):
            await bench.call()
        bench.clock.now += 30

        with refused(errors.RateLimited) as caught:
            await bench.call(caller.LIST, seconds=5)
        assert caught.value.retry_after_s == pytest.approx(10)
        assert (await bench.call(caller.LOGIN)).status == 200

    async def test_ends(self) -> None:
        bench = Bench(answer(429, retry_after="40"), answer(200))
        with refused(errors.RateLimited):
            await bench.call()

        bench.clock.now += 41
        bench.caller.sweep()

        assert (await bench.call()).status == 200
        assert bench.waits == []

    async def test_counts_as_a_try(self) -> None:
        bench = Bench(*[answer(429, retry_after="0")] * 4)

        with refused(errors.RateLimited):
            await bench.call()
        assert bench.script == []

    async def test_a_server_that_names_a_time_is_believed(self) -> None:
        bench = Bench(answer(503, retry_after="3"), answer(200))

        await bench.call()

        assert bench.waits == [3.0]

    async def test_a_time_too_long_is_passed_on(self) -> None:
        bench = Bench(answer(503, retry_after="300"))

        with refused(errors.KmsUnavailable) as caught:
            await bench.call()
        assert caught.value.retry_after_s == 300


class TestLogins:
    @pytest.mark.parametrize(
        "error",
        [
            "KubernetesConnectionRefused",
            "KubernetesHostNotFound",
            "KubernetesConnectionTimeout",
            "GatewayConnectionError",
        ],
    )
    async def test_a_kms_cut_off_from_the_cluster(self, error: str) -> None:
        bench = Bench(*[refusal(400, error)] * 4)

        with refused(errors.KmsUnavailable, error) as caught:
            await bench.call(caller.LOGIN)
        assert caught.value.request_id == "req-1"

    @pytest.mark.parametrize("error", ["KubernetesUsernameParseError", "BadRequest", "Refused"])
    async def test_other_400s_are_final(self, error: str) -> None:
        assert (await Bench(refusal(400, error)).call(caller.LOGIN)).status == 400

    async def test_a_400_of_a_read_is_final(self) -> None:
        bench = Bench(refusal(400, "KubernetesConnectionRefused"))

        assert (await bench.call(caller.GET)).status == 400


async def test_metrics_of_faults() -> None:
    bench = Bench(connection.Unreachable("x"), http_client.Broken("x"), answer(200))

    await bench.call()

    assert [bench.requests(code) for code in ("unreachable", "broken", "200")] == [1, 1, 1]
