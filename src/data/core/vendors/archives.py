"""Downloads monthly files of bars from a vendor's archive if that saves requests."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterable
from datetime import date
from typing import NamedTuple, Protocol

import numpy as np

from ...errors import ResponseFormatError
from ..model.market.bars import BarTable
from ..model.request.capabilities import Capabilities, FetchQuery
from ..model.request.http import HttpRequest, HttpResponse
from ..model.time.instant import DAY_MS, date_of, day_ms
from ..model.time.span import Span
from ..model.time.timeframe import Timeframe

# Requests per month: the file and its checksum file.
REQUESTS_A_MONTH = 2
_SHORTEST_MONTH_MS = 28 * DAY_MS


class ArchivePiece(NamedTuple):
    """A span to fetch; ``is_archived`` means that it is one whole month in the archive."""

    span: Span
    is_archived: bool


def pieces(span: Span, timeframe: Timeframe, caps: Capabilities, now_ms: int) -> list[ArchivePiece]:
    """Divide ``span`` into ascending, adjacent pieces: archived months, and the spans between them.

    Months are fetched from the archive only if that takes fewer requests than paging.

    Args:
        span: Span ``[start, end)`` in UTC milliseconds; an empty span yields no pieces.
        timeframe: Timeframe of the bars.
        caps: Capabilities of the vendor, with its page size and the delay after which a month is
            archived.
        now_ms: Time of the request, in UTC milliseconds, which determines the months that are
            already archived.
    """
    parts: list[ArchivePiece] = []
    cursor = span.start
    for month in (
        _months(span, now_ms - caps.archive_days * DAY_MS) if _is_cheaper(caps, timeframe) else ()
    ):
        if month.start > cursor:
            parts.append(ArchivePiece(Span(cursor, month.start), False))
        parts.append(ArchivePiece(month, True))
        cursor = month.end
    return parts if cursor >= span.end else [*parts, ArchivePiece(Span(cursor, span.end), False)]


def chunk_end(
    span: Span, most_ms: int, timeframe: Timeframe, caps: Capabilities, now_ms: int
) -> int:
    """Return the end of the first chunk of ``span``, chosen so that no archived month is split.

    The chunk is at most ``most_ms`` long, except that it may be one whole archived month. For the
    other arguments see :func:`pieces`.
    """
    end_ms = min(span.start + most_ms, span.end)
    reach = Span(
        span.start, min(max(end_ms, span.start + 2 * _SHORTEST_MONTH_MS + 6 * DAY_MS), span.end)
    )
    months = [p.span for p in pieces(reach, timeframe, caps, now_ms) if p.is_archived]
    if not months:
        return end_ms
    if months[0].start > span.start:
        return min(end_ms, months[0].start)
    return max([months[0].end, *(month.end for month in months if month.end <= end_ms)])


def _is_cheaper(caps: Capabilities, timeframe: Timeframe) -> bool:
    """Return whether a month of bars takes fewer requests from the vendor's archive than by paging.

    The result is False if the vendor has no archive.
    """
    if not (caps.archive_days and caps.page_bars and timeframe.is_intraday and timeframe.step_ms):
        return False
    bars = _SHORTEST_MONTH_MS // timeframe.step_ms
    return -(-bars // caps.page_bars) > REQUESTS_A_MONTH


def _months(span: Span, until_ms: int) -> list[Span]:
    """Return the UTC months that are entirely within ``span`` and end by ``until_ms``."""
    months = []
    first = date_of(span.start - 1)
    start = _following(first.replace(day=1)) if span.start > day_ms(first.replace(day=1)) else first
    while (end := day_ms(_following(start))) <= min(span.end, until_ms):
        months.append(Span(day_ms(start), end))
        start = _following(start)
    return months


def _following(first: date) -> date:
    """Return the first day of the month that follows the month starting on ``first``."""
    return date(first.year + first.month // 12, first.month % 12 + 1, 1)


# --- monthly files from a vendor's archive, each verified against its checksum

# A month of minute bars takes five MiB; a file with a larger declared size is not opened.
LARGEST = 64 * 1024 * 1024
# A bit of a packed file's flags, and the ways in which it may be packed.
_ENCRYPTED, _PACKED = 1, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Archive(Protocol):
    """The methods that a vendor must have so that months can be fetched from its archive."""

    name: str

    def month_url(self, query: FetchQuery) -> str:
        """Return the address of a month's zip file; adding ``.CHECKSUM`` gives the address of its SHA-256."""

    def read_month(self, lines: Iterable[str], query: FetchQuery) -> BarTable:
        """Parse the lines of a month's unpacked file."""

    def send_aside(self, requests: Iterable[HttpRequest]) -> list[HttpResponse]:
        """Send requests to the archive, which has its own rate limits."""


def fetch_month(vendor: Archive, query: FetchQuery) -> tuple[BarTable, int]:
    """Return all bars in the month that ``query`` covers, and the number of requests used.

    Raises:
        ResponseFormatError: The file does not match its checksum, or is missing bars of the month
            that the vendor may have.
        DataError: The archive did not answer, or has no such file.
    """
    url = vendor.month_url(query)
    checksum, packed = vendor.send_aside(
        HttpRequest(address) for address in (f"{url}.CHECKSUM", url)
    )
    digest = hashlib.sha256(packed.body).hexdigest()
    if checksum.text.partition(" ")[0].strip().lower() != digest:
        raise ResponseFormatError(f"{_leaf(url)} does not match its checksum")
    table = vendor.read_month(_lines(packed.body, url), query)
    _check_whole(table, query, url)
    return table, checksum.requests + packed.requests


def _lines(packed: bytes, url: str) -> list[str]:
    """Return the lines of the single file in a zip file.

    Raises:
        ResponseFormatError: The data is not a zip file, or contains anything other than one file of
            normal size with the expected name, uncompressed or deflated.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as opened:
            inside = opened.infolist()
            if len(inside) != 1 or inside[0].file_size > LARGEST:
                raise ResponseFormatError(
                    f"{_leaf(url)} must contain exactly one file of up to {LARGEST:,} bytes"
                )
            if inside[0].flag_bits & _ENCRYPTED or inside[0].compress_type not in _PACKED:
                raise ResponseFormatError(
                    f"{_leaf(url)} is encrypted, or uses an unsupported compression"
                )
            if (named := inside[0].filename.rpartition(".")[0]) not in _leaf(url):
                raise ResponseFormatError(f"{_leaf(url)} contains the wrong file: {named[:40]!r}")
            return opened.read(inside[0]).decode("ascii").splitlines()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as exc:
        raise ResponseFormatError(f"{_leaf(url)} cannot be unpacked ({exc})") from exc


def _check_whole(table: BarTable, query: FetchQuery, url: str) -> None:
    step_ms = query.timeframe.step_ms or 1
    expected = np.arange(query.span.start, query.span.end, step_ms, dtype=np.int64)
    if not np.array_equal(table.stamps, expected):
        raise ResponseFormatError(
            f"{_leaf(url)} contains {len(table):,} bars, not the {len(expected):,} of its month"
        )


def _leaf(url: str) -> str:
    return url.rpartition("/")[2]
