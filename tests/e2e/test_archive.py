"""Binance's archive for long ranges of minutes: used if it saves requests, and checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import DAY_MS, parse_iso
from src.data.data_manager import DataManager
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.binance_archive import PREFIX

from .oracle import ms
from .scripted_vendor import provenance

# One month, and two days on each side of it.
SPRING = ("BTCUSDT", "15m", "2024-02-28", "2024-04-02")


def expected(vendors: VendorServer, start: str, end: str, symbol: str = "BTCUSDT") -> list[tuple]:  # type: ignore[type-arg]
    return vendors.truth.raw(symbol, "15m", ms(start), ms(end) + DAY_MS)


def rows(frame: pd.DataFrame) -> list[tuple]:  # type: ignore[type-arg]
    stamps = [at.value // 1_000_000 for at in frame.index]
    return list(zip(stamps, *(frame[name].tolist() for name in frame.columns), strict=True))


def counts(vendors: VendorServer) -> tuple[int, int]:
    """Return the requests to the archive and to the API."""
    return vendors.count("binance", PREFIX), vendors.count("binance", "/api/v3/klines")


def test_a_whole_month_is_fetched_as_a_file_and_the_days_around_it_in_pages(
    manager: DataManager, vendors: VendorServer
) -> None:
    frame = manager.get_ohlcv(*SPRING, strict=True)
    assert rows(frame) == expected(vendors, *SPRING[2:])
    assert counts(vendors) == (2, 2)
    assert provenance(frame)["vendors"] == ["binance"]
    said = [a["message"] for a in provenance(frame)["attempts"]]
    assert said == ["", "months from its archive: 1", ""]
    assert [a["requests"] for a in provenance(frame)["attempts"]] == [1, 2, 1]
    again = manager.get_ohlcv(*SPRING, strict=True)
    assert counts(vendors) == (2, 2)
    pd.testing.assert_frame_equal(again, frame)


def test_a_plan_predicts_the_archive_files_and_the_pages_around_them(
    manager: DataManager, vendors: VendorServer
) -> None:
    plan = manager.plan(*SPRING)
    assert vendors.count() == 0
    steps = [s for segment in plan.segments for s in segment.steps]
    assert [(s.requests, s.is_archive, s.cost) for s in steps] == [
        (1, False, 2), (2, True, 0), (1, False, 2),
    ]  # fmt: skip
    manager.get_ohlcv(*SPRING)
    assert vendors.count() == plan.requests == 4
    assert plan.to_json()["segments"][0]["path"][1]["archive"] is True


def test_a_long_range_takes_two_requests_per_month(
    manager: DataManager, vendors: VendorServer
) -> None:
    ask = ("BTCUSDT", "15m", "2023-02-01", "2023-03-31")
    [segment] = manager.plan(*ask).segments
    frame = manager.get_ohlcv(*ask, strict=True)
    assert len(frame) == 59 * 96
    assert counts(vendors) == (4, 0)
    # The files of both months are one step.
    assert [(step.requests, step.span) for step in segment.steps] == [(4, segment.span)]
    assert [a["message"] for a in provenance(frame)["attempts"]] == [
        "months from its archive: 1"
    ] * 2


@pytest.mark.parametrize("timeframe", ["30m", "1h", "1d"])
def test_pages_are_fetched_instead_of_archive_files_if_fewer_requests_suffice(
    manager: DataManager, vendors: VendorServer, timeframe: str
) -> None:
    manager.get_ohlcv("BTCUSDT", timeframe, "2024-02-28", "2024-04-02", strict=True)
    assert counts(vendors)[0] == 0


def test_a_month_not_yet_in_the_archive_is_fetched_in_pages(
    manager: DataManager, vendors: VendorServer
) -> None:
    frame = manager.get_ohlcv("BTCUSDT", "15m", "2024-05-01", "2024-06-11", strict=True)
    assert [e.path.partition("-15m-")[2][:7] for e in vendors.log("binance", PREFIX)] == [
        "2024-05", "2024-05",
    ]  # fmt: skip
    assert rows(frame) == expected(vendors, "2024-05-01", "2024-06-11")


def test_archive_files_with_microseconds_and_a_header_line_are_read(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock
) -> None:
    clock.advance((parse_iso("2025-03-12") - clock.now_ms()) / 1000)
    frame = make().get_ohlcv("BTCUSDT", "15m", "2024-12-01", "2025-01-31", strict=True)
    assert rows(frame) == expected(vendors, "2024-12-01", "2025-01-31")
    assert counts(vendors) == (4, 0)


@pytest.mark.parametrize(
    "fault, path, said",
    [
        (Fault.status(404), PREFIX, "HTTP 404"),
        (Fault.status(503), PREFIX, "HTTP 503"),
        (Fault.drop(7), ".zip", "contains 2,975 bars, not the 2,976"),
        (Fault.drop(7), "CHECKSUM", "does not match its checksum"),
        (
            Fault.status(200, "no zip file at all"),
            "03.zip",
            "does not match its checksum",
        ),
    ],
    ids=["does not exist", "down", "a bar short", "other bytes", "no zip"],
)
def test_a_faulty_archive_is_replaced_by_pages_and_the_attempts_give_the_reason(
    manager: DataManager, vendors: VendorServer, fault: Fault, path: str, said: str
) -> None:
    vendors.fault("binance", fault, path=path)
    frame = manager.get_ohlcv(*SPRING, strict=True)
    assert rows(frame) == expected(vendors, *SPRING[2:])
    assert counts(vendors)[1] == 2 + 3
    told_why = [a["message"] for a in provenance(frame)["attempts"]][1]
    assert told_why.startswith("not from its archive: ") and said in told_why
    assert [a["outcome"] for a in provenance(frame)["attempts"]] == ["ok"] * 3


def test_the_archive_has_a_circuit_of_its_own(manager: DataManager, vendors: VendorServer) -> None:
    vendors.fault("binance", Fault.status(503), path=PREFIX)
    frame = manager.get_ohlcv("BTCUSDT", "15m", "2024-01-01", "2024-05-31", strict=True)
    assert provenance(frame)["vendors"] == ["binance"]
    asked = counts(vendors)[0]
    assert asked > 0
    manager.get_ohlcv("ETHBTC", "15m", "2023-02-01", "2023-02-28", strict=True)
    assert counts(vendors)[0] == asked, "the archive is not queried for a while"
    assert vendors.count("binance", "/api/v3/klines") > 0, "the API still is"


def test_few_archive_files_are_requested_before_a_listing(
    manager: DataManager, vendors: VendorServer
) -> None:
    frame = manager.get_ohlcv("BTCUSDT", "15m", "2012-01-01", "2017-10-31")
    assert rows(frame) == expected(vendors, "2012-01-01", "2017-10-31")
    assert frame.index[0] == pd.Timestamp("2017-08-17T04:00")
    archive, api = counts(vendors)
    assert archive == 2 * 2 + 3, "two months, and a check before each empty stretch"
    assert api < 8, "the month of the listing, and the empty time before it"


def test_a_mirror_without_the_archive_is_queried_in_pages_after_one_attempt(
    manager: DataManager, vendors: VendorServer, tmp_path: Path
) -> None:
    vendors.fault("binance", Fault.status(404), path=PREFIX)
    frame = manager.get_ohlcv(*SPRING, strict=True)
    assert vendors.count("binance", PREFIX) == 1
    assert rows(frame) == expected(vendors, *SPRING[2:])
