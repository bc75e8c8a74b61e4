"""Bars of extended hours: a separate series, with the calendar and the gaps of these hours."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from onetape.aio import AsyncDataManager
from src.data.cli import main
from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, iso, parse_iso
from src.data.core.wiring import Services, build
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    IncompleteDataWarning,
    NoProviderError,
    QueryError,
)
from src.data.jobs.fill.populate import populate_cache, sync_cache
from src.data.jobs.validation.gap_classes import ClassifiedGap
from src.data.jobs.validation.verify import VerifyQuestion, verify_with
from tests.conformance.sheet import sheet_of
from tests.vendor_server import Fault, VendorServer, dividend, split

from .scripted_vendor import provenance

Make = Callable[..., DataManager]
NOW = "2024-06-06T02:00"  # Wednesday, 22:00 in New York: four hours after regular trading ended
DAY = ("2024-06-05", "2024-06-05")
FIRST, LAST = "2024-06-05 08:00", "2024-06-05 23:59"  # 04:00 to 20:00 in New York
OPENS, CLOSES = "2024-06-05 13:30", "2024-06-05 20:00"
SERVING = ("yahoo", "polygon", "alpaca", "alpha_vantage", "finnhub")
PLAIN = ("tiingo", "twelvedata", "eodhd", "fmp")


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock at a Wednesday evening."""
    return ManualClock(parse_iso(NOW))


