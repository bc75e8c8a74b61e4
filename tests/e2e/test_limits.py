"""Rate limits set by a user: shared by all processes, kept over restarts, and reported if invalid."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError, RulesError
from tests.vendor_server import VendorServer

DAY_S = 86_400


def ask(manager: DataManager, day: int) -> int:
    """Ask for one day of hours, which is one request of weight 2, and return the rows."""
    date = f"2024-05-{day:02}"
    return len(manager.get_ohlcv("BTCUSDT", "1h", date, date, provider="binance", strict=True))


def test_a_monthly_limit_holds_over_restarts_until_the_month_ends(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("PROVIDER_RATE_LIMITS", '{"bnc": {"requests_per_month": 4}}')
    for day in (1, 2):
        assert ask(make(), day) == 24
        clock.advance(10 * DAY_S)
    for _ in range(2):
        with pytest.raises(AllProvidersFailedError, match="limit of 4 a month is used up"):
            ask(make(), 3)
    assert make().rate_limiters["binance"].used()["2.6784e+06s"] == 4
    assert vendors.count("binance") == 2
    clock.advance(11 * DAY_S - 60)
    with pytest.raises(AllProvidersFailedError, match="a month"):
        ask(make(), 3)
    clock.advance(60)
    assert ask(make(), 3) == 24, "the first request is 31 days old"


def test_a_limit_in_the_variable_overrides_the_rules_and_these_the_vendor(
    make: Callable[[], DataManager], rules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = rules.read_text().replace(
        "transport: http}",
        "transport: http, rate_limits: {requests_per_month: 9, requests_per_day: 5}}",
        1,
    )
    rules.write_text(said)
    limits = make().rate_limiters["binance"].limits
    assert (limits.per_minute, limits.per_day, limits.per_month) == (1200, 5, 9)
    monkeypatch.setenv("PROVIDER_RATE_LIMITS", '{"binance": {"requests_per_day": 0}}')
    limits = make().rate_limiters["binance"].limits
    assert (limits.per_minute, limits.per_day, limits.per_month) == (1200, 0, 9)


@pytest.mark.parametrize(
    "text",
    ["{", '{"binance": 5}', '{"binance": {"requests_per_minute": 0.5}}',
     '{"binance": {"requests_per_month": "many"}}', '{"binance": {"per_month": 3}}',
     '{"binance": {"requests_per_day": 1' + "0" * 400 + "}}", '{"binance": {"burst_size": NaN}}'],
    ids=["no JSON", "no limits", "half a request", "a text", "unknown", "no float", "NaN"],
)  # fmt: skip
def test_an_invalid_limit_in_the_variable_is_warned_about_and_changes_no_limit(
    make: Callable[[], DataManager], text: str, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setenv("PROVIDER_RATE_LIMITS", text)
    limits = make().rate_limiters["binance"].limits
    assert (limits.per_minute, limits.per_day, limits.per_month) == (1200, 0, 0)
    said = [r for r in caplog.records if "PROVIDER_RATE_LIMITS" in r.getMessage()]
    assert [record.levelno for record in said] == [logging.WARNING]


def test_an_invalid_limit_in_the_rules_is_an_error_with_its_line(
    make: Callable[[], DataManager], rules: Path
) -> None:
    rules.write_text(
        "providers:\n  binance:\n    base_url: http://mirror.example\n"
        "    rate_limits:\n      requests_per_minute: 0.5\n      requests_per_month: -1\n"
    )
    with pytest.raises(RulesError) as caught:
        make()
    assert [problem.removeprefix("providers.binance.") for problem in caught.value.problems] == [
        "base_url: http:// is for this machine only: did you mean https://mirror.example? (line 3)",
        "rate_limits.requests_per_minute: it is 0.5, but must be an integer (line 5)",
        "rate_limits.requests_per_month: it is -1, but must be a number of at least 0 (line 6)",
    ]
