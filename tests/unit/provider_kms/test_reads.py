import asyncio
from typing import Any

import pytest

from provider_kms import backend, budget, errors, metrics, reads, sealed
from provider_kms.model.files import Merged, Needs
from provider_kms.model.secret import Folder
from tests.unit.provider_kms import store
from tests.unit.provider_kms.store import FOLDER
from tests.unit.provider_kms.test_budget import Clock

REFUSED = errors.ReadRefused(FOLDER.place(), errors.Answer(403, "PermissionDenied"))
ABSENT = errors.SecretMissing(FOLDER.place(), errors.Answer(404, "SecretPathNotFound", "", "req-7"))


class Bench:
    """Reads over a stand-in store, with a clock."""

    def __init__(self, *keys: str) -> None:
        self.clock = Clock()
        self.store = store.Store(*(store.secret(key) for key in keys))
        self.metrics = metrics.Metrics()
        self.reads = reads.Reads(self.store, self.metrics, clock=self.clock)
        self.session = backend.Session(store.account(), sealed.Sealed("t"), 300.0)

    async def fetch(self, *keys: str, bound_s: float = 5.0, **more: Any) -> Merged:
        need = Needs(
            {key: key in more.get("optional", ()) for key in keys},
            more.get("everything", False),
            optional=set(keys) <= set(more.get("optional", ())),
        )
        session = more.get("session", self.session)
        found = await self.reads.fetch(session, {FOLDER: need}, bound_s, budget.Budget(9))
        return found[FOLDER]

    def count(self, source: str) -> float:
        name = "kms_provider_reads_total"
        return self.metrics.registry.get_sample_value(name, {"source": source}) or 0


async def test_one_key_is_read_singly() -> None:
    bench = Bench("A", "B")

    assert set(await bench.fetch("A")) == {("", "A")}
    assert bench.store.asked == [("get", "A")]


async def test_several_keys_are_listed() -> None:
    bench = Bench("A", "B", "C")

    assert {("", "A"), ("", "B")} <= set(await bench.fetch("A", "B"))
    assert bench.store.asked == [("list", "/app")]


async def test_folders_are_read_side_by_side() -> None:
    bench = Bench("A")
    barrier = asyncio.Barrier(2)
    bench.store.before = barrier.wait
    other = Folder("P", "prod", "/other")
    needs = {FOLDER: Needs({"A": False}, False, False), other: Needs({"A": False}, False, False)}

    found = await bench.reads.fetch(bench.session, needs, 5.0, budget.Budget(3))

    assert list(found) == [FOLDER, other]


async def test_what_was_read_is_believed_for_the_bound() -> None:
    bench = Bench("A", "B")
    await bench.fetch("A", "B")
    bench.clock.now += 4.9
    await bench.fetch("A", "B")
    assert len(bench.store.asked) == 1

    bench.clock.now += 0.2
    await bench.fetch("A", "B")

    assert len(bench.store.asked) == 2
    assert (bench.count("read"), bench.count("hit")) == (2, 1)


async def test_many_at_once_share() -> None:
    bench = Bench("A", "B")

    await asyncio.gather(*(bench.fetch("A", "B") for _ in range(10)))

    assert bench.store.asked == [("list", "/app")]
    assert (bench.count("read"), bench.count("joined")) == (1, 9)


async def test_another_login_reads_for_itself() -> None:
    bench = Bench("A")
    await bench.fetch("A")

    await bench.fetch("A", session=backend.Session(store.account(), sealed.Sealed("t"), 300.0))

    assert len(bench.store.asked) == 2


async def test_a_dropped_session_leaves_nothing() -> None:
    bench = Bench("A")
    await bench.fetch("A")
    bench.reads.drop(bench.session)

    await bench.fetch("A")

    assert len(bench.store.asked) == 2


@pytest.mark.parametrize("keys", [("A",), ("A", "B")])
async def test_unchanged_is_renewed(keys: tuple[str, ...]) -> None:
    bench = Bench("A", "B")
    bench.store.tagged = True
    first = await bench.fetch(*keys, bound_s=0.0)

    assert await bench.fetch(*keys, bound_s=0.0) == first
    assert (bench.count("read"), bench.count("unchanged")) == (1, 1)
    bench.store.secrets["A"] = store.secret("A", "new", 2)
    changed = await bench.fetch(*keys, bound_s=0.0)

    assert changed["", "A"].version == 2
    assert bench.count("read") == 2


