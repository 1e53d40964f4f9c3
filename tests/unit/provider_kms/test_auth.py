import asyncio

import pytest

from provider_kms import auth, budget, errors, metrics, sealed
from tests.unit.provider_kms import store
from tests.unit.provider_kms.test_budget import Clock


class Bench:
    """Logins over a stand-in store, with a clock."""

    def __init__(self, lifetime_s: float = 300.0, longest_s: float = 3600.0) -> None:
        self.clock = Clock()
        self.store = store.Store()
        self.store.lifetime_s = lifetime_s
        self.metrics = metrics.Metrics()
        self.proofs = 0
        self.logins = auth.Logins(self.store, lambda: longest_s, self.metrics, clock=self.clock)

    async def proof(self, limits: budget.Budget) -> sealed.Sealed[str]:
        self.proofs += 1
        return sealed.Sealed("jwt")

    async def session(self, holder: str = "front") -> tuple[int, bool]:
        account = store.account(holder)
        session, kept = await self.logins.session(account, self.proof, budget.Budget(9))
        return session.serial, kept

    @property
    def count(self) -> int:
        return len(self.store.asked)

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"kms_provider_{name}", labels)


async def test_one_login_for_all_who_may_share() -> None:
    bench = Bench()

    found = await asyncio.gather(*(bench.session() for _ in range(20)))

    assert len({serial for serial, _ in found}) == 1
    assert (bench.count, bench.proofs) == (1, 1)
    assert await bench.session() == (found[0][0], True)
    assert bench.value("login_reuses_total") == 1


async def test_accounts_do_not_share() -> None:
    bench = Bench()

    await asyncio.gather(bench.session("a"), bench.session("b"))

    assert sorted(bench.store.asked) == [("login", "a"), ("login", "b")]


@pytest.mark.parametrize(
    ("lifetime_s", "longest_s", "used_s"),
    [(300.0, 3600.0, 240.0), (0.0, 3600.0, 3600.0), (9999.0, 3600.0, 3600.0), (3.0, 99.0, 2.0)],
    ids=["80 percent", "no end", "longest use", "whole seconds"],
)
async def test_a_login_is_used_so_long(lifetime_s: float, longest_s: float, used_s: float) -> None:
    bench = Bench(lifetime_s, longest_s)
    await bench.session()

    bench.clock.now += used_s - 0.001
    await bench.session()
    assert bench.count == 1
    bench.clock.now += 0.002
    await bench.session()
    assert bench.count == 2


async def test_the_life_began_before_the_answer() -> None:
    bench = Bench(100.0)

    async def slow() -> None:
        bench.clock.now += 50

    bench.store.before = slow
    await bench.session()

    bench.clock.now += 31
    await bench.session()

    assert bench.count == 2


async def test_a_failure_is_not_kept() -> None:
    bench = Bench()
    answer = errors.Answer(401, "UnauthorizedError")
    bench.store.failures["login"] = [errors.LoginRefused("I", "kms", answer)]

    with pytest.raises(errors.LoginRefused):
        await bench.session()
    await bench.session()

    assert bench.value("logins_total", result="login_refused") == 1
    assert bench.value("logins_total", result="ok") == 1


REFUSED = errors.PodTokenRefused("I", "kms", errors.Answer(401, "KubernetesTokenReviewError"))
GONE = errors.ClusterRefused("useDefaultAudience (TokenRequest)", "the pod is gone")


@pytest.mark.parametrize("failure", [REFUSED, GONE])
async def test_a_token_that_is_refused_fails_no_other_pod(failure: errors.ProviderError) -> None:
    bench = Bench()
    bench.store.failures["login"] = [failure]

    first, *others = await asyncio.gather(
        *(bench.session() for _ in range(5)), return_exceptions=True
    )

    assert first is failure
    assert len(set(others)) == 1
    assert bench.count == 2


async def test_tokens_that_are_all_refused_are_tried_twice_for_all() -> None:
    bench = Bench()
    bench.store.failures["login"] = [REFUSED] * 9

    found = await asyncio.gather(*(bench.session() for _ in range(9)), return_exceptions=True)

    assert found == [REFUSED] * 9
    assert bench.count == 2


async def test_only_the_dropped_session_goes() -> None:
    bench = Bench()
    old, _ = await bench.logins.session(store.account(), bench.proof, budget.Budget(9))
    bench.logins.drop(old)
    new, _ = await bench.logins.session(store.account(), bench.proof, budget.Budget(9))

    bench.logins.drop(old)

    kept, is_kept = await bench.logins.session(store.account(), bench.proof, budget.Budget(9))
    assert (kept, is_kept) == (new, True)


async def test_sweeping_forgets_what_is_over_and_tells_ages() -> None:
    bench = Bench(100.0)
    await bench.session("a")
    bench.clock.now += 60
    await bench.session("b")
    bench.logins.sweep()
    assert (bench.value("tokens"), bench.value("token_age_seconds")) == (2, 60)

    bench.clock.now += 30
    bench.logins.sweep()

    assert (bench.value("tokens"), bench.value("token_age_seconds")) == (1, 30)


async def test_the_number_is_bounded() -> None:
    bench = Bench()

    for number in range(auth.MOST_LOGINS + 5):
        await bench.session(str(number))

    assert len(bench.logins) == auth.MOST_LOGINS
