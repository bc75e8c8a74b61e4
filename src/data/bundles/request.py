"""The request of a bundle: the arguments of ``get_ohlcv_batch`` that the bundle answers. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import Any

import pandas as pd

from ..errors import BundleError, QueryError
from ..model.instant import iso
from ..model.query import check_no_string
from ..model.timeframe import Timeframe

# Returns for a bound of a request (``start`` or ``end``) its first instant, or the one after its end,
# in each symbol's market; nothing if that depends on the current time, as for ``-30d``.
InstantsOf = Callable[[Mapping[str, Any], str, str], Sequence[int]]

__all__ = ["SELECTS_SERIES", "Request", "extended", "options_of", "request_of", "symbols_to_answer"]


@dataclass(frozen=True)
class Request:
    """The keys of a recorded request, with the types of their values.

    Requests are passed as mappings. This class is their schema: when a bundle is read, it checks the
    types and fills in the options that the bundle was written without.

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
    instants_of: InstantsOf,
) -> Mapping[str, Any] | None:
    """Return a request that covers both the bundle's request (``recorded``) and the wanted one.

    If ``wanted`` is None, return the bundle's request, which is None for rows from user code.

    Args:
        name: Name of the bundle.
        recorded, wanted: Requests.
        canonical: Function that returns a vendor's usual name.
        instants_of: Function that returns what a bound means for the symbols of a request.

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
    request: dict[str, Any] = {**recorded, "symbols": symbols}
    for which in ("start", "end"):
        key = f"{which}_date"
        of_bound = partial(instants_of, request)
        request[key] = _wider_bound(name, which, recorded[key], wanted[key], of_bound)
    return request


def symbols_to_answer(
    recorded: Mapping[str, Any] | None,
    request: Mapping[str, Any],
    wanted: Mapping[str, Any] | None,
    written_ms: int,
    instants_of: InstantsOf,
) -> Sequence[str]:
    """Return the symbols that must be fetched before a bundle can answer ``request``.

    If the bundle has the same range as the request, and the range had ended when the bundle was
    written, only the symbols in ``wanted`` must be fetched; otherwise, all symbols.

    Args:
        recorded: The bundle's recorded request; None if user code wrote the bundle.
        request: The bundle's request, extended by ``wanted``.
        wanted: Request that extends the bundle; None if the bundle is only refreshed.
        written_ms: Time at which the bundle was written, UTC milliseconds.
        instants_of: See :func:`extended`.
    """
    every: Sequence[str] = request["symbols"]
    if wanted is None or recorded is None:
        return every
    ends = {which: recorded[f"{which}_date"] for which in ("start", "end")}
    if any(text != request[f"{which}_date"] for which, text in ends.items()):
        return every
    starts, over = (instants_of(request, which, text or "") for which, text in ends.items())
    return wanted["symbols"] if starts and over and max(over) <= written_ms else every


def _wider_bound(
    name: str,
    which: str,
    recorded: str | None,
    wanted: str | None,
    instants_of: Callable[[str, str], Sequence[int]],
) -> str | None:
    """Return the wider of two bounds: the earlier start or the later end (None for no end).

    If each of the two is wider in some market, return the instant that is wider in all of them.

    Raises:
        BundleError: The bounds cannot be compared, such as ``-30d`` and a date.
    """
    if recorded == wanted:
        return recorded
    if which == "end" and None in (recorded, wanted):
        return None  # up to now
    instants = {text: list(instants_of(which, text or "")) for text in (recorded, wanted)}
    if not all(instants.values()):
        raise BundleError(
            (
                f"bundle {name} has the {which} {recorded or '(none)'}, which cannot be extended to "
                f"{wanted or '(none)'}"
            ),
            hint="use dates such as 2024-06-03, which can be extended, or another name",
        )
    widest = [
        max(times) if which == "end" else min(times)
        for times in zip(*instants.values(), strict=True)
    ]
    for text, times in instants.items():
        if times == widest:
            return text
    return iso(max(widest) - 1 if which == "end" else min(widest))


def _text(value: Any) -> str | None:
    """Convert the start or end of a request to an equivalent string; None remains None."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    return str(pd.Timestamp(value).isoformat())
