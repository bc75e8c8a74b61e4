"""A small, strict schema language for configuration files: what is allowed, and how it is parsed.

A :class:`Form` checks a value and parses it. A dataclass declares the keys of its section, each
field with a :func:`setting`; :func:`record` lists the keys of a section whose layout differs from
that of the parsed values. Null counts as absent for mappings, so that all keys of a section may be
commented out.
"""

from __future__ import annotations

import difflib
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from ...errors import BadTimeframeError
from ..model.time.timeframe import Timeframe
from ..registry import canonical_vendor
from .offered import install_hint, known_names, known_vendor

Path = tuple[str | int, ...]

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

_SWITCHES = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}


@dataclass(frozen=True)
class Problem:
    """An error in a file: its location, a description, and the nearest valid spelling, if any."""

    path: Path
    what: str
    near: str = ""

    @property
    def where(self) -> str:
        """The location as text, such as ``crypto.backup[1]``."""
        text = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in self.path)
        return text.removeprefix(".") or "the file"

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f": did you mean {self.near}?" if self.near else "")


Check = Callable[[Any, Path], Iterator[Problem]]
# Maximum number of errors to find and report; a file with more is not meant for this library.
MOST_PROBLEMS = 100


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Form:
    """The values allowed in one place of a configuration file.

    Attributes:
        check: Function that takes a value and its path, and yields a problem for each error; it
            never raises.
        parse: Function that converts a valid value to its parsed form.
        keys: Maps each key of a record to the form of its value.
        attribute: Name of the dataclass field for the parsed value; see :func:`attributes`.
    """

    check: Check
    parse: Callable[[Any], Any] = _as_it_is
    keys: Mapping[str, Form] = field(default_factory=dict)
    attribute: str = ""

    def to(self, convert: Callable[[Any], Any]) -> Form:
        """Return this form with a further parsing step."""
        return replace(self, parse=lambda value: convert(self.parse(value)))

    def named(self, attribute: str) -> Form:
        """Return a copy of this form that stores its value in the dataclass field ``attribute``."""
        return replace(self, attribute=attribute)

    def into(self, cls: Callable[..., Any]) -> Form:
        """Return this form with a parser that creates a ``cls`` from a record's :func:`attributes`."""
        return replace(self, parse=lambda mapping: cls(**attributes(self.keys, mapping)))


def form(parse: Callable[[Any], Any] = _as_it_is) -> Callable[[Check], Form]:
    """Return a decorator that turns a check function into a form."""
    return lambda check: Form(check, parse)


def setting(form: Form, default: Any = MISSING, *, factory: Any = MISSING, key: str = "") -> Any:
    """Declare a dataclass field that is set by a key in a configuration section.

    Args:
        form: Form that describes the values allowed for the field.
        default: Value if the file does not contain the key; ``factory`` creates a mutable value.
        key: Name of the key in the file, if it differs from the name of the field.
    """
    return field(default=default, default_factory=factory, metadata={"form": form, "key": key})


def settings_of(cls: type[Any]) -> dict[str, Form]:
    """Return the form of each key that a dataclass declares, in the order of its fields."""
    return {
        f.metadata["key"] or f.name: f.metadata["form"].named(f.name)
        for f in fields(cls)
        if f.metadata
    }


def section(cls: type[Any]) -> Form:
    """Return a form that accepts the keys a dataclass declares, and parses them to an instance."""
    return record(settings_of(cls)).into(cls)


def attributes(keys: Mapping[str, Form], mapping: Mapping[str, Any] | None) -> dict[str, Any]:
    """Parse a record and its nested records; return the values by dataclass field name."""
    values: dict[str, Any] = {}
    for key, value in (mapping or {}).items():
        form = keys.get(key, anything)
        if form.attribute:
            values[form.attribute] = form.parse(value)
        elif form.keys:
            values |= attributes(form.keys, value)
    return values


