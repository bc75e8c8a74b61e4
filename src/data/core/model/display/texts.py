"""Values as text for display: durations, timestamps, aligned lines, and HTML tables."""

from __future__ import annotations

import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

from ..time.instant import DAY_MS, MINUTE_MS, SECOND_MS, iso
from ..time.timeframe import Timeframe
from ..words.html import element, escaped, with_code
from ..words.printable import printable

WIDTH = 100
# Up to this many names with the same reason are each shown on their own line.
_APART = 2
# Prefix of the reason for a vendor that is left out only because its key is missing.
NO_KEY = "no key: "
# Limits on output for notebooks, which store it in their file: total bytes of HTML, and characters
# per text and per name.
_MOST_SHOWN, _LONGEST, _LONGEST_NAME = 16_000, 600, 60
# Bytes taken by the elements of a row.
_ROW = 80
# Shorter waits are shown without a time of day.
_NEAR_S = 120.0
_UNITS = ((86_400.0, "day"), (3600.0, "hour"), (60.0, "minute"), (1.0, "second"))
Line = tuple[str, str]


def duration(seconds: float) -> str:
    """Return a duration as text with about two digits: ``0.25 seconds``, ``90 seconds``, ``2.5 hours``."""
    for length, unit in _UNITS:
        if seconds >= 2 * length or unit == "second":
            count = round(seconds / length, 1)
            if 0 < seconds < 1:
                return f"{seconds:.2g} seconds"
            number = f"{count:.0f}" if count >= 10 or count == int(count) else f"{count:.1f}"
            return f"{number} {unit}{'' if number == '1' else 's'}"
    return ""


def time_until(seconds: float, now_ms: int) -> str:
    """Return a waiting time as text; if it takes minutes or longer, the text includes its end.

    ``30 seconds``, ``10 minutes (15:40 UTC)``, ``24 hours (tomorrow 07:00 UTC)``, ``5 days
    (2024-06-16 07:00 UTC)``: the time is rounded up to a full minute.
    """
    if seconds < _NEAR_S:
        return duration(seconds)
    end_ms = now_ms + round(seconds * SECOND_MS)
    end_ms += -end_ms % MINUTE_MS
    days = end_ms // DAY_MS - now_ms // DAY_MS
    day, _, clock = iso(end_ms).partition("T")
    named = {0: "", 1: "tomorrow "}.get(days, f"{day} ")
    return f"{duration(seconds)} ({named}{clock[:5]} UTC)"


def lacks_columns(names: Sequence[str]) -> str:
    """Return the end of a message about missing columns, such as ``lacks the column close``."""
    return f"lacks the column{'s' if len(names) > 1 else ''} {', '.join(names)}"


def stamp(ms: int, timeframe: Timeframe | None = None) -> str:
    """Return an instant (UTC) as ``YYYY-MM-DD HH:MM``, or a date for daily and longer bars."""
    day, _, time = iso(ms - ms % SECOND_MS).removesuffix("Z").partition("T")
    if timeframe is not None and not timeframe.is_intraday:
        return day
    return f"{day} {time.removesuffix(':00')}"


def moment(iso_stamp: str | None) -> str:
    """Return an ISO timestamp in a readable form; for midnight, only the date is shown."""
    if not iso_stamp:
        return "-"
    day, _, time = iso_stamp.removesuffix("Z").partition("T")
    return day if time in ("", "00:00:00") else f"{day} {time.removesuffix(':00')}"


def counted(count: float, noun: str) -> str:
    """Return a count with its noun: ``1 bar``, ``2,000 bars``, ``2 series``."""
    plural = noun if noun == "series" else f"{noun}s"
    if noun.endswith("y") and noun[-2:-1] not in "aeou":
        plural = f"{noun[:-1]}ies"
    return f"{count:,.0f} {noun if count == 1 else plural}"


def plain_number(value: float) -> str:
    """Return a number with all its digits and without an exponent: ``70000``, ``0.00001``."""
    return format(Decimal(repr(float(value))), "f").removesuffix(".0")


