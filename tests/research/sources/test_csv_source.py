"""Own files as a source: one reader, with the layout of the documented configuration."""

from __future__ import annotations

import asyncio
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.bundles.metadata import BundleMetadata
from src.data.core.clock import ManualClock, SystemClock
from src.data.core.vendors.local import carrier
from src.data.data_manager import DataManager
from src.data.errors import ConfigError, QualityError, QueryError, UnknownSymbolError
from src.data.research.sources.adapters import CSVAdapter
from src.data.research.sources.vendor_sources import (
    CSVConfig,
    CSVDataSource,
    DataSourceRegistry,
    SchemaMapping,
)
from tests.effort import effort_of

JUNE = (pd.Timestamp("2024-06-03"), pd.Timestamp("2024-06-05"), "1d")
MANY = """\
Date;Sym;Open;High;Low;Close;Volume;note
03.06.2024;AAPL;1;2;0.5;1.5;100;x
04.06.2024;aapl;1;2;0.5;1.51234567;100;y
05.06.2024;AAPL;1;2;0.5;1.7;100;y
03.06.2024;BTC/USDT;1;2;0.5;1.5;100;y
04.06.2024;BTC/USDT;1;2;0.5;1.6;100;y
05.06.2024;BTC/USDT;1;2;0.5;1.7;100;y
03.06.2024;BRK.B;1;2;0.5;1.9;100;y
"""
COLUMNS = SchemaMapping("Date", "Open", "High", "Low", "Close", "Volume", "Sym")
PLAIN = "date,open,high,low,close,volume\n2024-06-03,1,2,0.5,1.5,100\n2024-06-04,1,2,.5,1.5,1\n"
LACKING = PLAIN + "2024-06-05,,2,0.5,1.5,100\n"

pytestmark = pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")


@pytest.fixture
def manager(tmp_path: Path, clock: ManualClock) -> DataManager:
    return DataManager(tmp_path / "cache", clock=clock)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "files"
    root.mkdir()
    (root / "many.csv").write_text(MANY)
    (root / "AAPL_1d.csv").write_text(PLAIN)
    (root / "odd {name}.csv").write_text(PLAIN)
    return root


def many(folder: Path, manager: DataManager) -> CSVDataSource:
    config = CSVConfig(folder / "many.csv", COLUMNS, delimiter=";", date_format="%d.%m.%Y")
    return CSVDataSource(config, manager=manager)


def test_a_file_of_several_symbols(folder: Path, manager: DataManager) -> None:
    source = many(folder, manager)
    frame = asyncio.run(source.fetch(["BTC/USDT", "AAPL"], *JUNE))
    assert frame["symbol"].to_list() == ["BTC/USDT"] * 3 + ["AAPL"] * 3
    assert [str(one) for one in frame["close"]][3:5] == ["1.50000000", "1.51234567"]
    assert frame["timestamp"].to_list()[:3] == [datetime(2024, 6, day) for day in (3, 4, 5)]
    assert asyncio.run(source.fetch(["BRK-B"], *JUNE)).height == 1
    with pytest.raises(UnknownSymbolError, match=r"no row in many\.csv has MSFT in column Sym"):
        asyncio.run(source.fetch(["MSFT"], *JUNE))


def test_a_file_that_changes_is_read_again_and_else_the_store_answers(
    folder: Path, manager: DataManager
) -> None:
    source = many(folder, manager)
    assert not source.answer(["AAPL"], *JUNE, refresh=False).is_hit
    assert source.answer(["AAPL"], *JUNE, refresh=False).is_hit
    (folder / "many.csv").write_text(MANY.replace("1.51234567", "1.6"))
    again = source.answer(["AAPL"], *JUNE, refresh=False)
    assert not again.is_hit
    assert [float(one) for one in again.frame["close"]] == [1.5, 1.6, 1.7]


