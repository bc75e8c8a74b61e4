"""Checks the types and sizes in a vendor's answer once, before other modules use the answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from datetime import date
from typing import Any

import numpy as np

from ..model.identity.kind import ADJUSTMENTS, SESSIONS, Basis, Kind
from ..model.market.actions import Action, ActionList
from ..model.market.bars import BarTable
from ..model.request.capabilities import Capabilities, Fetched
from ..model.time.instant import DAY_MS
from ..model.time.span import Span

# UTC milliseconds of the years 2 to 9998, so that one day more or less is still a valid date.
_DATES = range(-62_104_060_800_000, 253_370_764_800_000)
# Units and venues are words and remarks are sentences; a longer text is neither.
_LONGEST_WORD = 40
_LONGEST_REMARK = 1000
# No real ratio or amount of money exceeds these limits, and arithmetic on larger values may fail.
_SMALLEST, _LARGEST = 1e-9, 1e12
# No share has been split into more shares, nor so many been merged into one.
_LARGEST_RATIO = 1e7
_LONGEST_SETTLING_MS = 366 * DAY_MS
_MOST_REQUESTS = 10**6
# A vendor's time is the earlier of the local time and its own, and a fetch may have waited since
# the query.
_LATEST_MS = DAY_MS
_Checks = Mapping[str, Callable[[Any], bool]]


def wrong_answer(fetched: object, names: Collection[str], now_ms: int) -> str:
    """Describe the first field of an answer with a wrong type or size; empty if there is none.

    Types are compared exactly, because a subclass could behave arbitrarily when used later.

    Args:
        fetched: Answer from a downloader.
        names: Names that the vendor may use; an answer with any other name is wrong.
        now_ms: Time of the query, in UTC milliseconds; the answer's own time must not be much
            later.
    """
    # An object created without its constructor lacks fields.
    table = getattr(fetched, "table", None) if type(fetched) is Fetched else fetched
    if type(fetched) is not Fetched or type(table) is not BarTable:
        return f"a {type(table).__name__:.40}, not bars"
    wrong = _wrong_field(fetched, _OF_ANSWER) or _wrong_column(fetched.table)
    wrong = wrong or _wrong_field(fetched.kind, _OF_KIND) or _wrong_field(fetched.basis, _OF_BASIS)
    if not wrong and fetched.vendor not in names:
        return f"bars from another vendor: {_cut(fetched.vendor)}"
    if not wrong and fetched.server_now_ms > now_ms + _LATEST_MS:
        return "a server_now_ms that is later than the query"
    return wrong or ("" if fetched.actions is None else wrong_actions(fetched.actions, names))


def wrong_actions(actions: object, names: Collection[str]) -> str:
    """Describe the first wrong type or value in splits and dividends; empty if there is none."""
    if type(actions) not in (list, tuple, ActionList):
        return f"splits and dividends of another type: {_cut(actions)}"
    assert isinstance(actions, Sequence)
    wrong = _wrong_field(actions, _OF_LIST) if type(actions) is ActionList else ""
    for action in actions:
        if type(action) is not Action:
            return f"a {type(action).__name__:.40} among splits and dividends"
        wrong = wrong or _wrong_field(action, _OF_ACTION)
        if not wrong and action.source and action.source not in names:
            wrong = f"an action from another vendor: {_cut(action.source)}"
        if not wrong and action.type == "split" and not _is_ratio(action):
            wrong = f"a split of {action.numerator:g}:{action.denominator:g}"
        if wrong:
            return wrong
    return wrong


def wrong_capabilities(declared: object) -> str:
    """Describe the first wrong type or value in a vendor's capabilities; empty if there is none."""
    if type(declared) is not Capabilities:
        return f"are a {type(declared).__name__:.40}, not Capabilities"
    wrong = _wrong_field(declared, _OF_CAPABILITIES)
    for kind in () if wrong else (*declared.kinds.values(), *declared.intraday_kinds.values()):
        wrong = wrong or _wrong_field(kind, _OF_KIND)
    return f"have {wrong}" if wrong else ""


def _wrong_column(table: BarTable) -> str:
    columns = {field.name: getattr(table, field.name, None) for field in fields(BarTable)}
    length = -1
    for name, column in columns.items():
        wanted = np.int64 if name in ("stamps", "index") else np.float64
        if column is None and name in ("adj_close", "index"):
            continue
        if type(column) is not np.ndarray or column.dtype != wanted or column.ndim != 1:
            return f"a column {name} that is not a flat array of {wanted.__name__}"
        length = len(column) if length < 0 else length
        if len(column) != length:
            return f"columns of unequal length: {length} stamps, but {len(column)} of {name}"
    is_dated = not length or all(int(f(table.stamps)) in _DATES for f in (np.min, np.max))
    return "" if is_dated else "a stamp that is not a date"


