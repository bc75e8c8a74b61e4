"""Yahoo: one answer for any range of days, minutes week by week."""

from src.data.errors import ResponseFormatError
from tests.conformance.sheet import KEYLESS, SHARES, Series, Sheet

SHEET = Sheet(
    vendor="yahoo",
    series=(
        Series("AAPL", "1d", "2024-05-28", "2024-06-08"),
        Series("NVDA", "1d", "2024-06-03", "2024-06-12"),
        Series("AAPL", "5m", "2024-06-06T18:00", "2024-06-07T15:00"),
        Series("AAPL", "1w", "2024-04-29", "2024-06-03"),
        Series("VOD.L", "1d", "2024-05-24", "2024-06-01"),
        Series("BTC-USD", "1h", "2024-05-31T22:00", "2024-06-01T07:00"),
    ),
    adjustment="split",
    # Its limit is told with 429; the same text with HTTP 200 is no answer of its own.
    errors={"limit_in_200": ResponseFormatError},
    paging="days",
    paged=Series("AAPL", "1m", "2024-06-03", "2024-06-11"),
    excused=KEYLESS,
    **SHARES,
)
