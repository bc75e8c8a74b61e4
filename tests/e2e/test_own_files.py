"""A user's own files through the facade: the declared stamps, kinds and options are applied."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    ConfigError,
    IncompleteDataError,
    IncompleteDataWarning,
    UnknownSymbolError,
)
from tests.vendor_server import VendorServer

from .oracle import ms
from .scripted_vendor import gaps

HEADER = "timestamp,open,high,low,close,volume\n"
# Two sessions of a share at New York; the second one is short and ends at 13:00.
CLOSES = {
    "session": "02 10:30,02 11:30,02 12:30,02 13:30,02 14:30,02 15:30,02 16:00,"
    "03 10:30,03 11:30,03 12:30,03 13:00",
    "clock": "02 10:00,02 11:00,02 12:00,02 13:00,02 14:00,02 15:00,02 16:00,"
    "03 10:00,03 11:00,03 12:00,03 13:00",
}
OPENS = {
    "session": "02 09:30,02 10:30,02 11:30,02 12:30,02 13:30,02 14:30,02 15:30,"
    "03 09:30,03 10:30,03 11:30,03 12:30",
    "clock": "02 09:00,02 10:00,02 11:00,02 12:00,02 13:00,02 14:00,02 15:00,"
    "03 09:00,03 10:00,03 11:00,03 12:00",
}


NOW = ManualClock(ms("2024-08-01T12:00:00"))


def manager(folder: Path, more: str, clock: ManualClock = NOW) -> DataManager:
    rules = folder / "rules.yaml"
    rules.write_text(f"providers:\n  local: {{folder: {folder}, {more}}}\n")
    return DataManager(folder / "cache", rules, clock=clock)


@pytest.mark.parametrize("anchor", ["session", "clock"])
def test_hours_stamped_by_their_closes_are_complete_and_of_the_declared_kind(
    tmp_path: Path, anchor: str
) -> None:
    rows = "".join(f"2024-07-{close},1,2,1,2,3\n" for close in CLOSES[anchor].split(","))
    (tmp_path / "NVDA_1h.csv").write_text(HEADER + rows)
    declared = (
        f"timezone: America/New_York, label: end, anchor: {anchor}, adjustment: split, unit: USD"
    )
    for _ in range(2):  # from the file, then out of the cache by another process
        bars = manager(tmp_path, declared).get_ohlcv(
            "NVDA", "1h", "2024-07-02", "2024-07-03", provider="local"
        )
        local = bars.index.tz_localize("UTC").tz_convert("America/New_York")
        assert list(local.strftime("%d %H:%M")) == OPENS[anchor].split(",")
        reported = bars.attrs["onetape"]
        assert (reported["complete"], reported["kind"]["anchor"]) == (True, anchor)


@pytest.mark.parametrize(
    "wrong", ["label: close", "label: 1", "anchor: open", "anchor: true", "anchor: {}"]
)
def test_the_error_for_an_invalid_file_option_names_it(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ConfigError, match=rf"providers\.local\.{wrong.partition(':')[0]}"):
        manager(tmp_path, wrong).get_ohlcv("NVDA", "1h", "2024-07-02", provider="local")


@pytest.mark.parametrize("year, state", [(2012, "final"), (2019, "final"), (2024, "provisional")])
def test_own_file_bars_older_than_this_library_are_final_whatever_the_clock(
    tmp_path: Path, year: int, state: str
) -> None:
    rows = "".join(f"{year}-05-{day:02d},1,2,1,2,3\n" for day in (6, 7, 8, 9, 10))
    (tmp_path / "AAPL_1d.csv").write_text(HEADER + rows)
    asked = ("AAPL", "1d", f"{year}-05-06", f"{year}-05-10")
    for _ in range(2):
        bars = manager(tmp_path, "adjustment: raw, unit: USD").get_ohlcv(
            *asked, provider="local", adjustment="raw", columns=("state",)
        )
        assert [*bars["state"]][-2:] == ["final", state]


def test_the_fault_of_a_file_of_weeks_is_named_although_there_is_none_of_days(
    tmp_path: Path,
) -> None:
    (tmp_path / "VOD.L_1w.csv").write_text(HEADER + "2024-01-07,1,2,1,2,3\n")
    found = manager(tmp_path, "adjustment: raw, unit: GBp")
    with pytest.raises(AllProvidersFailedError, match=r"VOD\.L_1w\.csv line 2: no week begins on"):
        found.get_ohlcv("VOD.L", "1w", "2024-01-01", "2024-02-01", provider="local")


def test_todays_bars_are_returned_whatever_range_was_requested_before(tmp_path: Path) -> None:
    """The hours of the file's bars are not known: a bar may be from the evening before its UTC date."""
    rows = "".join(
        f"2024-07-{day:02d}T{hour}:30,{price},{price + 1},{price - 1},{price + 0.5},100\n"
        for day, hours in ((30, range(13, 20)), (31, range(13, 16)))
        for hour in hours
        for price in [100 + day + hour / 7]
    )
    (tmp_path / "NVDA_1h.csv").write_text(HEADER + rows)
    declared = "adjustment: split, unit: USD, anchor: session"
    clock = ManualClock(ms("2024-07-31T16:45:00"))
    for first in ("2024-07-30", "2024-07-31"):
        found = manager(tmp_path, declared, clock)
        if first == "2024-07-30":
            found.get_ohlcv("NVDA", "1h", first, first, provider="local", strict=True)
        bars = found.get_ohlcv("NVDA", "1h", first, "2024-07-31", provider="local", strict=True)
        assert bars["open"].iloc[-1] == 100 + 31 + 15 / 7
        two = found.get_ohlcv("NVDA", "2h", first, "2024-07-31", provider="local", strict=True)
        assert two["close"].iloc[-1] == 100 + 31 + 14 / 7 + 0.5
        found.clear_cache(everything=True)


