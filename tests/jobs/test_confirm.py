"""Confirmation of stored bars by a second vendor: oldest first, with the results kept."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from src.data.core.cache.confirmations import CONFIRMED
from src.data.core.cache.store import Commit, CommitPiece
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.actions import Action
from src.data.core.model.time.instant import DAY_MS, day_ms, iso, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.observability.events import BarsContradicted, Event
from src.data.core.runtime.compute_slots import waiting
from src.data.core.vendors.alpha_vantage.bars import AlphaVantageDataDownloader
from src.data.core.vendors.fmp.bars import FMPDataDownloader
from src.data.data_manager import DataManager
from src.data.errors import (
    KindMismatchError,
    LockTimeoutError,
    QueryError,
    RefusedError,
    StorageError,
)
from src.data.jobs.progress.events import Progress
from src.data.jobs.validation.confirm import confirm_sample
from src.data.jobs.validation.verify import StoredBars
from tests.conformance.sheet import sheet_of
from tests.vendor_server import Fault, Row, VendorServer, dividend, split
from tests.vendor_server.face import Page

NEVER = parse_iso("2099-01-01")
YEAR = ("2023-06-01", "2024-06-13")
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def rules(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Return rules by which days of shares are from Yahoo, then from FMP and Finnhub."""
    clock.set(parse_iso("2024-06-13T22:30:00"))
    names = ("yahoo", "fmp", "finnhub")
    lines = [
        f"stock_daily: {{primary: {names[0]}, backup: [{', '.join(names[1:])}]}}",
        "providers:",
    ]
    for name in names:
        for key, value in sheet_of(name).keys.items():
            monkeypatch.setenv(key, value)
        fast = "{requests_per_minute: 60000, requests_per_second: 1000, burst_size: 1000}"
        where = f"base_url: '{vendors.base_url(name)}', rate_limits: {fast}"
        lines.append(f"  {name}: {{{where}{', transport: http' * (name == 'yahoo')}}}")
    path = tmp_path / "rules.yaml"
    path.write_text("\n".join(lines) + "\n")
    monkeypatch.setattr("src.data.core.wiring.SystemClock", lambda: clock)
    return path


@pytest.fixture
def manager(tmp_path: Path, rules: Path, clock: ManualClock) -> DataManager:
    """Return a manager on an empty cache; Binance and Yahoo are at the vendor server."""
    return DataManager(tmp_path / "cache", rules, clock=clock)


@pytest.fixture
def run(tmp_path: Path, rules: Path, vendors: VendorServer) -> Run:
    """Return a run over the cache, which first clears the server's log."""

    def once(sample: str = "100%", requests: int = 50, **more: Any) -> dict[str, Any]:
        vendors.clear_log()
        return confirm_sample(sample, requests, tmp_path / "cache", config_path=rules, **more)

    return once


