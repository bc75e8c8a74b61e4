"""A search of the catalog returns data of the adjustment and the session that it names, and no other."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import fields
from datetime import date
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from src.data import DataManager
from src.data.bundles import DataCatalog
from src.data.bundles.catalog import cache_key
from src.data.core.bars.client import Wishes
from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import iso, parse_iso
from src.data.core.vendors.mock.bars import MockDataDownloader
from src.data.errors import ProviderError, QueryError
from src.data.research.bundles import request
from src.data.research.bundles.bundle import Bundle
from tests.core.cache.crash import Quick
from tests.research.bundles.test_records import with_metadata
from tests.vendor_server import VendorServer

SPRING = ("2012-01-03", "2012-02-09")
ADJUSTMENTS = ("raw", "split", "all")
NEWS = "adjustment and session are unknown"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a cache and one bundle of each adjustment, for tests to copy."""
    folder = tmp_path_factory.mktemp("made")
    manager = DataManager(folder / "cache")
    for adjustment in ADJUSTMENTS:
        create(manager, folder / "bundles", adjustment, adjustment=adjustment)
    return folder


@pytest.fixture
def manager(made: Path, tmp_path: Path) -> DataManager:
    """Return a manager on a copy of the cache."""
    shutil.copytree(made / "cache", tmp_path / "cache")
    return DataManager(tmp_path / "cache")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """Return a copy of the bundles folder."""
    return Path(shutil.copytree(made / "bundles", tmp_path / "bundles"))


@pytest.fixture
def catalog(folder: Path, manager: DataManager) -> DataCatalog:
    """Return a catalog of the three bundles."""
    return DataCatalog(folder / "metadata.db", manager=manager)


def create(manager: DataManager, folder: Path, name: str, *symbols: str, **options: Any) -> Bundle:
    bundle = Bundle(name, folder, disk=Quick())
    bundle.create(manager, symbols or ["AAPL"], "1d", *SPRING, provider="demo", **options)
    return bundle


def found(catalog: DataCatalog, **options: Any) -> str | None:
    """Return the name of the bundle that a search finds."""
    own = catalog.find_dataset(["AAPL"], *SPRING, "1d", **options)
    return catalog.get_dataset_info(own)["parquet_path"] if own else None


def key_of(**options: Any) -> str:
    return cache_key("demo", ["AAPL"], *SPRING, "1d", **options)


def kept(catalog: DataCatalog, key: str) -> str | None:
    facts = catalog.find_cached_bundle(key)
    return facts and facts["bundle_name"]


@pytest.mark.parametrize("order", [*permutations(ADJUSTMENTS)])
def test_a_search_finds_the_bundle_of_its_adjustment_whichever_was_made_last(
    order: tuple[str, ...], catalog: DataCatalog, folder: Path, manager: DataManager
) -> None:
    for name in order:
        Bundle(name, folder, disk=Quick()).ingest(
            manager, ["AAPL"], "1d", *SPRING, provider="demo", adjustment=name
        )
    assert found(catalog) == found(catalog, source="demo") == "split"
    assert [found(catalog, adjustment=name) for name in ADJUSTMENTS] == [*ADJUSTMENTS]
    assert kept(catalog, key_of()) == "split"
    assert [kept(catalog, key_of(adjustment=name)) for name in ADJUSTMENTS] == [*ADJUSTMENTS]


def test_a_search_finds_nothing_if_all_data_are_of_another_adjustment(
    catalog: DataCatalog, folder: Path
) -> None:
    shutil.rmtree(folder / "split")
    assert found(catalog) is None and kept(catalog, key_of()) is None
    assert found(catalog, adjustment="raw", session="extended") is None
    assert kept(catalog, key_of(adjustment="raw", session="extended")) is None
    assert kept(catalog, key_of(adjustment="raw")) == "raw"


def test_the_information_about_a_dataset_names_its_adjustment_and_session(
    catalog: DataCatalog,
) -> None:
    for name in ADJUSTMENTS:
        own = catalog.find_dataset(["AAPL"], *SPRING, "1d", adjustment=name)
        assert own is not None
        info = catalog.get_dataset_info(own)
        assert (info["adjustment"], info["session"]) == (name, "regular")


def test_the_key_of_a_link_contains_the_adjustment(catalog: DataCatalog, folder: Path) -> None:
    for name in ADJUSTMENTS:
        own = catalog.find_dataset(["AAPL"], *SPRING, "1d", adjustment=name)
        assert own is not None
        catalog.link_backtest_to_dataset("run", own)
    with closing(sqlite3.connect(folder / "metadata.db")) as db:
        keys = db.execute("SELECT count(DISTINCT cache_key) FROM backtest_data_links").fetchone()
    assert keys == (3,)


