"""The documented import path of the base class of adapters and its errors."""

from ..errors import AuthenticationError, SymbolNotFoundError
from ..layer.adapters import (
    BaseDataAdapter,
    DataParsingError,
    InvalidDataError,
    NetworkError,
    QuotaExceededError,
    RateLimitError,
    ValidationError,
    calculate_checksum,
)

__all__ = [
    "AuthenticationError",
    "BaseDataAdapter",
    "DataParsingError",
    "InvalidDataError",
    "NetworkError",
    "QuotaExceededError",
    "RateLimitError",
    "SymbolNotFoundError",
    "ValidationError",
    "calculate_checksum",
]
