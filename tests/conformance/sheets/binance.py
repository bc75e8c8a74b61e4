"""Binance: coins, paged by rows at a single address."""

from src.data.errors import RateLimitedError, ResponseFormatError
from tests.conformance.sheet import KEYLESS, NAMELESS, Series, Sheet

SHEET = Sheet(
    vendor="binance",
    series=(
        Series("BTCUSDT", "1d", "2024-05-27", "2024-06-06"),
        Series("BTCUSDT", "1h", "2024-05-31T22:00", "2024-06-01T07:00"),
        Series("ETHBTC", "1m", "2024-06-01T23:30", "2024-06-02T00:30"),
        Series("BTCUSDT", "1w", "2024-04-29", "2024-06-03"),
        Series("THINUSDT", "15m", "2024-06-03T10:00", "2024-06-03T14:00"),
    ),
    unknown="ZZZZUSDT",
    young=Series("NEWUSDT", "1h", "2024-06-01", "2024-06-04"),
    gone=Series("OLDUSDT", "1d", "2022-05-01", "2022-05-20"),
    errors={
        "firewall": RateLimitedError,
        "forbidden": RateLimitedError,
        # It never answers an error with HTTP 200; what does is no answer of its own.
        "limit_in_200": ResponseFormatError,
    },
    empties=frozenset({"[]"}),
    paging="rows",
    row="0",
    changed="klines-spot-BTCUSDT-5m-limit24",
    spellings={
        "BTCUSDT": "BTCUSDT",
        "BTC-USD": "BTCUSD",
        "ETHBTC": "ETHBTC",
    },
    excused=NAMELESS
    | KEYLESS
    | {
        "days_are_dated_by_whatever_hour_they_are_labelled_with": (
            "its days are labelled with their first instant in UTC; any other label is another day"
        ),
        "splits_and_dividends_are_told": "coins have none",
        "what_fails_is_never_no_splits": "coins have none",
        "splits_of_another_symbol_are_refused": "coins have none",
        "a_range_deeper_than_declared_is_not_asked": "it serves everything since the listing",
    },
)