@pytest.fixture(autouse=True)
def _traded(vendors: VendorServer) -> Iterator[None]:
    """Let Apple be traded outside of regular hours, too; and no warning passes unseen."""
    vendors.truth.change("AAPL", extended=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", IncompleteDataWarning)
        yield


@pytest.fixture
def by(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> Make:
    """Return a maker of managers on one cache, by the order of vendors, all with their keys."""

    def make(*names: str) -> DataManager:
        order = f"{{primary: {names[0]}, backup: [{', '.join(names[1:])}]}}"
        lines = [*(f"{rule}: {order}" for rule in ("stock_daily", "stock_intraday")), "providers:"]
        fast = "{requests_per_minute: 60000, requests_per_second: 1000, burst_size: 1000}"
        for name in names:
            for key, value in sheet_of(name).keys.items():
                monkeypatch.setenv(key, value)
            where = f"base_url: '{vendors.base_url(name)}', rate_limits: {fast}"
            lines.append(f"  {name}: {{{where}{', transport: http' * (name == 'yahoo')}}}")
        path = tmp_path / f"{'-'.join(names)}.yaml"
        path.write_text("\n".join(lines) + "\n")
        return DataManager(tmp_path / "cache", path, clock=clock)

    return make


def services_beside(manager: DataManager, clock: ManualClock) -> Services:
    """Return what a job works with, on a manager's cache and by its rules."""
    selector = manager.provider_selector
    return build(selector.cache_dir, selector.config_path, clock=clock)


def oracle(vendors: VendorServer, label: str, *, extended: bool = True) -> pd.DataFrame:
    """Return the bars of the day that were truly traded."""
    span = parse_iso("2024-06-05"), parse_iso("2024-06-06T04:00")
    rows = vendors.truth.expected("AAPL", label, *span, "split", extended=extended)
    names = ["stamp", "open", "high", "low", "close", "volume"]
    frame = pd.DataFrame(rows, columns=names)
    frame.index = pd.DatetimeIndex(pd.to_datetime(frame.pop("stamp"), unit="ms"), name="timestamp")
    return frame


def same_prices(frame: pd.DataFrame, truth: pd.DataFrame) -> None:
    """Compare timestamps and prices; Yahoo has no volume outside of regular hours."""
    assert frame.index.equals(truth.index.as_unit("ns"))
    columns = ["open", "high", "low", "close"]
    np.testing.assert_allclose(frame[columns], truth[columns], rtol=1e-9)


@pytest.mark.parametrize("vendor", SERVING)
@pytest.mark.parametrize("label", ["15m", "1h"])
def test_each_vendor_with_extended_hours_supplies_bars_from_four_to_twenty(
    by: Make, vendors: VendorServer, vendor: str, label: str
) -> None:
    """Hours are made of minutes where a vendor has none that count from the clock."""
    manager = by(vendor)
    regular = manager.get_ohlcv("AAPL", label, *DAY)
    frame = manager.get_ohlcv("AAPL", label, *DAY, session="extended", strict=True)
    same_prices(frame, oracle(vendors, label))
    assert (str(frame.index[0]), len(frame)) == (f"{FIRST}:00", {"15m": 64, "1h": 16}[label])
    what = provenance(frame)
    assert (what["kind"]["session"], what["complete"], what["vendors"]) == (
        "extended", True, [vendor],
    )  # fmt: skip
    asked = vendors.count()
    again = manager.get_ohlcv("AAPL", label, *DAY, session="extended", strict=True)
    pd.testing.assert_frame_equal(again, frame)
    assert vendors.count() == asked, "the second time it is cached"
    pd.testing.assert_frame_equal(manager.get_ohlcv("AAPL", label, *DAY), regular)
    assert vendors.count() == asked


@pytest.mark.parametrize("first", ["regular", "extended"])
def test_regular_and_extended_hours_are_never_mixed_in_any_order(
    by: Make, vendors: VendorServer, first: str
) -> None:
    manager = by("yahoo")
    for session in (first, {"regular": "extended", "extended": "regular"}[first]) * 2:
        frame = manager.get_ohlcv("AAPL", "5m", *DAY, session=session, strict=True)
        same_prices(frame, oracle(vendors, "5m", extended=session == "extended"))
        assert provenance(frame)["lane"] == ("5m" if session == "regular" else "5m@extended")
    folders = {path.name for path in (manager.cache.store.root / "ohlcv" / "AAPL").iterdir()}
    assert {"5m", "5m@extended"} <= folders


@pytest.mark.parametrize("first", [0, 2])
def test_hours_are_built_from_extended_half_hours_although_regular_ones_were_requested(
    by: Make, clock: ManualClock, first: int
) -> None:
    """What a vendor serves in regular hours is not remembered for extended ones."""
    clock.set(parse_iso("2024-06-06T09:50"))
    manager = by("yahoo")
    asked: list[dict[str, Any]] = [
        {"bars": 1},
        {"start_date": "2024-06-06T09:30", "end_date": "2024-06-06T09:30"},
        {"bars": 1, "session": "extended"},
    ]
    for wishes in (*asked[first:], *asked[:first]):
        manager.get_ohlcv("AAPL", "30m", **wishes)
    frame = manager.get_ohlcv("AAPL", "1h", bars=1, session="extended", strict=True)
    assert [str(stamp) for stamp in frame.index] == ["2024-06-06 08:00:00"]


def test_a_pinned_vendor_has_a_lane_of_its_own(by: Make, vendors: VendorServer) -> None:
    manager = by("yahoo", "polygon")
    asked = {"provider": "polygon", "session": "extended", "strict": True}
    frame = manager.get_ohlcv("AAPL", "15m", *DAY, **asked)
    assert (provenance(frame)["lane"], provenance(frame)["vendors"]) == (
        "15m@polygon@extended",
        ["polygon"],
    )
    same_prices(frame, oracle(vendors, "15m"))
    own = manager.get_ohlcv("AAPL", "15m", *DAY, session="extended", strict=True)
    assert (provenance(own)["lane"], provenance(own)["vendors"]) == ("15m@extended", ["yahoo"])


def test_extended_hours_come_from_the_next_vendor_that_serves_them(
    by: Make, vendors: VendorServer
) -> None:
    """One that has none is left out with the reason; one that is down is followed by the next."""
    vendors.fault("yahoo", Fault.status(503))
    frame = by("tiingo", "yahoo", "polygon").get_ohlcv("AAPL", "15m", *DAY, session="extended")
    same_prices(frame, oracle(vendors, "15m"))
    assert provenance(frame)["vendors"] == ["polygon"]
    assert provenance(frame)["rejected"] == {"tiingo": "does not serve extended hours"}
    asked_for = [entry.path for entry in vendors.log("tiingo")]
    assert not any("/iex/" in path for path in asked_for), "only actions are requested"


@pytest.mark.parametrize("vendor", PLAIN)
def test_a_vendor_without_extended_hours_is_refused_without_a_request(
    by: Make, vendors: VendorServer, vendor: str
) -> None:
    with pytest.raises(NoProviderError, match=f"{vendor}: does not serve extended hours"):
        by(vendor).get_ohlcv("AAPL", "15m", *DAY, session="extended")
    with pytest.raises(NoProviderError, match="does not serve extended hours"):
        by("yahoo", vendor).get_ohlcv("AAPL", "15m", *DAY, session="extended", provider=vendor)
    assert vendors.count() == 0


def test_regular_bars_are_not_returned_for_extended_hours(by: Make, vendors: VendorServer) -> None:
    manager = by("yahoo")
    manager.get_ohlcv("AAPL", "15m", *DAY)
    vendors.fault("yahoo", Fault.status(503))
    with pytest.raises(AllProvidersFailedError):
        manager.get_ohlcv("AAPL", "15m", *DAY, session="extended")


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (("AAPL", "1d", "extended"), "1d bars for AAPL have regular hours only"),
        (("AAPL", "1w", "extended"), "1w bars for AAPL"),
        (("BTC-USD", "1m", "extended"), "BTCUSD has no extended hours here"),
        (("VOD.L", "1m", "extended"), "VOD.L has no extended hours here"),
        (("AAPL", "1m", "overnight"), "unknown session 'overnight' for AAPL; use one of regular, extended"),
        (("AAPL", "1h", "overnight"), "overnight .20:00 to 04:00 in New York. is another kind: a vendor"),
        (("AAPL", "1m", ""), "session '' for AAPL"),
        (("AAPL", "1m", None), "session None for AAPL"),
        (("AAPL", "1m", ["extended"]), "session \\['extended'\\] for AAPL"),
    ],
    ids=str,
)  # fmt: skip
def test_extended_hours_of_an_asset_or_timeframe_without_them_are_refused(
    by: Make, vendors: VendorServer, asked: tuple[str, str, object], why: str
) -> None:
    symbol, label, session = asked
    with pytest.raises(QueryError, match=why) as refused:
        by("yahoo").get_ohlcv(symbol, label, bars=5, session=session)  # type: ignore[arg-type]
    assert refused.value.symbol == symbol.replace("BTC-USD", "BTCUSD")
    assert vendors.count() == 0


