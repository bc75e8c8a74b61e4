"""A small strict language for configuration: what may stand where, and every mistake at once.

A check takes a value and its path and yields a :class:`Problem` for each mistake below it; it
never raises. Null counts as absent for mappings, so that a section may be emptied by comments.
"""

from __future__ import annotations

import difflib
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from ..errors import BadTimeframeError
from ..model.timeframe import Timeframe
from .offered import install_hint, known_names, known_vendor
from .rules import as_switch

Path = tuple[str | int, ...]

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Problem:
    """One mistake: where, what, and the nearest valid spelling where there is one."""

    path: Path
    what: str
    near: str = ""

    @property
    def where(self) -> str:
        """The path as text, such as ``crypto.backup[1]``."""
        text = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in self.path)
        return text.removeprefix(".") or "the file"

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f": did you mean {self.near}?" if self.near else "")


Check = Callable[[Any, Path], Iterator[Problem]]
# So many mistakes of a file are looked for and told: a file of mistakes alone is none of ours.
MOST_PROBLEMS = 100


def first_of(problems: Iterable[Problem]) -> list[Problem]:
    """Return the problems that are told, and one more where there are more."""
    return list(islice(problems, MOST_PROBLEMS + 1))


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return the valid name most like ``name``, or an empty text."""
    matches = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.6)
    return matches[0] if matches else ""


def text(*choices: str, nullable: bool = False) -> Check:
    """Accept a text that is not empty, or one of ``choices``."""

    def check(value: Any, path: Path) -> Iterator[Problem]:
        if value is None and nullable:
            return
        if not isinstance(value, str) or not value:
            yield Problem(path, f"{_shown(value)}, a text is needed")
        elif choices and value not in choices:
            what = f"{_shown(value)}, one of {', '.join(choices)} is needed"
            yield Problem(path, what, nearest(value, choices))

    return check


def number(low: float, high: float = math.inf, *, nullable: bool = False) -> Check:
    """Accept a finite number from ``low`` to ``high``, both included."""
    bounds = f"from {low:g} to {high:g}" if high < math.inf else f"of at least {low:g}"

    def check(value: Any, path: Path) -> Iterator[Problem]:
        if value is None and nullable:
            return
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # Whole numbers of any length can be written, and not all of them have a float.
        if not is_number or not low <= value <= min(high, sys.float_info.max):
            yield Problem(path, f"{_shown(value)}, a number {bounds} is needed")

    return check


def whole(low: float, *, nullable: bool = False) -> Check:
    """Accept a finite whole number of at least ``low``."""
    limits = number(low, nullable=nullable)

    def check(value: Any, path: Path) -> Iterator[Problem]:
        problems = list(limits(value, path))
        yield from problems
        if not problems and value is not None and value != int(value):
            yield Problem(path, f"{_shown(value)}, a whole number is needed")

    return check


def switch(value: Any, path: Path) -> Iterator[Problem]:
    """Accept true and false (and yes, no, on, off)."""
    if as_switch(value) is None:
        yield Problem(path, f"{_shown(value)}, true or false is needed")


def pattern(value: Any, path: Path) -> Iterator[Problem]:
    """Accept a regular expression."""
    try:
        re.compile(value)
    except (re.error, TypeError, RecursionError, OverflowError) as exc:
        yield Problem(path, f"{_shown(value)}, which is not a regular expression ({exc})")


def timeframe(value: Any, path: Path) -> Iterator[Problem]:
    """Accept a timeframe."""
    try:
        Timeframe.parse(value)
    except BadTimeframeError as exc:
        yield Problem(path, str(exc))


def vendor(value: Any, path: Path) -> Iterator[Problem]:
    """Accept a vendor that exists, also of another package, or one that other versions serve."""
    if not isinstance(value, str) or known_vendor(value) is None:
        near = nearest(str(value).lower(), known_names())
        why = "which is not a vendor" if near else f"which is not a vendor; {install_hint(value)}"
        yield Problem(path, f"{_shown(value)}, {why}", near)


def url(scheme: str) -> Check:
    """Accept an address with ``scheme`` over TLS; without TLS only on this machine."""

    def check(value: Any, path: Path) -> Iterator[Problem]:
        if value is None:
            return
        # The value is never shown: people put keys into addresses.
        try:
            parts = urlsplit(value if isinstance(value, str) else "")
            host, carries = parts.hostname, "@" in parts.netloc or bool(parts.query)
        except ValueError:
            host, carries = None, False
        if carries:
            yield Problem(path, "an address must not carry a user, a key or a query")
        elif not host or parts.scheme not in (scheme, f"{scheme}s"):
            yield Problem(path, f"an address {scheme}s://... is needed")
        elif parts.scheme == scheme and host not in LOOPBACK:
            yield Problem(path, f"{scheme}:// is for this machine only", f"{scheme}s://{host}")

    return check


def items(item: Check) -> Check:
    """Accept a list whose items pass ``item``."""

    def check(value: Any, path: Path) -> Iterator[Problem]:
        if not isinstance(value, list):
            yield Problem(path, f"{_shown(value)}, a list is needed", _as_list(value))
            return
        for index, item_value in enumerate(value):
            yield from item(item_value, (*path, index))

    return check


def record(keys: Mapping[str, Check], *required: str) -> Check:
    """Accept a mapping that has no other keys than ``keys``."""

    def check(value: Any, path: Path) -> Iterator[Problem]:
        if value is None:
            return
        if not isinstance(value, Mapping):
            yield Problem(path, f"{_shown(value)}, keys are needed ({', '.join(keys)})")
            return
        for key, entry in value.items():
            if key in keys:
                yield from keys[key](entry, (*path, key))
            else:
                like = nearest(str(key), keys)
                others = "" if like else f", known here: {', '.join(keys)}"
                yield Problem((*path, key), f"unknown key{others}", like)
        for key in required:
            if key not in value:
                yield Problem(path, f"{key} is missing")

    return check


def table(value_check: Check, key_check: Check | None = None) -> Check:
    """Accept a mapping with any keys (or those that pass ``key_check``) to such values."""

    def check(value: Any, path: Path) -> Iterator[Problem]:
        if value is None:
            return
        if not isinstance(value, Mapping):
            yield Problem(path, f"{_shown(value)}, a mapping is needed")
            return
        for key, entry in value.items():
            if key_check is not None:
                yield from key_check(key, (*path, key))
            yield from value_check(entry, (*path, key))

    return check


def text_or(other: Check) -> Check:
    """Accept a text, or what ``other`` accepts."""

    def check(value: Any, path: Path) -> Iterator[Problem]:
        yield from text()(value, path) if isinstance(value, str) else other(value, path)

    return check


def _as_list(value: Any) -> str:
    """Show how a single value is written as a list."""
    return f"[{value}]" if isinstance(value, str | int | float) and value != "" else ""


def _shown(value: Any) -> str:
    """Show a value shortly; it may be anything."""
    if value is None:
        return "it is empty"
    if isinstance(value, Mapping | list):
        return "it is a mapping" if isinstance(value, Mapping) else "it is a list"
    whole = repr(value)
    return f"it is {whole if len(whole) <= 40 else whole[:37] + '...'}"