def files(folder: Path) -> dict[str, bytes]:
    """Return what may not change by a comparison: bars and what is known of them."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.name.endswith((".csv.gz", ".metadata.json", "series.json", "actions.json", ".log"))
    }


def named(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(one["symbol"], one["vendor"], one["start"][:10]) for one in report["results"]]


# --- what is compared ------------------------------------------------------------------------


def test_equal_bars_are_confirmed_and_none_is_stored(
    manager: DataManager, run: Run, vendors: VendorServer, tmp_path: Path
) -> None:
    rows = len(manager.get_ohlcv("AAPL", "1d", *YEAR))
    before = files(tmp_path / "cache")
    report = run()
    assert (report["bars"], report["contradicted"]) == (rows, 0)
    assert report["confirmed"] == rows - 1, "the last day may still change"
    assert report["proof"] == "99.6 % of bars confirmed by two sources, 0 contradicted"
    assert set(report["vendors"]) == {"fmp"}, "never the vendor that they are from"
    assert report["vendors"]["fmp"]["requests"] == vendors.count("fmp") == vendors.count()
    assert files(tmp_path / "cache") == before
    again = run()
    assert (vendors.count(), again["compared"], again["reasons"]) == (0, 0, [])


def test_bars_of_a_series_whose_metadata_are_damaged_are_compared(
    manager: DataManager, run: Run, tmp_path: Path
) -> None:
    rows = len(manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-03-28"))
    (tmp_path / "cache/ohlcv/AAPL/1d/2024.metadata.json").write_bytes(b"")
    planned = run(dry_run=True)
    assert (planned["compared"], planned["reasons"]) == (rows, [])
    report = run()
    assert (report["confirmed"], report["contradicted"]) == (rows, 0)


def test_bars_of_the_second_vendor_in_pence_are_contradictions(
    manager: DataManager, run: Run, vendors: VendorServer
) -> None:
    manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-03-28")
    vendors.fault("fmp", Fault.rescale(100.0, 3, 4, 5))
    report = run()
    (one,) = report["results"]
    assert (one["contradicted"], one["confirmed"]) == (3, one["bars"] - 3)
    assert one["differences"] == ["unit x100: 3 bars, theirs is 100 times ours"]
    assert (report["found"], report["contradicted"]) == (3, 3)


def test_a_split_missing_at_one_vendor_is_a_contradiction(
    manager: DataManager, run: Run, vendors: VendorServer
) -> None:
    manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-03-28")
    vendors.fault("fmp", Fault.rescale(0.25, *range(20)))
    (one,) = run()["results"]
    assert (one["contradicted"], one["confirmed"]) == (20, one["bars"] - 20)
    assert one["differences"][0].startswith("split: 20 bars, theirs is 1/4 of ours")


def test_a_few_bars_that_differ_are_reported_as_contradicted(
    manager: DataManager, run: Run, vendors: VendorServer
) -> None:
    manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-03-28")
    vendors.revise("AAPL", "1d", parse_iso("2024-02-06"), 1.07, NEVER, vendor="fmp")
    heard: list[Event] = []
    (one,) = run(on_event=heard.append)["results"]
    assert (one["contradicted"], one["differences"]) == (1, ["conflict: 1 bar"])
    (event,) = (one for one in heard if isinstance(one, BarsContradicted))
    assert (event.symbol, event.timeframe, event.lane) == ("AAPL", "1d", "")
    assert (event.vendor, event.bars, event.said) == ("fmp", 1, "conflict: 1 bar")
    (entry,) = (entry for entry, _ in manager.cache.store.comparisons.entries(_key(manager)))
    assert iso(entry.first or 0)[:10] == "2024-02-06"


def test_bars_adjusted_for_dividends_by_the_second_vendor_are_confirmed(
    manager: DataManager, run: Run, vendors: VendorServer
) -> None:
    vendors.truth.act("AAPL", dividend("2024-03-08", 1.5))
    bars = manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-03-28")
    manager.get_actions("AAPL")

    def taken_off(row: Row) -> Row:
        factor = (row.adj_close or 0.0) / (row.close or 1.0)
        o, h, low, c = (None if x is None else x * factor for x in row[1:5])
        return row._replace(open=o, high=h, low=low, close=c)

    def change(page: Page) -> Page:
        return replace(page, rows=tuple(map(taken_off, page.rows)))

    vendors.fault("fmp", Fault.on_rows("dividends taken off", change))
    (one,) = run()["results"]
    assert (one["contradicted"], one["confirmed"]) == (0, 0)
    assert one["differences"][0].startswith(f"dividend adjustment: {len(bars)} bars")


def _claim(manager: DataManager, *actions: Action) -> None:
    """Store these splits and dividends as the only ones of the bars' vendor."""
    now, ever = parse_iso("2024-06-13T22:30:00"), Span(0, parse_iso("2024-06-14"))
    for path in Path(manager.cache.cache_dir).rglob("actions.json"):
        path.unlink()
    reported = [replace(one, source="yahoo", fetched_at=now) for one in actions]
    manager.cache.store.add_actions("AAPL", reported, ever, "yahoo", now)


FEBRUARY, MAY = dividend("2024-02-09", 0.24), dividend("2024-05-10", 0.25)