def test_the_last_extended_bars_are_those_after_the_close(by: Make, vendors: VendorServer) -> None:
    for count in (1, 2, 20):
        frame = by("yahoo").get_ohlcv("AAPL", "30m", bars=count, session="extended", strict=True)
        same_prices(frame, oracle(vendors, "30m").iloc[-count:])


@pytest.mark.parametrize("vendor", ["polygon", "yahoo"])
def test_a_bar_forms_outside_of_regular_hours(
    by: Make, clock: ManualClock, vendors: VendorServer, vendor: str
) -> None:
    """Yahoo labels the running bar by the time of the last trade."""
    clock.set(parse_iso("2024-06-05T12:07"))  # 08:07 in New York
    manager = by(vendor)
    asked = {"session": "extended", "include_forming": True, "columns": ("state",)}
    frame = manager.get_ohlcv("AAPL", "15m", *DAY, **asked)
    assert (str(frame.index[-1]), frame["state"].iloc[-1]) == ("2024-06-05 12:00:00", "forming")
    assert len(frame) == 17
    assert by("yahoo").get_ohlcv("AAPL", "15m", *DAY, include_forming=True).empty


@pytest.mark.parametrize(
    ("vendor", "asked_at"),
    [
        ("yahoo", "2024-06-06T12:30"),
        ("yahoo", "2024-06-06T13:45"),
        ("polygon", "2024-06-06T13:45"),
    ],
)
def test_bars_before_the_open_of_a_splits_date_are_traded_without_it(
    by: Make, clock: ManualClock, vendors: VendorServer, vendor: str, asked_at: str
) -> None:
    vendors.truth.act("AAPL", split("2024-06-06", 4))
    clock.set(parse_iso(asked_at))
    early = ("2024-06-06T11:00", "2024-06-06T12:00")
    first = by(vendor).get_ohlcv("AAPL", "15m", *early, session="extended")
    clock.set(parse_iso("2024-06-06T20:30"))
    both = ("2024-06-05T18:00", "2024-06-06T16:00")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDataWarning)  # the split is near
        frame = by(vendor).get_ohlcv("AAPL", "15m", *both, session="extended")
        again = by(vendor).get_ohlcv("AAPL", "15m", *early, session="extended")
        raw = by(vendor).get_ohlcv("AAPL", "15m", *both, session="extended", adjustment="raw")
    span = parse_iso(both[0]), parse_iso(both[1]) + 1
    for adjustment, answers in (("split", (first, frame, again)), ("raw", (raw,))):
        rows = vendors.truth.expected("AAPL", "15m", *span, adjustment, extended=True)  # type: ignore[arg-type]
        closes = {row[0]: row[4] for row in rows}
        for answer in answers:
            stamps = [int(stamp.value) // 1_000_000 for stamp in answer.index]
            expected = [closes[stamp] for stamp in stamps]
            np.testing.assert_allclose(answer["close"], expected, rtol=1e-4)
    assert len(first) == len(again) == 5 and len(frame) == len(raw) == len(rows)


@pytest.mark.parametrize("vendor", ["yahoo", "polygon"])
def test_a_split_is_applied_although_the_day_before_was_fetched_before_the_open_of_its_date(
    by: Make, clock: ManualClock, vendors: VendorServer, vendor: str
) -> None:
    """Vendors report it from 09:30 on; what they sent at 06:00 is as of the session before."""
    vendors.truth.act("AAPL", split("2024-06-06", 4))
    start = "2024-06-05T18:00"

    def ask(end: str, **wishes: Any) -> pd.DataFrame:
        clock.set(parse_iso(end))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IncompleteDataWarning)  # the split is near
            return by(vendor).get_ohlcv("AAPL", "15m", start, end, session="extended", **wishes)

    before = ask("2024-06-06T10:00")
    assert (provenance(before)["as_of"], provenance(before)["complete"]) == ("2024-06-05", True)
    early = ask("2024-06-06T10:00", columns=("split",))
    assert early["split"].isna().tolist() == (early.index >= "2024-06-06").tolist()
    assert "vendors report them after the open" in provenance(early)["problems"][0]
    frame = ask("2024-06-06T14:00", columns=("split",))
    rows = vendors.truth.expected(
        "AAPL", "15m", parse_iso(start), clock.now_ms(), "split", clock.now_ms(), extended=True
    )
    assert len(frame) - len(rows) in (0, 1), "and perhaps the bar that has just begun"
    closes = [row[4] for row in rows]
    np.testing.assert_allclose(frame["close"].iloc[: len(rows)], closes, rtol=1e-4)
    assert provenance(frame)["as_of"] == "2024-06-06"
    on = frame.index[frame["split"] != 0]
    assert [str(stamp) for stamp in on] == ["2024-06-06 08:00:00"], "the first bar of the date"
    report = by(vendor).validate("AAPL", "15m", lane="extended", mark=True)
    assert not report.at_least("error") and not report.marked