def _wrong_field(item: object, checks: _Checks) -> str:
    wrong = (name for name, fits in checks.items() if not fits(getattr(item, name, None)))
    name = next(wrong, None)
    return (
        "" if name is None else f"{name} of another type or size: {_cut(getattr(item, name, None))}"
    )


def _cut(value: object) -> str:
    if type(value) is str:
        return ascii(value[:_LONGEST_WORD])[: 2 * _LONGEST_WORD]
    return repr(value)[:_LONGEST_WORD] if type(value) in (int, float) else type(value).__name__


def _is_ratio(split: Action) -> bool:
    new, old = split.numerator, split.denominator
    return min(new, old) >= _SMALLEST and max(new, old) <= _LARGEST_RATIO * min(new, old)


def _is_instant(value: Any) -> bool:
    return type(value) is int and value in _DATES  # neither a bool nor a numpy number


def _is_count(most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and 0 <= value <= most


def _is_day(value: Any) -> bool:
    # The day before and the day after are also valid dates.
    return type(value) is date and 1 < value.year < date.max.year


def _is_text(most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is str and len(value) <= most and value.isprintable()


def _is_number(value: Any) -> bool:
    is_number = type(value) in (int, float, np.float64)
    return is_number and math.isfinite(value) and -_LARGEST <= value <= _LARGEST


def _fits_or_none(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


def _one_of(*values: str) -> Callable[[Any], bool]:
    return lambda value: type(value) is str and value in values


def _each_fits(fits: Callable[[Any], bool], *types: type) -> Callable[[Any], bool]:
    return lambda value: type(value) in types and all(map(fits, value))


def _mapping_of(key: Callable[[Any], bool], fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, Mapping) and all(key(name) and fits(value[name]) for name in value)
    )


def _is(cls: type) -> Callable[[Any], bool]:
    return lambda value: type(value) is cls


_is_word, _is_remark = _is_text(_LONGEST_WORD), _is_text(_LONGEST_REMARK)
_OF_ANSWER: _Checks = {
    "kind": _is(Kind),
    "basis": _is(Basis),
    "vendor": _is(str),  # any length, because the name of a folder vendor contains its path
    "server_now_ms": _is_instant,
    "vendor_now_ms": _fits_or_none(_is_instant),
    "listed_ms": _fits_or_none(_is_instant),
    "requests": _is_count(_MOST_REQUESTS),
    "settle_ms": _is_count(_LONGEST_SETTLING_MS),
    "dense": _is(bool),
    "dated": _is(bool),
    "way": _is_remark,
    "seams": _each_fits(_each_fits(_is_instant, Span), tuple),
}
_OF_KIND: _Checks = {
    **dict.fromkeys(("venue", "unit", "volume", "feed"), _is_word),
    "session": _one_of("", "24h", *SESSIONS),
    "anchor": _one_of("", "session", "clock"),
}
_OF_BASIS: _Checks = {
    "adjustment": _one_of("unknown", *ADJUSTMENTS),
    "as_of": _fits_or_none(_is_day),
}
_OF_LIST: _Checks = {
    "since": _fits_or_none(_is_instant),
    "until": _fits_or_none(_is_instant),
    "unapplied": _each_fits(_is_remark, tuple),
}
_OF_ACTION: _Checks = {
    "ex_date": _is_day,
    "type": _one_of("split", "dividend"),
    **dict.fromkeys(("ex_at", "fetched_at"), _is_instant),
    **dict.fromkeys(("numerator", "denominator", "amount", "gain"), _is_number),
    "as_paid": _is(bool),
    "source": _is(str),
    **dict.fromkeys(("pay_date", "currency"), _is_word),
    "parts": _each_fits(_is_number, tuple),
}
_labels = _each_fits(_is_word, frozenset, set, list, tuple)
_OF_CAPABILITIES: _Checks = {
    **dict.fromkeys(("asset_classes", "actions_only", "extended"), _labels),
    "timeframes": _mapping_of(_is_word, _is_remark),
    **dict.fromkeys(("page_bars", "action_requests", "archive_days"), _is_count(10**9)),
    "page_days": _mapping_of(_is_word, _is_count(10**9)),
    "depth_days": _mapping_of(_is_word, _is_number),
    "begins_ms": _fits_or_none(_is_instant),
    **dict.fromkeys(("kinds", "intraday_kinds"), _mapping_of(_is_word, _is(Kind))),
    "only": _mapping_of(_is_word, _labels),
    "adjustment": _one_of("unknown", *ADJUSTMENTS),
    "intraday_adjustment": _fits_or_none(_one_of("unknown", *ADJUSTMENTS)),
    "settle_ms": _is_count(_LONGEST_SETTLING_MS),
    **dict.fromkeys(
        ("dense", "actions", "actions_apart", "actions_by_bar", "has_forming", "made_up"), _is(bool)
    ),
}
