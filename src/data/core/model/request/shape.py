"""The shape that a parser expects an answer to have, and how an answer differs from it. Pure.

A shape is plain data, in the form of the answer itself:

- a string names the type of a value: ``number``, ``text`` or ``flag`` (true or false), with
  alternatives separated by ``|``; ``any`` is not checked;
- a mapping is an object with these keys, with alternatives separated by ``|``; a key that ends in
  ``?`` may be missing, and one with ``*`` stands for all keys that match it;
- a list with one shape is a list of any length, of which the first and the last element are
  checked;
- a tuple is a list of exactly these elements, a row without names.

``null`` matches everything: missing values are caught by the checks on bars. For CSV, only the
column names are compared; they are treated as a list with one object.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import islice
from typing import Any, Literal

from ....errors import ResponseFormatError
from ..words.printable import printable
from .http import HttpResponse

Change = Literal["new", "missing", "retyped"]
# URL endings, in which ``*`` matches any string, with the shapes of their answers. If a URL has
# several shapes, they are alternatives.
Shapes = Sequence[tuple[str, Any]]

CHANGES: tuple[Change, ...] = ("new", "missing", "retyped")
_NOTHING = "nothing"
# An answer may have any number of keys of any length, so these limit the number checked, the number
# reported and the length shown.
_MOST_KEYS = 1000
_MOST_FOUND = 100
_MOST_LISTED = 8
_LONGEST_KEY = 40
_LONGEST_HEADER = 4096


class _Column(str):
    """Placeholder for the values in a CSV column, which may be arbitrary text."""


_COLUMN = _Column()


@dataclass(frozen=True)
class KeyDifference:
    """One key in a response that differs from the parser's expectation; no value is included.

    Attributes:
        change: ``new``, ``missing`` or ``retyped``.
        key: Path of the key, such as ``bars.*[].o``; printable and of limited length.
        expected, came: Expected and actual type; ``nothing`` for a key that is new or missing.
    """

    change: Change
    key: str
    expected: str
    came: str

    def __str__(self) -> str:
        if self.change == "retyped":
            return f"{self.key} is {self.came}, not {self.expected}"
        type_name = self.came if self.change == "new" else self.expected
        return f"{self.key} is {self.change} ({type_name})"


@dataclass(frozen=True)
class ShapeChange:
    """The differences between a response and the most similar expected shape.

    Attributes:
        endpoint: Part of the URL, as declared with the shape, that identifies the endpoint.
        differences: The first eight differences; there is at least one.
    """

    endpoint: str
    differences: tuple[KeyDifference, ...]

    def __str__(self) -> str:
        return f"{self.endpoint}: {', '.join(map(str, self.differences))}"


def shape_change(shapes: Shapes, url: str, response: HttpResponse) -> ShapeChange | None:
    """Return how a response differs from all shapes for its address, or None if it matches one.

    If an answer's outermost object lacks more than half of the expected keys or has another type,
    it is a different document, such as an error, and is not compared. An unreadable answer is not
    compared either.

    Args:
        shapes: Expected shapes, by endpoint.
        url: URL of the request, without its query.
        response: Successful response.
    """
    candidates = [(end, shape) for end, shape in shapes if fnmatchcase(url, f"*/{end}")]
    if not candidates:
        return None
    try:
        body = _body(response)
    except (ResponseFormatError, csv.Error):
        return None  # its parser reports the error
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
    """Return a measure of how much a response differs from a shape.

    A new key counts twice, because a shape with more keys may include it.
    """
    return sum(1 + (difference.change == "new") for difference in change.differences)


def _body(response: HttpResponse) -> Any:
    """Return the parsed JSON, or the column names of a table as a list with one object."""
    if response.body[:_LONGEST_KEY].lstrip()[:1] in (b"{", b"["):
        return response.json()
    line = response.body[:_LONGEST_HEADER].partition(b"\n")[0].decode("utf-8", "replace")
    return [dict.fromkeys(next(csv.reader([line]), []), _COLUMN)]


def _is_of(shape: Any, value: Any) -> bool:
    """Return whether a response is the document that a shape describes, despite differences.

    Such a document has at least half of the required keys.
    """
    while isinstance(shape, list):
        if not isinstance(value, list) or not value:
            return isinstance(value, list)
        shape, value = shape[0], value[0]
    if isinstance(shape, Mapping):
        needed = [key for key, _, is_needed in _keys(shape) if is_needed]
        is_object = isinstance(value, dict)
        return is_object and 2 * sum(bool(_values(value, key)) for key in needed) >= len(needed)
    return isinstance(value, list) == isinstance(shape, tuple)


def _differences(shape: Any, value: Any) -> tuple[KeyDifference, ...]:
    # First and last elements usually differ in the same way.
    unique = dict.fromkeys(islice(_compare(shape, value, ""), _MOST_FOUND))
    return tuple(islice(unique, _MOST_LISTED))


def _compare(shape: Any, value: Any, path: str) -> Iterator[KeyDifference]:
    """Yield the differences between a value and a shape, descending only as deep as the shape does."""
    actual = _type(value)
    if value is None or value is _COLUMN or shape == "any":
        return
    if actual not in _describe_shape(shape).split("|"):
        yield KeyDifference("retyped", path, _describe_shape(shape), actual)
    elif isinstance(shape, Mapping):
        yield from _compared_object(shape, value, path)
    elif isinstance(shape, list):
        for element in _ends(value):
            yield from _compare(shape[0], element, f"{path}[]")
    elif isinstance(shape, tuple):
        yield from _compared_row(shape, value, path)


def _compared_object(
    shape: Mapping[str, Any], value: Mapping[str, Any], path: str
) -> Iterator[KeyDifference]:
    declared = list(_keys(shape))
    for key, inner, is_needed in declared:
        values = _values(value, key)
        if is_needed and not values:
            yield KeyDifference("missing", _path_to(path, key), _describe_shape(inner), _NOTHING)
        for element in values:
            yield from _compare(inner, element, _path_to(path, key))
    names = {key for key, _, _ in declared}
    patterns = [key for key in names if "*" in key]
    for key in () if "*" in names else islice(value, _MOST_KEYS):
        if key not in names and not any(fnmatchcase(key, pattern) for pattern in patterns):
            yield KeyDifference("new", _path_to(path, _short_key(key)), _NOTHING, _type(value[key]))


def _compared_row(shape: tuple[Any, ...], value: list[Any], path: str) -> Iterator[KeyDifference]:
    for index, inner in enumerate(shape):
        if index < len(value):
            yield from _compare(inner, value[index], f"{path}[{index}]")
        else:
            yield KeyDifference("missing", f"{path}[{index}]", _describe_shape(inner), _NOTHING)
    for index in range(len(shape), len(value)):
        yield KeyDifference("new", f"{path}[{index}]", _NOTHING, _type(value[index]))


def _keys(shape: Mapping[str, Any]) -> Iterator[tuple[str, Any, bool]]:
    """Yield each key of an object's shape with the shape of its value, and whether it is required."""
    for keys, inner in shape.items():
        for key, is_needed in _split_keys(keys):
            yield key, inner, is_needed


@lru_cache(512)
def _split_keys(keys: str) -> tuple[tuple[str, bool], ...]:
    return tuple((key.removesuffix("?"), not key.endswith("?")) for key in keys.split("|"))


def _values(value: Mapping[str, Any], key: str) -> Sequence[Any]:
    """Return the values under a key; for a pattern, the values of its first and last match."""
    if "*" not in key:
        return [value[key]] if key in value else []
    if key == "*":
        return _ends(value.values())
    return _ends([value[name] for name in islice(value, _MOST_KEYS) if fnmatchcase(name, key)])


def _ends(values: Any) -> Sequence[Any]:
    """Return the first and the last of ``values``, which must support ``reversed``."""
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


def _describe_shape(shape: Any) -> str:
    return shape if isinstance(shape, str) else _type(shape)


def _path_to(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _short_key(key: str) -> str:
    """Return a vendor's key for display: shortened, on one line, without control characters."""
    return " ".join(printable(key[:_LONGEST_KEY]).split()) + "…" * (len(key) > _LONGEST_KEY)
