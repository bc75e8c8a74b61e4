"""Binance's archive: a zip file a month, and its checksum; the rows are those of the klines."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Callable
from datetime import date

from onetape.data.core.model.time.instant import DAY_MS, day_ms
from onetape.data.core.model.time.timeframe import Timeframe

from .face import Context, Page, Reply, Request
from .ground_truth import Row
from .listings import Listing

PREFIX = "/data/spot/monthly/klines/"
# Days after its end until a month is there.
LATE_DAYS = 5
_PATH = re.compile(
    rf"{PREFIX}([A-Z0-9]+)/(\w+)/\1-\2-(\d{{4}})-(\d{{2}})\.zip(?P<checksum>\.CHECKSUM)?"
)
_MICROSECONDS_SINCE = day_ms(date(2025, 1, 1))
_NAMES = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,"
    "taker_buy_quote_volume,ignore"
)
_NOT_THERE = Reply.text("<Error><Code>NoSuchKey</Code></Error>", 404, "application/xml")
Written = Callable[[int, Row, int], list[object]]


def answer(
    request: Request, context: Context, find: Callable[[str], Listing | None], written: Written
) -> Reply:
    """Answer a file of the archive; 404 where there is none.

    Args:
        find: tells what is listed under a symbol.
        written: a row as the klines have it: label, row, units of stamps in a second.
    """
    match = _PATH.fullmatch(request.path)
    listing = find(match[1]) if match else None
    if match is None or listing is None:
        return _NOT_THERE
    first = date(int(match[3]), int(match[4]), 1)
    start, end = (
        day_ms(first),
        day_ms(date(first.year + first.month // 12, first.month % 12 + 1, 1)),
    )
    rows = context.rows(listing, Timeframe.parse(match[2]), (start, end))
    if end + LATE_DAYS * DAY_MS > context.now_ms or not rows:
        return _NOT_THERE
    name = request.path.rpartition("/")[2].removesuffix(".CHECKSUM")
    page = context.spoil(Page(tuple(row.stamp_ms for row in rows), tuple(rows)))
    packed = _packed(name.replace(".zip", ".csv"), page, written, start >= _MICROSECONDS_SINCE)
    if match["checksum"]:
        return Reply.text(f"{hashlib.sha256(packed).hexdigest()}  {name}\n")
    return Reply(200, packed, {"Content-Type": "application/zip"})


def _packed(name: str, page: Page, written: Written, is_new: bool) -> bytes:
    """Return the zip file; newer ones have a line of names and stamps in microseconds."""
    per_second = 1_000_000 if is_new else 1000
    lines = [_NAMES] if is_new else []
    lines += [
        ",".join(map(str, written(label * per_second // 1000, row, per_second)))
        for label, row in zip(page.labels, page.rows, strict=True)
    ]
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as opened:
        opened.writestr(zipfile.ZipInfo(name), "\n".join(lines) + "\n", zipfile.ZIP_DEFLATED, 1)
    return held.getvalue()
