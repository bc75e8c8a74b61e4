"""Exchanges through ccxt: Binance as the vendor server plays it, queried and parsed by ccxt."""

from src.data.errors import CapabilityError
from tests.conformance.sheet import KEYLESS, Series, Sheet

SHEET = Sheet(
    vendor="ccxt:binance",
    face="binance",
    series=(
        Series("BTCUSDT", "1d", "2024-05-27", "2024-06-06"),
        Series("BTCUSDT", "1h", "2024-05-31T22:00", "2024-06-01T07:00"),
        Series("ETHBTC", "1m", "2024-06-01T23:30", "2024-06-02T00:30"),
        Series("THINUSDT", "15m", "2024-06-03T10:00", "2024-06-03T14:00"),
    ),
    unknown="ZZZZUSDT",
    young=Series("NEWUSDT", "1h", "2024-06-01", "2024-06-04"),
    gone=Series("OLDUSDT", "1d", "2022-05-01", "2022-05-20"),
    # A range is asked for from its start on: where that is before the first bar nobody knows what was.
    errors={"before_listing": CapabilityError, "nothing": CapabilityError},
    paging="rows",
    shapeless="ccxt reads what the exchange answers, and fails itself",
    excused=KEYLESS
    | {
        "days_are_dated_by_whatever_hour_they_are_labelled_with": (
            "its days are labelled with their first instant in UTC; any other label is another day"
        ),
        "splits_and_dividends_are_told": "coins have none",
        "what_fails_is_never_no_splits": "coins have none",
        "splits_of_another_symbol_are_refused": "coins have none",
        "a_range_deeper_than_declared_is_not_asked": "this exchange serves everything since the listing",
    },
)
