"""The table of vendors, with all facts that are needed before a vendor's module is loaded.

This module imports nothing from the package, so every layer may import it; :func:`load` imports
the object at a row's path.

A rules file may name vendors that this version does not support: it still loads, and these vendors
are never queried. Their names remain reserved, because bars are stored under them, and a name must
always mean the same supplier. Vendors from other packages have their own names
(``core.config.offered``).

A family is a group of suppliers that share one interface; each member is a separate vendor, named
``family:member``, such as ``ccxt:kraken``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote, unquote


class VendorRow(NamedTuple):
    """The facts about one vendor. Paths have the form ``module:name`` and are relative to this package.

    Attributes:
        bars: Path of the vendor's downloader; empty if the name is only reserved.
        aliases: Other names for the vendor.
        keys: Environment variables for the vendor's keys; a tuple lists several names for one key,
            the usual name first.
        needs_keys: Whether every request needs the keys.
        domains: Domains of the vendor's hosts, including documented mirrors and test networks. A
            configuration file that was found automatically, rather than named by the user, may only
            point to hosts in these domains.
        fundamentals: Path of the vendor's field table for fundamentals.
        no_fundamentals: Reason why the vendor has no fundamentals, if known.
        stream: Path of the vendor's stream.
        search: Path of the vendor's table for searching by name.
        source: Name of the vendor as a source, if it is another (``DataSourceRegistry``).
        series: Path of the downloader of a vendor that serves macro series or filings, and no bars.
        package: Module of the vendor's SDK, which is installed by the extra with the vendor's name.
        distribution: Name of that SDK in package indexes and messages.
        package_use: Purpose of that package, for messages.
        no_volume: Asset classes whose bars have no volume, in addition to the classes that never
            have any.
        by_id: Whether requests use an identifier that means only one asset, rather than a ticker.
        is_family: Whether the row is for a family, each of whose members is a vendor.
        of_folders: Whether the members of this family are folders, each named by its path after a
            colon. The family itself is then not listed as a vendor.
        is_sample: Whether the vendor is used only by calls that name it, and its bars and actions
            are kept separate.
        of_files: Whether the vendor reads files on this machine; each folder then has a separate
            lane.
    """

    bars: str = ""
    aliases: tuple[str, ...] = ()
    keys: tuple[str | tuple[str, ...], ...] = ()
    needs_keys: bool = False
    domains: tuple[str, ...] = ()
    fundamentals: str = ""
    no_fundamentals: str = ""
    stream: str = ""
    search: str = ""
    source: str = ""
    series: str = ""
    package: str = ""
    distribution: str = ""
    package_use: str = ""
    no_volume: tuple[str, ...] = ()
    by_id: bool = False
    is_family: bool = False
    of_folders: bool = False
    is_sample: bool = False
    of_files: bool = False


VENDORS: Mapping[str, VendorRow] = MappingProxyType(
    {
        "alpaca": VendorRow(
            bars="alpaca.bars:AlpacaDataDownloader",
            aliases=("alp",),
            keys=(
                ("ALPACA_API_KEY", "APCA_API_KEY_ID"),
                ("ALPACA_SECRET_KEY", "APCA_API_SECRET_KEY", "ALPACA_API_SECRET"),
            ),
            needs_keys=True,
            domains=("alpaca.markets",),
            stream="alpaca.stream:AlpacaStream",
            package="alpaca",
            distribution="alpaca-py",
            package_use="sends Alpaca's requests",
        ),
        "alpha_vantage": VendorRow(
            bars="alpha_vantage.bars:AlphaVantageDataDownloader",
            aliases=("av", "alphavantage"),
            keys=(("ALPHA_VANTAGE_API_KEY", "ALPHAVANTAGE_API_KEY"),),
            needs_keys=True,
            domains=("alphavantage.co",),
            fundamentals="alpha_vantage.fundamentals:TABLE",
            source="alphavantage",
        ),
        "binance": VendorRow(
            bars="binance.bars:BinanceDataDownloader",
            aliases=("bnc",),
            keys=(("BINANCE_API_KEY", "BINANCE_KEY"), ("BINANCE_API_SECRET", "BINANCE_SECRET")),
            domains=("binance.com", "binance.vision", "binancefuture.com"),
            stream="binance.stream:BinanceStream",
            search="binance.search:TABLE",
            package="binance",
            distribution="python-binance",
            package_use="sends Binance's requests",
        ),
        "ccxt": VendorRow(
            bars="ccxt.bars:CCXTDataDownloader",
            package="ccxt",
            distribution="ccxt",
            package_use="fetches from any of a hundred exchanges, such as ccxt:kraken",
            is_family=True,
        ),
        "coingecko": VendorRow(
            bars="coingecko.bars:CoinGeckoDataDownloader",
            aliases=("cg", "coin_gecko"),
            keys=("COINGECKO_DEMO_API_KEY", "COINGECKO_PRO_API_KEY"),
            domains=("coingecko.com",),
            fundamentals="coingecko.fundamentals:TABLE",
            no_volume=("crypto",),
            by_id=True,
        ),
        "demo": VendorRow(
            bars="demo.bars:DemoDataDownloader",
            package="bokeh_sampledata",
            distribution="bokeh_sampledata",
            package_use="real daily bars of 2000 to 2013, without a network",
            is_sample=True,
        ),
        "eodhd": VendorRow(
            bars="eodhd.bars:EODHDDataDownloader",
            aliases=("eod",),
            keys=("EODHD_API_KEY",),
            needs_keys=True,
            domains=("eodhd.com", "eodhistoricaldata.com"),
            fundamentals="eodhd.fundamentals:TABLE",
            search="eodhd.search:TABLE",
        ),
        "finnhub": VendorRow(
            bars="finnhub.bars:FinnhubDataDownloader",
            aliases=("fh",),
            keys=("FINNHUB_API_KEY",),
            needs_keys=True,
            domains=("finnhub.io",),
            fundamentals="finnhub.fundamentals:TABLE",
            stream="finnhub.stream:FinnhubStream",
            search="finnhub.search:TABLE",
        ),
        "fmp": VendorRow(
            bars="fmp.bars:FMPDataDownloader",
            aliases=("financial_modeling_prep", "financialmodelingprep"),
            keys=("FMP_API_KEY",),
            needs_keys=True,
            domains=("financialmodelingprep.com",),
            fundamentals="fmp.fundamentals:TABLE",
            search="fmp.search:TABLE",
        ),
        "fred": VendorRow(
            series="fred.series:FredDataDownloader",
            keys=("FRED_API_KEY",),
            needs_keys=True,
            domains=("stlouisfed.org",),
        ),
        "ibkr": VendorRow(
            bars="ibkr.bars:IBKRDataDownloader",
            no_fundamentals="Interactive Brokers has ended fundamentals for most accounts "
            "(reqFundamentalData is refused with code 430), so its gateway is not used for them",
            package="ib_async",
            distribution="ib_async",
            package_use="connects to your own gateway of Interactive Brokers",
        ),
        "local": VendorRow(bars="local.bars:LocalDataDownloader", source="csv", of_files=True),
        "mock": VendorRow(bars="mock.bars:MockDataDownloader"),
        "polygon": VendorRow(
            bars="polygon.bars:PolygonDataDownloader",
            aliases=("pg", "polygon_io", "massive"),
            keys=(("POLYGON_API_KEY", "POLYGON_KEY", "MASSIVE_API_KEY"),),
            needs_keys=True,
            domains=("polygon.io", "massive.com"),
            fundamentals="polygon.fundamentals:TABLE",
            stream="polygon.stream:PolygonStream",
        ),
        "replay": VendorRow(
            bars="replay.bars:ReplayDownloader", of_folders=True, is_sample=True, of_files=True
        ),
        "sec": VendorRow(
            series="sec.filings:SecDataDownloader",
            aliases=("edgar",),
            keys=("SEC_CONTACT",),
            needs_keys=True,
            domains=("sec.gov",),
            fundamentals="sec.fundamentals:TABLE",
        ),
        "tiingo": VendorRow(
            bars="tiingo.bars:TiingoDataDownloader",
            keys=("TIINGO_API_KEY",),
            needs_keys=True,
            domains=("tiingo.com",),
            fundamentals="tiingo.fundamentals:TABLE",
        ),
        "twelvedata": VendorRow(
            bars="twelvedata.bars:TwelveDataDataDownloader",
            aliases=("td", "twelve_data"),
            keys=(("TWELVE_DATA_API_KEY", "TWELVEDATA_API_KEY"),),
            needs_keys=True,
            domains=("twelvedata.com",),
            fundamentals="twelvedata.fundamentals:TABLE",
            search="twelvedata.search:TABLE",
            no_volume=("crypto",),
        ),
        "yahoo": VendorRow(
            bars="yahoo.bars:YahooDataDownloader",
            aliases=("yf", "yf_finance", "yfinance"),
            domains=("finance.yahoo.com",),
            fundamentals="yahoo.fundamentals:TABLE",
            search="yahoo.search:TABLE",
            source="yfinance",
            package="yfinance",
            distribution="yfinance",
            package_use="sends Yahoo's requests as a browser would",
        ),
        # Reserved names.
        "finra": VendorRow(aliases=("finra_trf",), keys=("FINRA_API_CLIENT", "FINRA_API_SECRET")),
        "newsapi": VendorRow(keys=("NEWSAPI_API_KEY",)),
        "santiment": VendorRow(aliases=("san", "santiment_net"), keys=("SANTIMENT_API_KEY",)),
        "tradier": VendorRow(
            aliases=("trdr",),
            keys=(("TRADIER_API_KEY", "TRADIER_API"),),
            domains=("tradier.com",),
        ),
        "vix": VendorRow(),
    }
)
# Family members with additional features: another market of one of the vendors above.
MEMBERS: Mapping[str, VendorRow] = MappingProxyType(
    {
        "ccxt:binanceusdm": VendorRow(
            domains=("binance.com",), stream="binance.stream:BinanceFuturesStream"
        ),
    }
)
SERVED = tuple(name for name, row in VENDORS.items() if row.bars and not row.of_folders)
FAMILIES = frozenset(name for name, row in VENDORS.items() if row.is_family)
# Names that only sources have: ``onetape`` means all vendors in the rules.
SOURCES = frozenset({"onetape", *(row.source for row in VENDORS.values() if row.source)})
SAMPLES = frozenset(name for name, row in VENDORS.items() if row.is_sample)
# Names under which older tools stored bars that they had invented.
MADE_UP = frozenset({"mock", "sample"})

# Limit for an escaped path, because file names are limited to 255 bytes.
_LONGEST_PATH = 200
_NO_ROW = VendorRow()
_MEMBER = re.compile(r"[a-z0-9][a-z0-9_]{1,39}")
_CANONICAL = {name: name for name in VENDORS} | {
    alias: name for name, row in VENDORS.items() for alias in row.aliases
}


def row_of(name: str) -> VendorRow:
    """Return the registry's row about a vendor, given its canonical name.

    The row is empty for a vendor from another package.
    """
    return VENDORS.get(name) or MEMBERS.get(name) or _NO_ROW


def key_names(name: str) -> tuple[str, ...]:
    """Return the environment variables in which a vendor's API keys are usually set.

    ``name`` is the vendor's canonical name.
    """
    return tuple(key if isinstance(key, str) else key[0] for key in row_of(name).keys)


def canonical_vendor(name: str) -> str | None:
    """Return the canonical name for a vendor's name or alias, ignoring case; None if it is unknown.

    Whether a family has the named member is checked only when the member's class is loaded. The
    path of a folder is case-sensitive; it is escaped, because the name is used in file names.
    """
    text = name.strip()
    family, colon, member = text.partition(":")
    family = family.lower()
    if not colon:
        return _CANONICAL.get(family)
    if row_of(family).of_folders:
        escaped = quote(unquote(member), safe="")
        if not escaped:
            return family  # its error explains that a folder is needed
        return f"{family}:{escaped}" if len(escaped) <= _LONGEST_PATH else None
    return text.lower() if family in FAMILIES and _MEMBER.fullmatch(member.lower()) else None


def family_of(name: str) -> str:
    """Return the family in a canonical name; if the name has no colon, return the name itself."""
    return name.partition(":")[0]


def is_sample(name: str | None) -> bool:
    """Return whether the vendor with this canonical name is used only by calls that name it."""
    return name is not None and row_of(family_of(name)).is_sample


def is_whole_sample(name: str) -> bool:
    """Return whether the vendor's data ends for ever, unlike recordings, which may be continued."""
    row = row_of(family_of(name))
    return row.is_sample and not row.of_files