def test_the_key_of_the_default_options_is_that_of_no_options() -> None:
    """Programs have computed keys without options, which must stay as they were."""
    assert key_of() == key_of(adjustment="split", session="regular")
    assert key_of() == "2e243c94961cc06109287bd384b978fcc941a69705814ceda6778c8b3a9eab66"
    assert len({key_of(adjustment=name) for name in ADJUSTMENTS}) == 3


# --- unknown options ---------------------------------------------------------------------------


def registered(catalog: DataCatalog, **options: Any) -> str:
    return catalog.register_dataset("mine", ["AAPL"], *SPRING, "1d", "ab", **options)


def test_data_registered_without_options_are_found_with_a_warning_after_known_data(
    catalog: DataCatalog, folder: Path
) -> None:
    own = registered(catalog)
    info = catalog.get_dataset_info(own)
    assert info["adjustment"] is None and info["session"] is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert found(catalog) == "split"
    shutil.rmtree(folder / "split")
    with pytest.warns(UserWarning, match=f"{own}.*{NEWS}"):
        assert catalog.find_dataset(["AAPL"], *SPRING, "1d") == own
    assert catalog.find_dataset(["AAPL"], *SPRING, "1d", adjustment="split") is None
    assert catalog.find_dataset(["AAPL"], *SPRING, "1d", session="regular") is None


def test_data_registered_with_options_are_found_by_them_alone(
    catalog: DataCatalog, folder: Path
) -> None:
    shutil.rmtree(folder / "raw")
    own = registered(catalog, adjustment="raw")
    find = partial(catalog.find_dataset, ["AAPL"], *SPRING, "1d", "mine")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find(adjustment="raw") == find(session="regular", adjustment="raw") == own
        assert find() is None and find(adjustment="all") is None
        assert find(adjustment="raw", session="extended") is None
    info = catalog.get_dataset_info(own)
    assert (info["adjustment"], info["session"]) == ("raw", "regular")


def test_a_bundle_from_another_folder_is_found_by_its_options(
    catalog: DataCatalog, folder: Path, manager: DataManager, tmp_path: Path
) -> None:
    far = create(manager, tmp_path / "far", "far", "MSFT", adjustment="raw")
    own = catalog.register_bundle("near", far.path)
    find = partial(catalog.find_dataset, ["MSFT"], *SPRING, "1d")
    assert find(adjustment="raw") == own and find() is None


def test_a_catalog_of_an_earlier_version_takes_the_options_from_the_bundles(
    catalog: DataCatalog, folder: Path
) -> None:
    """Such a catalog has no table of options, and keys without them."""
    own = registered(catalog)
    assert found(catalog) == "split"
    with closing(sqlite3.connect(folder / "metadata.db")) as db:
        db.execute("DROP TABLE IF EXISTS catalog_options")
        db.execute("UPDATE catalog_search SET resolution = '1d'")
        db.execute("UPDATE bundle_metadata SET request_key = ?", (key_of(),))
        db.commit()
    again = DataCatalog(folder / "metadata.db", manager=catalog._manager)
    assert [kept(again, key_of(adjustment=name)) for name in ADJUSTMENTS] == [*ADJUSTMENTS]
    assert [found(again, adjustment=name) for name in ADJUSTMENTS] == [*ADJUSTMENTS]
    assert found(again) == "split"
    assert again.get_dataset_info(own)["adjustment"] is None


def test_rows_of_an_earlier_version_in_this_catalog_never_match_a_key(
    catalog: DataCatalog, folder: Path
) -> None:
    """An earlier version that uses the file meanwhile writes keys without options."""
    shutil.rmtree(folder / "split")
    assert kept(catalog, key_of()) is None
    with closing(sqlite3.connect(folder / "metadata.db")) as db:
        db.execute("UPDATE bundle_metadata SET request_key = ?", (key_of(),))
        db.execute("DELETE FROM catalog_options")
        db.execute("UPDATE catalog_search SET resolution = '1d'")
        db.commit()
    assert kept(catalog, key_of()) is None
    with pytest.warns(UserWarning, match=NEWS):
        assert found(catalog) in ("raw", "all")
    assert found(catalog, adjustment="split") is None


