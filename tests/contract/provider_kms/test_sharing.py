"""Logins and reads that many share, and those that nobody may share."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from devkit.kms import faults, identities
from tests.contract.provider_kms.stage import APP, DB, GET, LIST, LOGIN, SEED, Stage, contents

Code = grpc.StatusCode
FIVE = [
    {"secretPath": "/five", "secretKey": f"KEY_{number}", "fileName": f"key-{number}"}
    for number in range(5)
]


def fill(stage: Stage) -> None:
    for number in range(5):
        stage.kms.world.set_secret("P", "prod", "/five", f"KEY_{number}", f"value {number}")


async def storm(stage: Stage, count: int = 110, accounts: int = 10) -> list[Any]:
    return await asyncio.gather(
        *(
            stage.mount(*FIVE, account=f"front-{number % accounts}", pod=f"pod-{number}")
            for number in range(count)
        )
    )


@pytest.mark.timeout(20)
async def test_a_storm_costs_one_login_and_one_list_an_account(
    stage_of: Callable[..., Any], kms_at: Callable[..., Any]
) -> None:
    stage = await stage_of(kms_at(delay_s=0.02))
    fill(stage)

    answers = await storm(stage)

    expected = {f"key-{number}": f"value {number}".encode() for number in range(5)}
    assert [contents(answer) for answer in answers] == [expected] * 110
    assert stage.count(LOGIN) == 10
    assert stage.count(LIST) == 10
    assert stage.count(GET) == 0
    assert stage.kms.connections_accepted <= 12

    stage.kms.requests.clear()
    await storm(stage)

    assert stage.count(LOGIN) == 0
    assert stage.count(LIST) <= 10


async def test_within_the_bound_nothing_is_asked(stage_of: Callable[..., Any]) -> None:
    stage = await stage_of(cache_bound_s=60.0, refresh_bound_s=60.0)
    await stage.mount(DB)
    stage.kms.requests.clear()

    await stage.mount(DB)
    await stage.mount(DB, versions={"dbPassword": "s1-/-DB_PASSWORD-3"})

    assert stage.asked() == []


async def test_a_refresh_believes_less(stage_of: Callable[..., Any]) -> None:
    stage = await stage_of(cache_bound_s=60.0, refresh_bound_s=0.0)
    first = await stage.mount(DB)
    stage.kms.world.set_secret("P", "prod", "/", "DB_PASSWORD", "changed")
    known = {entry.id: entry.version for entry in first.object_version}

    assert contents(await stage.mount(DB)) == {"dbPassword": b"hunter2"}
    assert contents(await stage.mount(DB, versions=known)) == {"dbPassword": b"changed"}


@pytest.mark.parametrize("items", [[DB], FIVE], ids=["single", "list"])
async def test_an_unchanged_answer_is_not_sent_again(
    stage_of: Callable[..., Any], items: list[dict[str, str]]
) -> None:
    stage = await stage_of(cache_bound_s=0.0)
    fill(stage)
    first = await stage.mount(*items)
    stage.kms.requests.clear()

    second = await stage.mount(*items)

    assert second == first
    assert [word.split()[1] for word in stage.asked()] == ["304"]


async def test_single_flight_ends_with_the_last_who_waits(stage: Stage) -> None:
    stage.fail(faults.delay(0.3), LOGIN)
    hasty = stage.stub.Mount(stage.request(DB), timeout=0.2)
    patient = stage.stub.Mount(stage.request(DB, pod="front-2"), timeout=4.0)

    assert await hasty.code() is Code.DEADLINE_EXCEEDED
    assert contents(await patient) == {"dbPassword": b"hunter2"}
    assert stage.asked() == ["LOGIN 200", "GET 200"]


async def test_who_joins_late_has_his_own_time(stage: Stage) -> None:
    stage.fail(faults.delay(5.0), LOGIN)
    hasty = stage.stub.Mount(stage.request(DB), timeout=0.8)
    await asyncio.to_thread(stage.kms.requests.wait_for, LOGIN, 1)

    patient = stage.stub.Mount(stage.request(DB, pod="front-2"), timeout=10.0)

    assert contents(await patient) == {"dbPassword": b"hunter2"}
    await hasty.code()
    assert stage.asked() == ["LOGIN 0", "LOGIN 200", "GET 200"]


async def test_a_login_serves_most_of_its_life(
    stage_of: Callable[..., Any], kms_at: Callable[..., Any]
) -> None:
    kms = kms_at(SEED.replace("accessTokenTTL: 300", "accessTokenTTL: 2"))
    stage = await stage_of(kms, cache_bound_s=0.0)
    began = time.monotonic()
    logins = []
    while time.monotonic() - began < 1.8:
        await stage.mount(DB)
        logins.append(stage.count(LOGIN))
        await asyncio.sleep(0.1)

    # Made anew after a second, since the server counts in whole ones: neither once a Mount nor
    # only when it is refused.
    assert logins[-1] == 2
    assert "GET 403" not in stage.asked()


async def test_a_login_is_never_renewed(
    stage_of: Callable[..., Any], kms_at: Callable[..., Any]
) -> None:
    seed = SEED.replace("accessTokenMaxTTL: 0", "accessTokenMaxTTL: 300")
    stage = await stage_of(kms_at(seed), cache_bound_s=0.0, login_max_age_s=1.0)

    for _ in range(3):
        await stage.mount(DB)
        await asyncio.sleep(0.6)

    assert "POST /api/v1/auth/token/renew" not in stage.kms.requests.counts()
    assert stage.count(LOGIN) == 2


async def test_a_login_with_a_use_limit(
    stage_of: Callable[..., Any], kms_at: Callable[..., Any]
) -> None:
    stage = await stage_of(kms_at(SEED + "    accessTokenNumUsesLimit: 2\n"), cache_bound_s=0.0)

    for _ in range(5):
        assert contents(await stage.mount(DB)) == {"dbPassword": b"hunter2"}

    assert stage.count(LOGIN) == 3


@pytest.mark.parametrize("way", ["revoke_all", "expire_all"])
async def test_many_who_share_a_dead_token_log_in_once(
    stage_of: Callable[..., Any], way: str
) -> None:
    stage = await stage_of(cache_bound_s=0.0)
    await stage.mount(DB)
    with stage.kms.world.lock:
        getattr(stage.kms.tokens, way)()
    stage.kms.requests.clear()

    answers = await asyncio.gather(*(stage.mount(DB, pod=f"p{n}") for n in range(20)))

    assert {contents(answer)["dbPassword"] for answer in answers} == {b"hunter2"}
    assert stage.count(LOGIN) == 1


async def test_a_denied_account_gets_nothing_from_a_warm_cache(
    stage_of: Callable[..., Any],
) -> None:
    stage = await stage_of(cache_bound_s=60.0)
    await stage.mount(DB, APP)

    error = await stage.refused(DB, APP, account="intruder")

    assert error.code() is Code.PERMISSION_DENIED


async def test_a_token_of_another_account_opens_no_door(stage_of: Callable[..., Any]) -> None:
    stage = await stage_of(cache_bound_s=60.0)
    await stage.mount(DB)
    stolen = stage.pod_token("intruder")

    error = await stage.refused(DB, account="front", token=stolen)

    assert error.code() is Code.PERMISSION_DENIED


async def test_a_token_that_says_nothing_is_shared_with_itself_only(
    stage_of: Callable[..., Any],
) -> None:
    stage = await stage_of(cache_bound_s=60.0)
    await stage.mount(DB)
    stage.kms.requests.clear()

    error = await stage.refused(DB, token="opaque")

    assert error.code() is Code.UNAUTHENTICATED
    assert stage.asked() == ["LOGIN 401"]


async def test_identities_do_not_share(stage_of: Callable[..., Any]) -> None:
    stage = await stage_of(cache_bound_s=60.0)
    auth = identities.KubernetesAuth(allowed_audience="kms")
    rules = {"P": (identities.Rule(path="/app"),)}
    stage.kms.world.add_identity(identities.Identity(id="narrow", kubernetes=auth, projects=rules))
    await stage.mount(DB)

    error = await stage.refused(DB, identityId="narrow")

    assert error.code() is Code.PERMISSION_DENIED
    assert contents(await stage.mount(APP, identityId="narrow")) == {"appSecret": b"line1\nline2\n"}


async def test_a_class_without_the_authority_does_not_use_its_connection(
    stage_of: Callable[..., Any],
) -> None:
    stage = await stage_of(cache_bound_s=60.0)
    await stage.mount(DB)

    error = await stage.refused(DB, caCertificate=None)

    assert "certificate is refused" in error.details()


async def test_a_revoked_identity_loses_access_at_the_next_interval(
    stage_of: Callable[..., Any],
) -> None:
    stage = await stage_of(cache_bound_s=0.2)
    await stage.mount(DB)
    stage.kms.world.remove_identity("I")

    await asyncio.sleep(0.25)
    error = await stage.refused(DB)

    assert error.code() is Code.NOT_FOUND
    assert 'identity "I"' in error.details()


async def test_rights_that_are_taken_away_count_at_the_next_interval(
    stage_of: Callable[..., Any],
) -> None:
    stage = await stage_of(cache_bound_s=0.2)
    await stage.mount(DB)
    stage.kms.world.change_identity("I", projects={"P": (identities.Rule(path="/app"),)})

    await asyncio.sleep(0.25)
    error = await stage.refused(DB)

    assert error.code() is Code.PERMISSION_DENIED


class TestFolderThatMayNotBeListed:
    """The identity reads two keys of a folder that holds a third, which it may only describe."""

    @pytest.fixture
    async def stage(self, stage_of: Callable[..., Any]) -> Stage:
        stage: Stage = await stage_of(cache_bound_s=0.0)
        fill(stage)
        rules = (
            identities.Rule(path="/five", key="KEY_0"),
            identities.Rule(path="/five", key="KEY_1"),
            identities.Rule(actions=frozenset({"describe"}), path="/five"),
        )
        stage.kms.world.change_identity("I", projects={"P": rules})
        return stage

    async def test_is_read_singly(self, stage: Stage) -> None:
        answer = await stage.mount(*FIVE[:2])

        assert contents(answer) == {"key-0": b"value 0", "key-1": b"value 1"}
        assert stage.asked() == ["LOGIN 200", "LIST 403", "GET 200", "GET 200"]

    async def test_is_not_listed_again(self, stage: Stage) -> None:
        await stage.mount(*FIVE[:2])
        stage.kms.requests.clear()

        await stage.mount(*FIVE[:2])

        assert stage.asked() == ["GET 304", "GET 304"]

    async def test_still_refuses_the_third(self, stage: Stage) -> None:
        error = await stage.refused(*FIVE[:3])

        assert error.code() is Code.PERMISSION_DENIED
        assert '"KEY_2"' in error.details()

    async def test_cannot_serve_a_pattern(self, stage: Stage) -> None:
        error = await stage.refused({"secretPath": "/five", "keys": "*"})

        assert error.code() is Code.PERMISSION_DENIED
        assert '"/five"' in error.details()


async def test_what_a_list_leaves_out_is_asked_for_singly(stage: Stage) -> None:
    fill(stage)
    rules = tuple(identities.Rule(path="/five", key=f"KEY_{number}") for number in (0, 1))
    stage.kms.world.change_identity("I", projects={"P": rules})

    error = await stage.refused(*FIVE[:3])

    assert error.code() is Code.PERMISSION_DENIED
    assert '"KEY_2"' in error.details()
    assert stage.asked() == ["LOGIN 200", "LIST 200", "GET 403"]