@pytest.mark.parametrize(
    "symbol, unit, opens", [("BHP.AX", "AUD", "23:00:00"), ("FPH.NZ", "NZD", "21:00:00")]
)
def test_a_session_that_opened_on_the_utc_day_before_is_no_sign_of_a_clock_behind(
    tmp_path: Path, symbol: str, unit: str, opens: str
) -> None:
    """Half an hour after the open of 2 February, whose date has not begun in UTC."""
    rows = "".join(
        f"2024-01-{day},1{day},2{day},1{day},1{day}.5,{day}00\n" for day in range(22, 27)
    )
    (tmp_path / f"{symbol}_1d.csv").write_text(HEADER + rows)
    clock = ManualClock(ms(f"2024-02-01T{opens}") + 30 * 60_000)
    found = manager(tmp_path, f"adjustment: split, unit: {unit}", clock)
    for day in ("2024-01-22", "2024-01-24"):
        bars = found.get_ohlcv(symbol, "1d", day, day, provider="local", columns=("state",))
        assert bars.attrs["onetape"]["complete"] and bars.attrs["onetape"]["as_of"] == "2024-02-02"
        assert "suspect" not in set(bars["state"])


def test_the_fault_of_the_shorter_bars_is_named_if_there_is_no_file_of_the_longer_ones(
    tmp_path: Path,
) -> None:
    (tmp_path / "BTCUSDT_1h.csv").write_text(HEADER + "2024-07-01T00:00,1,2,1,two,3\n")
    found = manager(tmp_path, "unit: USDT")
    for timeframe in ("2h", "5h"):
        with pytest.raises(AllProvidersFailedError, match=r"BTCUSDT_1h\.csv line 2") as raised:
            found.get_ohlcv("BTCUSDT", timeframe, "2024-07-01", "2024-07-02", provider="local")
        assert not isinstance(raised.value, UnknownSymbolError)
    with pytest.raises(UnknownSymbolError):
        found.get_ohlcv("ETHUSDT", "2h", "2024-07-01", "2024-07-02", provider="local")


