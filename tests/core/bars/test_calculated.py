"""Tests the job that builds longer bars from stored minutes: which bars, of which kind, in which folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from src.data.core.bars.client import BarsClient, Wishes
from src.data.core.cache.store import BarStore, Commit, CommitPiece
from src.data.core.clock import ManualClock
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.bars import Bar, BarTable
from src.data.core.model.stored.stored import Calculation
from src.data.core.model.time.instant import MINUTE_MS, from_ms, parse_iso, to_ms
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.wiring import Services, build
from src.data.errors import KindMismatchError, NoDataError, QueryError

MINUTE = Timeframe(1, "m")
COIN = Kind("24h", "clock", "binance", "USDT", "base")
TAPE = Kind("extended", "clock", "consolidated", "USD", "shares", "sip")
HOURS = Kind("regular", "session", "consolidated", "USD", "shares", "sip")
NEW_YORK = ZoneInfo("America/New_York")
Row = tuple[float, ...]


@pytest.fixture
def services(tmp_path: Path, clock: ManualClock) -> Services:
    """Return the services on an empty cache, with the packaged rules."""
    return build(tmp_path / "cache", clock=clock)


@pytest.fixture
def client(services: Services) -> BarsClient:
    """Return the bars client of ``services``."""
    return services.client


@pytest.fixture
def store(services: Services) -> BarStore:
    """Return the bar store of ``services``, which is empty."""
    return services.cache.store


def walked(stamps: Iterable[int]) -> list[Bar]:
    """Return bars whose prices depend only on their timestamps."""
    moved = ((stamp, 100 + stamp // MINUTE_MS * 7919 % 1000 / 100) for stamp in stamps)
    return [Bar(stamp, p, p + 0.5, p - 0.25, p + 0.125, float(stamp // MINUTE_MS % 9 + 1))
            for stamp, p in moved]  # fmt: skip


def put(
    store: BarStore, symbol: str, start: str, end: str, kind: Kind, *, vendor: str = "binance",
    step: str = "1m", state: str = "final", basis: str = "raw", at: str = "2024-06-12",
    keep: Callable[[int], bool] = lambda stamp: True, price: float = 0.0,
) -> list[Bar]:  # fmt: skip
    """Store bars as a vendor would have sent them; return them."""
    span, frame = Span(parse_iso(start), parse_iso(end)), Timeframe.parse(step)
    grid = range(span.start, span.end, frame.step_ms or 0)
    bars = [bar._replace(close=price) if price else bar for bar in walked(filter(keep, grid))]
    holes = tuple(Span(s, s + MINUTE_MS) for s in grid if not keep(s)) if kind is COIN else ()
    piece = CommitPiece(
        BarTable.from_bars(bars), span, vendor, parse_iso(at), kind, Basis(basis), state, holes  # type: ignore[arg-type]
    )  # fmt: skip
    lane = ("extended",) if kind.session == "extended" else ()
    store.commit(SeriesKey(symbol, frame, lane), Commit((piece,)))
    return bars


def folded(bars: Iterable[Bar], stamp_of: Callable[[int], int]) -> list[Row]:
    """Put bars together by a plain loop."""
    groups: dict[int, list[Bar]] = {}
    for bar in bars:
        groups.setdefault(stamp_of(bar.stamp_ms), []).append(bar)
    return [
        (stamp, parts[0].open, max(p.high for p in parts), min(p.low for p in parts),
         parts[-1].close, sum(p.volume for p in parts))
        for stamp, parts in groups.items()
    ]  # fmt: skip


def calculated(
    client: BarsClient, symbol: str, label: str, session: str = "regular", **options: bool
) -> Calculation:
    query = client.query(symbol, label)
    query = replace(query, instrument=query.instrument.in_session(session))  # type: ignore[arg-type]
    return client.calculate(query, MINUTE, **options)


def stored(client: BarsClient, key: SeriesKey) -> list[Row]:
    table = client.columns(key, Span(0, parse_iso("2100-01-01"))).table
    columns = (table.stamps, *table.values())
    return list(zip(*(column.tolist() for column in columns), strict=True))


def stored_spans(client: BarsClient, key: SeriesKey) -> list[tuple[str, str, str]]:
    """Return the stretches of a series as start, state and vendor."""
    return [(str(from_ms(c.span.start))[:16], c.state, c.vendor) for c in client.coverage(key)]


# --- coins -----------------------------------------------------------------------------------


@pytest.mark.parametrize("label, step", [("15m", 15), ("4h", 240), ("1d", 1440)])
def test_longer_bars_are_calculated_from_two_years_of_minutes(
    client: BarsClient, store: BarStore, label: str, step: int
) -> None:
    bars = put(store, "BTCUSDT", "2023-12-30", "2024-01-03", COIN)
    found = calculated(client, "BTCUSDT", label)
    expected = folded(bars, lambda stamp: stamp - stamp % (step * MINUTE_MS))
    assert str(found.key) == f"BTCUSDT {label}@from-1m"
    assert stored(client, found.key) == expected
    assert (found.rows, found.written, found.gaps) == (len(expected), len(expected), 0)
    assert store.years(found.key) == [2023, 2024]


def test_each_calculated_span_keeps_vendor_state_and_basis_of_its_minutes(
    client: BarsClient, store: BarStore
) -> None:
    put(store, "BTCUSDT", "2024-06-10", "2024-06-11", COIN)
    put(
        store,
        "BTCUSDT",
        "2024-06-11",
        "2024-06-11T12:30",
        COIN,
        vendor="mirror",
        state="provisional",
    )
    key = calculated(client, "BTCUSDT", "1h").key
    assert stored_spans(client, key) == [
        ("2024-06-10 00:00", "final", "binance"),
        ("2024-06-11 00:00", "provisional", "mirror"),
    ]
    assert [c.fetched_at for c in client.coverage(key)] == [parse_iso("2024-06-12")] * 2
    assert store.view(key).kind == COIN


def test_a_bar_is_not_calculated_if_one_of_its_minutes_is_missing(
    client: BarsClient, store: BarStore
) -> None:
    gone = parse_iso("2024-06-10T05:17")
    put(store, "BTCUSDT", "2024-06-10", "2024-06-11", COIN, keep=lambda stamp: stamp != gone)
    found = calculated(client, "BTCUSDT", "1h")
    assert (found.rows, found.gaps) == (23, 1)
    assert found.lacking.startswith("1 of 60 1m bars")
    assert parse_iso("2024-06-10T05:00") not in [row[0] for row in stored(client, found.key)]


def test_newly_calculated_bars_are_appended_without_rewriting_stored_ones(
    client: BarsClient, store: BarStore
) -> None:
    put(store, "BTCUSDT", "2024-06-09", "2024-06-10T10:00", COIN)
    first = calculated(client, "BTCUSDT", "1h")
    assert (first.rows, first.written) == (34, 34)
    assert calculated(client, "BTCUSDT", "1h").written == 0
    put(store, "BTCUSDT", "2024-06-10T10:00", "2024-06-10T12:00", COIN)
    again = calculated(client, "BTCUSDT", "1h")
    assert (again.rows, again.written) == (36, 2)
    assert [c.added for c in client.commits(first.key)] == [34, 2]
    assert len(client.coverage(first.key)) == 1, "nights adjoin, so that they can be joined"


def test_calculated_bars_follow_minutes_that_settle_are_revised_or_are_lost(
    client: BarsClient, store: BarStore
) -> None:
    put(store, "BTCUSDT", "2024-06-10", "2024-06-10T12:00", COIN, state="provisional")
    key = calculated(client, "BTCUSDT", "1h").key
    put(store, "BTCUSDT", "2024-06-10", "2024-06-10T12:00", COIN)
    assert calculated(client, "BTCUSDT", "1h").written == 12
    assert stored_spans(client, key) == [("2024-06-10 00:00", "final", "binance")]
    put(store, "BTCUSDT", "2024-06-10T07:59", "2024-06-10T08:00", COIN, price=100.6)
    assert calculated(client, "BTCUSDT", "1h").written == 5
    assert stored(client, key)[7][4] == 100.6
    put(store, "BTCUSDT", "2024-06-10T03:00", "2024-06-10T03:01", COIN, keep=lambda stamp: False)
    assert calculated(client, "BTCUSDT", "1h").rows == 11
    assert [row[0] % 86_400_000 // 3_600_000 for row in stored(client, key)] == [
        0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11,
    ]  # fmt: skip


def test_a_recalculation_replaces_earlier_calculated_bars(
    client: BarsClient, store: BarStore
) -> None:
    put(store, "BTCUSDT", "2024-06-10", "2024-06-11", COIN)
    key = calculated(client, "BTCUSDT", "1h").key
    assert calculated(client, "BTCUSDT", "1h", anew=True).written == 24
    assert [c.deleted for c in client.commits(key)].count("calculate") == 1


def test_stored_bars_of_a_vendor_are_unchanged_and_preferred_to_calculated_ones(
    client: BarsClient, store: BarStore
) -> None:
    put(store, "BTCUSDT", "2024-06-10", "2024-06-11", COIN)
    own = put(store, "BTCUSDT", "2024-06-10", "2024-06-11", COIN, step="1h", vendor="binance")
    before = stored(client, SeriesKey("BTCUSDT", Timeframe.parse("1h")))
    calculated(client, "BTCUSDT", "1h")
    assert stored(client, SeriesKey("BTCUSDT", Timeframe.parse("1h"))) == before
    frame = client.get(
        client.query("BTCUSDT", "1h", "2024-06-10", "2024-06-10", wishes=Wishes(offline=True))
    )
    assert frame["close"].tolist() == [bar.close for bar in own]
    assert "derived_from" not in frame.attrs["onetape"]


def test_bars_that_cannot_be_calculated_are_an_error_with_the_reason(
    client: BarsClient, store: BarStore
) -> None:
    with pytest.raises(NoDataError, match="no 1m bars for BTCUSDT are stored") as none:
        calculated(client, "BTCUSDT", "1h")
    put(store, "BTCUSDT", "2024-06-10T00:00", "2024-06-10T00:30", COIN)
    with pytest.raises(NoDataError, match="no BTCUSDT 1h@from-1m bar has all its 1m bars") as few:
        calculated(client, "BTCUSDT", "1h")
    assert none.value.symbol == few.value.symbol == "BTCUSDT"
    for label, why in {
        "1w": "built from days",
        "1M": "built from days",
        "1m": "not shorter",
    }.items():
        with pytest.raises(QueryError, match=why):
            calculated(client, "BTCUSDT", label)


# --- shares ----------------------------------------------------------------------------------


def local(stamp: int) -> datetime:
    return from_ms(stamp).replace(tzinfo=ZoneInfo("UTC")).astimezone(NEW_YORK)


def traded(stamp: int) -> bool:
    """Return whether New York trades, including extended hours, computed by hand."""
    time = local(stamp)
    last = 17 if time.strftime("%m-%d") == "07-03" else 20
    return time.weekday() < 5 and time.strftime("%m-%d") != "07-04" and 4 <= time.hour < last


@pytest.mark.parametrize("label, hours", [("4h", [4, 8, 12, 16])])
def test_minutes_of_extended_hours_become_bars_from_four_to_twenty(
    client: BarsClient, store: BarStore, clock: ManualClock, label: str, hours: list[int]
) -> None:
    clock.set(parse_iso("2024-07-08"))
    bars = put(store, "AAPL", "2024-07-02T04:00", "2024-07-06T04:00", TAPE, vendor="alpaca",
               at="2024-07-07", keep=traded)  # fmt: skip
    found = calculated(client, "AAPL", label, "extended")
    step = timedelta(hours=int(label[0]))
    opens = {
        to_ms(local(bar.stamp_ms).replace(hour=hour, minute=0)): None
        for bar in bars for hour in hours
        if local(bar.stamp_ms).hour in range(hour, hour + step.seconds // 3600)
    }  # fmt: skip
    stamps = sorted(opens)
    expected = folded(bars, lambda s: max(stamp for stamp in stamps if stamp <= s))
    assert str(found.key) == f"AAPL {label}@extended@from-1m"
    assert stored(client, found.key) == expected
    assert found.gaps == 0
    assert store.view(found.key).kind == TAPE


def test_a_day_of_extended_hours_has_all_960_minutes_and_a_half_day_780(
    client: BarsClient, store: BarStore, clock: ManualClock
) -> None:
    clock.set(parse_iso("2024-07-08"))
    put(store, "AAPL", "2024-07-02T04:00", "2024-07-06T04:00", TAPE, vendor="alpaca",
        at="2024-07-07", keep=traded)  # fmt: skip
    rows = stored(client, calculated(client, "AAPL", "1d", "extended").key)
    assert [str(from_ms(int(row[0])))[:10] for row in rows] == [
        "2024-07-02",
        "2024-07-03",
        "2024-07-05",
    ]
    minutes = {"2024-07-02": 960, "2024-07-03": 780, "2024-07-05": 960}
    for row, count in zip(rows, minutes.values(), strict=True):
        opened = int(row[0]) + 8 * 60 * MINUTE_MS
        bars = walked(range(opened, opened + count * MINUTE_MS, MINUTE_MS))
        assert row[5] == sum(bar.volume for bar in bars)
        assert (row[1], row[4]) == (bars[0].open, bars[-1].close)


def test_the_last_extended_hour_is_on_the_next_utc_day_in_winter(
    client: BarsClient, store: BarStore
) -> None:
    put(store, "AAPL", "2024-01-10T05:00", "2024-01-12T05:00", TAPE, vendor="alpaca", keep=traded)
    for label, rows in {"1d": 2, "7m": 2 * 138, "1h": 32}.items():
        found = calculated(client, "AAPL", label, "extended")
        assert (found.rows, found.gaps, found.lacking) == (rows, 0, "")
    put(store, "AAPL", "2024-01-12T00:30", "2024-01-12T01:00", TAPE, vendor="alpaca",
        keep=traded, state="provisional")  # fmt: skip
    key = calculated(client, "AAPL", "1d", "extended").key
    assert [state for _, state, _ in stored_spans(client, key)] == ["final", "provisional"]


def test_days_that_begin_the_evening_before_cannot_be_calculated(
    client: BarsClient, store: BarStore
) -> None:
    put(
        store,
        "EURUSD=X",
        "2024-06-10",
        "2024-06-12",
        Kind("24h", "clock", "", "USD"),
        vendor="yahoo",
    )
    with pytest.raises(KindMismatchError, match="begin the evening before"):
        calculated(client, "EURUSD=X", "1d")
    assert calculated(client, "EURUSD=X", "1h").rows == 48


def test_an_extended_day_without_its_early_minutes_is_not_calculated(
    client: BarsClient, store: BarStore
) -> None:
    """The calendar of the exchange expects nothing there, so no gap of the minutes tells it."""
    put(store, "AAPL", "2024-06-10T13:00", "2024-06-11T00:00", TAPE, vendor="alpaca", keep=traded)
    assert calculated(client, "AAPL", "1h", "extended").rows == 11
    with pytest.raises(NoDataError, match="no AAPL 1d"):
        calculated(client, "AAPL", "1d", "extended")


def test_regular_minutes_become_regular_bars_with_the_same_adjustment(
    client: BarsClient, store: BarStore
) -> None:
    opened = parse_iso("2024-06-10T13:30")
    day = range(opened, opened + 390 * MINUTE_MS, MINUTE_MS)
    bars = put(store, "AAPL", "2024-06-10", "2024-06-11", HOURS, vendor="alpaca",
               keep=day.__contains__)  # fmt: skip
    found = calculated(client, "AAPL", "4h")
    assert str(found.key) == "AAPL 4h@from-1m"
    assert stored(client, found.key) == folded(
        bars, lambda stamp: opened + (stamp - opened) // (240 * MINUTE_MS) * (240 * MINUTE_MS)
    )
    assert {c.basis.adjustment for c in client.coverage(found.key)} == {"raw"}
    assert len(stored(client, calculated(client, "AAPL", "1d").key)) == 1