@pytest.mark.parametrize(
    ("asked_at", "day"), [("2024-06-06T10:00", "2024-06-05"), ("2024-03-09T12:00", "2024-03-08")]
)
def test_a_version_has_the_bars_and_the_date_of_its_answer(
    by: Make, clock: ManualClock, asked_at: str, day: str
) -> None:
    """Before the open, and on a weekend after a winter evening; and also as read days later."""
    clock.set(parse_iso(asked_at))
    asked = ("AAPL", "30m", f"{day}T15:00", asked_at)
    frame = by("yahoo").get_ohlcv(*asked, session="extended")
    for days in (0, 1, 5):
        clock.set(parse_iso(asked_at) + days * DAY_MS)
        then = by("yahoo").get_ohlcv(
            *asked, session="extended", version=provenance(frame)["generation"]
        )
        pd.testing.assert_frame_equal(then, frame)
        assert provenance(then)["as_of"] == provenance(frame)["as_of"] == day


@pytest.mark.parametrize(("day", "opens"), [("2024-06-06", "08:00"), ("2024-03-08", "09:00")])
def test_bars_before_a_dividend_are_left_out_if_the_close_before_it_is_not_stored(
    by: Make, clock: ManualClock, vendors: VendorServer, day: str, opens: str
) -> None:
    """In winter, the last hour of the evening before has the date of the dividend in UTC."""
    vendors.truth.act("AAPL", dividend(day, 2.5))
    clock.set(parse_iso(day) + 16 * HOUR_MS)
    manager = by("yahoo")
    start = iso(parse_iso(day) - 6 * HOUR_MS)[:16]
    asked: dict[str, Any] = {"start_date": start, "end_date": f"{day}T15:00", "session": "extended"}
    manager.get_actions("AAPL", start[:10], day)
    whole = manager.get_ohlcv("AAPL", "30m", **asked)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDataWarning)
        frame = manager.get_ohlcv("AAPL", "30m", **asked, adjustment="all", offline=True)
    assert str(frame.index[0]) == f"{day} {opens}:00"
    pd.testing.assert_frame_equal(frame, whole[frame.index[0] :])
    (gap,) = provenance(frame)["gaps"]
    assert f"the close for AAPL before {day} is not stored" in gap["reason"]


