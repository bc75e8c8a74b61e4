"""The shape that a parser expects of an answer, and how an answer differs from it. Pure.

A shape is plain data, in the form of the answer itself:

- a text names the type of a value: ``number``, ``text`` or ``flag`` (true, false), several parted by
  a bar; ``any`` is not looked at;
- a mapping is an object: its keys, several parted by a bar; one that ends in ``?`` may be missing,
  one with ``*`` stands for all keys that match it;
- a list of one shape is a list of any length: its first and its last element are looked at;
- a tuple is a list of just these elements, a row without names.

``null`` fits everything: that a value is missing is seen by the checks of bars. Of CSV only the names
of the columns are compared, as a list of one object.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import islice
from typing import Any, Literal

from ..errors import ResponseFormatError
from .http import HttpResponse
from .printable import printable

Change = Literal["new", "missing", "retyped"]
# Ends of addresses, in which ``*`` stands for any text, with the shape of their answers. All shapes of
# an address are ways in which it may answer.
Shapes = Sequence[tuple[str, Any]]

CHANGES: tuple[Change, ...] = ("new", "missing", "retyped")
_NOTHING = "nothing"
# An answer may hold any number of keys of any length: so many are looked at, told, shown.
_MOST_KEYS = 1000
_MOST_FOUND = 100
_MOST_TOLD = 8
_LONGEST_KEY = 40
_LONGEST_HEADER = 4096


class _Column(str):
    """What stands in a column of CSV: a text, which may be anything."""


_COLUMN = _Column()


@dataclass(frozen=True)
class KeyDifference:
    """One key of an answer that is otherwise than its parser knows; it holds no value.

    Attributes:
        change: ``new``, ``missing`` or ``retyped``.
        key: its path, such as ``bars.*[].o``; printable and of bounded length.
        expected, came: types, ``nothing`` for a key that is new or missing.
    """

    change: Change
    key: str
    expected: str
    came: str

    def __str__(self) -> str:
        if self.change == "retyped":
            return f"{self.key} is {self.came}, not {self.expected}"
        kind = self.came if self.change == "new" else self.expected
        return f"{self.key} is {self.change} ({kind})"


@dataclass(frozen=True)
class ShapeChange:
    """How an answer differs from the shape that is nearest.

    Attributes:
        endpoint: the declared end of the address.
        differences: at least one, the first eight.
    """

    endpoint: str
    differences: tuple[KeyDifference, ...]

    def __str__(self) -> str:
        return f"{self.endpoint}: {', '.join(map(str, self.differences))}"


def shape_change(shapes: Shapes, url: str, response: HttpResponse) -> ShapeChange | None:
    """Return how an answer differs from all shapes of its address; None where it does not.

    An answer whose outermost object lacks more than half of its keys, or that has something else in
    its place, is another document, such as an error, and is not compared; nor is one that cannot be
    read.

    Args:
        shapes: as declared.
        url: of the request, without its query.
        response: an answer that is no error.
    """
    candidates = [(end, shape) for end, shape in shapes if fnmatchcase(url, f"*/{end}")]
    if not candidates:
        return None
    try:
        body = _body(response)
    except (ResponseFormatError, csv.Error):
        return None  # its parser says so
    nearest: ShapeChange | None = None
    for end, shape in candidates:
        if not _is_of(shape, body):
            continue
        change = ShapeChange(end, _differences(shape, body))
        if not change.differences:
            return None
        if nearest is None or _distance(change) < _distance(nearest):
            nearest = change
    return nearest


def _distance(change: ShapeChange) -> int:
    """Return how far an answer is from a shape: what is new there is known to a richer one."""
    return sum(1 + (one.change == "new") for one in change.differences)


def _body(response: HttpResponse) -> Any:
    """Return what JSON holds, or the names of a table's columns as a list of one object."""
    if response.body[:_LONGEST_KEY].lstrip()[:1] in (b"{", b"["):
        return response.json()
    line = response.body[:_LONGEST_HEADER].partition(b"\n")[0].decode("utf-8", "replace")
    return [dict.fromkeys(next(csv.reader([line]), []), _COLUMN)]