@pytest.mark.parametrize("last", [None, "2024-02-29"])
def test_bars_between_two_requested_ranges_of_a_file_are_not_after_its_end(
    tmp_path: Path, last: str | None
) -> None:
    rows = "".join(f"2023-{month}-{day},1,2,1,2,3\n" for month in (10, 11) for day in range(10, 30))
    (tmp_path / "BTCUSDT_1d.csv").write_text(HEADER + rows)
    one, options = manager(tmp_path, "unit: USDT"), {"provider": "local"}
    assert len(one.get_ohlcv("BTCUSDT", "1d", "2023-10-10", "2023-10-19", **options)) == 10
    with pytest.warns(IncompleteDataWarning, match="the data ends on 2023-11-29"):
        assert one.get_ohlcv("BTCUSDT", "1d", "2024-01-01", last, **options).empty
    assert len(one.get_ohlcv("BTCUSDT", "1d", "2023-11-10", "2023-11-29", **options)) == 20
    with pytest.warns(IncompleteDataWarning, match="the data ends on 2023-11-29"):
        assert len(one.get_ohlcv("BTCUSDT", "1d", "2023-11-20", **options)) == 10


@pytest.mark.parametrize("last", [None, "2024-02-29"])
def test_files_that_end_report_the_day_and_not_a_delisting(
    tmp_path: Path, last: str | None
) -> None:
    clock, ends = ManualClock(NOW.now_ms()), "the data ends on 2023-12-29"
    path, declared = tmp_path / "AAPL_1d.csv", "adjustment: raw, unit: USD"
    december = [f"2023-12-{day:02d}" for day in range(1, 30) if day not in (25,)]
    rows = "".join(f"{d},1,2,1,2,3\n" for d in december if date.fromisoformat(d).weekday() < 5)
    path.write_text(HEADER + rows)
    options = {"provider": "local", "adjustment": "raw"}
    one = manager(tmp_path, declared, clock)
    for made in (one, one, manager(tmp_path, declared, clock)):
        with pytest.warns(IncompleteDataWarning, match=f"1 gap, first .*: {ends}"):
            facts = made.get_ohlcv("AAPL", "1d", "2023-12-01", last, **options).attrs["onetape"]
        assert [gap["reason"] for gap in facts["gaps"]] == [ends]
        assert not {"ended", "delisted"} & facts.keys()
        with pytest.raises(IncompleteDataError, match=ends):
            made.get_ohlcv("AAPL", "1d", "2023-12-01", last, strict=True, **options)
    later = one.get_ohlcv("AAPL", "1d", "2024-04-01", "2024-05-31", **options).attrs["onetape"]
    assert (later["complete"], later["empty"]) == (False, ends), "it is behind what was requested"
    (tmp_path / "MSFT_1d.csv").write_text(HEADER + rows)
    with pytest.warns(IncompleteDataWarning, match=f"1 gap, first 2024-01-02.*: {ends}"):
        frame = one.get_ohlcv("MSFT", "1d", "2024-01-02", **options)  # none of its bars is stored
    assert frame.attrs["onetape"]["empty"] == ends
    (gap,) = [gap for gap in one.gaps("AAPL", "1d").gaps if ends in gap.evidence]
    assert (gap.gap_class, gap.may_be_filled) == ("vendor_hole", True)
    clock.advance(1)
    path.write_text(HEADER + rows + "2024-01-02,1,2,1,2,3\n")  # the file goes on
    with pytest.warns(IncompleteDataWarning, match="the data ends on 2024-01-02"):
        frame = one.get_ohlcv("AAPL", "1d", "2023-12-01", last, **options)
    assert str(frame.index[-1].date()) == "2024-01-02"


# --- files that have ended, and a vendor beside them -------------------------------------------