def test_a_bundle_with_an_option_of_a_later_version_matches_no_search(
    catalog: DataCatalog, folder: Path
) -> None:
    def change(metadata: dict[str, str]) -> None:
        origin = json.loads(metadata["onetape"])
        origin["request"]["hours"] = "night"
        metadata["onetape"] = json.dumps(origin)

    with_metadata(folder / "split" / "metadata.parquet", change)
    assert found(catalog) is None and kept(catalog, key_of()) is None
    (info,) = (
        catalog.get_dataset_info(own)
        for (own,) in catalog._rows("SELECT dataset_id FROM datasets WHERE parquet_path = 'split'")
    )
    assert (info["adjustment"], info["hours"]) == ("split", "night")


def test_rows_that_user_code_wrote_have_unknown_options(catalog: DataCatalog, folder: Path) -> None:
    def change(metadata: dict[str, str]) -> None:
        origin = json.loads(metadata["onetape"])
        origin["request"] = None
        metadata["onetape"] = json.dumps(origin)

    with_metadata(folder / "split" / "metadata.parquet", change)
    with pytest.warns(UserWarning, match=NEWS):
        assert found(catalog) == "split"
    assert found(catalog, adjustment="split") is None


# --- lanes -------------------------------------------------------------------------------------


def test_a_lane_of_extended_hours_answers_only_searches_that_name_them(
    tmp_path: Path, vendors: VendorServer, make: Callable[[], DataManager]
) -> None:
    vendors.truth.change("AAPL", extended=True)
    manager = make()
    catalog = DataCatalog(tmp_path / "bundles" / "metadata.db", manager=manager)
    days = "2024-06-03", "2024-06-04"
    manager.get_ohlcv("AAPL", "15m", *days, session="extended")
    (key,) = manager.client.series("AAPL 15m*")
    vendor = manager.client.coverage(key)[0].vendor
    find = partial(catalog.find_dataset, ["AAPL"], *days, "15m", vendor)
    own = find(session="extended")
    assert own is not None and find() is None
    info = catalog.get_dataset_info(own)
    assert (info["kind"], info["adjustment"], info["session"]) == ("lane", None, "extended")
    manager.get_ohlcv("AAPL", "15m", *days)
    regular = find()
    assert regular not in (None, own) and find(session="extended") == own
    assert regular and catalog.get_dataset_info(regular)["session"] == "regular"


# --- values ------------------------------------------------------------------------------------

WRONG = [
    ({"adjustment": "rwa"}, "adjustment must be one of raw, split, all, not 'rwa'"),
    ({"adjustment": None}, "adjustment must be one of raw, split, all, not None"),
    ({"session": "night"}, "session must be one of regular, extended, not 'night'"),
    ({"session": ["regular"]}, "session must be one of regular, extended, not ['regular']"),
    (
        {"adjustment": date(2012, 6, 30)},
        "adjustment must be one of raw, split, all, not datetime.date(2012, 6, 30)",
    ),
]


def test_the_vendor_is_not_an_option_of_a_dataset(catalog: DataCatalog) -> None:
    given: Any = {"provider": "demo"}
    for call in (partial(catalog.find_dataset, ["AAPL"], *SPRING, "1d"), key_of):
        with pytest.raises(TypeError, match="no option 'provider'; it has adjustment, session"):
            call(**given)


@pytest.mark.parametrize("options, message", WRONG)
def test_an_invalid_value_of_an_option_is_refused_where_it_is_given(
    options: dict[str, Any], message: str, catalog: DataCatalog, manager: DataManager
) -> None:
    exactly = f"^{re.escape(message)}"
    bundle = Bundle("new", catalog._folder, disk=Quick())
    for call in (
        partial(catalog.find_dataset, ["AAPL"], *SPRING, "1d"),
        partial(registered, catalog),
        key_of,
        partial(bundle.create, manager, ["AAPL"], "1d", *SPRING),
        partial(bundle.ingest, manager, ["AAPL"], "1d", *SPRING),
    ):
        with pytest.raises(QueryError, match=exactly):
            call(**options)
    assert not bundle.exists()