def test_a_csv_source_reads_its_file_once_for_any_number_of_rows(
    folder: Path, manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, real = list[str](), carrier.open_file
    # As if the files had rested for a minute; others are read again, because their times prove nothing.
    clock = ManualClock(SystemClock().now_ms() + 60_000)
    monkeypatch.setattr(carrier, "SystemClock", lambda: clock)

    def opened(path: Any, *args: Any, **options: Any) -> Any:
        read.append(Path(path).name)
        return real(path, *args, **options)

    monkeypatch.setattr(carrier, "open_file", opened)
    for name, count in (("WARM", 3), ("AAPL", 3), ("MSFT", 300)):
        days = pd.bdate_range(end="2024-06-05", periods=count)
        lines = [f"{day:%Y-%m-%d},1,2,0.5,1.5,100" for day in days]
        (folder / f"{name}.csv").write_text("\n".join([PLAIN.split("\n")[0], *lines, ""]))
        source = CSVDataSource(CSVConfig(folder / f"{name}.csv"), manager=manager)
        read.clear()
        files = effort_of(partial(source.answer, [name], *JUNE, refresh=False))[1]
        assert read == [f"{name}.csv"]
    assert 0 < files <= 45


def test_a_file_of_one_symbol_answers_for_no_other(folder: Path, manager: DataManager) -> None:
    source = CSVAdapter(folder / "AAPL_1d.csv", manager=manager)
    assert source.answer(["AAPL"], *JUNE, refresh=False).frame.height == 2
    with pytest.raises(UnknownSymbolError, match=r"AAPL_1d\.csv has only bars for AAPL"):
        source.answer(["MSFT"], *JUNE, refresh=False)
    named = CSVAdapter(folder / "odd {name}.csv", symbol="BTC/USDT", manager=manager)
    assert named.answer(["BTCUSDT"], *JUNE, refresh=False).frame.height == 2


def test_a_folder_has_a_file_of_each_symbol(folder: Path, manager: DataManager) -> None:
    (folder / "MSFT.csv").write_text(PLAIN.replace(",1.5,", ",1.9,"))
    source = DataSourceRegistry.get_source("csv", csv_dir=str(folder), manager=manager)
    frame = asyncio.run(source.fetch(["MSFT"], *JUNE))
    assert [float(one) for one in frame["close"]] == [1.9, 1.9]


def test_a_zone_and_minutes(folder: Path, manager: DataManager) -> None:
    (folder / "BTCUSDT.csv").write_text(
        "date,open,high,low,close,volume\n2024-06-03 09:30,1,2,0.5,1.5,100\n"
    )
    source = CSVAdapter(folder / "BTCUSDT.csv", timezone="Asia/Tokyo", manager=manager)
    at = pd.Timestamp("2024-06-03 00:30")
    frame = source.answer(["BTCUSDT"], at, at, "1m", refresh=False).frame
    assert frame["timestamp"].to_list() == [at]


def test_a_row_without_a_price(folder: Path, manager: DataManager, bundles: Path) -> None:
    (folder / "AAPL_1d.csv").write_text(LACKING)
    strict = CSVAdapter(folder / "AAPL_1d.csv", manager=manager)
    with pytest.raises(
        QualityError, match="rows without a price, the first for AAPL at 2024-06-05"
    ):
        strict.answer(["AAPL"], *JUNE, refresh=False)
    with pytest.raises(QualityError):
        strict.ingest_to_bundle("own", ["AAPL"], *JUNE, folder=bundles)
    assert not (bundles / "own").exists()
    lenient = CSVAdapter(folder / "AAPL_1d.csv", missing_data_strategy="skip", manager=manager)
    assert lenient.answer(["AAPL"], *JUNE, refresh=False).frame.height == 2
    lenient.ingest_to_bundle("own", ["AAPL"], *JUNE, folder=bundles)
    assert BundleMetadata.load("own", bundles).source_type == "local"


@pytest.mark.parametrize(
    "config, kind, why",
    [
        ({"has_header": False}, QueryError, "has_header=False is not supported"),
        ({"missing_data_strategy": "interpolate"}, QueryError, "values are never made up"),
        (
            {"schema_mapping": {"colour_column": "red"}},
            QueryError,
            "unknown columns: colour_column",
        ),
        ({"colour": "red"}, QueryError, "has no argument colour"),
        ({"delimiter": "~"}, ConfigError, "delimiter"),
        ({"timezone": "Mars"}, ConfigError, "Mars"),
    ],
)
def test_a_layout_that_is_not_served(
    folder: Path, manager: DataManager, config: dict[str, Any], kind: type, why: str
) -> None:
    with pytest.raises(kind, match=why):
        CSVAdapter(folder / "AAPL_1d.csv", manager=manager, **config).answer(
            ["AAPL"], *JUNE, refresh=False
        )


def test_a_csv_source_without_a_layout_takes_the_folder_of_the_rules(
    folder: Path, tmp_path: Path, clock: ManualClock
) -> None:
    (tmp_path / "rules.yaml").write_text(
        f"providers:\n  local: {{folder: '{folder}', time_column: date}}\n"
    )
    manager = DataManager(tmp_path / "cache", tmp_path / "rules.yaml", clock=clock)
    source = CSVAdapter(manager=manager)
    assert source.manager is manager
    assert source.answer(["AAPL"], *JUNE, refresh=False).frame.height == 2
    mapped = CSVAdapter(schema_mapping={"close_column": "open"}, manager=manager)
    assert set(mapped.answer(["AAPL"], *JUNE, refresh=True).frame["close"].cast(float)) == {1.0}