# What has been requested before, as ranges and numbers of bars.
BEFORE: dict[str, list[dict[str, Any]]] = {
    "nothing": [],
    "the first bars": [{"start_date": "2024-04-01", "end_date": "2024-04-05"}],
    "the last bars": [{"start_date": "2024-04-10", "end_date": "2024-04-20"}],
    "all bars": [{"start_date": "2024-04-01", "end_date": "2024-04-25"}],
    "the time since": [{"start_date": "2024-04-16", "end_date": "2024-06-12"}],
    "the vendor's last bars": [{"start_date": "2024-06-07"}],
    "bars of both": [{"start_date": "2024-04-01", "end_date": "2024-04-05"}, {"start_date": "2024-06-07"}],
    "the same number": [{"bars": 5, "end_date": "2024-06-10"}],
}  # fmt: skip


class EndedFiles:
    """Files of a coin's days up to 15 April in another unit, and Binance after them in the rules."""

    def __init__(self, folder: Path, vendors: VendorServer, clock: ManualClock) -> None:
        self.folder, self.clock = folder, clock
        self.write(15)
        (folder / "rules.yaml").write_text(
            "crypto: {primary: local, backup: [binance]}\n"
            "providers:\n"
            f"  binance: {{base_url: '{vendors.base_url('binance')}', transport: http}}\n"
            f"  local: {{folder: '{folder}', dense: true, unit: EUR}}\n"
        )

    def write(self, last: int) -> None:
        rows = "".join(
            f"2024-04-{day:02d},{day},{day + 2},{day},{day + 1},3\n" for day in range(1, last + 1)
        )
        (self.folder / "BTCUSDT_1d.csv").write_text(HEADER + rows)

    def manager(self, cache: str) -> DataManager:
        return DataManager(self.folder / cache, self.folder / "rules.yaml", clock=self.clock)

    def ask(self, cache: str, **question: Any) -> pd.DataFrame:
        return self.manager(cache).get_ohlcv("BTCUSDT", "1d", **question)


def days_of(frame: pd.DataFrame) -> list[str]:
    return [str(day.date()) for day in frame.index]


@pytest.fixture
def ended(tmp_path: Path, vendors: VendorServer, clock: ManualClock) -> EndedFiles:
    return EndedFiles(tmp_path, vendors, clock)


@pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")
@pytest.mark.parametrize("before", BEFORE)
def test_a_number_of_bars_is_counted_back_from_the_end_of_files_whatever_was_requested_before(
    ended: EndedFiles, before: str
) -> None:
    for question in BEFORE[before]:
        ended.ask("cache", **question)
    last = [f"2024-04-{day}" for day in range(11, 16)]
    for later in (0, 5, 40):
        ended.clock.advance(later * 86_400)
        for question in (
            {},
            {"end_date": "2024-06-10"},
            {"force_refresh": True},
            {"offline": True},
        ):
            frame = ended.ask("cache", bars=5, **question)
            assert (days_of(frame), frame.attrs["onetape"]["vendors"]) == (last, ["local"])
            assert frame.attrs["onetape"]["substitute"] is None
            (gap,) = gaps(frame)
            assert gap[2] == "the data ends on 2024-04-15"
    ended.clock.advance(40 * 86_400)
    frame = ended.ask("cache", bars=5, offline=True)  # when its end is to be checked again
    assert (days_of(frame), frame.attrs["onetape"]["vendors"]) == (last, ["local"])
    ended.write(20)
    frame = ended.ask("cache", bars=5)
    assert days_of(frame) == [f"2024-04-{day}" for day in range(16, 21)]


@pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")
@pytest.mark.parametrize("before", ["nothing", "the first bars", "all bars", "the time since"])
def test_the_end_of_files_is_the_reason_whatever_was_requested_before(
    ended: EndedFiles, before: str
) -> None:
    for question in BEFORE[before]:
        ended.ask("cache", **question)
    frame = ended.ask("cache", start_date="2024-06-01", end_date="2024-06-05", provider="local")
    assert [gap[2] for gap in gaps(frame)] == ["the data ends on 2024-04-15"]
    frame = ended.ask("cache", start_date="2024-06-01", end_date="2024-06-05")
    assert frame.attrs["onetape"]["vendors"] == ["binance"], "a range names its bars"
    assert len(frame) == 5


@pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")
def test_a_number_of_bars_is_counted_back_from_the_end_of_files_while_no_bar_is_due(
    ended: EndedFiles,
) -> None:
    """That there are no bars after the end is remembered for longer than the end itself."""
    for later in (20, 1, 2, 4, 8):
        ended.clock.advance(later * 86_400)
        frame = ended.ask("cache", start_date="2024-04-01", end_date="2024-06-10")
        assert frame.attrs["onetape"]["vendors"] == ["local"]
    ended.clock.advance(5 * 86_400)
    frame = ended.ask("cache", bars=5, end_date="2024-06-10")
    assert (days_of(frame)[-1], frame.attrs["onetape"]["vendors"]) == ("2024-04-15", ["local"])


@pytest.mark.parametrize("declared", ["", "split"])
def test_the_error_for_files_as_of_a_past_time_names_what_to_write_with_which_all_are_read(
    tmp_path: Path, declared: str
) -> None:
    folder, rules = tmp_path / "own", tmp_path / "rules.yaml"
    folder.mkdir()
    names = [f"ZQ{one}{two}" for one in "ABCDEF" for two in "VWXYZ"]
    days = "".join(f"2024-01-0{day},9,11,8,10,5\n" for day in (2, 3, 4, 5))
    for name in names:
        (folder / f"{name}_1d.csv").write_text(HEADER + days)
    layout = f"providers: {{local: {{folder: '{folder}', unit: USD"

    def then(line: str) -> DataManager:
        """Return a manager as of a past time, with a line in the rules."""
        rules.write_text(f"{layout}{line and ', '}{line}}}}}\n")
        clock = ManualClock(ms("2024-08-01T12:00:00"))
        return DataManager(tmp_path / "cache", rules, clock=clock).at("2024-01-04")

    asked: dict[str, Any] = {"provider": "local"}
    with pytest.raises(AllProvidersFailedError) as caught:
        then(declared and f"adjustment: {declared}").get_ohlcv(
            names[0], "1d", "2024-01-02", **asked
        )
    said = str(caught.value)
    (line,) = re.findall("write `([^`]+)` under providers.local", said)
    (argument,) = re.findall("request adjustment='(.+?)'", said)
    frames = then(line).get_ohlcv_batch(
        names, "1d", "2024-01-02", adjustment=argument, strict=True, **asked
    )
    assert sorted(frames) == names
    assert [frame["close"].tolist() for frame in frames.values()] == [[10, 10, 10]] * 30


def test_files_of_unknown_adjustment_name_what_to_write_although_the_dividends_are_known(
    alone: Callable[..., DataManager], tmp_path: Path, clock: ManualClock
) -> None:
    asked = ("AAPL", "1d", "2024-01-05", "2024-02-28")
    rows = alone("yahoo").get_ohlcv(*asked, adjustment="all")  # its dividends are stored
    (tmp_path / "own").mkdir()
    rows.to_csv(tmp_path / "own" / "AAPL_1d.csv")
    rules = tmp_path / "yahoo.yaml"
    rules.write_text(f"{rules.read_text()}  local: {{folder: '{tmp_path / 'own'}', unit: USD}}\n")
    then = DataManager(tmp_path / "cache", rules, clock=clock).at("2024-02-28")
    with pytest.raises(AllProvidersFailedError) as caught:
        then.get_ohlcv(*asked, provider="local", adjustment="raw")
    assert "already adjusted for the dividend of 0.24 on 2024-02-09" in str(caught.value)
    assert "write `adjustment: raw` under providers.local" in str(caught.value)
