"""Parts shared by reports: values, tables, the summary, small drawings. Pure.

Every number and text in a report is part of the report's data. The attribute ``data-at`` of an
element contains the path to its value, such as ``series/0/rows``, so that the page and the JSON can
be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..model.html import Html, element, joined, with_code

# Size of a small drawing, in its own units.
_SPARK_WIDTH, _SPARK_HEIGHT = 120.0, 28.0
_NONE = "–"


class Values:
    """A part of a page's data, and the path to it.

    Attributes:
        data: The part, as values that JSON can represent.
        at: Path of the part in the page's data, such as ``series/0/health``.
    """

    def __init__(self, data: Any, at: str = "") -> None:
        self.data, self.at = data, at

    def of(self, *path: str | int) -> Values:
        """Return the part found by following ``path`` (keys and indexes) into this part's data."""
        data = self.data
        for key in path:
            data = data[key]
        return Values(data, "/".join(filter(None, (self.at, *map(str, path)))))

    def each(self, *path: str | int) -> Iterator[Values]:
        """Yield the entries of the list, or the values of the mapping, at a path."""
        inner = self.of(*path)
        keys: Iterable[str | int] = (
            inner.data if isinstance(inner.data, dict) else range(len(inner.data))
        )
        for key in keys:
            yield inner.of(key)

    def show(self, *path: str | int, as_text: Callable[[Any], str] | None = None) -> Html:
        """Return an element that shows the value at a path, with the path as ``data-at``."""
        inner = self.of(*path)
        return element("span", (as_text or shown)(inner.data), data_at=inner.at)


class Column(NamedTuple):
    """A column of a table; each row of the table is an entry in the page's data.

    Attributes:
        name: Heading; a final ``#`` marks a column of numbers, a final ``_`` text that may be
            wrapped.
        key: Path of the value in an entry, such as ``health/ready``.
        as_text: Function that formats the value.
    """

    name: str
    key: str
    as_text: Callable[[Any], str] | None = None


def shown(value: Any) -> str:
    """Format a value as text: integers with thousands separators, other values unchanged."""
    if value is None or value == "":
        return _NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def step_text(text: str) -> str:
    """Format a next step; a command, by itself or in backticks, is shown as code."""
    if text.startswith("onetape ") and "`" not in text:
        return element("code", text)
    return with_code(shown(text))


def records(
    entries: Sequence[Values],
    columns: Sequence[Column],
    before: Callable[[Values], object] | None = None,
) -> Html:
    """Return a table with a row for each entry; on a phone each row is a card.

    The attribute ``data-at`` of each row is the path of its entry, and ``data-key`` of each heading
    is the path of the value in the entry.

    Args:
        entries: Rows.
        columns: Columns, left to right.
        before: Function that returns the content of an extra first cell, which does not show a
            value.
    """
    classes = {"#": "number", "_": "broken"}
    heads = [
        (
            column.name.rstrip("#_"),
            classes.get(column.name[-1], ""),
            column.key.split("/"),
            column.as_text or shown,
        )
        for column in columns
    ]
    head = [
        element("th", name, data_key=column.key, class_="number" if css == "number" else None)
        for column, (name, css, *_) in zip(columns, heads, strict=True)
    ]
    lines = []
    texts = [[head[3](entry.of(*head[2]).data) for head in heads] for entry in entries]
    # A column in which no entry has a value is left out.
    kept = [index for index in range(len(heads)) if any(row[index] != _NONE for row in texts)]
    head = [head[index] for index in kept]
    for entry, row in zip(entries, texts, strict=True):
        cells = [] if before is None else [element("th", before(entry))]
        for index in kept:
            (name, css, *_), text = heads[index], row[index]
            css = " ".join(filter(None, (css, "none" if text == _NONE else "")))
            cells.append(element("td", text, class_=css or None, data_name=name))
        lines.append(element("tr", *cells, data_at=entry.at))
    first = [] if before is None else [element("th")]
    table = element(
        "table",
        element("thead", element("tr", *first, *head)),
        element("tbody", *lines),
        class_="records short",
    )
    return element("div", table, class_="wide")


def reasons_table(values: Values, *path: str | int) -> Html:
    """Return an HTML table of the mapping from names to reasons at ``path``."""
    reasons = values.of(*path)
    rows = (
        element("tr", element("th", name), element("td", reasons.show(name)))
        for name in reasons.data
    )
    return element("div", element("table", element("tbody", *rows)), class_="wide")


def more_than(total: int, listed: int) -> Html:
    """Return a line with the number of entries that are not listed; empty if all are listed."""
    if total <= listed:
        return Html()
    return element("p", f"and {total - listed:,} more, of {total:,}", class_="faint")


def folded(summary: object, *parts: object) -> Html:
    """Return content that is collapsed under a summary line and opens on a click."""
    return element("details", element("summary", summary), *parts)


