"""What is logged, and for which request: context, two formats, one call that sets them up.

The library attaches no handler that writes unless the program or the environment says so. Levels:
DEBUG for every HTTP attempt, INFO for a vendor's pause, WARNING for what an answer suffers from: a
vendor that failed, a fallback, holes, an open circuit.
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
from functools import lru_cache
from typing import IO, Any, ParamSpec, Protocol, TypeVar
from urllib.parse import quote, quote_plus

from ..errors import ConfigError, DataError
from ..model.caller import called_from, working_for
from ..model.printable import printable

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

# What of ours logs; other libraries are not made to talk.
LOGGERS = ("onetape", __name__.rsplit(".", 2)[0])
FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")
CONTEXT = ("request", "symbol", "timeframe", "provider")

A = TypeVar("A")
P = ParamSpec("P")
R = TypeVar("R")
_MASK = "***"
# Shorter values are no keys, and cutting them out could change what is said.
_SHORTEST_SECRET = 6
# What every record has; anything else was given by the line that logged it.
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

for _name in LOGGERS:
    logging.getLogger(_name).addHandler(logging.NullHandler())


# --- whose record it is ------------------------------------------------------------------------


class Named(Protocol):
    """A request on its way: a number of this process, and what it is for."""

    @property
    def number(self) -> int:
        """The number of the call it belongs to."""

    @property
    def symbol(self) -> str:
        """The symbol, empty for many."""

    @property
    def timeframe(self) -> str:
        """The timeframe, empty where it is not known."""


class Subject:
    """A call for other things than the bars of one series: a batch, fundamentals, a live feed.

    Args:
        symbol, timeframe: what it is for; empty where it has none of its own.
    """

    symbol = timeframe = ""

    def __init__(self, symbol: str = "", timeframe: str = "") -> None:
        outer = current.get()
        self.number = next_number() if outer is None else outer.number
        self.symbol = symbol or self.symbol
        self.timeframe = timeframe or self.timeframe


def subject_of(symbol: Any, timeframe: Any) -> Subject:
    """Return the subject of what a caller asked for; what is no text is left out."""
    texts = [value if isinstance(value, str) else "" for value in (symbol, timeframe)]
    return Subject(*texts)


# The request that this thread works on, and the vendor that is asked just now.
current: ContextVar[Named | None] = ContextVar("onetape_request", default=None)
_vendor: ContextVar[str] = ContextVar("onetape_vendor", default="")
# One number a call; a short word of this process before it keeps those of several apart.
next_number = itertools.count(1).__next__
_process = os.urandom(3).hex()


def request_id(number: int) -> str:
    """Return the name of a call that stands in records: unique in one log of many processes."""
    return f"{_process}-{number:x}"


def level_of(error: DataError) -> int:
    """Return the level at which an error is logged: lower where its cause is in the log already."""
    return logging.INFO if error.is_logged else logging.WARNING


@contextmanager
def running(subject: Named) -> Iterator[None]:
    """Let all records of the block belong to ``subject``."""
    token = current.set(subject)
    try:
        yield
    finally:
        current.reset(token)


@contextmanager
def asking(vendor: str) -> Iterator[None]:
    """Let all records of the block name ``vendor`` as the one that is asked."""
    token = _vendor.set(vendor)
    try:
        yield
    finally:
        _vendor.reset(token)


def carried(function: Callable[[A], R]) -> Callable[[A], R]:
    """Return ``function`` as one that runs with the context of this moment in any thread.

    Its warnings point at the line that is called from now.
    """
    with working_for(called_from()):
        context = contextvars.copy_context()
    return lambda argument: context.copy().run(function, argument)


def following(function: Callable[P, R]) -> Callable[P, R]:
    """Return ``function`` as one whose records belong to the request of this moment, in any thread.

    Their warnings point at the line that is called from now. For threads that outlive the call which
    starts them: nothing else of the call goes along.
    """
    subject, place = current.get(), called_from()

    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function as a part of the call that began it."""
        token = current.set(subject)
        try:
            with working_for(place):
                return function(*args, **kwargs)
        finally:
            current.reset(token)

    return run


def context() -> dict[str, str]:
    """Return the request that is running: ``request``, ``symbol``, ``timeframe``, ``provider``."""
    subject = current.get()
    names = (
        (request_id(subject.number), subject.symbol, subject.timeframe) if subject else ("", "", "")
    )
    return dict(zip(CONTEXT, (*names, _vendor.get()), strict=True))


class ContextFilter(logging.Filter):
    """Puts the running request into each record; what the record says itself stays.

    Belongs on a handler: filters of a logger do not see the records of the loggers below it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add ``request``, ``symbol``, ``timeframe`` and ``provider``; every record is kept."""
        for name, value in context().items():
            if not getattr(record, name, ""):
                setattr(record, name, value)
        return True


# --- how it is written -------------------------------------------------------------------------


