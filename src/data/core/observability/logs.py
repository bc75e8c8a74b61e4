"""Logging: the request that a record belongs to, two formats, and a function for the setup.

The library attaches no handler that writes unless the application or the environment requests it.
Levels: DEBUG for every HTTP attempt, INFO for a vendor's pause, WARNING for anything that affects
an answer: a failed vendor, a fallback, gaps, an open circuit breaker.
"""

from __future__ import annotations

import contextvars
import itertools
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import IO, Any, ParamSpec, Protocol, TypeVar

from ...errors import ConfigError, DataError
from ..config.credentials import known_keys
from ..config.settings import log_settings
from ..model.words.caller import called_from, working_for
from ..model.words.printable import printable
from .masking import without_keys

__all__ = [
    "LOGGERS",
    "ContextFilter",
    "JsonFormatter",
    "Named",
    "Subject",
    "TextFormatter",
    "asking",
    "attach",
    "carried",
    "configure_logging",
    "current",
    "following",
    "level_of",
    "next_number",
    "running",
    "subject_of",
]

# This library's loggers; other libraries' loggers are left alone.
LOGGERS = (__name__.partition(".")[0],)
FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")
CONTEXT = ("request", "symbol", "timeframe", "provider")

A = TypeVar("A")
P = ParamSpec("P")
R = TypeVar("R")
# Attributes of every record; any others were added by the logging call.
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

for _name in LOGGERS:
    logging.getLogger(_name).addHandler(logging.NullHandler())


# --- the request a record belongs to -------------------------------------------------------


class Named(Protocol):
    """A request in progress, with its number in this process and its subject."""

    @property
    def number(self) -> int:
        """The number of the call that the request belongs to."""

    @property
    def symbol(self) -> str:
        """The symbol; empty if the request is about several."""

    @property
    def timeframe(self) -> str:
        """The timeframe; empty if unknown."""


class Subject:
    """The subject of a call that is not about one series of bars, such as a batch or a feed.

    Args:
        symbol, timeframe: Symbol and timeframe of the call; empty if there is none, or more than
            one.
    """

    symbol = timeframe = ""

    def __init__(self, symbol: str = "", timeframe: str = "") -> None:
        outer = current.get()
        self.number = next_number() if outer is None else outer.number
        self.symbol = symbol or self.symbol
        self.timeframe = timeframe or self.timeframe


def subject_of(symbol: Any, timeframe: Any) -> Subject:
    """Return the subject of a caller's request; values that are not strings are ignored."""
    texts = [value if isinstance(value, str) else "" for value in (symbol, timeframe)]
    return Subject(*texts)


# The request that this thread works on, and the vendor that is being queried.
current: ContextVar[Named | None] = ContextVar("onetape_request", default=None)
_vendor: ContextVar[str] = ContextVar("onetape_vendor", default="")
# Each call has a number; a short process prefix distinguishes the numbers of several processes.
next_number = itertools.count(1).__next__
_process = os.urandom(3).hex()


def request_id(number: int) -> str:
    """Return a call's ID for log records, which is unique even if processes share a log."""
    return f"{_process}-{number:x}"


def level_of(error: DataError) -> int:
    """Return the log level for an error, which is lower if its cause has already been logged."""
    return logging.INFO if error.is_logged else logging.WARNING


@contextmanager
def running(subject: Named) -> Iterator[None]:
    """Mark all log records in the block as belonging to the request ``subject``."""
    token = current.set(subject)
    try:
        yield
    finally:
        current.reset(token)


@contextmanager
def asking(vendor: str) -> Iterator[None]:
    """Mark all log records in the block with ``vendor``, the vendor being queried."""
    token = _vendor.set(vendor)
    try:
        yield
    finally:
        _vendor.reset(token)


def carried(function: Callable[[A], R]) -> Callable[[A], R]:
    """Return a function that runs ``function`` in the current context, even in another thread.

    Warnings from ``function`` point to the line of the user's program that made the current call.
    """
    with working_for(called_from()):
        context = contextvars.copy_context()
    return lambda argument: context.copy().run(function, argument)


