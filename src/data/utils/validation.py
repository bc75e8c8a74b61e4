"""The documented path of the checks for a frame of bars."""

from ..compat.validation import (
    REQUIRED_COLUMNS,
    ValidationResult,
    get_data_quality_score,
    parse_interval_to_minutes,
    validate_data_gaps,
    validate_ohlcv_data,
    validate_price_consistency,
    validate_timestamps,
    validate_volume_data,
)

__all__ = (
    "REQUIRED_COLUMNS",
    "ValidationResult",
    "get_data_quality_score",
    "parse_interval_to_minutes",
    "validate_data_gaps",
    "validate_ohlcv_data",
    "validate_price_consistency",
    "validate_timestamps",
    "validate_volume_data",
)