@pytest.mark.parametrize("vendor", ["yahoo", "polygon"])
def test_a_dividend_is_applied_by_the_close_of_the_daily_bar_before_it(
    by: Make, clock: ManualClock, vendors: VendorServer, vendor: str
) -> None:
    """The daily bars are of regular hours; they are fetched if they are not stored."""
    vendors.truth.act("AAPL", dividend("2024-06-06", 2.5))
    clock.set(parse_iso("2024-06-06T18:00"))
    span = ("2024-06-05T18:00", "2024-06-06T17:00")
    asked: dict[str, Any] = {"session": "extended", "adjustment": "all", "strict": True}
    frame = by(vendor).get_ohlcv("AAPL", "15m", *span, **asked)
    rows = vendors.truth.expected(
        "AAPL",
        "15m",
        parse_iso(span[0]),
        parse_iso(span[1]) + 1,
        "all",
        clock.now_ms(),
        extended=True,
    )
    np.testing.assert_allclose(frame["close"], [row[4] for row in rows], rtol=1e-9)
    raw = by(vendor).get_ohlcv("AAPL", "15m", *span, **asked | {"adjustment": "raw"})
    is_before = frame.index < "2024-06-06"
    assert (frame["close"] < raw["close"])[is_before].all() and 0 < is_before.sum() < len(frame)
    assert (frame["close"] == raw["close"])[~is_before].all(), "the whole date has no dividend"


@pytest.mark.parametrize("day", ["2024-03-07", "2024-03-08"])
def test_the_last_hour_of_a_winter_evening_is_of_the_session_before(
    by: Make, clock: ManualClock, vendors: VendorServer, day: str
) -> None:
    """From 19:00 in New York on, UTC has the next date, of which nobody knows any split yet."""
    clock.set(parse_iso(day) + 25 * HOUR_MS + 10 * MINUTE_MS)
    manager = by("yahoo")
    for end in (24 * HOUR_MS, 25 * HOUR_MS):
        stamp = iso(parse_iso(day) + end - 30 * MINUTE_MS)[:16]
        asked = ("AAPL", "30m", f"{day}T18:00", stamp)
        frame = manager.get_ohlcv(*asked, session="extended", strict=True)
        assert str(frame.index[-1])[:16] == stamp.replace("T", " ")
        assert provenance(frame)["as_of"] == day
    sent = vendors.count()
    again = manager.get_ohlcv(*asked, session="extended", strict=True)
    pd.testing.assert_frame_equal(again, frame)
    assert vendors.count() == sent


