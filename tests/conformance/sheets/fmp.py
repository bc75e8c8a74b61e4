"""Financial Modeling Prep: dates at the venue, newest first; unknown symbols look like empty ranges."""

from src.data.errors import NoDataError
from tests.conformance.sheet import SHARES, TEXT_LABELS, Series, Sheet
from tests.vendor_server.keyed import KEY

SHEET = Sheet(
    vendor="fmp",
    series=(
        Series("AAPL", "1d", "2024-05-28", "2024-06-08"),
        Series("NVDA", "1d", "2024-06-03", "2024-06-12"),
        Series("AAPL", "5m", "2024-06-06T18:00", "2024-06-07T15:00"),
        Series("AAPL", "1m", "2024-06-06T19:30", "2024-06-06T20:00"),
        Series("NVDA", "1h", "2024-06-06", "2024-06-12"),
        Series("VOD.L", "1d", "2024-05-24", "2024-06-01"),
        Series("VOD.L", "15m", "2024-03-28", "2024-04-03"),
    ),
    keys={"FMP_API_KEY": KEY},
    adjustment="split",
    # It has one empty list for an empty range and for a symbol that it does not know.
    errors={"unknown_symbol": NoDataError},
    empties=frozenset({"[]", "{}"}),
    paging="days",
    paged=Series("AAPL", "5m", "2024-05-20", "2024-06-12"),
    row="historical.0",
    changed="historical-price-full-AAPL-2023-01",
    spellings={
        "BRK.B": "BRK-B",
        "BAC-PL": "BAC-PL",
        "VOD.L": "VOD.L",
        "BHP.AX": "BHP.AX",
        "0700.HK": "0700.HK",
        "^GSPC": "^GSPC",
    },
    excused=TEXT_LABELS,
    **SHARES,
)
