"""Tests folders and pipes in place of other files of the cache: only that file's data are lost."""

from __future__ import annotations

import errno
import gzip
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from src.data.cache.fundamentals_cache import FundamentalsCache
from src.data.cache.maintenance import Maintenance
from src.data.cache.tables import TableStore
from src.data.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.disk.files import Disk
from src.data.errors import IncompleteDataWarning, StorageError
from src.data.model.instant import DAY_MS, from_ms, parse_iso
from src.data.model.series import SeriesKey
from src.data.model.span import Span
from src.data.model.timeframe import Timeframe
from tests.conftest import WEDNESDAY
from tests.vendor_server import VendorServer

from .scripted_vendor import provenance
from .test_barred_years import KINDS, put

SHARE = ("AAPL", "1d", "2024-05-01", "2024-06-07")
FUNDING = SeriesKey("BTCUSDT", Timeframe.parse("8h"))
OLD, NEW = (
    Span(parse_iso("2023-12-01"), parse_iso("2023-12-11")),
    Span(parse_iso("2024-02-01"), parse_iso("2024-02-11")),
)
BOMB = gzip.compress(b"0" * 5_000_000)
Make = Callable[[], DataManager]


def verified(manager: DataManager) -> list[str]:
    """Return what verify finds."""
    upkeep = manager.cache.maintenance
    found, problems = upkeep.check(upkeep_keys(manager))
    assert problems == []
    others = [finding for part in upkeep.others() for finding in part.check()]
    return [f"{finding.where}: {finding.what}" for finding in (*found, *others)]


def upkeep_keys(manager: DataManager) -> list[SeriesKey]:
    return [key for key, _ in manager.cache.maintenance.listing()]


def repaired(manager: DataManager) -> list[str]:
    """Repair; return what is left."""
    upkeep: Maintenance = manager.cache.maintenance
    done = upkeep.repair(upkeep_keys(manager))
    assert done.problems == ()
    left = [*done.left, *(one for part in upkeep.others() for one in part.repair()[1])]
    return [finding.what for finding in left]


def kept(folder: Path, name: str) -> list[Path]:
    """Return what is in quarantine of a file, the reason apart."""
    stem, _, ending = name.partition(".")
    found = sorted(folder.glob(f"_quarantine/{stem}.*"))
    found = [path for path in found if path.name.endswith((ending, f"{ending}.json"))]
    return [
        path for path in found if not (path.suffix == ".json" and path.with_suffix("") in found)
    ]