async def test_what_failed_is_not_renewed() -> None:
    bench = Bench("A")
    bench.store.tagged = True
    await bench.fetch("A", bound_s=0.0)
    bench.store.failures["get"] = [REFUSED]
    with pytest.raises(errors.ReadRefused):
        await bench.fetch("A", bound_s=0.0)

    await bench.fetch("A", bound_s=0.0)

    assert bench.count("unchanged") == 0


async def test_a_folder_that_may_not_be_listed_is_read_singly_for_a_while() -> None:
    bench = Bench("A", "B")
    bench.store.failures["list"] = [REFUSED]

    assert set(await bench.fetch("A", "B", bound_s=0.0)) == {("", "A"), ("", "B")}
    await bench.fetch("A", "B", bound_s=0.0)
    assert [what for what, _ in bench.store.asked] == ["list", "get", "get", "get", "get"]

    bench.clock.now += reads.REFUSED_S + 1
    bench.reads.sweep(5.0)
    await bench.fetch("A", "B", bound_s=0.0)
    assert bench.store.asked[-1] == ("list", "/app")


async def test_a_list_too_large_is_read_singly() -> None:
    bench = Bench("A", "B")
    bench.store.failures["list"] = [errors.AnswerTooLarge("an answer", "more", 1, "")]

    assert set(await bench.fetch("A", "B")) == {("", "A"), ("", "B")}


async def test_a_pattern_needs_the_list() -> None:
    bench = Bench("A", "B")
    bench.store.failures["list"] = [REFUSED]

    with pytest.raises(errors.ReadRefused):
        await bench.fetch(everything=True)
    assert bench.store.asked == [("list", "/app")]


async def test_a_list_has_not_the_last_word_on_what_is_missing() -> None:
    bench = Bench("A", "B")

    with pytest.raises(errors.SecretMissing, match='key "C"'):
        await bench.fetch("A", "C")
    assert bench.store.asked == [("list", "/app"), ("get", "C")]


async def test_an_optional_key_may_be_missing() -> None:
    bench = Bench("A", "B")

    assert set(await bench.fetch("C", optional=("C",))) == set()
    found = await bench.fetch("A", "C", optional=("C",))
    assert ("", "C") not in found


async def test_an_optional_key_may_not_be_forbidden() -> None:
    bench = Bench("A")
    bench.store.failures["get"] = [REFUSED]

    with pytest.raises(errors.ReadRefused):
        await bench.fetch("C", optional=("C",))


async def test_a_missing_folder_names_the_first_required_key() -> None:
    bench = Bench()
    bench.store.failures["list"] = [ABSENT]

    with pytest.raises(errors.SecretMissing, match=r'key "B".*req-7'):
        await bench.fetch("A", "B", "C", optional=("A",))


async def test_an_optional_folder_may_be_missing() -> None:
    bench = Bench()
    bench.store.failures["list"] = [ABSENT]

    assert await bench.fetch("A", "B", optional=("A", "B")) == {}


async def test_what_is_missing_is_believed_too_and_raised_anew() -> None:
    bench = Bench()
    with pytest.raises(errors.SecretMissing) as first:
        await bench.fetch("A")

    with pytest.raises(errors.SecretMissing) as second:
        await bench.fetch("A")

    assert bench.store.asked == [("get", "A")]
    assert first.value is not second.value
    assert str(first.value) == str(second.value)


async def test_the_first_failure_ends_the_rest() -> None:
    bench = Bench("A")
    hang = asyncio.Event()
    other = Folder("P", "prod", "/other")

    async def before() -> None:
        if bench.store.asked[-1] == ("get", "A"):
            await hang.wait()

    bench.store.before = before
    needs = {FOLDER: Needs({"A": False}, False, False), other: Needs({"Z": False}, False, False)}

    with pytest.raises(errors.SecretMissing, match='path "/other"'):
        await bench.reads.fetch(bench.session, needs, 5.0, budget.Budget(9))


async def test_sweeping_tells_the_size() -> None:
    bench = Bench("A")
    await bench.fetch("A")

    bench.reads.sweep(5.0)
    assert (bench.metrics.registry.get_sample_value("kms_provider_cached_bytes") or 0) > 0
    bench.clock.now += 6
    bench.reads.sweep(5.0)

    assert bench.metrics.registry.get_sample_value("kms_provider_cached_bytes") == 0
