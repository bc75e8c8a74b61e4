"""Alpaca: shares of the consolidated tape, paged by tokens."""

from src.data.errors import CapabilityError, ResponseFormatError
from tests.conformance.sheet import SHARES, TEXT_LABELS, Series, Sheet

SHEET = Sheet(
    vendor="alpaca",
    series=(
        Series("AAPL", "1d", "2024-05-28", "2024-06-08"),
        Series("NVDA", "1d", "2024-06-03", "2024-06-12"),
        Series("BRK-B", "1h", "2024-06-06", "2024-06-08", "clock"),
        Series("SPY", "5m", "2024-03-08T18:00", "2024-03-11T15:00", "clock"),
        Series("BTC-USD", "1h", "2024-05-31T22:00", "2024-06-01T07:00"),
    ),
    keys={"ALPACA_API_KEY": "canary-alpaca", "ALPACA_SECRET_KEY": "canary-other-half"},
    errors={
        # The newest 16 minutes are left out, so that what is newer is not asked at all.
        "future": CapabilityError,
        # It never answers an error with HTTP 200; what does is no answer of its own.
        "limit_in_200": ResponseFormatError,
    },
    # Where there are none the symbol is absent.
    absences=frozenset({"bars.AAPL"}),
    nothings=frozenset({("bars", "{}"), ("bars.AAPL", "[]")}),
    paging="rows",
    row="bars.*.0",
    changed="stocks-bars-AMZN-15Min",
    spellings={
        "BRK.B": "BRK.B",
        "BAC-PL": "BAC.PRL",
        "BTCUSDT": "BTC/USDT",
        "BTC-USD": "BTC/USD",
        "ETHBTC": "ETH/BTC",
    },
    excused=TEXT_LABELS,
    **SHARES,
)
