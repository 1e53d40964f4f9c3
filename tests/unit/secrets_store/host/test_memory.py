import gc
import weakref

from secrets_store.host import memory


class Node:
    """Something that only the collector of cycles can free."""

    def __init__(self) -> None:
        self.itself = self


def test_trimming_collects_cycles() -> None:
    gc.disable()
    try:
        alive = weakref.ref(Node())
        assert alive() is not None

        memory.trim()

        assert alive() is None
    finally:
        gc.enable()


def test_trimming_gives_pages_back() -> None:
    # Small pieces between which nothing is freed to the kernel by itself.
    pieces = [bytes(2000) for _ in range(20_000)]
    keep = pieces[::100]
    pieces.clear()
    before = resident_bytes()

    memory.trim()

    assert resident_bytes() < before - (10 << 20)
    assert len(keep) == 200


def resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096
