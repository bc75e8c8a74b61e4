"""The documented import path of the columns of a bundle's Parquet files."""

from ..layer.frames import (
    ADJUSTMENTS_SCHEMA,
    DAILY_BARS_SCHEMA,
    MINUTE_BARS_SCHEMA,
    get_schema_for_frequency,
    validate_schema,
)

__all__ = [
    "ADJUSTMENTS_SCHEMA",
    "DAILY_BARS_SCHEMA",
    "MINUTE_BARS_SCHEMA",
    "get_schema_for_frequency",
    "validate_schema",
]