def _is_of(shape: Any, value: Any) -> bool:
    """Tell whether an answer is a document of this shape, with differences or without."""
    while isinstance(shape, list):
        if not isinstance(value, list) or not value:
            return isinstance(value, list)
        shape, value = shape[0], value[0]
    if isinstance(shape, Mapping):
        needed = [key for key, _, is_needed in _keys(shape) if is_needed]
        is_object = isinstance(value, dict)
        return is_object and 2 * sum(bool(_under(value, key)) for key in needed) >= len(needed)
    return isinstance(value, list) == isinstance(shape, tuple)


def _differences(shape: Any, value: Any) -> tuple[KeyDifference, ...]:
    # First and last elements mostly differ alike.
    unique = dict.fromkeys(islice(_compared(shape, value, ""), _MOST_FOUND))
    return tuple(islice(unique, _MOST_TOLD))


def _compared(shape: Any, value: Any, at: str) -> Iterator[KeyDifference]:
    """Yield the differences of a value; goes as deep as the shape, not as the answer."""
    actual = _type(value)
    if value is None or value is _COLUMN or shape == "any":
        return
    if actual not in _expected(shape).split("|"):
        yield KeyDifference("retyped", at, _expected(shape), actual)
    elif isinstance(shape, Mapping):
        yield from _compared_object(shape, value, at)
    elif isinstance(shape, list):
        for element in _ends(value):
            yield from _compared(shape[0], element, f"{at}[]")
    elif isinstance(shape, tuple):
        yield from _compared_row(shape, value, at)


def _compared_object(
    shape: Mapping[str, Any], value: Mapping[str, Any], at: str
) -> Iterator[KeyDifference]:
    declared = list(_keys(shape))
    for key, inner, is_needed in declared:
        values = _under(value, key)
        if is_needed and not values:
            yield KeyDifference("missing", _joined(at, key), _expected(inner), _NOTHING)
        for one in values:
            yield from _compared(inner, one, _joined(at, key))
    names = {key for key, _, _ in declared}
    patterns = [key for key in names if "*" in key]
    for key in () if "*" in names else islice(value, _MOST_KEYS):
        if key not in names and not any(fnmatchcase(key, pattern) for pattern in patterns):
            yield KeyDifference("new", _joined(at, _shown(key)), _NOTHING, _type(value[key]))


def _compared_row(shape: tuple[Any, ...], value: list[Any], at: str) -> Iterator[KeyDifference]:
    for place, inner in enumerate(shape):
        if place < len(value):
            yield from _compared(inner, value[place], f"{at}[{place}]")
        else:
            yield KeyDifference("missing", f"{at}[{place}]", _expected(inner), _NOTHING)
    for place in range(len(shape), len(value)):
        yield KeyDifference("new", f"{at}[{place}]", _NOTHING, _type(value[place]))


def _keys(shape: Mapping[str, Any]) -> Iterator[tuple[str, Any, bool]]:
    """Yield each key of an object with its shape, and whether it must be there."""
    for keys, inner in shape.items():
        for key, is_needed in _parted(keys):
            yield key, inner, is_needed


@lru_cache(512)
def _parted(keys: str) -> tuple[tuple[str, bool], ...]:
    return tuple((key.removesuffix("?"), not key.endswith("?")) for key in keys.split("|"))


def _under(value: Mapping[str, Any], key: str) -> Sequence[Any]:
    """Return what stands under a key; under a pattern the first and the last that match."""
    if "*" not in key:
        return [value[key]] if key in value else []
    if key == "*":
        return _ends(value.values())
    return _ends([value[name] for name in islice(value, _MOST_KEYS) if fnmatchcase(name, key)])


def _ends(values: Any) -> Sequence[Any]:
    """Return the first and the last of some values that can be read from both ends."""
    return [next(iter(values)), next(reversed(values))] if values else []


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text"
    if value is None:
        return "null"
    return "object" if isinstance(value, Mapping) else "list"


def _expected(shape: Any) -> str:
    return shape if isinstance(shape, str) else _type(shape)


def _joined(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key


def _shown(key: str) -> str:
    """Return a vendor's key for people: cut, on one line, without control characters."""
    return " ".join(printable(key[:_LONGEST_KEY]).split()) + "…" * (len(key) > _LONGEST_KEY)
