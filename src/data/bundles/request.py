"""The request of a bundle: the arguments of ``get_ohlcv_batch`` that the bundle answers. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd

from ..errors import BundleError, QueryError
from ..model.query import check_no_string
from ..model.timeframe import Timeframe

__all__ = ["SELECTS_SERIES", "Request", "extended", "options_of", "request_of", "symbols_to_answer"]


@dataclass(frozen=True)
class Request:
    """The keys of a recorded request, with the types of their values.

    Requests are passed as mappings. This class is their schema: when a bundle is read, it checks the
    types and fills in the options that an older bundle lacks.

    The keys after ``end_date`` are the same for all requests of one bundle. Except for the
    timeframe, they are the *options* of the query. To add an option:

    1. Add a line to the end of this class, with the option's default. A bundle that was written
       without the option is read with this default. Its values are strings, numbers or booleans,
       which equal themselves after they were stored as JSON.
    2. Pass it on:

       - ``Bundle.create`` and ``Bundle.ingest`` get an argument of the same name and default, and
         pass it to :func:`request_of`. Until then, a test fails
         (``test_create_and_ingest_have_each_key_of_a_request_as_an_argument`` in
         ``tests/bundles/test_records.py``).
       - ``get_ohlcv_batch``, ``Wishes`` and ``BatchWishes`` (``model/wide.py``) receive all options, so
         they need the argument, too.
       - If it is new to the library, ``RequestParser.query`` (``bars/request.py``) passes it on to
         ``BarsQuery`` (``model/query.py``).
       - ``ingest_to_bundle`` (``sources/vendor_source.py``) passes on ``adjustment`` and ``provider``
         alone. It writes bundles with the default of every other option, unless you add the
         argument there as well.

    3. If the command should have the option, add it to ``onetape bundle create``
       (``cli/bundle.py``): the option itself, and the call in ``_create``. Then make a new snapshot
       of the public names (``tests/contract/public_names.py``).
    4. If each value has stored bars of its own, as each vendor and session has, add the name to
       ``SELECTS_SERIES`` below, because the seal of a bundle contains their series. Otherwise leave
       it out, and the seal contains the value.
    5. Describe it in ``docs/bundles.md`` and ``CHANGELOG.md``.

    The key of a request in the catalog (``request_key``) does not contain options, because programs
    compute it without them, from the source, symbols, range and timeframe.
    """

    symbols: list[str]
    start_date: str | None
    end_date: str | None
    provider: str | None
    timeframe: str
    adjustment: str
    session: str


_RANGE_KEYS = ("symbols", "start_date", "end_date")
# Differences are reported in this order.
_SHARED_KEYS = tuple(key for key in Request.__dataclass_fields__ if key not in _RANGE_KEYS)
_OPTIONS = tuple(key for key in _SHARED_KEYS if key != "timeframe")
# Options that select the series of an answer; a seal contains the series instead of them.
SELECTS_SERIES = {"provider", "session"}


def options_of(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a request, as keyword arguments of ``get_ohlcv_batch``."""
    return {key: request[key] for key in _OPTIONS}


def request_of(
    symbols: Sequence[str], timeframe: str, bounds: tuple[Any, Any], **options: Any
) -> dict[str, Any]:
    """Return the arguments of a bundle's query, in the form that the bundle records.

    Args:
        symbols, timeframe: See ``Bundle.create``.
        bounds: Start and end.
        options: All options of :class:`Request`.

    Raises:
        QueryError: The symbols are not a list or are empty, or the timeframe is invalid.
    """
    check_no_string(symbols, hint=f"[{symbols!r}]")
    request = {
        "symbols": list(dict.fromkeys(symbols)),
        "timeframe": str(Timeframe.parse(timeframe)),
        "start_date": _text(bounds[0]),
        "end_date": _text(bounds[1]),
        **{key: options[key] for key in _OPTIONS},
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
    for key in _SHARED_KEYS:
        both = [options[key] for options in (recorded, wanted)]
        if key == "provider":
            both = [vendor and (canonical(vendor) or vendor) for vendor in both]
        if both[0] != both[1]:
            nothing = "the vendors in the rules" if key == "provider" else None
            mine, other = (value or nothing or repr(value) for value in both)
            raise BundleError(
                f"bundle {name} has {key} {mine}, not {other}", hint="use another name"
            )
    symbols = list(dict.fromkeys((*recorded["symbols"], *wanted["symbols"])))
    start = _wider_bound(name, "start", recorded["start_date"], wanted["start_date"])
    end = _wider_bound(name, "end", recorded["end_date"], wanted["end_date"])
    return {**recorded, "symbols": symbols, "start_date": start, "end_date": end}


def symbols_to_answer(
    recorded: Mapping[str, Any] | None,
    request: Mapping[str, Any],
    wanted: Mapping[str, Any] | None,
    written_ms: int,
) -> Sequence[str]:
    """Return the symbols that must be fetched before a bundle can answer ``request``.

    If the bundle has the same range as the request, and the range had ended when the bundle was
    written, only the symbols in ``wanted`` must be fetched; otherwise, all symbols.

    Args:
        recorded: The bundle's recorded request; None if user code wrote the bundle.
        request: The bundle's request, extended by ``wanted``.
        wanted: Request that extends the bundle; None if the bundle is only refreshed.
        written_ms: Time at which the bundle was written, UTC milliseconds.
    """
    every: Sequence[str] = request["symbols"]
    if wanted is None or recorded is None:
        return every
    ends = [recorded["start_date"], recorded["end_date"]]
    start, end = _moment(ends[0], is_end=False), _moment(ends[1], is_end=True)
    is_same = ends == [request["start_date"], request["end_date"]]
    if not is_same or start is None or end is None:
        return every
    is_over = end.replace(tzinfo=UTC).timestamp() * 1000 < written_ms
    return wanted["symbols"] if is_over else every


def _wider_bound(name: str, which: str, recorded: str | None, wanted: str | None) -> str | None:
    """Return the wider of two bounds: the earlier start or the later end (None for no end).

    Raises:
        BundleError: The bounds cannot be compared, such as ``-30d`` and a date.
    """
    if recorded == wanted:
        return recorded
    if which == "end" and None in (recorded, wanted):
        return None  # up to now
    moments = [_moment(text, is_end=which == "end") for text in (recorded, wanted)]
    if moments[0] is None or moments[1] is None:
        raise BundleError(
            (
                f"bundle {name} has the {which} {recorded or '(none)'}, which cannot be extended to "
                f"{wanted or '(none)'}"
            ),
            hint="use dates such as 2024-06-03, which can be extended, or another name",
        )
    is_wider = moments[1] > moments[0] if which == "end" else moments[1] < moments[0]
    return wanted if is_wider else recorded


def _moment(bound: str | None, *, is_end: bool) -> datetime | None:
    """Return a bound as naive UTC for comparison, or None if it is not an ISO date or time."""
    try:
        moment = datetime.fromisoformat(bound or "")
    except ValueError:
        return None
    if is_end and len(bound or "") == len("2024-06-03"):
        moment += timedelta(hours=23, minutes=59, seconds=59)
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _text(value: Any) -> str | None:
    """Convert the start or end of a request to an equivalent string; None remains None."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    return str(pd.Timestamp(value).isoformat())