# --- splits and dividends ------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS[1::2])
def test_an_unreadable_actions_file_stops_only_its_symbol(
    make: Make, vendors: VendorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    whole = make().get_ohlcv(*SHARE, adjustment="all", strict=True)
    other = make().get_ohlcv("MSFT", *SHARE[1:], strict=True)
    place = tmp_path / "cache/ohlcv/AAPL/actions.json"
    put(kind, place, monkeypatch)
    asked = vendors.count()
    pd.testing.assert_frame_equal(make().get_ohlcv("MSFT", *SHARE[1:], strict=True), other)
    for offline in (True, False):
        with pytest.raises(StorageError, match=r"AAPL/actions.json.*onetape cache repair"):
            make().get_ohlcv(*SHARE, adjustment="all", offline=offline)
    assert vendors.count() == asked
    (found,) = verified(make())
    assert found.startswith("actions.json: ")
    assert found.endswith("is in the place of the file")
    assert repaired(make()) == []
    assert not place.exists()
    (aside,) = kept(place.parent, "actions.json")
    if kind == "full folder":
        assert (aside / "file").read_text() == "a user's"
    assert verified(make()) == []
    pd.testing.assert_frame_equal(make().get_ohlcv(*SHARE, adjustment="all", strict=True), whole)
    assert place.is_file()


RUBBISH = {"empty": b"", "garbage": b"\xff{", "bomb": BOMB, "deep": b"[" * 100_000}


@pytest.mark.parametrize("how", RUBBISH)
def test_an_actions_file_with_invalid_content_is_reported_and_fetched_again(
    make: Make, tmp_path: Path, how: str
) -> None:
    whole = make().get_ohlcv(*SHARE, adjustment="all", strict=True)
    place = tmp_path / "cache/ohlcv/AAPL/actions.json"
    place.write_bytes(RUBBISH[how])
    (found,) = verified(make())
    assert found.startswith("actions.json: ")
    pd.testing.assert_frame_equal(make().get_ohlcv(*SHARE, adjustment="all", strict=True), whole)
    assert verified(make()) == []


@pytest.fixture
def lock_away(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Return what takes the right to read a file; it is not root's to lose."""
    opened = os.open

    def lock_away(path: Path) -> None:
        def refuse(name: object, *args: object, **more: object) -> int:
            if os.fspath(name) == os.fspath(path):  # type: ignore[call-overload]
                raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
            return opened(name, *args, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(os, "open", refuse)

    return lock_away


def test_files_without_read_permission_affect_only_their_own_data(
    make: Make, tmp_path: Path, figures: Path, lock_away: Callable[[Path], None]
) -> None:
    root = tmp_path / "cache"
    make().get_ohlcv(*SHARE, adjustment="all", strict=True)
    cache = FundamentalsCache(root, clock=ManualClock(WEDNESDAY), disk=Disk(root=root))
    for vendor in ("fmp", "finnhub"):
        cache.write_json("AAPL", vendor, {"pe_ratio": 25.5}, from_ms(WEDNESDAY))
    (own,) = (root / "fundamentals/AAPL").glob("fmp*")
    for place in (root / "ohlcv/AAPL/actions.json", figures / "2023.csv.gz", own):
        lock_away(place)
        assert len(make().get_ohlcv("MSFT", *SHARE[1:], strict=True)) == 27
        assert table(root).answered(FUNDING, NEW) == [NEW]
        latest = FundamentalsCache(root, clock=ManualClock(WEDNESDAY), disk=Disk(root=root)).latest(
            "AAPL"
        )
        assert sorted(latest) == ["finnhub"] if place == own else ["finnhub", "fmp"]
        upkeep = make().cache.maintenance
        findings, problems = upkeep.check(upkeep_keys(make()))
        findings += [finding for part in upkeep.others() for finding in part.check()]
        said = [finding.what for finding in findings] + [text for _, text in problems]
        (one,) = said
        assert place.name in one
        assert "Permission denied" in one
    lock_away(root / "ohlcv/AAPL/actions.json")
    with pytest.raises(StorageError, match="Permission denied"):
        make().get_ohlcv(*SHARE, adjustment="all", offline=True)


# --- figures -------------------------------------------------------------------------------

NAMES = ("2023.csv.gz", "2023.metadata.json", "2023.log")
CASES = [*((NAMES[0], kind) for kind in KINDS), *((name, KINDS[1]) for name in NAMES[1:])]


def table(root: Path) -> TableStore:
    return TableStore(root, "funding_rate", Disk(root=root), ManualClock(WEDNESDAY))


def rates(span: Span) -> pd.DataFrame:
    bounds = from_ms(span.start), from_ms(span.end)
    index = pd.date_range(*bounds, freq="8h", inclusive="left", name="timestamp")
    return pd.DataFrame({"funding_rate": 0.0001}, index=index)


@pytest.fixture
def figures(make: Make, tmp_path: Path) -> Path:
    """Return the folder of a table of two years."""
    manager = make()
    for span in (OLD, NEW):
        table(tmp_path / "cache").put(FUNDING, rates(span), span, "binance")
    (place,) = (manager.cache.cache_dir / "funding_rate/BTCUSDT").iterdir()
    return place


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_an_unreadable_file_of_figures_stops_only_its_year(
    make: Make, figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    root = tmp_path / "cache"
    put(kind, figures / name, monkeypatch)
    new = table(root).read(FUNDING, NEW)
    assert new is not None
    assert (len(new), table(root).answered(FUNDING, NEW)) == (30, [NEW]), (
        "the other year is returned"
    )
    assert table(root).put(FUNDING, rates(NEW), NEW, "binance") == 30
    assert table(root).answered_until(FUNDING) == NEW.end
    make().cache.get_stats()
    if name.endswith(".log"):
        assert table(root).read(FUNDING, OLD) is not None
        assert table(root).put(FUNDING, rates(OLD), OLD, "binance") == 30
    else:
        for look in (table(root).read, table(root).answered):
            with pytest.raises(StorageError, match=rf"{name}.*onetape cache repair"):
                look(FUNDING, OLD)
        with pytest.raises(StorageError, match=rf"{name}.*onetape cache repair"):
            table(root).put(FUNDING, rates(OLD), OLD, "binance")
    (found,) = verified(make())
    assert found.startswith(f"funding_rate {name}: ")
    assert found.endswith("is in the place of the file")
    assert repaired(make()) == []
    (aside,) = kept(figures, name)
    if kind == "full folder":
        assert (aside / "file").read_text() == "a user's"
    assert verified(make()) == []
    log = [entry for entry in table(root).log(FUNDING) if entry["quarantined"]]
    assert aside.name in [entry["quarantined"] for entry in log]
    rows = table(root).read(FUNDING, OLD)
    if name.endswith(".csv.gz"):
        assert rows is None
        (lost,) = table(root).quarantined(FUNDING, OLD)
        assert (lost.span, lost.rows) == (OLD, 30), "as recorded in its document"
        assert sum(entry["removed"] or 0 for entry in log) == 30, "reported once"
    else:
        assert rows is not None
        assert len(rows) == 30
    table(root).put(FUNDING, rates(OLD), OLD, "binance")
    assert table(root).answered(FUNDING) == [OLD, NEW]


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_cleared_even_if_a_folder_is_in_place_of_their_file(
    figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    put("full folder", figures / name, monkeypatch)
    table(tmp_path / "cache").clear("BTCUSDT")
    assert table(tmp_path / "cache").years(FUNDING) == []
    assert {path.name for path in figures.iterdir() if not path.is_file()} <= {"_quarantine"}


def test_a_pipe_in_place_of_a_figures_file_is_an_error_until_a_repair(
    make: Make, vendors: VendorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make().get_funding_rate("BTCUSDT", "2024-06-01", "2024-06-05")
    (place,) = (tmp_path / "cache/funding_rate/BTCUSDT").glob("*/2024.csv.gz")
    put("pipe", place, monkeypatch)
    with pytest.raises(StorageError, match="onetape cache repair"):
        make().get_funding_rate("BTCUSDT", "2024-06-01", "2024-06-05")
    assert repaired(make()) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error", IncompleteDataWarning)
        again = make().get_funding_rate("BTCUSDT", "2024-06-01", "2024-06-05")
    assert provenance(again)["complete"]
    pd.testing.assert_frame_equal(again, first)


# --- fundamentals --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("of", ["fmp", "files.log"])
def test_an_unreadable_file_of_fundamentals_leaves_other_vendors_readable(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: str, kind: str
) -> None:
    root, later = tmp_path / "cache", ManualClock(WEDNESDAY + DAY_MS)

    def opened() -> FundamentalsCache:
        return FundamentalsCache(root, clock=later, disk=Disk(root=root))

    manager = make()
    paths = {
        vendor: Path(opened().write_json("AAPL", vendor, {"pe_ratio": value}, from_ms(WEDNESDAY)))
        for vendor, value in (("fmp", 25.5), ("finnhub", 26.5))
    }
    folder = paths["fmp"].parent
    place = paths.get(of, folder / of)
    put(kind, place, monkeypatch)
    served = sorted({"fmp", "finnhub"} - {of})
    assert sorted(opened().latest("AAPL")) == served
    newest = opened().find_latest_json("AAPL")
    assert newest is not None
    assert newest.provider in served
    assert opened().read_json(str(place)) is None
    assert opened().tidy("AAPL") == []
    opened().write_json("AAPL", "polygon", {"pe_ratio": 27.5}, from_ms(WEDNESDAY))
    (found,) = verified(manager)
    assert found.startswith(f"fundamentals {place.name}: ")
    assert found.endswith("is in the place of the file")
    assert repaired(manager) == []
    (aside,) = kept(folder, place.name)
    if kind == "full folder":
        assert (aside / "file").read_text() == "a user's"
    assert verified(manager) == []
    assert opened().log("AAPL")[-1]["quarantined"] == aside.name
    assert sorted(opened().latest("AAPL")) == sorted([*served, "polygon"])