def test_the_value_of_an_option_without_a_list_is_a_string_a_number_or_a_boolean(
    manager: DataManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A date would be recorded as a string, which no later request with the date equals."""
    monkeypatch.setitem(request.DEFAULTS, "closed_by", None)  # type: ignore[misc]
    bundle = Bundle("new", tmp_path / "bundles", disk=Quick())
    message = "closed_by must be a string, a number or a boolean, not datetime.date(2024, 1, 31)"
    for name in ("create", "ingest"):
        with pytest.raises(QueryError, match=f"^{re.escape(message)}"):
            getattr(bundle, name)(manager, ["AAPL"], "1d", *SPRING, closed_by=date(2024, 1, 31))
    assert not bundle.exists()
    given: Any = {"provider": 5}
    with pytest.raises(QueryError, match=r"^provider must be a string, not 5"):
        bundle.create(manager, ["AAPL"], "1d", *SPRING, **given)


# --- coverage ----------------------------------------------------------------------------------

DAYS = ("2024-01-02", "2024-02-09")
# Values with which a bundle's answer ends on 2024-01-31, by field of `Wishes`; the others end none.
BOUNDS = {"closed_by": ("2024-01-31", "2024-01-31T22:00")}
NO_BOUNDS = (
    "provider adjustment include_forming offline strict refresh columns version timeout "
    "must_store session"
)


def test_it_is_known_of_each_option_whether_it_bounds_the_range() -> None:
    assert {f.name for f in fields(Wishes)} == {*BOUNDS, *NO_BOUNDS.split()}


@pytest.mark.parametrize("option, value", [(n, v) for n, vs in BOUNDS.items() for v in vs])
def test_a_bundle_covers_no_more_than_its_query_whatever_ends_it(
    option: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any argument of the query may become an option of a bundle."""
    monkeypatch.setitem(request.DEFAULTS, option, None)  # type: ignore[misc]
    manager = DataManager(tmp_path / "cache")
    bundle = Bundle("short", tmp_path / "bundles", disk=Quick())
    given: Any = {option: value}
    bundle.create(manager, ["AAPL"], "1d", *DAYS, provider="mock", **given)
    dataset = bundle.records().dataset()
    assert dataset.end_date == parse_iso("2024-01-31T00:00") // 1000
    assert [iso(one.end * 1000)[:10] for one in dataset.covers] == ["2024-01-31"]
    assert [source.missing for source in bundle.records().origin.symbols.values()] == [0]
    catalog = DataCatalog(tmp_path / "bundles" / "metadata.db", manager=manager)
    find = partial(catalog.find_dataset, ["AAPL"], DAYS[0], resolution="1d", **given)
    assert find(end_date="2024-02-01") is None
    assert find(end_date="2024-01-31") == dataset.dataset_id


def test_a_day_that_is_not_over_is_not_covered(tmp_path: Path) -> None:
    """Its bar comes only after the close, long after the bundle was written."""
    clock = ManualClock(parse_iso("2024-02-09T15:00"))
    manager = DataManager(tmp_path / "cache", clock=clock)
    bundle = Bundle("open", tmp_path / "bundles", disk=Quick(), clock=clock)
    bundle.create(manager, ["AAPL"], "1d", DAYS[0], "2024-02-29", provider="mock")
    catalog = DataCatalog(tmp_path / "bundles" / "metadata.db", manager=manager)
    find = partial(catalog.find_dataset, ["AAPL"], DAYS[0], resolution="1d")
    assert find("2024-02-09") is None
    assert find("2024-02-08") == bundle.records().origin.dataset_id


def test_a_symbol_whose_answer_failed_covers_the_range_of_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request has become wider, but the symbol's rows are those of before."""
    manager = DataManager(tmp_path / "cache")
    bundle = Bundle("wider", tmp_path / "bundles", disk=Quick())
    bundle.create(manager, ["AAPL", "MSFT"], "1d", *DAYS, provider="mock")
    real = MockDataDownloader.fetch

    def fetch(self: MockDataDownloader, query: Any) -> Any:
        if query.instrument.symbol == "AAPL":
            raise ProviderError("down", provider="mock")
        return real(self, query)

    monkeypatch.setattr(MockDataDownloader, "fetch", fetch)
    shutil.rmtree(tmp_path / "cache")
    again = DataManager(tmp_path / "cache")
    bundle.ingest(again, ["MSFT"], "1d", "2023-12-01", "2024-02-29", provider="mock")
    catalog = DataCatalog(tmp_path / "bundles" / "metadata.db", manager=again)
    find = catalog.find_dataset
    assert find(["MSFT"], "2023-12-01", "2024-02-29", "1d") is not None
    assert find(["AAPL"], *DAYS, "1d") is not None
    assert find(["AAPL"], "2023-12-04", DAYS[1], "1d") is None
    assert find(["AAPL"], DAYS[0], "2024-02-12", "1d") is None
