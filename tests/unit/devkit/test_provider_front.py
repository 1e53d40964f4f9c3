"""The little of HPACK that the relay reads and writes (RFC 7541)."""

import pytest

from devkit import provider_front

LOCALHOST = b"\x09localhost"


@pytest.mark.parametrize(
    ("block", "authority"),
    [
        pytest.param(b"\x41" + LOCALHOST, "localhost", id="remembered by the table"),
        pytest.param(b"\x01" + LOCALHOST, "localhost", id="not remembered"),
        pytest.param(b"\x11" + LOCALHOST, "localhost", id="never remembered"),
        pytest.param(b"\x40\x0a:authority" + LOCALHOST, "localhost", id="name spelled out"),
        pytest.param(b"\x86\x83\x41" + LOCALHOST, "localhost", id="behind indexed entries"),
        pytest.param(b"\x44\x02/a\x41" + LOCALHOST, "localhost", id="behind a known name"),
        pytest.param(b"\x40\x01n\x01v\x41" + LOCALHOST, "localhost", id="behind a new name"),
        pytest.param(b"\x3f\xe1\x1f\x41" + LOCALHOST, "localhost", id="behind a table size"),
        pytest.param(b"\xff\x80\x01\x41" + LOCALHOST, "localhost", id="behind a long index"),
        pytest.param(b"\xbe\x83", "", id="by reference"),
        pytest.param(b"", "", id="empty"),
        pytest.param(
            b"\x41\x86\xa0\xe4\x1d\x13\x9d\x09", provider_front.HUFFMAN_CODED, id="huffman"
        ),
    ],
)
def test_find_authority(block: bytes, authority: str) -> None:
    assert provider_front.find_authority(block) == authority


@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 254, 255, 400, 20000])
def test_a_literal_reads_back_at_any_length(size: int) -> None:
    # The name is the 1st entry's, so that our own reader finds it.
    written = provider_front.literal("x", "v" * size)
    assert written.startswith(b"\x00\x01x")
    assert provider_front.find_authority(b"\x01" + written[3:]) == "v" * size