def is_of_files(name: str) -> bool:
    """Return whether the vendor with this canonical name reads files on this machine."""
    return row_of(family_of(name)).of_files


def lies_apart(name: str) -> bool:
    """Return whether a vendor's bars are never mixed with other vendors' bars; ``name`` may be an alias."""
    code = family_of(canonical_vendor(name) or name)
    return code == "mock" or row_of(code).is_sample or row_of(code).of_files


def is_of_market(name: str) -> bool:
    """Return whether the vendor with this canonical name is one of this library's for real markets.

    Samples, files, recordings, invented bars and a program's own vendors are not.
    """
    return bool(row_of(family_of(name)).bars) and not lies_apart(name)


def is_free(name: str) -> bool:
    """Return whether the vendor with this canonical name reads the user's own files, which cost nothing.

    Recordings do not count, because they contain only the answers to the recorded requests.
    """
    return is_of_files(name) and not is_sample(name)


def folder_of(name: str) -> str:
    """Return the path of the folder in the name of a folder family's member."""
    return unquote(name.partition(":")[2])


def vendor_names() -> tuple[str, ...]:
    """Return all names and aliases that a rules file may use."""
    return tuple(_CANONICAL)


def load(path: str) -> Any:
    """Import and return the object at a path of the form ``module:name`` in a vendor's row."""
    module, _, name = path.partition(":")
    return getattr(import_module(f".vendors.{module}", __package__), name)
