"""Tiingo: shares by the day in one answer, minutes in pages of days."""

from tests.conformance.sheet import NAMELESS_SPLITS, SHARES, TEXT_LABELS, Series, Sheet

SHEET = Sheet(
    vendor="tiingo",
    series=(
        Series("AAPL", "1d", "2024-05-28", "2024-06-08"),
        Series("NVDA", "1d", "2024-06-03", "2024-06-12"),
        Series("BRK-B", "30m", "2024-06-06", "2024-06-08"),
        Series("AAPL", "1w", "2024-04-29", "2024-06-03"),
        Series("AAPL", "1M", "2024-01-01", "2024-05-01"),
        Series("BTC-USD", "1d", "2024-05-28", "2024-06-03"),
    ),
    keys={"TIINGO_API_KEY": "canary-tiingo"},
    empties=frozenset({"[]"}),
    paging="days",
    paged=Series("AAPL", "15m", "2024-05-28", "2024-06-11"),
    row="0",
    changed="daily-GOOGL-2015-01",
    spellings={
        "BRK.B": "BRK-B",
        "BAC-PL": "BAC-P-L",
        "BTCUSDT": "btcusdt",
        "BTC-USD": "btcusd",
        "ETHBTC": "ethbtc",
    },
    excused=NAMELESS_SPLITS | TEXT_LABELS,
    **SHARES,
)
