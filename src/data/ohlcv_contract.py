"""The older import path of the functions for canonical bar frames; see :mod:`.model.frame`."""

from .model.frame import (
    REQUIRED_COLUMNS,
    coerce_ohlcv_timestamp_column,
    validate_normalized_ohlcv,
)

__all__ = ("REQUIRED_COLUMNS", "coerce_ohlcv_timestamp_column", "validate_normalized_ohlcv")
