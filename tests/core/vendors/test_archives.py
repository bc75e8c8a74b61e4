from __future__ import annotations

import hashlib
import io
import zipfile
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.model.market.bars import BarTable
from src.data.core.model.request.capabilities import Capabilities
from src.data.core.model.request.http import HttpResponse
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, iso, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.vendors.archives import Archive, chunk_end, fetch_month, pieces
from src.data.errors import ResponseFormatError
from tests.core.cache.counts import examples

NOW = parse_iso("2024-06-12T15:00:00")
CAPS = Capabilities(frozenset(), {}, page_bars=1000, archive_days=10)
MINUTES = Timeframe.parse("1m")


def cut(start: str, end: str, label: str = "1m", caps: Capabilities = CAPS) -> list[str]:
    span = Span(parse_iso(start), parse_iso(end))
    found = pieces(span, Timeframe.parse(label), caps, NOW)
    return [f"{iso(p.span.start)[:10]} {'month' if p.is_archived else 'pages'}" for p in found]


def test_whole_months_are_fetched_from_the_archive_and_the_rest_in_pages() -> None:
    assert cut("2023-11-15", "2024-02-10") == [
        "2023-11-15 pages", "2023-12-01 month", "2024-01-01 month", "2024-02-01 pages",
    ]  # fmt: skip
    assert cut("2024-02-01", "2024-03-01") == ["2024-02-01 month"]
    assert cut("2024-02-01T00:01", "2024-03-01") == ["2024-02-01 pages"]
    assert cut("2024-02-01", "2024-02-29T23:59") == ["2024-02-01 pages"]
    assert cut("2024-02-01", "2024-02-01") == []


def test_a_month_is_in_the_archive_some_days_after_its_end() -> None:
    assert cut("2024-05-01", "2024-06-12")[0] == "2024-05-01 month"
    late = Capabilities(frozenset(), {}, page_bars=1000, archive_days=13)
    assert cut("2024-05-01", "2024-06-12", caps=late) == ["2024-05-01 pages"]


@pytest.mark.parametrize(
    "label, pays",
    [("1m", True), ("5m", True), ("15m", True), ("30m", False), ("1h", False), ("1d", False)],
)
def test_monthly_archives_are_used_if_pages_need_more_requests(label: str, pays: object) -> None:
    assert ("month" in cut("2024-02-01", "2024-03-01", label)[0]) == pays


def test_a_vendor_without_an_archive_is_queried_in_pages() -> None:
    none = Capabilities(frozenset(), {}, page_bars=1000)
    assert cut("2024-01-01", "2024-04-01", caps=none) == ["2024-01-01 pages"]


# Start of the span, days of a chunk, and end of the first chunk.
@pytest.mark.parametrize("start, days, end", [
    ("2024-01-20", 5, "2024-01-25"), ("2024-01-20", 14, "2024-02-01"),
    ("2024-02-01", 5, "2024-03-01"), ("2024-01-01", 61, "2024-03-01"),
    ("2024-01-01", 60, "2024-03-01"), ("2024-01-01", 59, "2024-02-01"),
    ("2024-06-01", 5, "2024-06-06"), ("2024-06-10", 5, "2024-06-12"),
])  # fmt: skip
def test_a_chunk_ends_at_the_end_of_a_month(start: str, days: int, end: str) -> None:
    span = Span(parse_iso(start), parse_iso("2024-06-12"))
    assert iso(chunk_end(span, days * DAY_MS, MINUTES, CAPS, NOW))[:10] == end


@settings(max_examples=examples(60), derandomize=True, deadline=None)
@given(st.integers(0, 40_000), st.integers(1, 30_000), st.integers(1, 4_000))
def test_pieces_and_chunks_cover_the_span_exactly(start: int, length: int, most: int) -> None:
    begin = parse_iso("2019-01-01") + start * HOUR_MS
    span = Span(begin, begin + length * HOUR_MS)
    found = pieces(span, MINUTES, CAPS, NOW)
    assert [p.span.start for p in found] == [span.start, *(p.span.end for p in found[:-1])]
    assert found[-1].span.end == span.end
    months = {p.span for p in found if p.is_archived}
    while span.start < span.end:
        end = chunk_end(span, most * HOUR_MS, MINUTES, CAPS, NOW)
        assert span.start < end <= span.end
        assert not any(month.start < end < month.end for month in months if month.start > begin)
        span = Span(end, span.end)


def packed(method: int, data: str = "1,2\n" * 40) -> bytes:
    """Return a zip file with one file, as archives send it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("BTCUSDT-1m-2024-02.csv", data)
    return file.getvalue()


def unpacked(file: bytes) -> str:
    """Return what becomes of an archive's month: ``read``, or the sentence of the error."""
    vendor = SimpleNamespace(
        month_url=lambda query: "https://acme.test/BTCUSDT-1m-2024-02.zip",
        send_aside=lambda requests: [
            HttpResponse(200, {}, hashlib.sha256(file).hexdigest().encode(), ""),
            HttpResponse(200, {}, file, ""),
        ],
        read_month=lambda lines, query: BarTable.empty(),
    )
    query: Any = SimpleNamespace(span=Span(0, 0), timeframe=MINUTES)
    try:
        fetch_month(cast(Archive, vendor), query)
    except ResponseFormatError as error:
        return str(error)
    return "read"


def test_a_month_compressed_in_another_way_is_refused() -> None:
    assert unpacked(packed(zipfile.ZIP_STORED)) == unpacked(packed(zipfile.ZIP_DEFLATED)) == "read"
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        assert "is encrypted, or uses an unsupported compression" in unpacked(packed(method))
    assert "cannot be unpacked" in unpacked(packed(zipfile.ZIP_DEFLATED, "é"))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_any_damage_to_an_archive_is_a_typed_error(method: int) -> None:
    whole = packed(method)
    damaged = [whole[:length] for length in range(len(whole))]
    for place in range(len(whole)):
        for flipped in (1, 0x10, 0x80):
            damaged.append(whole[:place] + bytes([whole[place] ^ flipped]) + whole[place + 1 :])
    assert {unpacked(file) == "read" for file in damaged} == {True, False}