@pytest.mark.parametrize(
    ("here", "there", "since", "said"),
    [
        ([FEBRUARY, MAY], [], "2024-01-02", ""),
        ([FEBRUARY, MAY], [split("2024-03-04", 1, 20)], "2024-03-04", "cache: no split"),
        ([FEBRUARY, split("2024-04-02", 2), MAY], [], "2024-04-02", "fmp: no split"),
        ([dividend("2024-02-09", 24.0), MAY], [], "2024-02-09", "dividend of 24.0"),
        ([FEBRUARY], [], "2024-05-10", "cache: no dividend"),
    ],
)
def test_bars_are_confirmed_up_to_the_last_split_or_dividend_that_is_not(
    manager: DataManager, run: Run, monkeypatch: pytest.MonkeyPatch, here: list[Action],
    there: list[Action], since: str, said: str,
) -> None:  # fmt: skip
    bars = manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-03-28", adjustment="raw")
    _claim(manager, *here)
    reported = [replace(one, source="fmp") for one in (FEBRUARY, MAY, *there)]
    monkeypatch.setattr(FMPDataDownloader, "fetch_actions", lambda *_: reported)
    report = run()
    right = int((bars.index >= since).sum())
    assert report["confirmed"] == right
    assert report["unproven"] == len(bars) - right
    assert report["contradicted"] == 0
    words = [text for one in report["results"] for text in one["differences"]]
    assert bool(words) == bool(said)
    assert all(text.startswith("actions: 1 of") and said in text for text in words), words


@pytest.mark.parametrize(
    ("later", "standing", "right"),
    [
        (split("2024-03-04", 2), 0, 19),
        (dividend("2024-03-04", 0.3), 61, 61),
        (split("2024-04-15", 3), 0, 0),
    ],
    ids=["split", "dividend", "split behind the last bar"],
)
def test_a_newly_reported_split_ends_confirmations_of_earlier_bars(
    manager: DataManager, run: Run, monkeypatch: pytest.MonkeyPatch, later: Action, standing: int,
    right: int,
) -> None:  # fmt: skip
    manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-03-28", adjustment="raw")
    _claim(manager, FEBRUARY, MAY)
    reported = [replace(one, source="fmp") for one in (FEBRUARY, MAY)]
    monkeypatch.setattr(FMPDataDownloader, "fetch_actions", lambda *_: reported)
    assert run()["confirmed"] == 61
    now = parse_iso("2024-06-13T23:00:00")
    own = replace(later, source="yahoo", fetched_at=now)
    day = Span(day_ms(later.ex_date), day_ms(later.ex_date) + DAY_MS)
    manager.cache.store.add_actions("AAPL", [own], day, "yahoo", now)
    assert run(dry_run=True)["confirmed"] == standing
    assert manager.cache.get_stats()["confirmed_bars"] == standing
    assert run()["confirmed"] == right
    manager.cache.store.add_actions("AAPL", [own], day, "yahoo", now)  # told once more: nothing new
    assert run(dry_run=True)["confirmed"] == right