def cards(facts: Iterable[tuple[str, object]]) -> Html:
    """Return names and values as a row of small panels (cards)."""
    parts = (element("div", element("b", value), element("span", name)) for name, value in facts)
    return element("div", *parts, class_="cards")


def compared_facts(values: Values, counts: Sequence[str]) -> list[tuple[str, object]]:
    """Return the counts of bars compared with a second vendor; empty if none were compared."""
    if not any(values.data[name] for name in counts):
        return []
    return [(f"{name} by a second vendor", values.show(name)) for name in counts]


def first_look(look: Values) -> Html:
    """Return the summary at the top of a report: one number, one sentence, one next step.

    Args:
        look: Values of the summary: ``state`` (``good``, ``poor`` or ``bad``), ``number``, ``of``
            (the noun that follows the number), ``text``, ``next_step`` (may be empty).
    """
    step = (
        ["Next: ", look.show("next_step", as_text=step_text)]
        if look.data["next_step"]
        else ["Nothing to do."]
    )
    return element(
        "section",
        element("p", look.show("number"), element("small", look.show("of")), class_="amount"),
        element("p", look.show("text"), class_="sentence"),
        element("p", *step, class_="step"),
        class_=f"look {_STATES.get(look.data['state'], '')}",
        aria_label="summary",
    )


# A word from the data is never used directly as a CSS class.
_STATES = {"good": "good", "poor": "poor", "bad": "bad"}


def spark(closes: Sequence[float]) -> Html:
    """Return a small line chart of close prices; empty if there are fewer than two."""
    if len(closes) < 2:
        return Html()
    low, high = min(closes), max(closes)
    across, up = _SPARK_WIDTH / (len(closes) - 1), (_SPARK_HEIGHT - 2) / ((high - low) or 1)
    flat = 0 if high > low else _SPARK_HEIGHT / 2
    points = "L".join(
        f"{index * across:.0f} {_SPARK_HEIGHT - 1 - flat - (close - low) * up:.1f}"
        for index, close in enumerate(closes)
    )
    size = f"0 0 {_SPARK_WIDTH:.0f} {_SPARK_HEIGHT:.0f}"
    return element(
        "svg",
        element("path", d=f"M{points}"),
        class_="spark",
        viewBox=size,
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def small_bars(values: Sequence[float], texts: Sequence[str], most: int, *, is_bad: bool) -> Html:
    """Return a small bar chart of values, with the latest at the right.

    Args:
        values: Heights, oldest first; 0 or more.
        texts: Text for each bar, shown when the pointer is on the bar.
        most: Maximum number of bars; the latest value is always in the last position.
        is_bad: Whether a value above zero is bad.
    """
    values, texts = values[-most:], texts[-most:]
    largest, wide = max(values, default=0) or 1, _SPARK_WIDTH / most
    empty = most - len(values)
    drawn = []
    for index, (value, text) in enumerate(zip(values, texts, strict=True), empty):
        height = max(1.0, value / largest * _SPARK_HEIGHT)
        fill_class = "base" if not value else "bad" if is_bad else None
        drawn.append(
            element(
                "rect",
                element("title", text),
                x=f"{index * wide:.1f}",
                y=f"{_SPARK_HEIGHT - height:.1f}",
                width=f"{wide - 1.5:.1f}",
                height=f"{height:.1f}",
                class_=fill_class,
            )
        )
    size = f"0 0 {_SPARK_WIDTH:.0f} {_SPARK_HEIGHT:.0f}"
    words = "; ".join(texts)
    return element(
        "svg",
        *drawn,
        class_="bars",
        viewBox=size,
        preserveAspectRatio="xMinYMid",
        role="img",
        aria_label=words,
    )


# --- values in words -----------------------------------------------------------------------------


def spaced(name: Any) -> str:
    """Return a name from the data with spaces instead of underscores."""
    return str(name).replace("_", " ")


def names_text(names: Any) -> str:
    """Return names as one line of text."""
    return ", ".join(map(str, names)) or _NONE


def counts_text(counts: Mapping[str, int]) -> str:
    """Format counts by name on one line, such as ``never asked 2, vendor hole 1``."""
    return ", ".join(f"{spaced(name)} {count:,}" for name, count in counts.items()) or _NONE


def problems(series: Values) -> Iterator[Html]:
    """Yield a list of the parts of a series that cannot be read, if there are any."""
    for name in series.of("problems").data:
        yield element("p", f"{name} cannot be read: ", series.show("problems", name), class_="bad")


def name_of(series: Values) -> Html:
    """Return a series' name: symbol, timeframe and lane."""
    lane = [" · lane ", series.show("lane")] if series.data["lane"] else []
    return joined([series.show("symbol"), " ", series.show("timeframe"), *lane])