class _Masking(logging.Formatter):
    """Cuts keys out of the finished text: a third line, should the first two have failed.

    Control characters, as a vendor's text or a symbol may hold them, are written out.

    Args:
        secrets: tells the keys that must not be shown.
    """

    def __init__(self, secrets: Callable[[], Mapping[str, str]] = dict) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")
        self._secrets = secrets

    def _masked(self, text: str) -> str:
        for secret in self._secrets().values():
            if len(secret) >= _SHORTEST_SECRET:
                for form in _forms(secret):
                    text = text.replace(form, _MASK)
        return text


@lru_cache(512)
def _forms(secret: str) -> tuple[str, ...]:
    """Return a key as it stands in texts and in addresses."""
    return secret, quote(secret, safe=""), quote(secret), quote_plus(secret)


class TextFormatter(_Masking):
    """One line for people: level, logger, message, then the request in brackets."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback follows it."""
        line, _, rest = super().format(record).partition("\n")
        where = " ".join(filter(None, (str(getattr(record, name, "")) for name in CONTEXT)))
        first = f"{line} [{where}]" if where else line
        return printable(self._masked(f"{first}\n{rest}" if rest else first))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the standard library's
        """Return the message; its further lines are indented, so that none passes for a record."""
        return super().formatMessage(record).replace("\n", "\n    ")


class JsonFormatter(_Masking):
    """One JSON object a line: ``ts`` (UTC), ``level``, ``logger``, ``message``, the request, extras.

    Whatever a record was given with ``extra=`` stands in it under its own name.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = datetime.fromtimestamp(record.created, UTC)
        plain: dict[str, Any] = {
            "ts": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        plain |= {name: value for name in CONTEXT if (value := getattr(record, name, ""))}
        plain |= {
            k: v
            for k, v in vars(record).items()
            if k not in _USUAL and k not in plain and k not in CONTEXT
        }
        if record.exc_info:
            plain["exception"] = self.formatException(record.exc_info)
        return json.dumps(self._clean(plain), ensure_ascii=False, default=str)

    def _clean(self, value: Any) -> Any:
        """Mask texts before they are escaped, wherever they stand."""
        if isinstance(value, Mapping):
            return {self._clean(str(k)): self._clean(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self._clean(v) for v in value]
        if isinstance(value, float) and not abs(value) < float("inf"):
            return None
        if value is None or isinstance(value, bool | int | float):
            return value
        return printable(self._masked(str(value)))


# --- setting it up -----------------------------------------------------------------------------


class WritingHandler(logging.StreamHandler[Any]):
    """What writes for this library; :func:`configure_logging` replaces the one before."""


def configure_logging(
    format: str | None = None, level: str | None = None, stream: IO[str] | None = None
) -> None:
    """Write what this library logs to a stream; for programs that have no logging of their own.

    Others attach :class:`ContextFilter` and a formatter from here to a handler of theirs. Called
    again, it replaces what it attached before.

    Args:
        format: ``text`` or ``json``. Default: ``ONETAPE_LOG``, else text.
        level: ``debug``, ``info``, ``warning`` or ``error``. Default: ``ONETAPE_LOG_LEVEL``, else
            warning.
        stream: where to. Default: standard error.

    Raises:
        ConfigError: no such format or level.
    """
    how, until = wanted(format, level) or ("text", "warning")
    for name in LOGGERS:
        logger = logging.getLogger(name)
        for handler in [h for h in logger.handlers if isinstance(h, WritingHandler)]:
            logger.removeHandler(handler)
    attach(WritingHandler(stream), how, until)


def write_as_environment_says() -> None:
    """Write to standard error as ``ONETAPE_LOG`` and ``ONETAPE_LOG_LEVEL`` say, where one is set.

    What the command or :func:`configure_logging` attached before stays.

    Raises:
        ConfigError: there is no such format or level.
    """
    choice = wanted(None, None)
    handlers = logging.getLogger(LOGGERS[0]).handlers
    if choice is not None and not any(isinstance(h, WritingHandler) for h in handlers):
        attach(WritingHandler(), *choice)


def wanted(format: str | None, level: str | None) -> tuple[str, str] | None:
    """Return format and level as said, else as the environment says; None where neither does.

    Raises:
        ConfigError: no such format or level.
    """
    from ..config.settings import log_settings

    settings = log_settings()
    if not any((format, level, settings.format, settings.level)):
        return None
    return (
        _one_of("log format", format or settings.format or "text", FORMATS),
        _one_of("log level", level or settings.level or "warning", LEVELS),
    )


def attach(handler: logging.Handler, format: str, level: str) -> None:
    """Give ``handler`` our format and context, and our loggers ``handler`` from ``level`` on."""
    from ..config.credentials import known_keys

    handler.setFormatter((JsonFormatter if format == "json" else TextFormatter)(known_keys))
    handler.addFilter(ContextFilter())
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(level.upper())


def _one_of(what: str, value: str, allowed: tuple[str, ...]) -> str:
    if value.lower() not in allowed:
        raise ConfigError(f"unknown {what} {value!r}", hint=f"one of {', '.join(allowed)}")
    return value.lower()


def _after_fork() -> None:
    """Let a forked child's requests have names of their own."""
    global _process
    _process = os.urandom(3).hex()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)
