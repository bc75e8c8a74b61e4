"""Quota reports: the vendor's own count, read from the headers of a response."""

from __future__ import annotations

import pytest

from src.data.core.net.limits.quota import QuotaReport, reports_of
from tests.core.net.scripted import answer


@pytest.mark.parametrize(
    "headers, report",
    [
        ({"x_mbx_used_weight_1m": "1180"}, QuotaReport(1180, length_s=60)),
        ({"x_mbx_used_weight_1d": "7"}, QuotaReport(7, length_s=86_400)),
        ({"x_ratelimit_remaining": "0"}, QuotaReport(0, is_left=True)),
        ({"ratelimit_remaining": "12"}, QuotaReport(12, is_left=True)),
    ],
)
def test_quota_reports_are_read_from_headers(headers: dict[str, str], report: QuotaReport) -> None:
    assert reports_of(answer(**headers)) == [report]


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"x_mbx_used_weight": "5"}, {"x_mbx_used_weight_1m": "many"},
        {"x_ratelimit_remaining": "-1"}, {"x_ratelimit_remaining": "5, 10"},
        {"x_ratelimit_remaining": ""}, {"x_ratelimit_remaining": "²"},
        {"x_mbx_order_count_1m": "5"}, {"x_ratelimit_limit": "200"},
    ],
)  # fmt: skip
def test_headers_without_a_usable_quota_give_no_report(headers: dict[str, str]) -> None:
    assert reports_of(answer(**headers)) == []
