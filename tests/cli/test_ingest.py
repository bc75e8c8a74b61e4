"""``onetape ingest``: bars from a source as a bundle, exit codes, JSON, and printed text."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from src.data.bundles.metadata import BundleMetadata
from src.data.core.clock import ManualClock
from src.data.core.config.credentials import handed_out
from src.data.core.model.time.instant import date_of
from src.data.research.bundles.bundle import Bundle
from src.data.research.sources.vendor_sources import DataSourceRegistry
from tests.cli.conftest import Run
from tests.vendor_server import VendorServer

MONTH = ("--start", "2024-01-02", "--end", "2024-01-31")
QUARTER = ("--start", "2024-01-02", "--end", "2024-03-31")
SECRET = "0123456789" * 2
# A module in the working directory, as a user has one.
OWN = """
import polars as pl
from datetime import datetime, timedelta
from src.data.adapters import BaseDataAdapter
from src.data.sources import DataSource, DataSourceMetadata

class Adapter(BaseDataAdapter):
    async def fetch(self, symbols, start_date, end_date, resolution):
        days = [start_date + timedelta(n) for n in range(3)]
        rows = [(day, s, 10.0, 11.0, 9.0, 10.5, 5.0) for s in symbols for day in days]
        names = ["timestamp", "symbol", "open", "high", "low", "close", "volume"]
        return pl.DataFrame(rows, names, orient="row")

class Own(DataSource):
    def __init__(self, api_key=None):
        if api_key == "wrong":
            raise RuntimeError("no entry with " + api_key)
        self.api_key = api_key
    async def fetch(self, symbols, start, end, frequency):
        return await Adapter("own").fetch(symbols, start, end, frequency)
    async def ingest_to_bundle(self, bundle_name, symbols, start, end, frequency):
        return await super().ingest_to_bundle(bundle_name, symbols, start, end, frequency)
    def get_metadata(self):
        return DataSourceMetadata(source_type="own")
    def supports_live(self):
        return False

class Telling(Own):
    async def fetch(self, *question):
        raise RuntimeError(f"refused with key {self.api_key}")

class Hanging(Own):
    async def fetch(self, *question):
        import asyncio
        await asyncio.Event().wait()

class Spiked(Adapter):
    async def fetch(self, *question):
        frame = await super().fetch(*question)
        days = [question[1] + timedelta(n) for n in range(60)]
        volumes = [5.0 + n % 3 for n in range(60)]
        volumes[10] = 9e5
        made = pl.concat([frame.head(1)] * 60)
        return made.with_columns(pl.Series("timestamp", days), pl.Series("volume", volumes))

class Lazy(Own):
    async def ingest_to_bundle(self, *question):
        return None

class Crooked(Adapter):
    async def fetch(self, *question):
        return (await super().fetch(*question)).with_columns(pl.lit(1.0).alias("high"))

no_class = 3
"""


@pytest.fixture
def bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of bundles of the user."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    return tmp_path / "user" / "onetape" / "bundles"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have a module of the user's in the working directory."""
    (tmp_path / "own_bars.py").write_text(OWN)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("own_bars", None)
    handed_out.pop(SECRET, None)


# --- vendors ----------------------------------------------------------------------------------


def test_a_bundle_of_a_vendor_is_written_with_its_metadata(run: Run, bundles: Path) -> None:
    """As the documents print it: `ingest yfinance --symbols AAPL --bundle my-data`."""
    ran = run("ingest", "yfinance", "--symbols", "AAPL", "--bundle", "my-data", *MONTH)
    assert ran.code == 0, ran.err
    assert "my-data" in ran.out and "1d  21 bars for 1 symbol" in ran.out
    assert "2024-01-02 to 2024-01-31, from yahoo" in ran.out
    told = BundleMetadata.load("my-data", bundles)
    assert (told.row_count, told.symbols, told.missing_data_pct) == (21, ["AAPL"], 0.0)
    assert told.quality_score > 0.9


def test_the_printed_command_asks_an_exchange_by_ccxt(
    bare: Run, bundles: Path, cache: Path, tmp_path: Path, vendors: VendorServer
) -> None:
    """`ingest --source ccxt:binance --symbols BTC/USDT`."""
    pytest.importorskip("ccxt", reason="ccxt is not installed")
    rules = tmp_path / "exchange.yaml"
    rules.write_text(
        f"providers: {{'ccxt:binance': {{base_url: '{vendors.base_url('binance')}'}}}}"
    )
    ran = bare("ingest", "--source", "ccxt:binance", "--symbols", "BTC/USDT",
               "--config", str(rules), "--cache-dir", str(cache))  # fmt: skip
    assert ran.code == 0, ran.err
    told = BundleMetadata.load("ccxt-binance", bundles)
    assert (told.source_type, told.frequency) == ("ccxt:binance", "1d") and told.row_count > 360


