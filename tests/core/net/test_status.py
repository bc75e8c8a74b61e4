"""HTTP statuses as errors, and the wait that a vendor asks for."""

from __future__ import annotations

from typing import Any

import pytest

from src.data.core.net.http.status import error_of, retry_after_s, server_time_ms
from src.data.errors import (
    AuthenticationError,
    CapabilityError,
    EntitlementError,
    ProviderTimeoutError,
    RateLimitedError,
    RegionError,
    ResponseFormatError,
    SymbolNotFoundError,
    UnavailableError,
)
from tests.core.net.scripted import answer


@pytest.mark.parametrize(
    "status, kind",
    [
        (301, ResponseFormatError), (400, CapabilityError), (401, AuthenticationError),
        (402, EntitlementError), (403, EntitlementError), (404, SymbolNotFoundError),
        (407, UnavailableError), (408, ProviderTimeoutError), (418, RateLimitedError),
        (422, CapabilityError), (425, UnavailableError), (429, RateLimitedError),
        (451, RegionError), (500, UnavailableError), (502, UnavailableError),
        (503, UnavailableError), (504, UnavailableError), (599, UnavailableError),
    ],
)  # fmt: skip
def test_every_status_means_one_thing(status: int, kind: Any) -> None:
    error = error_of(answer(b"secret words of the vendor", status))
    assert type(error) is kind
    assert str(status) in str(error)
    assert "vendor.example/path" in str(error)
    assert "secret words" not in str(error)


@pytest.mark.parametrize(
    "page",
    [
        b"404 page not found\n",
        b"<html><h1>404 Not Found</h1>",
        b" <!DOCTYPE html><title>404</title>",
    ],
)
def test_a_404_for_a_page_does_not_mean_an_unknown_symbol(page: bytes) -> None:
    assert type(error_of(answer(page, 404))) is ResponseFormatError
    assert type(error_of(answer(b'{"detail": "page not found"}', 404))) is SymbolNotFoundError
    assert (
        type(error_of(answer(b"<Error><Code>NoSuchKey</Code></Error>", 404))) is SymbolNotFoundError
    )


@pytest.mark.parametrize("status", [200, 201, 204])
def test_a_success_status_is_not_an_error(status: int) -> None:
    assert error_of(answer(status=status)) is None


DATE = "Wed, 01 Jan 2025 00:00:00 GMT"


@pytest.mark.parametrize(
    "told, seconds",
    [
        ("7", 7.0), ("0", 0.0), (" 1.5 ", 1.5), ("Wed, 01 Jan 2025 00:02:00 GMT", 120.0),
        ("Tue, 31 Dec 2024 23:00:00 GMT", 0.0), ("soon", None), ("", None), ("-3", None),
        ("inf", None), ("nan", None), ("1_0", None), ("²", None),
    ],
)  # fmt: skip
def test_retry_after_is_read_in_seconds_or_as_a_date(told: str, seconds: float | None) -> None:
    assert retry_after_s(answer(status=429, retry_after=told, date=DATE)) == seconds


def test_a_retry_after_date_without_the_vendors_clock_is_ignored() -> None:
    assert retry_after_s(answer(status=429, retry_after=DATE)) is None


def test_retry_after_reaches_the_error() -> None:
    error = error_of(answer(status=429, retry_after="35"))
    assert isinstance(error, RateLimitedError)
    assert error.retry_after == 35


def test_the_vendors_clock_is_read_from_the_date_header() -> None:
    assert server_time_ms(answer(date=DATE)) == 1_735_689_600_000
    assert server_time_ms(answer(date="yesterday")) is None
    assert server_time_ms(answer()) is None
