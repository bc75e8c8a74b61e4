"""A vendor or source that is registered in any way is one vendor, and each list and each reader has it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

import onetape
from src.data.adapters.registry import AdapterRegistry
from src.data.cli import main
from src.data.core.config.offered import offers
from src.data.core.model.request.capabilities import Capabilities
from src.data.core.vendors.base import BaseDataDownloader
from src.data.core.vendors.factory import DataDownloaderFactory
from src.data.data_manager import DataManager
from src.data.errors import ConfigError, NoProviderError, QueryError, UnknownProviderError
from src.data.research.sources.sources import DataSource, DataSourceMetadata
from src.data.research.sources.vendor_sources import DataSourceRegistry
from tests.core.vendors.packages import PackageFolder, forget, package_folder

WEEK = ("AAPL", "1d", "2024-06-03", "2024-06-07")
DAYS = pd.date_range(*WEEK[2:], freq="D")
PLUGIN = """
import pandas as pd
from onetape.data.core.vendors.base import BaseDataDownloader


class Note(BaseDataDownloader):
    name = "note"

    def get_ohlcv(self, symbol, interval, start, end):
        days = pd.date_range("2024-06-03", "2024-06-07", freq="D")
        return pd.DataFrame(dict.fromkeys(("open", "high", "low", "close", "volume"), 5.0), index=days)
