"""One small question to each real vendor: its answer still has the form that is parsed."""

from __future__ import annotations

from pathlib import Path

import exchange_calendars
import pandas as pd
import pytest

from src.data.errors import (
    AllProvidersFailedError,
    EntitlementError,
    MissingExtraError,
    ProviderTimeoutError,
    RateLimitedError,
    UnavailableError,
    UnknownProviderError,
)
from tests.live.vendors import STOCK, asked_vendors, bars_from, settled_days

# Not asked, not reached, or refused by its plan: of our reading of its answers that says nothing.
UNANSWERED = (UnavailableError, ProviderTimeoutError, RateLimitedError, EntitlementError,
              MissingExtraError)  # fmt: skip


@pytest.fixture(scope="module")
def closes() -> dict[str, pd.Series]:
    """Return the closes of each symbol that the first vendor of it gave."""
    return {}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("vendor, symbol", asked_vendors().items())
def test_the_answer_is_read(
    vendor: str, symbol: str, closes: dict[str, pd.Series], tmp_path: Path
) -> None:
    start, end = settled_days()
    frame = answer_of(vendor, symbol, start, end, tmp_path)
    assert list(frame.index) == list(days_of(symbol, start, end))
    assert (frame[["open", "close"]].max(axis=1) <= frame["high"]).all()
    assert (frame[["open", "close"]].min(axis=1) >= frame["low"]).all()
    assert (frame["low"] > 0).all()
    first = closes.setdefault(symbol, frame["close"])
    # Two vendors' closes of one share differ by cents, those of another share or basis by more.
    pd.testing.assert_series_equal(frame["close"], first, rtol=0.01, check_names=False)


def answer_of(vendor: str, symbol: str, start: str, end: str, cache: Path) -> pd.DataFrame:
    """Return what the vendor answers; a vendor that gives no answer is skipped, with the reason."""
    try:
        found = bars_from(vendor, symbol, (start, end), cache)
    except AllProvidersFailedError as error:
        causes = [attempt.error for attempt in error.attempts]
        if causes and isinstance(causes[-1], UNANSWERED):
            pytest.skip(f"{vendor}: {causes[-1]}")
        raise
    except (UnknownProviderError, *UNANSWERED) as error:  # no key, or no package for it
        pytest.skip(f"{vendor}: {error}")
    assert found is not None
    return found


def days_of(symbol: str, start: str, end: str) -> pd.DatetimeIndex:
    """Return the days on which there must be a bar, by the exchange's own calendar."""
    if symbol != STOCK:
        return pd.date_range(start, end)
    return exchange_calendars.get_calendar("XNYS").sessions_in_range(start, end)
