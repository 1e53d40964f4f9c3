from provider_kms import cache
from tests.unit.provider_kms.test_budget import Clock


def test_a_value_is_believed_for_the_bound() -> None:
    clock = Clock()
    kept = cache.Cache(clock)
    kept.put((1, "a"), "value", "", 10, clock.now)

    clock.now += 4.9
    assert kept.fresh((1, "a"), 5.0) == "value"
    assert kept.fresh((1, "a"), 1.0) is None
    clock.now += 0.1
    assert kept.fresh((1, "a"), 5.0) is None
    assert kept.fresh((2, "a"), 5.0) is None


def test_a_bound_of_nothing_believes_nothing() -> None:
    clock = Clock()
    kept = cache.Cache(clock)
    kept.put((1, "a"), "value", "", 10, clock.now)

    assert kept.fresh((1, "a"), 0.0) is None


def test_only_what_has_an_etag_can_be_renewed() -> None:
    kept = cache.Cache()
    kept.put((1, "a"), "value", '"e"', 10, 0.0)
    kept.put((1, "b"), "value", "", 10, 0.0)

    assert kept.validated((1, "a")) == ("value", '"e"')
    assert kept.validated((1, "b")) == (None, "")
    assert kept.validated((1, "c")) == (None, "")


def test_sizes_add_up() -> None:
    kept = cache.Cache()
    kept.put((1, "a"), "x", "", 10, 0.0)
    kept.put((1, "a"), "y", "", 20, 0.0)
    kept.put((2, "a"), "z", "", 5, 0.0)
    assert kept.size_bytes == 25

    kept.drop(1)
    assert (kept.size_bytes, len(kept)) == (5, 1)
    kept.forget((9, "none"))
    kept.forget((2, "a"))
    assert kept.size_bytes == 0


def test_the_oldest_makes_room() -> None:
    kept = cache.Cache()
    third = cache.MOST_BYTES // 3
    for number in range(4):
        kept.put((number,), number, "", third, 0.0)

    assert [kept.fresh((number,), 1e99) for number in range(4)] == [None, 1, 2, 3]
    assert kept.size_bytes <= cache.MOST_BYTES


def test_what_would_fill_half_is_not_kept() -> None:
    kept = cache.Cache()
    kept.put((1,), "old", "", 10, 0.0)

    kept.put((1,), "huge", "", cache.MOST_BYTES // 2 + 1, 0.0)

    assert len(kept) == 0


def test_sweeping() -> None:
    clock = Clock()
    kept = cache.Cache(clock)
    kept.put((1, "plain"), "x", "", 1, clock.now)
    kept.put((1, "tagged"), "x", "e", 1, clock.now)

    clock.now += 5.0
    kept.sweep(5.0)
    assert len(kept) == 2
    clock.now += 0.1
    kept.sweep(5.0)
    assert kept.validated((1, "tagged"))[1] == "e"
    assert len(kept) == 1
    clock.now += cache.TAGGED_S
    kept.sweep(5.0)
    assert len(kept) == 0