def first_of(problems: Iterable[Problem]) -> list[Problem]:
    """Return the first problems, up to one more than the limit, which shows that there are more."""
    return list(islice(problems, MOST_PROBLEMS + 1))


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return the valid name most similar to ``name``, or an empty string."""
    matches = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.6)
    return matches[0] if matches else ""


def as_switch(value: Any) -> bool | None:
    """Parse a switch: a boolean or one of the strings yes, no, on and off; otherwise None."""
    return value if isinstance(value, bool) else _SWITCHES.get(str(value).lower())


def vendor_name(name: str) -> str:
    """Return the canonical form of a valid vendor name."""
    # Vendors from other packages have no aliases.
    return canonical_vendor(name) or name.strip().lower()


def text(*choices: str, nullable: bool = False) -> Form:
    """Return a form that accepts a non-empty string or, if ``choices`` are given, one of them."""

    def _check(value: Any, path: Path) -> Iterator[Problem]:
        if value is None and nullable:
            return
        if not isinstance(value, str) or not value:
            yield Problem(path, f"{_show_value(value)}, but must be a string")
        elif choices and value not in choices:
            what = f"{_show_value(value)}, but must be one of {', '.join(choices)}"
            yield Problem(path, what, nearest(value, choices))

    return Form(_check)


def number(low: float, high: float = math.inf, *, nullable: bool = False) -> Form:
    """Return a form that accepts a finite number from ``low`` to ``high``, both inclusive."""
    bounds = f"from {low:g} to {high:g}" if high < math.inf else f"of at least {low:g}"

    def _check(value: Any, path: Path) -> Iterator[Problem]:
        if value is None and nullable:
            return
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # Integers of any length can be written, and not all of them fit into a float.
        if not is_number or not low <= value <= min(high, sys.float_info.max):
            yield Problem(path, f"{_show_value(value)}, but must be a number {bounds}")

    return Form(_check)


def whole(low: float, high: float = math.inf, *, nullable: bool = False) -> Form:
    """Return a form that accepts a finite integer from ``low`` to ``high``, both inclusive."""
    limits = number(low, high, nullable=nullable)

    def _check(value: Any, path: Path) -> Iterator[Problem]:
        problems = list(limits.check(value, path))
        yield from problems
        if not problems and value is not None and value != int(value):
            yield Problem(path, f"{_show_value(value)}, but must be an integer")

    return Form(_check)


# Accepts any value.
anything = Form(lambda value, path: iter(()))


@form(as_switch)
def switch(value: Any, path: Path) -> Iterator[Problem]:
    """Return a form that accepts true and false (or yes, no, on, off)."""
    if as_switch(value) is None:
        yield Problem(path, f"{_show_value(value)}, but must be true or false")


@form(re.compile)
def pattern(value: Any, path: Path) -> Iterator[Problem]:
    """Return a form that accepts a regular expression."""
    try:
        re.compile(value)
    except (re.error, TypeError, RecursionError, OverflowError) as exc:
        yield Problem(path, f"{_show_value(value)}, which is not a regular expression ({exc})")


@form(lambda value: Timeframe.parse(value).label)
def timeframe(value: Any, path: Path) -> Iterator[Problem]:
    """Return a form that accepts a timeframe, and parses it to its label."""
    try:
        Timeframe.parse(value)
    except BadTimeframeError as exc:
        yield Problem(path, str(exc))


@form(vendor_name)
def vendor(value: Any, path: Path) -> Iterator[Problem]:
    """Return a form that accepts a known vendor.

    The vendor can be part of onetape, from another package, or supported by other versions.
    """
    if not isinstance(value, str) or known_vendor(value) is None:
        near = nearest(str(value).lower(), known_names())
        why = "which is not a vendor" if near else f"which is not a vendor; {install_hint(value)}"
        yield Problem(path, f"{_show_value(value)}, {why}", near)


def url(scheme: str) -> Form:
    """Return a form that accepts a URL with ``scheme`` and TLS, or without TLS if on this machine."""

    def _check(value: Any, path: Path) -> Iterator[Problem]:
        if value is None:
            return
        # The value is never shown, because people put keys into URLs.
        try:
            parts = urlsplit(value if isinstance(value, str) else "")
            host, carries = parts.hostname, "@" in parts.netloc or bool(parts.query)
        except ValueError:
            host, carries = None, False
        if carries:
            yield Problem(path, "an address must not contain a user name, a key or a query")
        elif not host or parts.scheme not in (scheme, f"{scheme}s"):
            yield Problem(path, f"must be an address {scheme}s://...")
        elif parts.scheme == scheme and host not in LOOPBACK:
            yield Problem(path, f"{scheme}:// is for this machine only", f"{scheme}s://{host}")

    return Form(_check)


# A plain e-mail address.
ADDRESS = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,200}\.[A-Za-z]{2,24}")


@form()
def contact(value: Any, path: Path) -> Iterator[Problem]:
    """Accept a plain e-mail address, which is never shown."""
    if not isinstance(value, str) or not ADDRESS.fullmatch(value):
        yield Problem(path, "must be a plain e-mail address, such as name@example.org")


def items(item: Form) -> Form:
    """Return a form that accepts a list whose elements all match ``item``, and parses it into a tuple."""

    def _check(value: Any, path: Path) -> Iterator[Problem]:
        if not isinstance(value, list):
            yield Problem(path, f"{_show_value(value)}, but must be a list", _as_list(value))
            return
        for index, item_value in enumerate(value):
            yield from item.check(item_value, (*path, index))

    return Form(_check, lambda value: tuple(map(item.parse, value)))


def record(keys: Mapping[str, Form], *required: str) -> Form:
    """Return a form that accepts mappings with only the given keys; parsing drops empty values."""

    def _check(value: Any, path: Path) -> Iterator[Problem]:
        if value is None:
            return
        if not isinstance(value, Mapping):
            yield Problem(path, f"{_show_value(value)}, but must have keys ({', '.join(keys)})")
            return
        for key, entry in value.items():
            if key in keys:
                yield from keys[key].check(entry, (*path, key))
            else:
                similar = nearest(str(key), keys)
                others = "" if similar else f", known here: {', '.join(keys)}"
                yield Problem((*path, key), f"unknown key{others}", similar)
        for key in required:
            if key not in value:
                yield Problem(path, f"{key} is missing")

    def _parse(value: Mapping[str, Any] | None) -> dict[str, Any]:
        return {k: keys[k].parse(v) for k, v in (value or {}).items() if v is not None}

    return Form(_check, _parse, keys)


def table(value_form: Form, key_form: Form | None = None) -> Form:
    """Return a form that accepts a mapping whose values match ``value_form``.

    All keys are accepted or, if ``key_form`` is given, all keys that match it, unless two of them
    are parsed to the same one.
    """

    def _check(value: Any, path: Path) -> Iterator[Problem]:
        if value is None:
            return
        if not isinstance(value, Mapping):
            yield Problem(path, f"{_show_value(value)}, but must be a mapping")
            return
        names: dict[Any, Any] = {}
        for key, entry in value.items():
            yield from (wrong := list(key_form.check(key, (*path, key))) if key_form else [])
            first = names.setdefault(key_form.parse(key), key) if key_form and not wrong else key
            if first != key:
                yield Problem((*path, key), f"given twice, as {first} and as {key}; keep one")
            yield from value_form.check(entry, (*path, key))

    def _parse(value: Mapping[str, Any] | None) -> dict[str, Any]:
        key_parse = key_form.parse if key_form is not None else _as_it_is
        return {key_parse(k): value_form.parse(v) for k, v in (value or {}).items()}

    return Form(_check, _parse)


def text_or(other: Form) -> Form:
    """Return a form that accepts a string, or anything that ``other`` accepts."""

    def _check(value: Any, path: Path) -> Iterator[Problem]:
        yield from (text() if isinstance(value, str) else other).check(value, path)

    return Form(_check, lambda value: value if isinstance(value, str) else other.parse(value))


def _as_list(value: Any) -> str:
    """Return a single value in list notation, as a suggestion for the user."""
    return f"[{value}]" if isinstance(value, str | int | float) and value != "" else ""


def _show_value(value: Any) -> str:
    """Return a short description of an arbitrary value, for messages."""
    if value is None:
        return "it is empty"
    if isinstance(value, Mapping | list):
        return "it is a mapping" if isinstance(value, Mapping) else "it is a list"
    whole = repr(value)
    return f"it is {whole if len(whole) <= 40 else whole[:37] + '...'}"