def test_a_hole_before_the_open_is_a_gap_only_of_extended_hours(
    by: Make, vendors: VendorServer
) -> None:
    """Hours never requested are reported, which are not part of the regular session."""
    manager = by("yahoo")
    manager.get_ohlcv("AAPL", "15m", OPENS, CLOSES, session="extended", strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDataWarning)
        frame = manager.get_ohlcv("AAPL", "15m", *DAY, session="extended", offline=True)
    spans = [(gap["start"][:16], gap["end"][:16]) for gap in provenance(frame)["gaps"]]
    assert spans == [
        ("2024-06-05T04:00", "2024-06-05T13:30"), ("2024-06-05T20:15", "2024-06-06T01:45"),
    ]  # fmt: skip
    assert not provenance(frame)["complete"] and len(frame) == 27


def test_the_command_named_by_a_gap_fills_the_extended_hours(
    by: Make, vendors: VendorServer
) -> None:
    """Before the open regular bars have no gap, and these have one."""
    manager = by("yahoo")
    for start, end in (("08:00", "08:45"), ("12:00", "12:45")):
        bounds = (f"2024-06-05T{start}", f"2024-06-05T{end}")
        manager.get_ohlcv("AAPL", "15m", *bounds, session="extended", strict=True)
    gap = _never_asked(manager)[0]
    assert (gap.bars, gap.span.start) == (12, parse_iso("2024-06-05T09:00"))
    words = gap.next_step.split()
    at = words.index("--start")
    assert words[:4] == ["onetape", "fetch", "AAPL", "15m"]
    assert words[at + 4 :] == ["--session", "extended"]
    manager.get_ohlcv("AAPL", "15m", words[at + 1], words[at + 3], session="extended")
    assert gap.span.start not in [one.span.start for one in _never_asked(manager)]


def _never_asked(manager: DataManager) -> list[ClassifiedGap]:
    (lane,) = manager.gaps("AAPL", "15m").series
    return [one for one in lane.listed if one.gap_class == "never_asked"]


def test_batches_plans_explanations_awaited_calls_and_quotes_accept_extended_hours(
    by: Make, vendors: VendorServer, clock: ManualClock
) -> None:
    manager = by("yahoo")
    assert not manager.plan("AAPL", "15m", *DAY, session="extended").is_hit
    manager.get_ohlcv("AAPL", "15m", *DAY, session="extended")
    assert manager.plan("AAPL", "15m", *DAY, session="extended").is_hit
    assert not manager.plan("AAPL", "15m", *DAY).is_hit
    explained = str(manager.explain("AAPL", "15m", session="extended"))
    assert "XNYS@extended" in explained
    batch = manager.get_ohlcv_batch(["AAPL", "BTC-USD"], "15m", *DAY, session="extended")
    assert (
        len(batch["AAPL"]) == 64 and provenance(batch["BTC-USD"])["error"]["type"] == "QueryError"
    )
    with pytest.raises(QueryError, match="session 'night' for a batch"):
        manager.get_ohlcv_batch(["AAPL"], "15m", *DAY, session="night")  # type: ignore[arg-type]

    awaited = AsyncDataManager(manager).aget_ohlcv("AAPL", "15m", *DAY, session="extended")
    pd.testing.assert_frame_equal(asyncio.run(awaited), batch["AAPL"])


@pytest.mark.parametrize(
    ("now", "regular", "extended"),
    [
        ("2024-06-05T12:30", ("closed", "2024-06-04"), ("forming", "2024-06-05T12:")),
        ("2024-06-05T22:30", ("closed", "2024-06-05T20:00"), ("forming", "2024-06-05T22:")),
        ("2024-06-06T02:00", ("closed", "2024-06-05T20:00"), ("closed", "2024-06-06T00:00")),
    ],
)  # fmt: skip
def test_an_extended_quote_outside_regular_hours_is_the_current_price(
    by: Make, clock: ManualClock, vendors: VendorServer, now: str,
    regular: tuple[str, str], extended: tuple[str, str],
) -> None:  # fmt: skip
    clock.set(parse_iso(now))
    manager = by("yahoo")
    for session, (state, time) in (("regular", regular), ("extended", extended)) * 2:
        quote = manager.get_quote("AAPL", session=session)  # type: ignore[arg-type]
        assert (quote.state, quote.time.isoformat()[: len(time)]) == (state, time)
    with pytest.raises(QueryError, match="no extended hours"):
        manager.get_quote("BTC-USD", session="extended")
    with pytest.raises(QueryError, match="session 'x' for quotes"):
        manager.get_quotes(["AAPL"], session="x")  # type: ignore[arg-type]