def following(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap ``function`` so that its log records belong to the current request in any thread.

    Its warnings point to the line of the user's program that made the current call. Use this for
    threads that outlive the call that starts them: the rest of the call's context is not copied.
    """
    subject, caller = current.get(), called_from()

    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function as part of the call that started it."""
        token = current.set(subject)
        try:
            with working_for(caller):
                return function(*args, **kwargs)
        finally:
            current.reset(token)

    return run


def context() -> dict[str, str]:
    """Return the ``request``, ``symbol``, ``timeframe`` and ``provider`` of the current call."""
    subject = current.get()
    names = (
        (request_id(subject.number), subject.symbol, subject.timeframe) if subject else ("", "", "")
    )
    return dict(zip(CONTEXT, (*names, _vendor.get()), strict=True))


class ContextFilter(logging.Filter):
    """Adds the running request to each record, without overwriting attributes of the record.

    Attach it to a handler: a logger's filters do not see the records of its child loggers.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add ``request``, ``symbol``, ``timeframe`` and ``provider``; every record is kept."""
        for name, value in context().items():
            if not getattr(record, name, ""):
                setattr(record, name, value)
        return True


# --- formats -----------------------------------------------------------------------------------


class _Masking(logging.Formatter):
    """Masks API keys in the formatted text.

    They should not be in it: `net.http.redact` masks them in vendors' responses, and removes queries from
    the HTTP library's records.

    Control characters, which a vendor's text or a symbol may contain, are escaped.

    Args:
        secrets: Function that returns the API keys, which must not be shown; by default, those that
            are set or were in use in this process.
    """

    def __init__(self, secrets: Callable[[], Mapping[str, str]] = known_keys) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")
        self._secrets = secrets

    def _mask(self, text: str) -> str:
        return without_keys(text, self._secrets().values())


class TextFormatter(_Masking):
    """Formats a record as one human-readable line.

    The line has the level, the logger, the message and then the request in brackets.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, followed by a traceback, if any."""
        line, _, rest = super().format(record).partition("\n")
        where = " ".join(filter(None, (str(getattr(record, name, "")) for name in CONTEXT)))
        first = f"{line} [{where}]" if where else line
        return printable(self._mask(f"{first}\n{rest}" if rest else first))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the standard library's
        """Return the message; lines after the first are indented, so that they do not look like records."""
        return super().formatMessage(record).replace("\n", "\n    ")


class JsonFormatter(_Masking):
    """One JSON object per line: ``ts`` (UTC), ``level``, ``logger``, ``message``, request, extras.

    Anything passed to a record with ``extra=`` is included under its own name.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the JSON object for a record, as one line."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "ts": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name in CONTEXT if (value := getattr(record, name, ""))}
        line |= {
            k: v
            for k, v in vars(record).items()
            if k not in _USUAL and k not in line and k not in CONTEXT
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(self._clean(line), ensure_ascii=False, default=str)

    def _clean(self, value: Any) -> Any:
        """Mask API keys in all strings of a value, before JSON escapes them."""
        if isinstance(value, Mapping):
            return {self._clean(str(k)): self._clean(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self._clean(v) for v in value]
        if isinstance(value, float) and not abs(value) < float("inf"):
            return None
        if value is None or isinstance(value, bool | int | float):
            return value
        return printable(self._mask(str(value)))


# --- setup -------------------------------------------------------------------------------------


class WritingHandler(logging.StreamHandler[Any]):
    """The handler that writes this library's log.

    There is at most one: :func:`configure_logging` replaces an earlier one.
    """


def configure_logging(
    format: str | None = None, level: str | None = None, stream: IO[str] | None = None
) -> None:
    """Write this library's logs to a stream, for programs without their own logging setup.

    Examples:
        >>> configure_logging(level="info")

    Other programs attach :class:`ContextFilter` and a formatter from here to a handler of theirs.
    Each call replaces the handler that an earlier one attached.

    Args:
        format: ``text`` or ``json``. Default: ``ONETAPE_LOG``, else text.
        level: ``debug``, ``info``, ``warning`` or ``error``. Default: ``ONETAPE_LOG_LEVEL``, else
            warning.
        stream: Stream to write to. Default: standard error.

    Raises:
        ConfigError: There is no such format or level.
    """
    how, until = wanted(format, level) or ("text", "warning")
    for name in LOGGERS:
        logger = logging.getLogger(name)
        for handler in [h for h in logger.handlers if isinstance(h, WritingHandler)]:
            logger.removeHandler(handler)
    attach(WritingHandler(stream), how, until)


def write_as_environment_says() -> None:
    """Write to standard error if ``ONETAPE_LOG`` or ``ONETAPE_LOG_LEVEL`` is set.

    A handler attached earlier by the command or :func:`configure_logging` stays.

    Raises:
        ConfigError: There is no such format or level.
    """
    choice = wanted(None, None)
    handlers = logging.getLogger(LOGGERS[0]).handlers
    if choice is not None and not any(isinstance(h, WritingHandler) for h in handlers):
        attach(WritingHandler(), *choice)


def wanted(format: str | None, level: str | None) -> tuple[str, str] | None:
    """Return format and level from the arguments or the environment, or None if neither sets them.

    Raises:
        ConfigError: There is no such format or level.
    """
    settings = log_settings()
    if not any((format, level, settings.format, settings.level)):
        return None
    return (
        _checked_choice("log format", format or settings.format or "text", FORMATS),
        _checked_choice("log level", level or settings.level or "warning", LEVELS),
    )


def attach(handler: logging.Handler, format: str, level: str) -> None:
    """Set up ``handler`` with format and context, and attach it to this library's loggers."""
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    handler.addFilter(ContextFilter())
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(level.upper())


def _checked_choice(what: str, value: str, allowed: tuple[str, ...]) -> str:
    if value.lower() not in allowed:
        raise ConfigError(f"unknown {what} {value!r}", hint=f"use one of {', '.join(allowed)}")
    return value.lower()


def _after_fork() -> None:
    """Change the prefix of request ids in a forked child, so that they differ from its parent's."""
    global _process
    _process = os.urandom(3).hex()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)
