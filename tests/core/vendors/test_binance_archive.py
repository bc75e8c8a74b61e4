from __future__ import annotations

import hashlib
import io
import zipfile
from typing import Any

import pytest

from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.model.time.instant import HOUR_MS, MINUTE_MS, parse_iso
from src.data.core.vendors.archives import fetch_month
from src.data.core.vendors.binance.bars import BinanceDataDownloader
from src.data.errors import ResponseFormatError, SymbolNotFoundError
from tests.core.net.scripted import ScriptedTransport, answer, sender_over
from tests.core.vendors.acme import query

JANUARY = query("4h", "2024-01-01", "2024-02-01", now_ms=parse_iso("2024-06-01"))
STAMPS = range(JANUARY.span.start, JANUARY.span.end, 4 * HOUR_MS)


def zipped(*files: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as opened:
        for number, text in enumerate(files):
            opened.writestr(f"{number}.csv", text)
    return held.getvalue()


def rows(factor: int = 1) -> str:
    return "".join(f"{s * factor},1.5,2,1,1.25,10.1,{s},9,3,1,1,0\n" for s in STAMPS)


def checksum(packed: bytes) -> bytes:
    return f"{hashlib.sha256(packed).hexdigest()}  BTCUSDT-4h-2024-01.zip\n".encode()


def binance(*answers: Any, **how: Any) -> tuple[BinanceDataDownloader, ScriptedTransport]:
    transport = ScriptedTransport(*answers)
    return BinanceDataDownloader(sender=sender_over(transport), **how), transport


@pytest.mark.parametrize("text", [
    rows(), rows(1000), "open_time,open,high,low,close,volume\n" + rows(1000),
], ids=["milliseconds", "microseconds", "named"])  # fmt: skip
def test_all_bars_of_a_month_are_read(text: str) -> None:
    packed = zipped(text)
    vendor, transport = binance(answer(checksum(packed)), answer(packed))
    table, requests = fetch_month(vendor, JANUARY)
    assert (table.stamps.tolist(), requests) == (list(STAMPS), 2)
    assert [float(column[0]) for column in table.values()] == [1.5, 2.0, 1.0, 1.25, 10.1]
    place = "https://data.binance.vision/data/spot/monthly/klines/BTCUSDT/4h/BTCUSDT-4h-2024-01.zip"
    assert [r.url for r in transport.asked] == [f"{place}.CHECKSUM", place]


def test_a_month_of_another_pair_is_refused() -> None:
    """Only the name of the file contains the pair; the rows do not."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as opened:
        opened.writestr("ETHUSDT-4h-2024-01.csv", rows())
    packed = held.getvalue()
    vendor, _ = binance(answer(checksum(packed)), answer(packed))
    with pytest.raises(ResponseFormatError, match="contains the wrong file: 'ETHUSDT-4h-2024-01'"):
        fetch_month(vendor, JANUARY)


def test_the_files_are_requested_from_a_configured_host() -> None:
    vendor, _ = binance(base_url="http://127.0.0.1:1/b")
    assert vendor.month_url(JANUARY).startswith("http://127.0.0.1:1/b/data/spot/monthly/klines/")


@pytest.mark.parametrize("packed, why", [
    (b"PK\x03\x04 no zip file", "cannot be unpacked"),
    (zipped(rows(), rows()), "must contain exactly one file"), (zipped(), "must contain exactly one file"),
    (zipped("1,2\n"), "something other than bars"), (zipped("<html>"), "something other than bars"),
    (zipped(rows()[:-60]), "bars, not the 186 of its month"), (zipped(""), "contains 0 bars"),
    (zipped("".join(reversed(rows().splitlines(keepends=True)))), "contains 186 bars"),
], ids=range(8))  # fmt: skip
def test_a_damaged_or_incomplete_monthly_archive_is_refused(packed: bytes, why: str) -> None:
    vendor, _ = binance(answer(checksum(packed)), answer(packed))
    with pytest.raises(ResponseFormatError, match=why):
        fetch_month(vendor, JANUARY)


def test_a_file_with_another_checksum_is_refused() -> None:
    vendor, _ = binance(answer(checksum(b"another")), answer(zipped(rows())))
    with pytest.raises(ResponseFormatError, match="does not match its checksum"):
        fetch_month(vendor, JANUARY)


def test_no_file_is_requested_without_its_checksum() -> None:
    vendor, transport = binance(answer(b"<Error/>", 404))
    with pytest.raises(SymbolNotFoundError):
        fetch_month(vendor, JANUARY)
    assert len(transport.asked) == 1


def test_a_file_that_declares_a_huge_size_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.data.core.vendors.archives.LARGEST", 100)
    packed = zipped(rows())
    vendor, _ = binance(answer(checksum(packed)), answer(packed))
    with pytest.raises(ResponseFormatError, match="exactly one file of up to 100 bytes"):
        fetch_month(vendor, JANUARY)


def test_an_archive_without_two_of_the_months_is_not_asked_for_the_others() -> None:
    step = 15 * MINUTE_MS
    asked = query("15m", "2024-01-01", "2024-05-01", now_ms=parse_iso("2024-06-01"))

    def respond(request: HttpRequest) -> HttpResponse:
        if "data.binance.vision" in request.url:
            return answer(b"<Error/>", 404)
        first, last = int(request.params["startTime"]), int(request.params["endTime"])
        stamps = range(first, min(last + 1, first + 1000 * step), step)
        return answer([[at, "1", "1", "1", "1", "1", at + step - 1, *"13110"] for at in stamps])

    vendor, transport = binance(*[respond] * 20)
    assert len(vendor.fetch(asked).table) == (31 + 29 + 31 + 30) * 96
    files = [request.url for request in transport.asked if ".zip" in request.url]
    assert [url[-20:] for url in files] == ["2024-01.zip.CHECKSUM", "2024-02.zip.CHECKSUM"]