def test_populate_and_sync_update_extended_hours(
    by: Make, vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reports name the series as their folders are named: regular bars of that name lie beside."""
    manager = by("yahoo")
    services = services_beside(manager, clock)
    monkeypatch.setattr("src.data.jobs.fill.populate.job_services", lambda *_: services)
    days, names = ("2024-06-04", "2024-06-05"), ["AAPL", "BTC-USD"]
    report = populate_cache(names, ["30m"], *days, session="extended")
    assert (report["success"], report["failed"]) == (
        ["AAPL_30m@extended"],
        ["BTC-USD_30m@extended"],
    )
    assert "no extended hours" in report["errors"]["BTC-USD_30m@extended"]
    populate_cache(["AAPL"], ["30m"], *days)
    clock.set(parse_iso("2024-06-07T02:00"))
    cost = sync_cache(dry_run=True)
    assert (cost["series"], cost["held"]) == (2, 0)
    assert sync_cache()["success"] == ["AAPL_30m", "AAPL_30m@extended"]
    asked = vendors.count()
    for session, count in (("regular", 39), ("extended", 96)):
        frame = manager.get_ohlcv(
            "AAPL",
            "30m",
            days[0],
            "2024-06-06",
            session=session,
            strict=True,  # type: ignore[arg-type]
        )
        assert len(frame) == count
    assert vendors.count() == asked
    with pytest.raises(QueryError, match="session 'night' for a job"):
        populate_cache(["AAPL"], session="night")  # type: ignore[arg-type]


def test_coverage_gaps_and_validation_of_extended_hours_use_the_extended_calendar(
    by: Make, vendors: VendorServer, clock: ManualClock
) -> None:
    manager = by("yahoo")
    for session in ("regular", "extended"):
        manager.get_ohlcv("AAPL", "15m", *DAY, session=session, strict=True)  # type: ignore[arg-type]
    report = manager.validate("AAPL", "15m", lane="extended")
    assert (report.rows, report.score) == (64, 1.0), report
    lanes = set(manager.coverage("AAPL", "15m")["lane"])
    assert lanes == {"", "extended"}
    verified = verify_with(services_beside(manager, clock), VerifyQuestion("AAPL", "15m", *DAY))
    counts = {
        one.lane: (one.compared and one.compared.equal, len(one.differences), one.error)
        for one in verified.comparisons
    }
    assert counts == {"15m": (26, 0, ""), "15m@extended": (64, 0, "")}
    beside = manager.validate("AAPL", "15m", level="corroborated", lane="extended").not_checked
    assert any("extended-hours" in why for why in beside.values()), beside
    missing = manager.gaps("AAPL", "15m", *DAY).series
    assert {one.series.lane_label for one in missing} == lanes


def test_the_session_option_of_fetch_and_explain_selects_extended_hours(
    by: Make, vendors: VendorServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by("yahoo").get_ohlcv("AAPL", "15m", *DAY, session="extended")
    places = ["--cache-dir", str(tmp_path / "cache"), "--config", str(tmp_path / "yahoo.yaml")]
    line = ["fetch", "AAPL", "15m", "--start", DAY[0], "--end", DAY[1], "--session", "extended"]
    assert main([*line, "--offline", "--adjustment", "raw", "--json", *places]) == 0
    body = json.loads(capsys.readouterr().out)
    assert (body["provenance"]["lane"], len(body["bars"])) == ("15m@extended", 64)
    assert main(["explain", "AAPL", "15m", "--session", "extended", *places]) == 0
    assert "XNYS@extended" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["fetch", "AAPL", "15m", "--session", "night", *places])
    assert ended.value.code == 2
