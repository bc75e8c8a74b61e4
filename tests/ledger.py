"""A log handler that keeps all records of the library with their context."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from src.data.core.observability.logs import LOGGERS, ContextFilter


class Ledger(logging.Handler):
    """Keeps records as plain mappings."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.addFilter(ContextFilter())
        self.records: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append({**vars(record), "message": record.getMessage()})


@contextmanager
def listening() -> Iterator[Ledger]:
    """Yield a ledger that all of the library's loggers write to, at every level."""
    made = Ledger()
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(made)
        logger.setLevel(logging.DEBUG)
    try:
        yield made
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(made)
            logger.setLevel(level)
