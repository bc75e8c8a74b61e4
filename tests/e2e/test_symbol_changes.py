"""Renamed symbols: errors and gaps name the successor, without a further request."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from src.data.core.bars.client import BarsClient
from src.data.core.cache.format import json_document
from src.data.core.clock import ManualClock
from src.data.core.model.identity.symbol_changes import SymbolChange, concerning
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    IncompleteDataError,
    IncompleteDataWarning,
    QueryError,
    SeriesEndedWarning,
    StorageError,
)
from tests.conftest import WEDNESDAY
from tests.core.cache.counts import FULL
from tests.effort import effort_of
from tests.vendor_server import VendorServer
from tests.vendor_server.listings import NEW_YORK, Listing

DAY = date(2022, 6, 9)
RENAME = SymbolChange(DAY, "rename", "FB", "META", "Nasdaq notice 2022-94")
ETF = SymbolChange(date(2022, 1, 31), "rename", "META", "METV", "Roundhill")
SHARE = {"calendar": "XNYS", "timezone": NEW_YORK, "exchange": "NYQ"}
Make = Callable[[], DataManager]


@pytest.fixture
def renamed(manager: DataManager, vendors: VendorServer) -> DataManager:
    """Return a manager whose vendor has META from the rename on, and its cache the rename."""
    vendors.truth.add(Listing("META", "stock", 200, listed="2022-06-09", **SHARE))  # type: ignore[arg-type]
    client(manager).record_symbol_changes({"FB": [RENAME], "META": [RENAME, ETF]})
    return manager


def client(manager: DataManager) -> BarsClient:
    return manager.client


def book_of(folder: Path, symbol: str) -> dict[str, object]:
    return json_document.load((folder / "cache/ohlcv" / symbol / "actions.json").read_bytes())


def reasons(frame: pd.DataFrame) -> list[str]:
    return [gap["reason"] for gap in frame.attrs["onetape"]["gaps"]]


def test_the_error_of_a_renamed_symbol_names_its_successor(renamed: DataManager) -> None:
    for first, last in (("2022-06-13", "2022-06-17"), ("2021-03-01", "2021-03-05")):
        with pytest.raises(AllProvidersFailedError) as caught:
            renamed.get_ohlcv("FB", "1d", first, last)
        error = caught.value
        assert str(error).startswith(
            "FB was renamed META on 2022-06-09 (Nasdaq notice 2022-94); use META. "
        )
        assert (error.hint, error.candidates) == ("use META", ("META",))
        assert error.brief == "FB may be META."
    with pytest.raises(AllProvidersFailedError) as caught:
        renamed.at("2022-06-08").get_ohlcv("FB", "1d", "2022-06-01")
    assert "META" not in f"{caught.value} {caught.value.hint} {caught.value.brief}"


def test_a_delisted_symbol_is_not_proposed_for_itself(manager: DataManager) -> None:
    change = SymbolChange(date(2008, 9, 18), "delisting", "LEHQ", source="NYSE")
    client(manager).record_symbol_changes({"LEHQ": [change]})
    with pytest.raises(AllProvidersFailedError) as caught:
        manager.get_ohlcv("LEHQ", "1d", "2008-09-01", "2008-09-17")
    assert str(caught.value).startswith("LEHQ was delisted on 2008-09-18 (NYSE). ")
    assert "LEHQ" not in caught.value.candidates


def test_the_error_in_a_batch_names_the_successor(renamed: DataManager) -> None:
    frame = renamed.get_ohlcv_batch(["FB"], "1d", "2022-06-13", "2022-06-17")["FB"]
    assert "renamed META on 2022-06-09" in frame.attrs["onetape"]["error"]["message"]
    assert list(frame.attrs["onetape"]["error"]["candidates"]) == ["META"]


@pytest.mark.parametrize("timeframe", ["1d", "1h"])
def test_the_gap_after_a_rename_names_the_successor(
    manager: DataManager, vendors: VendorServer, timeframe: str, make: Make
) -> None:
    end = "2024-06-05"
    listing = Listing("OLDN", "stock", 50, delisted=f"{end}T00:00:00", **SHARE)  # type: ignore[arg-type]
    vendors.truth.add(listing)
    change = SymbolChange(date(2024, 6, 5), "rename", "OLDN", "NEWN", "notice")
    client(manager).record_symbol_changes({"OLDN": [change]})
    for asked in (manager, manager, make()):
        with pytest.warns(IncompleteDataWarning, match="OLDN was renamed NEWN on 2024-06-05"):
            frame = asked.get_ohlcv("OLDN", timeframe, "2024-06-03", "2024-06-07")
        assert len(frame) == {"1d": 2, "1h": 14}[timeframe]
        reported = "OLDN was renamed NEWN on 2024-06-05 (notice); use NEWN"
        assert reasons(frame)
        assert all(reason.startswith(f"{reported}; ") for reason in reasons(frame))
        assert list(frame.attrs["onetape"]["symbol_changes"]) == [reported]
    with pytest.raises(IncompleteDataError, match="use NEWN"):
        manager.get_ohlcv("OLDN", timeframe, "2024-06-03", "2024-06-07", strict=True)


def test_the_end_of_a_renamed_symbol_names_the_successor(
    manager: DataManager, vendors: VendorServer, make: Make
) -> None:
    listing = Listing("OLDN", "stock", 50, delisted="2024-03-05T00:00:00", **SHARE)  # type: ignore[arg-type]
    vendors.truth.add(listing)
    change = SymbolChange(date(2024, 3, 5), "rename", "OLDN", "NEWN", "notice")
    client(manager).record_symbol_changes({"OLDN": [change]})
    reported = "OLDN was renamed NEWN on 2024-03-05 (notice); use NEWN"
    with pytest.warns(SeriesEndedWarning, match=re.escape(f"no bars since 2024-03-05; {reported}")):
        frame = manager.get_ohlcv("OLDN", "1d", "2024-03-01", strict=True)
    for one in (frame, make().get_ohlcv("OLDN", "1d", "2024-03-01", strict=True)):
        assert len(one) == 2
        assert reasons(one) == [f"{reported}; after the last bar"]
        assert one.attrs["onetape"]["ended"] == "2024-03-05T00:00:00Z"
        assert list(one.attrs["onetape"]["symbol_changes"]) == [reported]


def test_the_earlier_meaning_of_a_new_name_is_reported_only_for_that_time(
    renamed: DataManager,
) -> None:
    frame = renamed.get_ohlcv("META", "1d", "2022-01-24", "2022-06-17")
    again = renamed.get_ohlcv("META", "1d", "2022-01-24", "2022-06-17")
    etf = "META was renamed METV on 2022-01-31 (Roundhill); use METV"
    fb = "until 2022-06-09 this instrument was FB, not META (Nasdaq notice 2022-94)"
    assert frame.index[0].date() == DAY
    assert reasons(frame)[0].startswith(f"{etf}; {fb}; ")
    assert list(frame.attrs["onetape"]["symbol_changes"]) == [etf, fb]
    assert reasons(again) == reasons(frame)
    later = renamed.get_ohlcv("META", "1d", "2022-06-09", "2022-06-17", strict=True)
    assert "symbol_changes" not in later.attrs["onetape"]


def test_a_symbol_change_is_listed_with_the_bars_and_changes_none(
    manager: DataManager, make: Make, tmp_path: Path
) -> None:
    asked = ("AAPL", "1d", "2024-05-01", "2024-05-31")
    plain = manager.get_ohlcv(*asked)
    change = SymbolChange(date(2024, 6, 10), "merger", "AAPL", "MSFT", "made up")
    client(manager).record_symbol_changes({"AAPL": [change]})
    for later in (manager, make()):
        frame = later.get_ohlcv(*asked, strict=True)
        pd.testing.assert_frame_equal(frame, plain)
        assert list(frame.attrs["onetape"]["symbol_changes"]) == [
            "AAPL was merged into MSFT on 2024-06-10 (made up); use MSFT from then on"
        ]
    book = book_of(tmp_path, "AAPL")
    assert book["actions"], "the splits and dividends are kept"


def test_a_cache_hit_reads_no_further_file_for_symbol_changes(
    manager: DataManager, make: Make, tmp_path: Path
) -> None:
    asked = ("AAPL", "1d", "2024-05-01", "2024-05-31")
    manager.get_ohlcv("AAPL", "1d", "2024-04-01", "2024-06-07")

    def effort() -> tuple[int, int]:
        fresh = make()
        for path in (tmp_path / "cache").rglob("*"):  # young files are looked at again and again
            os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**10))
        fresh.get_ohlcv("AAPL", "1d", "2024-04-01", "2024-04-05", offline=True)
        return effort_of(lambda: fresh.get_ohlcv(*asked, offline=True))

    effort()
    (_, before) = effort()
    change = SymbolChange(date(2024, 6, 10), "delisting", "AAPL", source="made up")
    client(manager).record_symbol_changes({"AAPL": [change]})
    (_, after) = effort()
    assert after == before


def test_symbol_changes_recorded_again_rewrite_no_file(
    renamed: DataManager, tmp_path: Path, clock: ManualClock
) -> None:
    path = tmp_path / "cache/ohlcv/META/actions.json"
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    clock.advance(86_400)
    assert client(renamed).record_symbol_changes({"META": [ETF, RENAME], "FB": [RENAME]}) == ()
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert client(renamed).record_symbol_changes({"META": [RENAME], "FB": [RENAME]}) == ("META",)
    assert [one.type for one in client(renamed).symbol_changes("META")] == ["rename"]
    assert client(renamed).record_symbol_changes({"META": []}) == ("META",)
    assert "changes" not in book_of(tmp_path, "META")


def test_a_recorded_symbol_change_is_plain_json(renamed: DataManager, tmp_path: Path) -> None:
    (entry,) = book_of(tmp_path, "FB")["changes"]  # type: ignore[misc]
    fetched_at = entry.pop("fetched_at")
    assert fetched_at > 0
    assert entry == {
        "type": "rename", "ex_date": "2022-06-09", "ex_at": 1654747200000, "symbol": "FB",
        "successor": "META", "source": "Nasdaq notice 2022-94",
    }  # fmt: skip


def test_unknown_keys_of_an_actions_file_survive_a_rewrite(
    renamed: DataManager, tmp_path: Path, make: Make
) -> None:
    """The key ``changes`` is unknown to that version, as ``nicknames`` is to this one."""
    path = tmp_path / "cache/ohlcv/FB/actions.json"
    document = json_document.load(path.read_bytes()) | {"nicknames": ["facebook"]}
    path.write_bytes(json_document.dump(document))
    later = replace(RENAME, source="another")
    assert client(make()).record_symbol_changes({"FB": [later]}) == ("FB",)
    assert book_of(tmp_path, "FB")["nicknames"] == ["facebook"]


def test_a_damaged_document_is_set_aside_and_a_new_one_begun(
    renamed: DataManager, tmp_path: Path, make: Make
) -> None:
    path = tmp_path / "cache/ohlcv/FB/actions.json"
    path.write_bytes(b"{}")
    with pytest.raises(AllProvidersFailedError, match="unknown symbol 'FB'"):
        make().get_ohlcv("FB", "1d", "2022-06-13", "2022-06-17")
    assert client(make()).record_symbol_changes({"FB": [RENAME]}) == ("FB",)
    assert list((path.parent / "_quarantine").iterdir())
    assert client(make()).symbol_changes("FB")[0].successor == "META"


@pytest.mark.parametrize(
    "wrong, what",
    [
        ({"type": "wedding"}, "has the type 'wedding'"),
        ({"successor": "FB"}, "the same name before and after"),
        ({"successor": ""}, "names no successor"),
        ({"type": "delisting"}, "names a successor"),
        ({"type": "listing"}, "names a successor"),
        ({"source": " "}, "names no source"),
        ({"symbol": "X", "successor": "Y"}, "does not concern FB"),
        ({"successor": "no such symbol!"}, "symbol"),
    ],
)
def test_an_impossible_symbol_change_is_refused_and_none_is_recorded(
    manager: DataManager, tmp_path: Path, wrong: dict[str, str], what: str
) -> None:
    bad = replace(RENAME, **wrong)  # type: ignore[arg-type]
    with pytest.raises(QueryError, match=what):
        client(manager).record_symbol_changes({"META": [RENAME], "FB": [bad]})
    assert not (tmp_path / "cache/ohlcv/META").exists()


def test_two_changes_of_a_symbol_on_one_day_are_refused(manager: DataManager) -> None:
    other = replace(RENAME, successor="FACE")
    with pytest.raises(QueryError, match="two changes to FB on 2022-06-09"):
        client(manager).record_symbol_changes({"FB": [RENAME, other]})


def test_a_full_disk_keeps_the_recorded_symbol_changes(
    renamed: DataManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cache/ohlcv/FB/actions.json"
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr("src.data.core.cache.actions.write_atomically", full)
    with pytest.raises(StorageError):
        client(renamed).record_symbol_changes({"FB": [replace(RENAME, source="another")]})
    assert path.read_bytes() == before
    monkeypatch.undo()
    assert client(renamed).record_symbol_changes({"FB": [replace(RENAME, source="b")]}) == ("FB",)


def _killed_at(step: int, root: Path, rules: Path) -> bool:
    """Record a rename in a forked process that is killed as it changes the folder; return whether it was."""
    child = os.fork()
    if child == 0:
        count, code = 0, 1

        def counted(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal count
            changes = event in ("os.rename", "os.mkdir", "os.remove", "open")
            if changes and str(root) in str(arguments[0]):
                count += 1
                if count == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            bars = client(DataManager(root, rules, clock=ManualClock(WEDNESDAY)))
            sys.addaudithook(counted)
            bars.record_symbol_changes({"FB": [RENAME], "META": [RENAME]})
            code = 0
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


def test_recording_a_symbol_change_is_all_or_nothing_per_symbol_at_any_kill(
    make: Make, tmp_path: Path, rules: Path
) -> None:
    """Each of the calls that change the folder is the last one of a process."""
    seen = set()
    for step in range(1, 60) if FULL else (2, 4, 7, 99):
        root = tmp_path / str(step)
        was_killed = _killed_at(step, root, rules)
        bars = client(DataManager(root, rules, clock=ManualClock(WEDNESDAY)))
        held = tuple(len(bars.symbol_changes(name)) for name in ("FB", "META"))
        assert held in ((0, 0), (1, 0), (1, 1))
        seen.add(held)
        bars.record_symbol_changes({"FB": [RENAME], "META": [RENAME]})
        assert [len(bars.symbol_changes(name)) for name in ("FB", "META")] == [1, 1]
        if not was_killed:
            break
    assert seen >= {(0, 0), (1, 1)}


def test_a_folder_with_only_symbol_changes_is_neither_a_series_nor_damage(
    renamed: DataManager,
) -> None:
    upkeep = renamed.cache.maintenance
    assert upkeep.listing() == []
    assert upkeep.series() == []
    assert client(renamed).series() == []
    renamed.clear_cache("FB")
    assert client(renamed).symbol_changes("FB") == ()
    assert len(client(renamed).symbol_changes("META")) == 2


def test_a_request_lists_the_symbol_changes_from_its_day_on() -> None:
    def told(symbol: str, day: str) -> list[str]:
        start = pd.Timestamp(day).value // 10**6
        span = type(SPAN)(start, start + 86_400_000)
        return [c.symbol for c in concerning([RENAME, ETF], symbol, span, intraday=False)]

    from src.data.core.model.time.span import Span

    SPAN = Span(0, 1)
    assert told("META", "2021-05-03") == ["META", "FB"]
    assert told("META", "2022-03-01") == ["META", "FB"]
    assert told("META", "2022-06-08") == ["META", "FB"]
    assert told("META", "2022-06-09") == []
    assert told("FB", "2021-05-03") == told("FB", "2022-06-09") == ["FB"]
    assert told("METV", "2022-01-30") == ["META"]
    assert told("METV", "2022-01-31") == []
    assert json.dumps(RENAME.to_json())
