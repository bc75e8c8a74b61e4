"""Tests the level at which a vendor's failure is logged."""

from __future__ import annotations

import logging

import pytest

from src.data.core.bars.fetch.attempt import VendorReply
from src.data.core.model.time.span import Span
from src.data.errors import CapabilityError, DataError, NoDataError, UnavailableError


@pytest.mark.parametrize(
    ("error", "requests", "level"),
    [
        (UnavailableError("paused"), 0, "WARNING"),
        (UnavailableError("down"), 1, "WARNING"),
        (CapabilityError("serves no minutes"), 0, "DEBUG"),
        (CapabilityError("the server refused minutes"), 1, "WARNING"),
        (NoDataError("no bar"), 1, "DEBUG"),
    ],
)
def test_only_an_expected_failure_is_not_logged_as_a_warning(
    caplog: pytest.LogCaptureFixture, error: DataError, requests: int, level: str
) -> None:
    with caplog.at_level(logging.DEBUG, "onetape"):
        VendorReply[None]("yahoo", Span(0, 1), error=error, requests=requests).log_failure("AAPL")
    assert [record.levelname for record in caplog.records] == [level]
    assert "yahoo could not supply AAPL" in caplog.text
