"""An older import path of :mod:`onetape.data.observability.logs`."""

from .observability.logs import (
    LOGGERS,
    ContextFilter,
    JsonFormatter,
    TextFormatter,
    configure_logging,
)

__all__ = ("LOGGERS", "ContextFilter", "JsonFormatter", "TextFormatter", "configure_logging")