def test_a_second_ingest_widens_the_bundle_and_its_json_has_the_new_range(
    run: Run, bundles: Path
) -> None:
    run("ingest", "mock", "--symbols", "AAPL", *MONTH)
    ran = run("ingest", "--source", "mock", "--symbols", "MSFT,AAPL", "--json",
              "--start", "2024-01-16", "--end", "2024-02-09")  # fmt: skip
    assert ran.code == 0 and ran.err == ""
    assert ran.json["bundle_name"] == "mock" and ran.json["symbols"] == ["AAPL", "MSFT"]
    assert ran.json["path"] == str(bundles / "mock")
    assert (ran.json["start_date"][:10], ran.json["end_date"][:10]) == ("2024-01-02", "2024-02-09")


def test_start_and_end_have_defaults(run: Run, bundles: Path, clock: ManualClock) -> None:
    """The last year, and an end that moves on; of shorter bars the last thirty days."""
    today = date_of(clock.now_ms())
    assert run("ingest", "binance", "--symbols", "BTCUSDT", "--frequency", "1d").code == 0
    request = Bundle("binance", bundles).records().origin.request
    assert request is not None
    assert (request["start_date"], request["end_date"]) == (str(today - timedelta(365)), None)
    hours = run("ingest", "binance", "--symbols", "BTCUSDT", "--frequency", "4h", "-b", "hours")
    assert hours.code == 0
    other = Bundle("hours", bundles).records().origin.request
    assert other is not None and other["start_date"] == str(today - timedelta(30))


def test_a_symbol_that_fails_is_named_and_the_bundle_has_the_others(
    run: Run, bundles: Path
) -> None:
    ran = run("ingest", "yfinance", "--symbols", "AAPL,NOSUCH", *MONTH)
    assert ran.code == 1
    assert "NOSUCH" in ran.err and "21 bars for 2 symbols" in ran.out
    told = BundleMetadata.load("yfinance", bundles)
    assert (told.row_count, told.missing_data_pct, told.quality_score) == (21, 50.0, 0.5)
    assert run("ingest", "yfinance", "--symbols", "NOSUCH", "-b", "none", *MONTH).code == 1
    assert not (bundles / "none").exists()