@pytest.mark.parametrize("source", ["yahoo", "tiingo"])
def test_an_answer_after_which_the_same_splits_count_ends_no_confirmation(
    manager: DataManager, run: Run, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    known = split("2024-03-04", 2)
    manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-03-28", adjustment="raw")
    _claim(manager, FEBRUARY, known, MAY)
    reported = [replace(one, source="fmp") for one in (FEBRUARY, known, MAY)]
    monkeypatch.setattr(FMPDataDownloader, "fetch_actions", lambda *_: reported)
    assert run()["confirmed"] == 61
    now = parse_iso("2024-06-13T23:00:00")
    day = Span(day_ms(known.ex_date), day_ms(known.ex_date) + DAY_MS)
    answer = [] if source == "yahoo" else [replace(known, source=source, fetched_at=now)]
    manager.cache.store.add_actions("AAPL", answer, day, source, now)
    assert [one.ratio for one in manager.cache.store.actions("AAPL").splits] == [2]
    assert run(dry_run=True)["confirmed"] == 61


def test_a_vendor_without_splits_and_dividends_confirms_no_share(
    manager: DataManager, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = len(manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-03-28"))
    _claim(manager, FEBRUARY, MAY)

    def refuse(*_: object) -> None:
        raise RefusedError("not in your plan", provider="fmp")

    monkeypatch.setattr(FMPDataDownloader, "fetch_actions", refuse)
    report = run()
    assert (report["confirmed"], report["unproven"], report["found"]) == (0, rows, 0)
    (one,) = report["results"]
    assert "later splits and dividends are not confirmed: fmp does not report any" in one["remarks"]
    assert report["vendors"]["fmp"]["why"] == ""


def test_splits_and_dividends_of_a_share_are_requested_once_in_a_run(
    manager: DataManager, run: Run, vendors: VendorServer
) -> None:
    manager.get_ohlcv("AAPL", "1d", *YEAR)
    report = run()
    assert len(report["results"]) == 2
    assert vendors.count("fmp") == report["vendors"]["fmp"]["requests"] == 2 + 2


def test_raw_bars_before_an_unstored_split_are_not_confirmed(
    tmp_path: Path, rules: Path, clock: ManualClock, vendors: VendorServer, run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    text = rules.read_text().replace(
        "{primary: yahoo, backup: [fmp, finnhub]}", "{primary: tiingo, backup: [alpha_vantage]}"
    )
    for name in ("tiingo", "alpha_vantage"):
        for key, value in sheet_of(name).keys.items():
            monkeypatch.setenv(key, value)
        text += f"  {name}: {{base_url: '{vendors.base_url(name)}'}}\n"
    rules.write_text(text)
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    bars = manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-03-28", adjustment="raw")
    for path in (tmp_path / "cache").rglob("actions.json"):
        path.unlink()
    reported = [FEBRUARY, split("2024-03-04", 1, 20), MAY]
    monkeypatch.setattr(AlphaVantageDataDownloader, "fetch_actions", lambda *_: reported)
    report = run()
    assert report["confirmed"] == int((bars.index >= "2024-03-04").sum())


@pytest.mark.parametrize("pinned", ["fmp", "finnhub", "yahoo"])
def test_a_pinned_series_is_compared_with_a_vendor_of_its_kind(
    manager: DataManager, run: Run, pinned: str
) -> None:
    rows = len(manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-03-28", provider=pinned))
    report = run()
    assert report["reasons"] == []
    assert {(one["lane"], one["vendor"] != pinned) for one in report["results"]} == {(pinned, True)}
    assert (report["confirmed"], report["contradicted"]) == (rows, 0)


def test_bars_missing_at_the_second_vendor_are_neither_confirmed_nor_contradicted(
    manager: DataManager, run: Run, vendors: VendorServer
) -> None:
    rows = len(manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-03-28"))
    vendors.fault("fmp", Fault.drop(5, 6, 7))
    report = run()
    assert (report["confirmed"], report["contradicted"], report["found"]) == (rows - 3, 0, 0)
    assert report["results"][0]["differences"] == ["missing there: 3 bars"]


def test_bars_of_another_kind_are_not_compared(
    tmp_path: Path, rules: Path, clock: ManualClock, vendors: VendorServer, run: Run
) -> None:
    rules.write_text(
        "crypto: {primary: binance, backup: [yahoo]}\n"
        + rules.read_text().replace(
            "providers:",
            "providers:\n  binance: {base_url: '"
            + vendors.base_url("binance")
            + "', transport: http}",
        )
    )
    DataManager(tmp_path / "cache", rules, clock=clock).get_ohlcv(
        "BTCUSDT", "1d", "2024-05-01", "2024-05-31"
    )
    report = run()
    assert (vendors.count(), report["compared"]) == (0, 0)
    (reason,) = report["reasons"]
    assert reason["series"] == ["BTCUSDT 1d"]
    assert reason["why"] == (
        "no second vendor in the rules serves bars of this kind; these are from binance"
    )


# --- which, and how many ---------------------------------------------------------------------


def test_the_oldest_bars_are_compared_first_and_the_next_run_continues(
    manager: DataManager, run: Run, vendors: VendorServer
) -> None:
    manager.get_ohlcv("AAPL", "1d", *YEAR)
    nights = [run("10%", 3) for _ in range(5)]
    starts = [one["start"][:10] for night in nights for one in night["results"]]
    assert starts == ["2023-06-01", "2023-10-24", "2024-01-02", "2024-05-24"]
    assert vendors.count() == 0, "nothing is left in the fifth run"
    assert [night["confirmed"] for night in nights] == [100, 147, 247, 260, 260]
    entries = [one for one, _ in manager.cache.store.comparisons.entries(_key(manager))]
    assert [iso(one.start)[:4] for one in entries] == ["2023", "2024"], (
        "neighbouring entries are joined per year"
    )


def test_confirm_sends_no_vendor_more_requests_than_the_limit_given(
    manager: DataManager, run: Run, vendors: VendorServer
) -> None:
    for symbol in ("AAPL", "MSFT"):
        manager.get_ohlcv(symbol, "1d", *YEAR)
    for most in (1, 2):
        report = run("90%", most)
        for vendor in ("fmp", "finnhub"):
            reported = report["vendors"].get(vendor, {"requests": 0})["requests"]
            assert vendors.count(vendor) == reported <= most
        assert vendors.count("yahoo") == 0


def test_a_slow_vendor_delays_no_other_and_running_comparisons_count(
    manager: DataManager, run: Run, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for symbol in ("AAPL", "MSFT", "REVS"):
        manager.get_ohlcv(symbol, "1d", *YEAR)
    beside, other = StoredBars.beside, threading.Event()
    heard: list[Progress] = []

    def slow(self: StoredBars, key: SeriesKey, vendor: str, *given: Any, **more: Any) -> Any:
        with waiting():
            assert vendor != "fmp" or other.wait(60), "the other one waits for it"
        comparison = beside(self, key, vendor, *given, **more)
        other.set()
        return comparison

    monkeypatch.setattr(StoredBars, "beside", slow)
    report = run("100%", 3, progress=heard.append)
    assert {name: reported["requests"] for name, reported in report["vendors"].items()} == {
        "fmp": 3, "finnhub": 3,
    } == {name: vendors.count(name) for name in ("fmp", "finnhub")}  # fmt: skip
    assert "its budget of 3 requests is used" in report["reasons"][0]["why"]
    assert [one.done for one in heard] == [147, 294] and heard[0].total == report["bars"]


def test_released_requests_of_the_budget_are_used_for_other_series(
    manager: DataManager, run: Run, vendors: VendorServer, rules: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    rules.write_text(rules.read_text().replace("[fmp, finnhub]", "[fmp]"))
    for symbol in ("AAPL", "MSFT"):
        manager.get_ohlcv(symbol, "1d", *YEAR)
    beside = StoredBars.beside

    def first(self: StoredBars, key: SeriesKey, *given: Any, **more: Any) -> Any:
        if key.symbol == "AAPL":
            raise KindMismatchError("no request was sent")
        return beside(self, key, *given, **more)

    monkeypatch.setattr(StoredBars, "beside", first)
    report = run("100%", 3)
    assert [one["symbol"] for one in report["results"]] == ["MSFT"]
    assert vendors.count("fmp") == 3


def test_requests_for_splits_and_dividends_count_towards_the_limit(
    manager: DataManager, run: Run, vendors: VendorServer, tmp_path: Path
) -> None:
    manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-03-28")
    for path in (tmp_path / "cache").rglob("actions.json"):
        path.unlink()
    assert run("100%", 2)["compared"] == 0
    assert vendors.count() == 0
    report = run("100%", 3)
    assert vendors.count("fmp") == report["vendors"]["fmp"]["requests"] == 3
    assert (report["confirmed"], report["unproven"]) == (report["bars"], 0), "here none are known"


def test_a_sample_is_spread_over_the_series(manager: DataManager, run: Run) -> None:
    for symbol in ("AAPL", "MSFT", "REVS"):
        manager.get_ohlcv(symbol, "1d", *YEAR)
    first = run("30%")
    assert sorted(one["symbol"] for one in first["results"]) == ["AAPL", "MSFT", "REVS"]
    assert first["compared"] < 0.5 * first["bars"]


def test_series_that_were_never_compared_come_first(manager: DataManager, run: Run) -> None:
    manager.get_ohlcv("AAPL", "1d", *YEAR)
    run("1%")
    manager.get_ohlcv("MSFT", "1d", *YEAR)
    assert [one["symbol"] for one in run("1%")["results"]] == ["MSFT"]


def test_a_dry_run_of_confirm_predicts_the_run(
    manager: DataManager, run: Run, vendors: VendorServer, tmp_path: Path
) -> None:
    manager.get_ohlcv("AAPL", "1d", *YEAR)
    dry = run("60%", dry_run=True)
    assert vendors.count() == 0
    assert not list((tmp_path / "cache").rglob(CONFIRMED))
    real = run("60%")
    assert named(dry) == named(real)
    assert dry["compared"] == real["compared"]
    assert vendors.count("fmp") == dry["vendors"]["fmp"]["requests"]


@pytest.mark.parametrize(
    "sample",
    ["0", "0%", "101%", "1", "-1%", "text", "nan%", "inf%", "", "1%%", "%", "1e400%", "\u0661%"],
)
def test_an_invalid_percentage_of_bars_is_refused(sample: str) -> None:
    with pytest.raises(QueryError, match="invalid percentage of the stored bars"):
        confirm_sample(sample)


@pytest.mark.parametrize("requests", [0, -1, True, 1.5, "many"])
def test_an_invalid_number_of_requests_is_refused(requests: Any) -> None:
    with pytest.raises(QueryError, match="invalid number of requests"):
        confirm_sample("1%", requests)


def test_confirm_with_an_empty_cache_is_a_query_error(run: Run) -> None:
    with pytest.raises(QueryError, match="no bars are stored"):
        run()


# --- vendors that cannot be asked --------------------------------------------------------------


def test_confirm_asks_another_vendor_if_one_is_down(
    manager: DataManager, run: Run, vendors: VendorServer
) -> None:
    manager.get_ohlcv("AAPL", "1d", *YEAR)
    vendors.fault("fmp", Fault.status(503))
    report = run()
    assert vendors.count("fmp") == 1, "it is not queried again"
    assert "503" in report["vendors"]["fmp"]["why"]
    assert report["confirmed"] == report["bars"] - 1


def test_no_confirmation_is_stored_if_all_vendors_are_down(
    manager: DataManager, run: Run, vendors: VendorServer, tmp_path: Path
) -> None:
    manager.get_ohlcv("AAPL", "1d", *YEAR)
    for vendor in ("fmp", "finnhub"):
        vendors.fault(vendor, Fault.reset())
    report = run()
    assert (report["compared"], report["found"]) == (0, 0)
    assert not list((tmp_path / "cache").rglob(CONFIRMED))
    vendors.heal()


def test_a_vendor_without_quota_is_reported_and_not_queried(
    manager: DataManager, run: Run, vendors: VendorServer, rules: Path
) -> None:
    manager.get_ohlcv("AAPL", "1d", *YEAR)
    text = rules.read_text().split("\n")
    limited = [
        line.replace("60000,", "60000, requests_per_day: 3,")
        for line in text
        if "finnhub:" not in line
    ]
    rules.write_text("\n".join(limited).replace(", finnhub", ""))
    assert run("10%")["confirmed"] == 100
    report = run("10%")
    assert vendors.count("fmp") == 0
    assert report["vendors"]["fmp"]["why"].startswith("its limit is used up for ")
    assert report["confirmed"] == 100


def test_bars_older_than_a_vendors_history_do_not_delay_younger_ones(
    tmp_path: Path, rules: Path, clock: ManualClock, vendors: VendorServer, run: Run
) -> None:
    rules.write_text("stock_intraday: {primary: fmp, backup: [yahoo]}\n" + rules.read_text())
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    manager.get_ohlcv("AAPL", "5m", "2024-03-04", "2024-03-05")
    manager.get_ohlcv("AAPL", "5m", "2024-06-03", "2024-06-04")
    report = run()
    assert {one["start"][:7] for one in report["results"]} == {"2024-06"}
    assert report["confirmed"] == report["bars"] / 2
    assert run()["reasons"][0]["why"] == (
        "fmp: it supplied these bars; yahoo: its bars begin on 2024-04-15"
    )


def test_a_series_that_a_vendor_does_not_know_takes_one_request(
    manager: DataManager, run: Run, vendors: VendorServer, rules: Path
) -> None:
    manager.get_ohlcv("AAPL", "1d", *YEAR)
    rules.write_text(rules.read_text().replace("[fmp, finnhub]", "[fmp]"))
    vendors.fault("fmp", Fault.status(404))
    report = run("90%")
    assert vendors.count("fmp") == 1
    assert (report["confirmed"], report["found"]) == (0, 0)
    assert report["vendors"]["fmp"]["why"] == "", "other series are requested"


def test_bars_that_would_have_to_be_converted_are_not_compared(
    tmp_path: Path, rules: Path, clock: ManualClock, vendors: VendorServer, run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for key, value in sheet_of("alpaca").keys.items():
        monkeypatch.setenv(key, value)
    rules.write_text(
        f"stock_intraday: {{primary: yahoo, backup: [alpaca]}}\n{rules.read_text()}"
        f"  alpaca: {{base_url: '{vendors.base_url('alpaca')}'}}\n"
    )
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    manager.get_ohlcv("AAPL", "1h", "2024-06-03", "2024-06-04")
    report = run()
    assert vendors.count() == 0
    assert "would have to be converted" in report["reasons"][0]["why"]


def test_bars_that_cannot_be_compared_are_reported_once(
    manager: DataManager, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    manager.get_ohlcv("AAPL", "1d", *YEAR)

    def refuse(*_: object, **__: object) -> None:
        raise KindMismatchError("the splits of AAPL are not known")

    monkeypatch.setattr(StoredBars, "beside", refuse)
    report = run("90%")
    assert (report["compared"], report["results"]) == (0, [])
    assert report["reasons"][0]["why"] == "the splits of AAPL are not known"
    assert not list((tmp_path / "cache").rglob(CONFIRMED))


def test_bars_that_have_not_settled_are_not_compared(
    manager: DataManager, run: Run, vendors: VendorServer
) -> None:
    manager.get_ohlcv("NVDA", "1d", "2024-06-03", "2024-06-12")  # split on 10 June
    report = run()
    assert (vendors.count(), report["compared"]) == (0, 0)
    assert report["reasons"][0]["why"] == "it has no final bars yet"


def test_a_cache_that_cannot_be_written_takes_no_request(
    manager: DataManager, run: Run, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.get_ohlcv("AAPL", "1d", *YEAR)

    def refuse(*_: object, **__: object) -> None:
        raise StorageError("the disk is read-only")

    monkeypatch.setattr(Disk, "lock", refuse)
    with pytest.raises(StorageError):
        run()
    assert vendors.count() == 0


# --- what is kept ------------------------------------------------------------------------------


def test_a_revised_bar_loses_its_confirmation_and_is_compared_again(
    manager: DataManager, run: Run, vendors: VendorServer
) -> None:
    manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-03-28")
    run()
    vendors.revise("AAPL", "1d", parse_iso("2024-02-06"), 1.07, NEVER, vendor="yahoo")
    manager.get_ohlcv("AAPL", "1d", "2024-02-06", "2024-02-06", True)
    assert manager.get_cache_stats()["confirmed_bars"] == 0
    report = run()
    assert vendors.count("fmp") > 0
    assert (report["found"], report["contradicted"]) == (1, 1)


def test_bars_that_stay_the_same_in_another_file_are_not_compared_again(
    manager: DataManager, run: Run, vendors: VendorServer
) -> None:
    manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-03-28")
    run()
    manager.get_ohlcv("AAPL", "1d", "2024-04-01", "2024-05-31")
    manager.cache.store.commit(_key(manager), _rewritten(manager))
    report = run()
    assert [one["start"][:10] for one in report["results"]] == ["2024-04-01"]
    assert report["confirmed"] == report["bars"]


def test_contradicted_bars_are_compared_again_after_a_month(
    manager: DataManager, run: Run, vendors: VendorServer, clock: ManualClock
) -> None:
    rows = len(manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-03-28"))
    vendors.fault("fmp", Fault.rescale(100.0, 3, 4, 5), times=1)
    assert run()["found"] == 3
    assert (run()["compared"], run()["contradicted"]) == (0, 3)
    clock.advance(31 * 86_400)
    report = run()
    assert (report["compared"], report["confirmed"], report["contradicted"]) == (rows, rows, 0)


def test_bars_that_change_while_they_are_compared_are_not_kept_as_compared(
    manager: DataManager, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-03-28")
    beside = StoredBars.beside

    def meanwhile(*given: Any, **more: Any) -> Any:
        comparison = beside(*given, **more)
        manager.cache.store.commit(_key(manager), _rewritten(manager, 1.5))
        return comparison

    monkeypatch.setattr(StoredBars, "beside", meanwhile)
    assert run()["compared"] == 0
    assert manager.cache.store.comparisons.entries(_key(manager)) == []


@pytest.mark.parametrize("end", [KeyboardInterrupt, MemoryError], ids=["Ctrl-C", "killed"])
def test_confirmations_made_before_an_interrupt_are_kept(
    manager: DataManager, run: Run, monkeypatch: pytest.MonkeyPatch, end: type[BaseException]
) -> None:
    manager.get_ohlcv("AAPL", "1d", *YEAR)
    manager.get_ohlcv("MSFT", "1d", *YEAR)
    beside, calls = StoredBars.beside, list[int]()

    def third(*given: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise end
        return beside(*given, **more)

    monkeypatch.setattr(StoredBars, "beside", third)
    monkeypatch.setattr("src.data.jobs.run.runner.AT_WORK", 1)
    if end is KeyboardInterrupt:
        report = run("90%")
        assert report["interrupted"]
        assert len(report["results"]) == 2
    else:
        with pytest.raises(end):
            run("90%")
    monkeypatch.undo()
    entries = [manager.cache.store.comparisons.entries(key) for key in manager.cache.store.keys()]
    assert sum(map(len, entries)) == 2


def test_a_second_concurrent_run_of_confirm_is_refused(
    manager: DataManager, run: Run, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.get_ohlcv("AAPL", "1d", *YEAR)
    beside = StoredBars.beside

    def meanwhile(*given: Any, **more: Any) -> Any:
        monkeypatch.setattr(StoredBars, "beside", beside)
        with pytest.raises(
            LockTimeoutError,
            match="another run is already cross-checking this cache with a second vendor",
        ):
            run()
        return beside(*given, **more)

    monkeypatch.setattr(StoredBars, "beside", meanwhile)
    report = run()
    assert report["confirmed"] == report["bars"] - 1


def test_a_torn_document_of_confirmations_is_written_again(
    manager: DataManager, run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-03-28")
    run()
    (path,) = (tmp_path / "cache").rglob(CONFIRMED)
    path.write_bytes(path.read_bytes()[:100])
    with caplog.at_level(logging.WARNING):
        report = run()
    assert report["confirmed"] == report["bars"]
    assert "confirmed.json cannot be read" in caplog.text


# --- where it shows ------------------------------------------------------------------------------


def test_statistics_and_metrics_count_confirmed_and_contradicted_bars(
    manager: DataManager, run: Run, vendors: VendorServer
) -> None:
    rows = len(manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-03-28"))
    vendors.fault("fmp", Fault.rescale(100.0, 3))
    run()
    stats, cache = manager.get_cache_stats(), manager.metrics()["cache"]
    assert (stats["confirmed_bars"], stats["contradicted_bars"]) == (rows - 1, 1)
    assert (cache["bars"], cache["confirmed_bars"], cache["contradicted_bars"]) == (
        rows,
        rows - 1,
        1,
    )


def _key(manager: DataManager) -> SeriesKey:
    return next(key for key in manager.cache.store.keys() if key.symbol == "AAPL")


def _rewritten(manager: DataManager, factor: float = 1.0) -> Commit:
    """Return a commit that rewrites the stored days of January."""
    store, key = manager.cache.store, _key(manager)
    span = Span(parse_iso("2024-01-01"), parse_iso("2024-02-01"))
    table, coverage = store.read(key, span)
    part = next(part for part in coverage if part.state == "final")
    other = replace(table, close=table.close * factor, adj_close=None)
    piece = CommitPiece(other, span, part.vendor, part.fetched_at, part.kind, part.basis, "final")
    return Commit((piece,))
