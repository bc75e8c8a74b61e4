"""The form of every frame of bars, under its older name; see :mod:`.model.frame`."""

from .model.frame import (
    REQUIRED_COLUMNS,
    coerce_ohlcv_timestamp_column,
    validate_normalized_ohlcv,
)

__all__ = ("REQUIRED_COLUMNS", "coerce_ohlcv_timestamp_column", "validate_normalized_ohlcv")