def test_own_files_are_a_source(run: Run, bundles: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bars"
    folder.mkdir()
    lines = ["date,open,high,low,close,volume"]
    lines += [f"2024-01-{day:02d},10,11,9,10.5,100" for day in (2, 3, 4, 5)]
    (folder / "AAPL.csv").write_text("\n".join(lines))
    ran = run("ingest", "csv", "--csv-dir", str(folder), "--symbols", "AAPL",
              "--start", "2024-01-02", "--end", "2024-01-05", "--bundles", str(tmp_path / "b"))  # fmt: skip
    assert ran.code == 0, ran.err
    assert BundleMetadata.load("csv", tmp_path / "b").row_count == 4
    assert not bundles.exists()


@pytest.mark.parametrize("name", ["csv", "polygon", "alpaca", "alphavantage", "ccxt", "yfinance"])
def test_ingest_accepts_the_documented_options_of_every_source(
    run: Run, bundles: Path, name: str, tmp_path: Path
) -> None:
    """What fails then is the lack of files or keys (1), not an argument that is not accepted (2)."""
    options = {
        "csv": ("--csv-dir", str(tmp_path), "--timeout", "5"),
        "ccxt": ("--exchange", "nosuchexchange"),
        "polygon": ("--api-key", SECRET),
        "alpaca": ("--api-key", SECRET, "--api-secret", SECRET),
        "alphavantage": ("--api-key", SECRET),
    }.get(name, ())
    symbol = "AAPL" if name == "csv" else "NOSUCH"
    ran = run("ingest", name, "--symbols", symbol, *MONTH, "--timeout", "0.2", *options)
    assert ran.code == 1, ran.err
    assert "Traceback" not in ran.err and SECRET not in ran.err + ran.out
    assert not bundles.exists() or not any(bundles.iterdir())


@pytest.mark.parametrize(
    "words, message",
    [
        (("--symbols", "AAPL"), "no source is given"),
        (("yfinance",), "no symbols are given"),
        (("yfinance", "--source", "csv", "--symbols", "AAPL"), "two sources are given: csv, yfinance"),
        (("nosuch", "--symbols", "AAPL"), "Unknown data source 'nosuch'. Available sources: alpaca"),
        (("yfinance", "--symbols", "AAPL", "--exchange", "kraken"), "has no argument exchange_id"),
        (("yfinance", "--symbols", "AAPL", "--csv-dir", "x"), "has no argument csv_dir"),
        (("yfinance", "--symbols", "AAPL", "--frequency", "9q"), "unknown timeframe"),
        (("yfinance", "--symbols", "AAPL", "--start", "soon"), "soon"),
        (("yfinance", "--symbols", "AAPL", "--bundle", ".."), "'..'"),
        (("yfinance", "--symbols", ","), "at least one"),
        (("--list-sources", "--list-exchanges"), "not allowed with"),
        (("--source-info", "nosuch"), "Unknown data source"),
        (("own_bars:Own", "--symbols", "X"), "is not a source"),
        (("json:JSONDecoder", "--symbols", "X"), "no ingest_to_bundle"),
    ],
)  # fmt: skip
def test_wrong_arguments_exit_with_2_and_write_no_bundle(
    run: Run, bundles: Path, words: tuple[str, ...], message: str
) -> None:
    ran = run("ingest", *words)
    assert ran.code == 2 and message in " ".join(ran.err.split()) and ran.out == ""
    assert SECRET not in ran.err and not bundles.exists()


# --- what there is ----------------------------------------------------------------------------


def test_the_sources_are_listed(run: Run) -> None:
    shown = run("ingest", "--list-sources")
    assert shown.code == 0
    for name in ("alpaca", "alphavantage", "ccxt", "csv", "onetape", "polygon", "yfinance"):
        assert name in shown.out
    every = run("ingest", "--list-sources", "--json").json
    assert [one["name"] for one in every] == DataSourceRegistry.list_sources()
    assert {one["name"] for one in every if one["auth_required"]} == {
        "alpaca", "alphavantage", "polygon",
    }  # fmt: skip


def test_one_source_is_described(run: Run) -> None:
    told = run("ingest", "--source-info", "yfinance", "--json").json
    assert (told["class_name"], told["auth_required"]) == ("YFinanceDataSource", False)
    assert "1d" in told["supported_frequencies"]
    shown = run("ingest", "--source-info", "polygon")
    assert shown.code == 0 and "POLYGON" in shown.out


def test_the_exchanges_are_those_that_ccxt_gives_bars_of(run: Run) -> None:
    pytest.importorskip("ccxt", reason="ccxt is not installed")
    told = run("ingest", "--list-exchanges", "--json").json
    names = [member["name"] for member in told["members"]]
    assert {"ccxt:binance", "ccxt:kraken"} <= set(names) and told["count"] == len(names)


# --- keys -------------------------------------------------------------------------------------


def test_keys_among_the_arguments_are_warned_of_and_shown_nowhere(
    run: Run, bundles: Path, own: None
) -> None:
    key = ("--api-key", SECRET)
    ran = run("ingest", "own_bars:Own", "--symbols", "X", *MONTH, *key)
    assert ran.code == 0 and "--api-key: other users of this machine" in " ".join(ran.err.split())
    told = run("ingest", "own_bars:Telling", "--symbols", "X", *MONTH, *key, "-v", "--json")
    assert told.code == 1 and "refused with key" in told.err
    assert SECRET not in told.err + told.out + ran.err + ran.out


# --- a program's own --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Own", "Adapter"])
def test_a_class_of_the_users_is_a_source(
    run: Run, bundles: Path, own: None, name: str, tmp_path: Path
) -> None:
    ran = run("ingest", f"own_bars:{name}", "--symbols", "X,Y", *MONTH, "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["bundle_name"], ran.json["row_count"]) == (f"own_bars-{name}", 6)
    assert run("bundle", "validate", f"own_bars-{name}").code == 0
    elsewhere = run("ingest", f"own_bars:{name}", "--symbols", "X", *MONTH, "--bundles", "b")
    assert elsewhere.code == (0 if name == "Adapter" else 2)


def test_findings_of_an_adapter_are_shown(run: Run, bundles: Path, own: None) -> None:
    ran = run("ingest", "own_bars:Spiked", "--symbols", "X", *QUARTER)
    assert ran.code == 0 and "1 volume of more than 5 standard" in " ".join(ran.out.split())
    told = run("ingest", "own_bars:Spiked", "--symbols", "X", *QUARTER, "--json").json["findings"]
    assert {"volume_outlier"} <= {finding["cause"] for finding in told["X"]}


@pytest.mark.parametrize(
    "name, options, code, message",
    [
        ("Crooked", (), 1, "cannot be bars"),
        ("Hanging", ("--timeout", "0.2"), 1, "did not finish within 0.2 s"),
        ("Lazy", (), 1, "did not write bundle"),
        ("Own", ("--api-key", "wrong"), 2, "no entry with"),
        ("Own", ("--exchange", "x"), 2, "exchange_id"),
        ("Own", ("--start", "soon"), 2, "not valid times"),
        ("none", (), 2, "no attribute 'none'"),
        ("no_class", (), 2, "not callable"),
    ],
)
def test_an_adapter_that_fails_is_one_line_and_an_exit_code(
    run: Run, bundles: Path, own: None, name: str, options: tuple[str, ...], code: int, message: str
) -> None:
    ran = run("ingest", f"own_bars:{name}", "--symbols", "X", *MONTH, *options)
    assert ran.code == code and message in " ".join(ran.err.split())
    assert not bundles.exists() or not any(bundles.iterdir())


def test_a_registered_class_is_a_source_by_its_name(run: Run, bundles: Path, own: None) -> None:
    sys.path.append(str(Path.cwd()))
    import own_bars

    DataSourceRegistry.register("mine", own_bars.Own)
    try:
        assert run("ingest", "mine", "--symbols", "X", *MONTH).code == 0
        assert "mine" in run("ingest", "--list-sources").out
    finally:
        DataSourceRegistry.reset()
    assert BundleMetadata.load("mine", bundles).source_type == "own"
