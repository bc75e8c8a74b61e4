"""Decoding of response bodies: piece by piece, complete or an error, and only as far as requested."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.net.http.decoder import STEP, decoder_of

BODY = b"open,high,low,close\n" + b"".join(b"%d,2,3,4\n" % n for n in range(500))


def bare(body: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(body) + packer.flush()


PACKED = {
    "gzip": ("gzip", gzip.compress(BODY)),
    "members": ("x-gzip", gzip.compress(BODY[:700]) + gzip.compress(BODY[700:])),
    "padded": ("gzip", gzip.compress(BODY) + b"\0" * 40),
    "wrapped deflate": ("deflate", zlib.compress(BODY)),
    "bare deflate": ("Deflate ", bare(BODY)),
    "nothing": ("", BODY),
    "identity": ("identity", BODY),
}


def decoded(coding: str, pieces: list[bytes]) -> bytes:
    decode = decoder_of(coding)
    assert decode is not None
    return b"".join(part for piece in [*filter(None, pieces), b""] for part in decode(piece))


@pytest.mark.parametrize("name", PACKED)
def test_a_compressed_body_is_decoded_from_pieces_of_any_size(name: str) -> None:
    coding, packed = PACKED[name]

    @settings(derandomize=True, max_examples=30, database=None, deadline=None)
    @given(st.integers(1, 40), st.integers(1, 900))
    def cut(first: int, size: int) -> None:
        rest = packed[first:]
        pieces = [packed[:first], *(rest[i : i + size] for i in range(0, len(rest), size))]
        assert decoded(coding, pieces) == BODY

    cut()
    assert decoded(coding, [bytes([byte]) for byte in packed]) == BODY


@pytest.mark.parametrize("name", ["gzip", "members", "wrapped deflate", "bare deflate"])
@pytest.mark.parametrize("share", [0.3, 0.99])
def test_a_truncated_compressed_body_is_an_error(name: str, share: float) -> None:
    coding, packed = PACKED[name]
    with pytest.raises(zlib.error):
        decoded(coding, [packed[: int(len(packed) * share)]])


def test_the_decoder_inflates_no_more_than_is_read() -> None:
    bomb = gzip.compress(b"0" * 8_000_000)
    decode = decoder_of("gzip")
    assert decode is not None
    tracemalloc.start()
    try:
        parts = decode(bomb)
        assert len(next(parts)) == STEP
        assert len(next(parts)) == STEP
        assert tracemalloc.get_traced_memory()[1] < 4 * STEP
    finally:
        tracemalloc.stop()
    assert sum(map(len, parts)) == 8_000_000 - 2 * STEP


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "compress", "x" * 1000])
def test_a_content_coding_that_was_not_requested_is_not_decoded(coding: str) -> None:
    assert decoder_of(coding) is None


def test_an_empty_compressed_body_is_accepted() -> None:
    assert decoded("gzip", []) == b""
