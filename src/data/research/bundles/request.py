"""The request of a bundle: the arguments of ``get_ohlcv_batch`` that the bundle answers. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any, TypedDict, Unpack

import pandas as pd

from ...core.calendars.ranges import moment_of
from ...core.calendars.written_times import days_of
from ...core.model.identity.kind import ADJUSTMENTS, SESSIONS
from ...core.model.request.query import check_no_string
from ...core.model.time.timeframe import Timeframe
from ...errors import BundleError, QueryError

__all__ = [
    "DEFAULTS",
    "BarOptions",
    "Options",
    "bar_options",
    "checked_bar_options",
    "extended",
    "instant_of",
    "is_daily",
    "options_of",
    "request_of",
]


class BarOptions(TypedDict, total=False):
    """The options by which bars for the same symbols and range differ.

    The catalog records them for each dataset, and a search matches only datasets with the same ones.
    """

    adjustment: Any
    session: Any


class Options(BarOptions, total=False):
    """The options of a bundle's query: keyword arguments of ``Bundle.create`` and ``Bundle.ingest``.

    ``get_ohlcv_batch`` and ``Wishes`` have an argument of the same name for each; a value is a
    string, a number or a boolean. To add an option, add a line to :class:`BarOptions`, its default
    below, and its values to ``_ACCEPTED`` if they can be listed. If the command should have it, also
    declare it for ``onetape bundle create`` (``cli/bundle.py``). ``ingest_to_bundle`` of a source
    passes on ``adjustment`` and ``provider`` alone.
    """

    provider: str | None


# An option that a call does not give, or that a recorded request of an earlier version lacks.
DEFAULTS: Options = {"provider": None, "adjustment": "split", "session": "regular"}
_ACCEPTED: Mapping[str, Sequence[str]] = {"adjustment": ADJUSTMENTS, "session": SESSIONS}
_NO_OPTIONS = ("symbols", "timeframe", "start_date", "end_date", "provider")


def checked_bar_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options of :class:`BarOptions`, with those that a call gives checked.

    Raises:
        QueryError, TypeError: See :func:`_check`.
    """
    _check(options, "a dataset", bar_options({}))
    return bar_options(options)


def _check(options: Mapping[str, Any], what: str, known: Iterable[str]) -> None:
    """Check the options that a call gives.

    Raises:
        QueryError: A value is not accepted.
        TypeError: There is no such option.
    """
    for name, value in options.items():
        if name not in known:
            raise TypeError(f"{what} has no option {name!r}; it has {', '.join(known)}")
        if name in _ACCEPTED:
            accepted = f"one of {', '.join(_ACCEPTED[name])}"
            is_valid = isinstance(value, str) and value in _ACCEPTED[name]
        elif name == "provider":
            accepted, is_valid = "a string", value is None or isinstance(value, str)
        else:
            accepted = "a string, a number or a boolean"
            is_valid = value is None or isinstance(value, str | int | float)
        if not is_valid:
            raise QueryError(f"{name} must be {accepted}, not {value!r:.80}")


