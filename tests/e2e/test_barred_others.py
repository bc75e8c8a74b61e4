"""Tests folders and pipes in place of other files of the cache: only that file's data are lost."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from src.data.core.cache.beside.fundamentals_cache import FundamentalsCache
from src.data.core.cache.beside.tables import TableStore
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.time.instant import DAY_MS, from_ms, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.data_manager import DataManager
from src.data.errors import StorageError
from tests.conftest import WEDNESDAY
from tests.vendor_server import VendorServer

from .test_barred_years import KINDS, put

SHARE = ("AAPL", "1d", "2024-05-01", "2024-06-07")
FUNDING = SeriesKey("BTCUSDT", Timeframe.parse("8h"))
OLD, NEW = (
    Span(parse_iso("2023-12-01"), parse_iso("2023-12-11")),
    Span(parse_iso("2024-02-01"), parse_iso("2024-02-11")),
)
# What the errors advise.
ADVICE = "(move it out|replace the link)"
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


def remove(place: Path) -> None:
    """Remove what is in the place of a file, as its owner would."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink()


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
        with pytest.raises(StorageError, match=rf"AAPL/actions.json.*{ADVICE}"):
            make().get_ohlcv(*SHARE, adjustment="all", offline=offline)
    assert vendors.count() == asked
    mode = os.lstat(place).st_mode
    (found,) = verified(make())
    assert found.startswith("actions.json: cannot ")
    upkeep = make().cache.maintenance
    assert [finding.where for finding in upkeep.repair(upkeep_keys(make())).left] == [
        "actions.json"
    ]
    assert os.lstat(place).st_mode == mode
    remove(place)
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

NAMES = ("2023.csv.gz", "2023.metadata.json")
CASES = [*((NAMES[0], kind) for kind in KINDS), (NAMES[1], KINDS[1])]


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
    for look in (table(root).read, table(root).answered):
        with pytest.raises(StorageError, match=rf"{name}.*{ADVICE}"):
            look(FUNDING, OLD)
    with pytest.raises(StorageError, match=rf"{name}.*{ADVICE}"):
        table(root).put(FUNDING, rates(OLD), OLD, "binance")
    mode, upkeep = os.lstat(figures / name).st_mode, make().cache.maintenance
    for findings in [part.check() for part in upkeep.others()]:
        assert not findings or name in findings[0].what
    assert any(name in text for text in verified(make()))
    for part in upkeep.others():
        part.repair()
    assert os.lstat(figures / name).st_mode == mode
    remove(figures / name)
    rows = table(root).read(FUNDING, OLD)
    assert rows is None or len(rows) == 30
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


# --- fundamentals --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_unreadable_file_of_fundamentals_leaves_other_vendors_readable(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    root, later = tmp_path / "cache", ManualClock(WEDNESDAY + DAY_MS)

    def opened() -> FundamentalsCache:
        return FundamentalsCache(root, clock=later, disk=Disk(root=root))

    manager = make()
    paths = {
        vendor: Path(opened().write_json("AAPL", vendor, {"pe_ratio": value}, from_ms(WEDNESDAY)))
        for vendor, value in (("fmp", 25.5), ("finnhub", 26.5))
    }
    place = paths["fmp"]
    put(kind, place, monkeypatch)
    assert sorted(opened().latest("AAPL")) == ["finnhub"]
    newest = opened().find_latest_json("AAPL")
    assert newest is not None
    assert newest.provider == "finnhub"
    assert opened().read_json(str(place)) is None
    assert opened().tidy("AAPL") == []
    opened().write_json("AAPL", "polygon", {"pe_ratio": 27.5}, from_ms(WEDNESDAY))
    mode = os.lstat(place).st_mode
    (found,) = verified(manager)
    assert found.startswith("fundamentals: cannot ")
    assert place.name in found
    for part in manager.cache.maintenance.others():
        part.repair()
    assert os.lstat(place).st_mode == mode
    remove(place)
    assert verified(manager) == []
    assert sorted(opened().latest("AAPL")) == ["finnhub", "polygon"]
