"""What answers tell about the vendor's own count of our requests."""

from __future__ import annotations

import math
import re

from ..model.http import HttpResponse
from .quota import QuotaReport

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
# `x-mbx-used-weight-1m`: units used in a window of the length that the name ends with.
_USED = re.compile(r"x-mbx-used-weight-(\d{1,4})([smhd])")
# Spread as conventions spread; none says of which window it speaks.
_LEFT = ("x-ratelimit-remaining", "ratelimit-remaining", "x-rate-limit-remaining")


def reports_of(response: HttpResponse) -> list[QuotaReport]:
    """Return what the headers of ``response`` say about units used or left; often nothing."""
    found = []
    for name, value in response.headers.items():
        if used := _USED.fullmatch(name):
            length_s = float(int(used[1]) * _SECONDS[used[2]])
            found.append(QuotaReport(_number(value), length_s=length_s))
        elif name in _LEFT:
            found.append(QuotaReport(_number(value), is_left=True))
    return [report for report in found if not math.isnan(report.units)]


def _number(text: str) -> float:
    """Return a count, or NaN: digits alone are counts, some vendors send lists of them."""
    return float(text) if text.isascii() and text.isdigit() else math.nan