def bar_options(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options in a request by which its bars differ from those of other requests.

    These are all but the vendor, which is the source of the bars. Options of later versions are
    included, so that a request with them equals none without them.
    """
    return {key: value for key, value in {**DEFAULTS, **request}.items() if key not in _NO_OPTIONS}


def options_of(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a request, as keyword arguments of ``get_ohlcv_batch``."""
    return {key: request.get(key, default) for key, default in DEFAULTS.items()}


def request_of(
    symbols: Sequence[str], timeframe: str, bounds: tuple[Any, Any], **options: Unpack[Options]
) -> dict[str, Any]:
    """Return the arguments of a bundle's query, in the form that the bundle records.

    Args:
        symbols, timeframe: See ``Bundle.create``.
        bounds: Start and end.
        options: See :class:`Options`.

    Returns:
        ``symbols``, ``timeframe``, ``start_date``, ``end_date`` (None, or a string) and all options.
        Except for the symbols and the range, they are the same for all requests of one bundle.

    Raises:
        QueryError: The symbols are not a list or are empty, or the timeframe or the value of an
            option is invalid.
        TypeError: There is no such option.
    """
    _check(options, "a bundle", DEFAULTS)
    check_no_string(symbols, hint=f"[{symbols!r}]")
    request = {
        "symbols": list(dict.fromkeys(symbols)),
        "timeframe": str(Timeframe.parse(timeframe)),
        "start_date": _text(bounds[0]),
        "end_date": _text(bounds[1]),
        **options_of(options),
    }
    if not request["symbols"]:
        raise QueryError("a bundle needs at least one symbol")
    for symbol in request["symbols"]:
        if isinstance(symbol, str) and not symbol.isascii() and cannot_be_written(symbol):
            raise QueryError(f"symbol {symbol[:40]!a} contains an unpaired surrogate")
    return request


def cannot_be_written(text: str) -> bool:
    """Return whether a string has an unpaired surrogate, which cannot be written to a file."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def extended(
    name: str,
    recorded: Mapping[str, Any] | None,
    wanted: Mapping[str, Any] | None,
    canonical: Callable[[Any], str | None],
) -> Mapping[str, Any] | None:
    """Return a request that covers both the bundle's request (``recorded``) and the wanted one.

    If ``wanted`` is None, return the bundle's request, which is None for rows from user code.

    Args:
        name: Name of the bundle.
        recorded, wanted: Requests.
        canonical: Function that returns a vendor's usual name.

    Raises:
        BundleError: User code wrote the bundle, the requests differ in more than their symbols and
            range, or their ranges cannot be compared.
    """
    if wanted is None:
        return recorded
    if recorded is None:
        raise BundleError(
            f"the rows of bundle {name} were written by user code, so it cannot be extended",
            hint="use another name",
        )
    for key in ("timeframe", *DEFAULTS):
        both = [{**DEFAULTS, **request}[key] for request in (recorded, wanted)]
        if key == "provider":
            both = [vendor and (canonical(vendor) or vendor) for vendor in both]
        if both[0] != both[1]:
            nothing = "the vendors in the rules" if key == "provider" else None
            mine, other = (value or nothing or repr(value) for value in both)
            raise BundleError(
                f"bundle {name} has {key} {mine}, not {other}", hint="use another name"
            )
    symbols = list(dict.fromkeys((*recorded["symbols"], *wanted["symbols"])))
    request: dict[str, Any] = {**recorded, "symbols": symbols}
    for which in ("start", "end"):
        key = f"{which}_date"
        request[key] = _wider_bound(
            name, which, recorded[key], wanted[key], is_daily=is_daily(request)
        )
    return request


def is_daily(request: Mapping[str, Any]) -> bool:
    """Return whether the bars of a request are those of a day or longer."""
    label = str(Timeframe.parse(request["timeframe"]))
    return label[-1] in "dwo" or label.endswith("M")


def _wider_bound(
    name: str, which: str, recorded: str | None, wanted: str | None, *, is_daily: bool
) -> str | None:
    """Return the wider of two bounds: the earlier start or the later end (None for no end).

    Raises:
        BundleError: The bounds cannot be compared: one of them is relative, such as ``-30d``; or, for
            intraday bars, one is a date, whose instant depends on the market, and the other is not.
    """
    if recorded == wanted:
        return recorded
    if which == "end" and None in (recorded, wanted):
        return None  # up to now
    moments = {text: instant_of(text or "", which) for text in (recorded, wanted)}
    known = [moment for moment in moments.values() if moment is not None]
    if len(known) < 2 or not (is_daily or known[0][1] == known[1][1]):
        raise BundleError(
            f"bundle {name} has the {which} {recorded or '(none)'}, which cannot be extended to "
            f"{wanted or '(none)'}",
            hint="use dates such as 2024-06-03 for both, or another name",
        )
    widest = (max if which == "end" else min)(known)
    return next(text for text, moment in moments.items() if moment == widest)


def instant_of(text: str, which: str) -> tuple[datetime, bool] | None:
    """Return the instant of a bound (``start`` or ``end``) and whether it is a date.

    The result is None if the bound is relative, such as ``90d``. A date has the first or last
    instant of its day in UTC; a time without a zone is UTC.
    """
    days = days_of(text.strip())
    moment = moment_of(text) if days is None else days.first if which == "start" else days.last
    if moment is None:
        return None
    if isinstance(moment, datetime):
        return moment.replace(tzinfo=moment.tzinfo or UTC), False
    return datetime.combine(moment, time.min if which == "start" else time.max, UTC), True


def _text(value: Any) -> str | None:
    """Convert the start or end of a request to an equivalent string; None remains None."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    return str(pd.Timestamp(value).isoformat())
