"""The origin record in a bundle's files: keys of later versions survive reads and writes."""

from __future__ import annotations

import inspect
import io
import json
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from src.data import DataManager
from src.data.bundles import bundle_records
from src.data.bundles.bundle import Bundle
from src.data.bundles.bundle_records import BundleOrigin
from src.data.bundles.commit import BundleFiles
from src.data.bundles.request import Request, extended
from src.data.errors import BundleError, FormatVersionError
from src.data.polars.parquet_writer import ParquetWriter
from tests.cache.crash import Quick
from tests.polars.bars import days

SYMBOLS = ["MSFT", "AAPL"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of the bundle ``mine`` and the cache that it is made of, for tests to copy."""
    folder = tmp_path_factory.mktemp("made")
    one = Bundle("mine", folder / "bundles", disk=Quick())
    manager = DataManager(folder / "cache")
    one.create(manager, SYMBOLS, "1d", date(2024, 1, 2), "2024-02-09", provider="mock")
    return folder


@pytest.fixture
def manager(made: Path, tmp_path: Path) -> DataManager:
    """Return a manager on a copy of the cache."""
    shutil.copytree(made / "cache", tmp_path / "cache")
    return DataManager(tmp_path / "cache")


@pytest.fixture
def bundle(made: Path, manager: DataManager, tmp_path: Path) -> Bundle:
    """Return the bundle ``mine``: MSFT and AAPL 1d from 2024-01-02 to 2024-02-09, by ``mock``."""
    shutil.copytree(made / "bundles", tmp_path / "bundles")
    return Bundle("mine", tmp_path / "bundles", disk=Quick())


def with_metadata(path: Path, change: Callable[[dict[str, str]], None]) -> None:
    """Write a Parquet file again with other metadata and the same rows."""
    metadata = dict(pl.read_parquet_metadata(path))
    metadata.pop("ARROW:schema", None)
    change(metadata)
    buffer = io.BytesIO()
    pl.read_parquet(path).write_parquet(buffer, compression="zstd", metadata=metadata)
    path.write_bytes(buffer.getvalue())


def of_a_later_version(bundle: Bundle, *, records_too: bool = True) -> None:
    """Add keys to the origin in each file, as a later version with the same schema_version would."""

    def change(metadata: dict[str, str]) -> None:
        origin = json.loads(metadata["onetape"])
        origin["session_rule"] = {"name": "eth", "others": [1]}
        origin["others"] = "a key of this name"
        origin["symbols"]["AAPL"]["lot"] = 100
        metadata["onetape"] = json.dumps(origin)

    for path in bundle.path.rglob("data.parquet"):
        with_metadata(path, change)
    if records_too:
        with_metadata(bundle.path / "metadata.parquet", change)
    else:
        (bundle.path / "metadata.parquet").unlink()


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def origin_in(path: Path) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(pl.read_parquet_metadata(path)["onetape"])
    return plain


def test_reading_a_bundle_with_keys_of_a_later_version_changes_no_file(bundle: Bundle) -> None:
    of_a_later_version(bundle)
    before = content(bundle.path)
    again = Bundle("mine", bundle.path.parent, disk=Quick())
    assert again.records().origin.request == bundle.records().origin.request
    assert again.records().origin.request is not None
    assert content(bundle.path) == before


def test_a_write_keeps_the_keys_of_a_later_version(bundle: Bundle, manager: DataManager) -> None:
    of_a_later_version(bundle)
    bundle.ingest(manager, ["NVDA"], "1d", "2024-01-02", "2024-02-09", provider="mock")
    for path in (bundle.path / "metadata.parquet", *bundle.path.rglob("data.parquet")):
        origin = origin_in(path)
        assert origin["session_rule"] == {"name": "eth", "others": [1]}
        assert origin["others"] == "a key of this name"
        assert list(origin["request"]["symbols"]) == [*SYMBOLS, "NVDA"]
    with closing(sqlite3.connect(bundle.path / "metadata.db")) as db:
        rows = db.execute("SELECT symbol, metadata FROM symbols").fetchall()
    assert {symbol: json.loads(text)["sid"] for symbol, text in rows} == {
        "MSFT": 1,
        "AAPL": 2,
        "NVDA": 3,
    }


def test_a_refresh_keeps_the_keys_that_a_later_version_has_of_a_symbol(
    bundle: Bundle, manager: DataManager
) -> None:
    of_a_later_version(bundle)
    bundle.refresh(manager, offline=True)
    assert origin_in(bundle.path / "metadata.parquet")["symbols"]["AAPL"]["lot"] == 100


def test_records_rebuilt_from_partitions_keep_the_keys_of_a_later_version(bundle: Bundle) -> None:
    of_a_later_version(bundle, records_too=False)
    assert bundle.records().origin.request is not None
    origin = origin_in(bundle.path / "metadata.parquet")
    assert origin["session_rule"]["name"] == "eth"
    assert origin["symbols"]["AAPL"]["lot"] == 100 and "lot" not in origin["symbols"]["MSFT"]
    with closing(sqlite3.connect(bundle.path / "metadata.db")) as db:
        ((text,),) = db.execute("SELECT metadata FROM symbols WHERE symbol = 'AAPL'").fetchall()
    assert json.loads(text)["lot"] == 100


@dataclass(frozen=True)
class LaterRequest(Request):
    """The request of a version in which ``session`` is a new option."""

    session: str = "regular"


def test_a_bundle_without_a_new_option_is_read_extended_and_refreshed(
    bundle: Bundle, manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle has the option's default, so that a different value is refused."""

    def change(metadata: dict[str, str]) -> None:
        origin = json.loads(metadata["onetape"])
        del origin["request"]["session"]
        metadata["onetape"] = json.dumps(origin)

    monkeypatch.setattr(bundle_records, "Request", LaterRequest)
    with_metadata(bundle.path / "metadata.parquet", change)
    before = content(bundle.path)
    assert "session" not in origin_in(bundle.path / "metadata.parquet")["request"]
    recorded = bundle.records().origin.request
    assert recorded is not None and recorded["session"] == "regular"
    assert bundle.state(manager).state == "current"
    assert content(bundle.path) == before, "reading changes no file"
    arguments: Any = (manager, ["NVDA"], "1d", "2024-01-02", "2024-02-09")
    with pytest.raises(BundleError, match="has session regular, not extended"):
        bundle.ingest(*arguments, provider="mock", session="extended")
    assert bundle.refresh(manager, offline=True).failed == {}
    assert origin_in(bundle.path / "metadata.parquet")["request"]["session"] == "regular"
    with_metadata(bundle.path / "metadata.parquet", change)
    bundle.ingest(*arguments, provider="mock")
    assert "NVDA" in bundle.records().origin.symbols


def test_create_and_ingest_have_each_key_of_a_request_as_an_argument() -> None:
    for method in (Bundle.create, Bundle.ingest):
        assert {*inspect.signature(method).parameters} >= {*Request.__dataclass_fields__}


WRONG: list[dict[str, Any]] = [
    {"request": {"symbols": "AAPL"}},
    {"commit": "1"},
    {"created_at": 10**30},
    {"symbols": {"AAPL": {"sid": "1"}}},
    {"symbols": []},
    {"symbols": {"AAPL": {}}},
    {"resolutions": {"daily": None}},
    {"bundle_name": None},
]
NO_ORIGIN = ["[]", "{", "1", '{"x":' * 900 + "1" + "}" * 900, "9" * 5000]


def test_an_invalid_origin_is_an_error_and_not_changed(bundle: Bundle) -> None:
    path = bundle.path / "metadata.parquet"
    whole = path.read_bytes()
    origin = json.loads(pl.read_parquet_metadata(path)["onetape"])
    for text in (*NO_ORIGIN, *(json.dumps(origin | wrong) for wrong in WRONG)):
        path.write_bytes(whole)
        with_metadata(path, lambda metadata, text=text: metadata.update(onetape=text))  # type: ignore[misc]
        before = content(bundle.path)
        with pytest.raises(BundleError, match="origin in its metadata is damaged"):
            bundle.records()
        assert content(bundle.path) == before, text[:40]


@pytest.mark.parametrize("depth", [900, 5000])
def test_an_origin_that_is_nested_deeply_is_kept_or_refused(
    bundle: Bundle, manager: DataManager, depth: int
) -> None:
    nested = '{"x":' * depth + "1" + "}" * depth

    def change(metadata: dict[str, str]) -> None:
        metadata["onetape"] = f'{metadata["onetape"][:-1]},"later":{nested}}}'

    with_metadata(bundle.path / "metadata.parquet", change)
    before = content(bundle.path)
    try:
        bundle.ingest(manager, ["NVDA"], "1d", "2024-01-02", "2024-02-09", provider="mock")
    except BundleError:
        assert content(bundle.path) == before
    else:  # Python 3.13 reads both, and older ones the first
        assert depth == 900 or sys.version_info >= (3, 13)
        text = pl.read_parquet_metadata(bundle.path / "metadata.parquet")["onetape"]
        assert nested in text


@pytest.mark.parametrize("version", ["0", "2", "9" * 5000, "²", "-1", "x"])
def test_another_schema_version_is_a_typed_error(bundle: Bundle, version: str) -> None:
    with_metadata(bundle.path / "metadata.parquet", lambda m: m.update(schema_version=version))
    with pytest.raises(FormatVersionError) as refused:
        bundle.records()
    assert len(str(refused.value)) < 300


def test_unreadable_records_are_quarantined_before_they_are_replaced(
    bundle: Bundle, manager: DataManager
) -> None:
    for number, data in enumerate((b"a page of another program", b"and another one")):
        (bundle.path / "metadata.parquet").write_bytes(data)
        if number:
            ParquetWriter(bundle.path, disk=Quick()).write(days(date(2024, 1, 2), 2, [9]), "1d")
        else:
            bundle.records()
        kept = {path.read_bytes() for path in (bundle.path / "_quarantine").iterdir()}
        assert data in kept
        assert bundle.records().origin.request is not None
    (bundle.path / "metadata.parquet").write_bytes(b"a third")
    bundle.refresh(manager, offline=True)
    kept = {path.read_bytes() for path in (bundle.path / "_quarantine").iterdir()}
    assert b"a third" in kept and len(kept) == 3


def test_a_file_written_twice_has_its_last_content_and_other_files_keep_theirs(
    tmp_path: Path,
) -> None:
    files = BundleFiles(tmp_path / "one", Quick())
    with files.writing() as commit:
        for place, data in (("a", b"1"), ("a", b"2"), ("b", b"3"), ("c", b"4"), ("b", b"5")):
            commit.put(place, data)
    assert content(tmp_path / "one") == {"a": b"2", "b": b"5", "c": b"4"}


def test_a_bundle_origin_round_trips_with_unknown_keys() -> None:
    text = json.dumps(
        {"bundle_name": "x", "symbols": {"A": {"sid": 3, "later": [1.5]}}, "more": {"a": None}}
    )
    origin = BundleOrigin.parsed(text)
    assert BundleOrigin.parsed(origin.text()) == origin
    assert json.loads(origin.text())["more"] == {"a": None}
    assert json.loads(origin.text())["symbols"]["A"]["later"] == [1.5]


@pytest.mark.parametrize(
    ("key", "recorded", "wanted", "shown"),
    [
        ("provider", None, "mock", "has provider the vendors in the rules, not mock"),
        ("session", "", "extended", "has session '', not extended"),
        ("session", "extended", False, "has session extended, not False"),
    ],
)
def test_only_a_bundle_without_a_provider_is_said_to_have_the_vendors_in_the_rules(
    key: str, recorded: object, wanted: object, shown: str
) -> None:
    """Another option can also have a value that is empty or false."""
    request = Request(["NVDA"], None, None, "mock", "1d", "splits", "regular").__dict__
    with pytest.raises(BundleError, match=f"^bundle mine {shown}"):
        extended("mine", request | {key: recorded}, request | {key: wanted}, str, lambda *_: [0])
