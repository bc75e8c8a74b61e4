"""Unsupported yfinance names, each with its replacement."""

from __future__ import annotations

from typing import NoReturn

from .arguments import NotServedError

_ALONGSIDE = "use yfinance alongside onetape for it"
_STATEMENTS = "use get_data_manager().get_fundamentals(symbol, data_type='statements')"
_LIVE = "use get_data_manager().live_feed(symbol, timeframe) or get_quote(symbol)"
_SEARCH = "use yf.Search(text) or get_data_manager().search(text)"
_RULES = "set it in the rules file of the data manager, docs/providers.md"

# The advice in the message for each group of names, which are listed without `get_`.
_OF_TICKERS = {
    _STATEMENTS: (
        "income_stmt quarterly_income_stmt ttm_income_stmt incomestmt quarterly_incomestmt "
        "ttm_incomestmt financials quarterly_financials ttm_financials balance_sheet "
        "quarterly_balance_sheet balancesheet quarterly_balancesheet cash_flow "
        "quarterly_cash_flow ttm_cash_flow cashflow quarterly_cashflow ttm_cashflow earnings "
        "quarterly_earnings shares shares_full valuation valuation_measures"
    ),
    _LIVE: "live ws",
    _ALONGSIDE: (
        "isin options option_chain news calendar sec_filings recommendations recommendations_summary "
        "upgrades_downgrades earnings_dates earnings_estimate revenue_estimate earnings_history "
        "eps_trend eps_revisions growth_estimates analyst_price_targets sustainability "
        "major_holders institutional_holders mutualfund_holders insider_purchases "
        "insider_transactions insider_roster_holders funds_data session"
    ),
}
_OF_MODULE = {
    _ALONGSIDE: (
        "Market MarketRegion Sector Industry Calendars Auth EquityQuery FundQuery ETFQuery screen "
        "PREDEFINED_SCREENER_QUERIES"
    ),
    _SEARCH: "Lookup",
    _LIVE: "WebSocket AsyncWebSocket",
    _RULES: "config set_config",
    "use onetape.configure_logging('debug')": "enable_debug_mode",
    "call yf.download() in place of pandas_datareader": "pdr_override",
}
OF_TICKER = {name: use for use, names in _OF_TICKERS.items() for name in names.split()}
OF_MODULE = {name: use for use, names in _OF_MODULE.items() for name in names.split()}


def set_tz_cache_location(cache_dir: str) -> None:
    """Do nothing: time zones are not stored, and bars are in the folder DATA_CACHE_DIR.

    Examples:
        >>> from onetape import yf
        >>> yf.set_tz_cache_location("a/folder")

    Args:
        cache_dir: Folder for the time zones and cookies of yfinance, which are not needed here.
    """


def not_served_of_ticker(name: str) -> str | None:
    """Return the replacement for an attribute of ``Ticker``; None if yfinance itself lacks it."""
    return OF_TICKER.get(name.removeprefix("get_"))


def refuse_name(name: str, use: str | None) -> NoReturn:
    """Raise the error for a name that this module does not support.

    Raises:
        NotServedError: The name exists in yfinance.
        AttributeError: The name does not exist in yfinance.
    """
    if use is None:
        raise AttributeError(f"yf.{name} does not exist")
    raise NotServedError(f"yf.{name} is not supported: {use}")