"""


def vendor(close: float, name: str = "note") -> type[BaseDataDownloader]:
    """Return a new class of a vendor whose closes are ``close``."""

    def get_ohlcv(self: BaseDataDownloader, *_: Any, **__: Any) -> pd.DataFrame:
        fields = ("open", "high", "low", "close", "volume")
        return pd.DataFrame(dict.fromkeys(fields, close), index=DAYS)

    return type("Note", (BaseDataDownloader,), {
        "name": name, "get_ohlcv": get_ohlcv, "__module__": "__main__",
        "capabilities": Capabilities(frozenset({"stock"}), {"1d": "1d"}),
    })  # fmt: skip


def source(close: float) -> type[DataSource]:
    """Return a new class of a source whose closes are ``close``."""

    class Note(DataSource):
        async def fetch(self, symbols, start, end, frequency) -> pl.DataFrame:  # type: ignore[no-untyped-def]
            fields = dict.fromkeys(("open", "high", "low", "close", "volume"), close)
            frame = pl.DataFrame({"timestamp": list(DAYS), "symbol": symbols[0], **fields})
            return frame.filter(pl.col("timestamp").is_between(start, end))

        async def ingest_to_bundle(self, *_: Any, **__: Any) -> Any:
            raise QueryError("no bundle is written here")

        def get_metadata(self) -> DataSourceMetadata:
            return DataSourceMetadata(source_type="note")

        def supports_live(self) -> bool:
            return False

    return Note


def by_register(close: float) -> None:
    onetape.register(vendor(close))


def by_source(close: float) -> None:
    DataSourceRegistry.register("Note", source(close))


def by_adapter(close: float) -> None:
    AdapterRegistry.register(source(close))


WAYS = {"register": by_register, "source": by_source, "adapter": by_adapter}


@pytest.fixture(autouse=True)
def nothing_registered() -> Iterator[None]:
    yield
    forget()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageFolder]:
    """Yield a folder for packages on ``sys.path``, still empty."""
    folder = tmp_path / "site"
    folder.mkdir()
    with package_folder(folder, monkeypatch) as made:
        yield made


@pytest.fixture(params=[*WAYS, "plug-in"])
def registered(request: pytest.FixtureRequest, site: PackageFolder) -> None:
    """Register a vendor called ``note``, whose closes are 5."""
    if request.param == "plug-in":
        site.put("note_one", PLUGIN, {"note": "note_one:Note"})
    else:
        WAYS[request.param](5.0)


def closes(manager: DataManager, **options: Any) -> set[float]:
    frame = manager.get_ohlcv(*WEEK, refresh=True, **options)
    assert frame.attrs["onetape"]["vendors"] == ["note"]
    return set(frame["close"])


@pytest.mark.usefixtures("registered")
def test_a_vendor_registered_once_is_offered_by_every_reader(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("stock_daily: {primary: note, backup: [], timeframes: [1d]}\n")
    assert closes(DataManager(tmp_path / "pinned"), provider="note") == {5.0}
    assert closes(DataManager(tmp_path / "ruled", rules)) == {5.0}
    for registry, noun in ((DataSourceRegistry, "source"), (AdapterRegistry, "adapter")):
        assert "note" in getattr(registry, f"list_{noun}s")()
        assert getattr(registry, f"get_{noun}")("NOTE").get_metadata().source_type == "note"
    assert DataSourceRegistry.is_registered("Note")
    assert DataSourceRegistry.get_source_info("note")["source_type"] == "note"
    assert "note" in DataDownloaderFactory.list_providers()
    assert DataDownloaderFactory.get_provider_by_code("NOTE") == "note"
    assert DataDownloaderFactory.get_spec("note").canonical == "note"
    assert "note" in onetape.DataManager(tmp_path / "c").provider_selector.provider_names()
    for words in (["providers"], ["bundle", "ingest", "--list-sources"]):
        assert main(words) == 0
        assert "note" in capsys.readouterr().out


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_class_registered_again_replaces_the_first_for_every_reader(
    way: Callable[[float], None], tmp_path: Path
) -> None:
    way(5.0)
    manager = DataManager(tmp_path / "pinned")
    assert closes(manager, provider="note") == {5.0}
    way(6.0)
    assert closes(manager, provider="note") == {6.0}
    assert closes(DataManager(tmp_path / "new"), provider="note") == {6.0}
    assert DataSourceRegistry.list_sources().count("note") == len(offers()) == 1


@pytest.mark.parametrize("way", [by_source, by_adapter])
@pytest.mark.parametrize("reset", [DataSourceRegistry.reset, AdapterRegistry.clear])
def test_a_source_that_was_dropped_is_known_to_no_reader(
    way: Callable[[float], None], reset: Callable[[], None], tmp_path: Path
) -> None:
    manager = DataManager(tmp_path / "cache")
    onetape.register(vendor(7.0, "other"))
    way(5.0)
    assert closes(manager, provider="note") == {5.0}
    reset()
    with pytest.raises((UnknownProviderError, NoProviderError)):
        closes(manager, provider="note")
    for get in (DataSourceRegistry.get_source, AdapterRegistry.get_adapter):
        with pytest.raises(UnknownProviderError, match="Unknown data source 'note'"):
            get("note")
    assert not DataSourceRegistry.is_registered("note")
    assert "note" not in DataDownloaderFactory.list_providers()
    assert [*offers()] == ["other"], "what was not registered as a source stays"
    way(6.0)
    assert closes(manager, provider="note") == {6.0}


@pytest.mark.parametrize("name", ["csv", "onetape"])
def test_the_name_of_a_packaged_source_is_no_vendors(
    name: str, site: PackageFolder, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise it was a vendor for calls, and another source for bundles."""
    with pytest.raises(ConfigError, match="one of onetape's own"):
        onetape.register(vendor(5.0, name))
    with pytest.raises(QueryError, match="invalid source name"):
        DataSourceRegistry.register(name, source(5.0))
    with caplog.at_level(logging.WARNING):
        site.put("note_one", PLUGIN.replace('"note"', repr(name)), {name: "note_one:Note"})
        assert not offers()
    assert "the name is one of onetape's own" in caplog.text


def test_a_source_does_not_take_the_place_of_a_vendor(site: PackageFolder) -> None:
    onetape.register(vendor(5.0))
    with pytest.raises(QueryError, match="invalid source name 'Note'"):
        by_source(6.0)
    forget()
    site.put("note_one", PLUGIN, {"note": "note_one:Note"})
    with pytest.raises(QueryError, match="invalid source name 'Note'"):
        by_source(6.0)
    with pytest.raises(QueryError, match="invalid source name 'finra'"):
        DataSourceRegistry.register("finra", source(6.0))  # a reserved name
