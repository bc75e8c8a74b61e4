"""What the ordinary document of a year says, read by its shape: in a third of the time.

Such a document is laid out by rule, and its digest vouches for every byte of it. So what is ours
of it need not be understood as JSON, and the rest is not read. What has another shape is not
ordinary, which is no verdict: :func:`year_meta.load_meta` finds out what there is to say of it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..model.filling import filled
from . import metadata, stretches
from .codec import ALL_COLUMNS, BASE_COLUMNS
from .year_meta import YearState

_BEFORE_COVERAGE = re.compile(
    r'\{"columns":\["open","high","low","close","volume"(,"adj_close")?\],"coverage":\['
)
_BEHIND_COVERAGE = '],"created_at":'
_REST = re.compile(
    r'\],"created_at":\d{1,18},"first":(?P<first>-?\d{1,18}|null),"format":1,'
    r'"generation":(?P<generation>[1-9]\d{0,17}),"head":(?:"(?P<head>[^"\\]*)"|null),'
    r'"head_at":(?P<head_at>\d{1,18}),"id":"(?P<id>[^"\\]*)",'
    r'"last":(?P<last>-?\d{1,18}|null),"members":(?P<members>\d{1,18}),'
    r'"open":(?P<open>\d{1,18}),"quality":\{[^{}]*\},"rows":(?P<rows>\d{1,18}),'
    r'"size":(?P<size>\d{1,18}),"updated_at":\d{1,18}\}'
)


class Glance(NamedTuple):
    """What an ordinary document says of its year, as far as everybody needs it.

    Attributes:
        generation, rows, first, last: of the committed state.
        coverage: of it, as text: a list without its brackets.
        ours: all that is ours, as text; :func:`state_of` reads it.
    """

    generation: int
    rows: int
    first: int | None
    last: int | None
    coverage: str
    ours: str


def glance(data: bytes, identity: str) -> Glance | None:
    """Return what an ordinary, whole document of ours says.

    Args:
        data: the bytes.
        identity: the id of the year file it must be about.
    """
    text = metadata.sealed(data)
    if text is None or ',"data_source":"' not in text:
        return None
    at = metadata.place_of(text, "onetape")
    shape = _shape(text, at) if at is not None else None
    if shape is None:
        return None
    _, coverage, rest = shape
    if rest["id"] != identity:
        return None
    first, generation, last, rows = rest.group("first", "generation", "last", "rows")
    ours = text[at : rest.end()]
    return Glance(int(generation), int(rows), _number(first), _number(last), coverage, ours)


def state_of(ours: str) -> YearState:
    """Return the committed state that :attr:`Glance.ours` tells.

    Raises:
        ValueError: it is none.
    """
    shape = _shape(ours, 0)
    if shape is None:
        raise ValueError("this is nothing that was seen in a document")
    has_adj_close, coverage, rest = shape
    told = rest.group
    return filled(
        YearState,
        generation=int(told("generation")), size=int(told("size")), rows=int(told("rows")),
        first=_number(told("first")), last=_number(told("last")), head=told("head"),
        head_at=int(told("head_at")), members=int(told("members")), open=int(told("open")),
        columns=ALL_COLUMNS if has_adj_close else BASE_COLUMNS,
        coverage=stretches.told((coverage,)),
    )  # fmt: skip


def _shape(text: str, at: int) -> tuple[bool, str, re.Match[str]] | None:
    """Take apart what is ours of a document, which begins there; None where it has another shape.

    Returns:
        Whether it has ``adj_close``, the coverage, and all that stands behind it.
    """
    before = _BEFORE_COVERAGE.match(text, at)
    if before is None:
        return None
    # Inside a text a quotation mark is escaped: nothing but this key looks so.
    end = text.find(_BEHIND_COVERAGE, before.end())
    rest = _REST.match(text, end) if end >= 0 else None
    if rest is None:
        return None
    return before[1] is not None, text[before.end() : end], rest


def _number(text: str) -> int | None:
    return None if text == "null" else int(text)