def telling(reasons: Mapping[str, str], *, is_lacking: bool) -> dict[str, str]:
    """Return the reasons for not querying vendors, leaving out those that do not matter to the user.

    A missing key matters only if the answer is incomplete: most users have no key for most vendors.
    """
    return {n: why for n, why in reasons.items() if is_lacking or not why.startswith(NO_KEY)}


def by_reason(reasons: Mapping[str, str]) -> Iterator[str]:
    """Yield ``name: reason`` strings; three or more names with the same reason share one string."""
    names_of: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names_of.setdefault(reason, []).append(name)
    for reason, names in names_of.items():
        together = [", ".join(names)] if len(names) > _APART else names
        yield from (f"{named}: {reason}" for named in together)


def as_text(title: str, lines: Iterable[Line]) -> str:
    """Return a title and labelled lines as text, aligned and wrapped at :data:`WIDTH` characters.

    A label that equals the one on the previous line is not repeated.
    """
    lines = [(printable(name), text) for name, text in lines]
    room = max((len(name) for name, _ in lines), default=0) + 2
    rows, before = _wrap_line(title, ""), ""
    for name, text in lines:
        label = "" if name == before else name
        rows += _wrap_line(text, f"{label:{room}}")
        before = name
    return "\n".join(rows)


def _wrap_line(text: str, name: str) -> list[str]:
    behind = " " * len(name)
    return textwrap.wrap(
        printable(text),
        WIDTH,
        initial_indent=name,
        subsequent_indent=behind,
        break_on_hyphens=False,
    )


def as_html(title: str, lines: Iterable[Line]) -> str:
    """Return a title and labelled lines as an HTML table for notebooks; all text is escaped.

    Commands in backticks become ``<code>`` elements. The table does not set colors, so that it is
    readable on light and dark backgrounds.
    """
    rows = [
        element("tr", element("th", name), element("td", with_code(text), style="text-align:left"))
        for name, text in lines
    ]
    return element("table", *([element("caption", title)] if title else ()), *rows)


class InLines(ABC):
    """Base class of values that print as a title and labelled lines, or as a table in a notebook.

    The output is limited to 20 kB.
    """

    @property
    @abstractmethod
    def title(self) -> str:
        """The subject as one line of text."""

    @abstractmethod
    def lines(self) -> Iterable[Line]:
        """Yield the lines to display as (label, text) pairs."""

    def __repr__(self) -> str:
        # Without a title, the first line.
        text = _shorten(self.title or ": ".join(next(iter(self.lines()))))
        use = "; iterate, or to_frame()" if hasattr(self, "to_frame") else ""
        return f"<{type(self).__name__} {' '.join(text.split())}{use}>"

    def __str__(self) -> str:
        return as_text(_shorten(self.title), bounded(self.lines()))

    def _repr_html_(self) -> str:
        return as_html(_shorten(self.title), bounded(self.lines()))


def bounded(lines: Iterable[Line]) -> Iterator[Line]:
    """Yield lines up to the notebook size limit, then a line with the number of omitted lines.

    Long strings are cut.
    """
    left, omitted = _MOST_SHOWN, 0
    for name, text in lines:
        name, text = _shorten(str(name), _LONGEST_NAME), _shorten(text)
        left -= len((escaped(name) + escaped(with_code(text))).encode()) + _ROW
        if left < 0:
            omitted += 1
        else:
            yield name, text
    if omitted:
        yield "", f"and {counted(omitted, 'more line')}"


def _shorten(text: str, most: int = _LONGEST) -> str:
    text = printable(text[: most + 1])
    return text if len(text) <= most else f"{text[:most]} …"


def written(value: object) -> str:
    """Return ``repr(value)``, or the size of an integer if it is too long for Python to print."""
    try:
        return repr(value)
    except ValueError:
        bits = value.bit_length() if isinstance(value, int) else 0
        return f"an integer of {bits} bits" if bits else f"a {type(value).__name__}"


def listed(parts: Sequence[str], last: str = "and") -> str:
    """Join strings in the form ``a, b and c``."""
    return f" {last} ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def series_name(entry: Mapping[str, str]) -> str:
    """Return the name, such as ``AAPL 1d@raw``, of a series given by ``symbol``, ``timeframe``, ``lane``."""
    return f"{entry['symbol']} {'@'.join(filter(None, (entry['timeframe'], entry['lane'])))}"
