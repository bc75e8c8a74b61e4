"""The documented import path of the functions that build longer bars from shorter ones."""

from ..layer.aggregation import (
    resample_custom_interval,
    resample_daily_to_monthly,
    resample_daily_to_weekly,
    resample_minute_to_daily,
)

__all__ = [
    "resample_custom_interval",
    "resample_daily_to_monthly",
    "resample_daily_to_weekly",
    "resample_minute_to_daily",
]
