"""The parts that all pages share: filling templates, tables, panels, small drawings. Pure.

A page is an HTML file that opens from disk and loads nothing. Its templates are the ``.html`` files of
this package, whose placeholders are filled with escaped text.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any

from ...core.model.display.texts import moment
from ...core.model.words.html import Html, element, escaped, joined, with_code
from ...core.model.words.printable import printable
from .paints import styles

# Id of the element that contains a page's data.
DATA_ID = "data"
_NONE = "–"
# Size of a small drawing, in its own units.
_WIDE, _HIGH = 120.0, 28.0
# Names of values whose texts are wrapped in tables.
_WRAPPED = frozenset(
    "differences error errors evidence gaps lacking next_step reason said text worst".split()
)


@cache
def packaged(name: str) -> str:
    """Return the text of a file in this package."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def filled(template: str, **parts: object) -> Html:
    """Return a packaged template with its placeholders filled.

    Args:
        template: Name of the file, without ``.html``.
        parts: Maps each placeholder to its content: anything other than
            :class:`~onetape.data.core.model.words.html.Html` is escaped; lists are joined.
    """
    texts = {
        name: joined(part) if isinstance(part, list | tuple) else escaped(part)
        for name, part in parts.items()
    }
    return Html(Template(packaged(f"{template}.html")).substitute(texts))


def page(title: str, main: object, data: Mapping[str, Any], *, scripts: Sequence[str] = ()) -> str:
    """Return a complete HTML page as text.

    A content security policy with the script's digest keeps the page from loading anything, and
    from running any script but its own. A script in a vendor's text or in a symbol would not run
    even if it were not escaped.

    Args:
        title: Title of the browser window.
        main: Content of the page.
        data: Maps the id of each data element to its values, which JSON can represent.
        scripts: Names of the packaged scripts that run at the end of the page, in this order.
    """
    script = "".join(map(packaged, scripts))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return filled(
        "page",
        allowed=Html(f"'sha256-{digest}'" if script else "'none'"),
        title=printable(title),
        style=Html(packaged("page.css") + styles()),
        main=main,
        data=[
            element("script", as_data(values), id=name, type="application/json")
            for name, values in data.items()
        ],
        script=element("script", Html(script)) if script else "",
    )


def plain_values(data: Any) -> Any:
    """Convert values for use in a page's data: NaN becomes None, and types that JSON lacks become text."""
    return json.loads(json.dumps(data, default=str), parse_constant=lambda _: None)


def as_data(data: Any) -> Html:
    """Return values as JSON for a script element, escaped so that the JSON cannot end the element.

    Raises:
        ValueError: A number is NaN or infinite, which JSON parsers in browsers reject.
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Html(text)


# --- values as text ----------------------------------------------------------------------------


def shown(value: Any) -> str:
    """Format a value as text: integers with thousands separators, names and counts on one line."""
    if value is None or value in ("", [], {}):
        return _NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{spaced(name)} {count:,}" for name, count in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def spaced(name: Any) -> str:
    """Return a name from the data with spaces instead of underscores."""
    return str(name).replace("_", " ")


def step_text(text: Any) -> str:
    """Format a next step; a command, by itself or in backticks, is shown as code."""
    if str(text).startswith("onetape ") and "`" not in text:
        return element("code", text)
    return with_code(shown(text))


# Maps the name of a value to the function that formats it; other values are formatted by `shown`.
_FORMATS: dict[str, Callable[[Any], str]] = {
    **dict.fromkeys(("start", "end", "at", "first", "last", "lost"), moment),
    "next_step": step_text,
    "text": lambda text: with_code(shown(text)),
    "class": spaced,
    "next_due": lambda due: moment(due) if due else "never",
}


# --- parts of pages ----------------------------------------------------------------------------


def records(
    entries: Iterable[Mapping[str, Any]],
    columns: Mapping[str, str],
    total: int = 0,
    links: Sequence[Html] = (),
) -> Html:
    """Return a table with a row for each entry; on a phone each row is a card.

    A column in which no entry has a value is left out. If there are no entries, the result is a
    line that says so.

    Args:
        entries: Rows.
        columns: Maps each heading to the name of the value.
        total: Number of entries that there are; a line states how many are not listed.
        links: Content of an extra first cell of each row.
    """
    rows = list(entries)
    if not rows:
        return paragraph("none", "good")
    heads = [element("th")] * bool(links)
    cells = [[element("th", link) for link in links]] if links else []
    for name, key in columns.items():
        texts = [_FORMATS.get(key, shown)(row.get(key)) for row in rows]
        if set(texts) <= {_NONE, "-"}:
            continue
        is_number = {type(row.get(key)) for row in rows} <= {int, float, type(None)}
        css = "number" if is_number else "broken" if key in _WRAPPED else ""
        heads.append(element("th", name, class_=css or None))
        classes = (f"{css} none".strip() if text == _NONE else css or None for text in texts)
        cells.append(
            [
                element("td", t, class_=c, data_name=name)
                for t, c in zip(texts, classes, strict=True)
            ]
        )
    head = element("thead", element("tr", *heads))
    body = element("tbody", *(element("tr", *row) for row in zip(*cells, strict=True)))
    more = f"and {total - len(rows):,} more, of {total:,}" if total > len(rows) else ""
    table = element("table", head, body, class_="records short")
    return joined([element("div", table, class_="wide"), paragraph(more, "faint")])


def grid(
    heads: Sequence[str], rows: Iterable[tuple[str, Iterable[Html]]], css: str | None = None
) -> Html:
    """Return a table whose rows have a heading and ready cells."""
    head = element("thead", element("tr", *(element("th", name) for name in heads)))
    lines = (element("tr", element("th", name, scope="row"), *cells) for name, cells in rows)
    table = element("table", head, element("tbody", *lines), class_=css)
    return element("div", table, class_="wide")


def reasons_table(reasons: Mapping[str, str]) -> Html:
    """Return a table of names and their reasons."""
    return grid((), ((name, [element("td", why)]) for name, why in reasons.items()))


def folded(summary: object, *parts: object) -> Html:
    """Return content that is collapsed under a summary line and opens on a click."""
    return element("details", element("summary", summary), *parts)


def titled(heading: object, content: object, level: str = "h2") -> Html:
    """Return content under a heading; empty if there is no content."""
    return joined([element(level, heading), content]) if content else Html()


def listed(texts: Sequence[str]) -> Html:
    """Return texts as a list; empty if there are none."""
    return element("ul", *(element("li", text) for text in texts)) if texts else Html()


def paragraph(text: str, css: str | None = None) -> Html:
    """Return a text as a paragraph; empty if there is no text."""
    return element("p", text, class_=css) if text else Html()


def cards(facts: Mapping[str, object]) -> Html:
    """Return names and values as a row of small panels (cards)."""
    parts = (
        element(
            "div",
            element("b", value if isinstance(value, Html) else shown(value)),
            element("span", name),
        )
        for name, value in facts.items()
    )
    return element("div", *parts, class_="cards")


def summary(look: Mapping[str, Any]) -> Html:
    """Return the summary at the top of a report: one number, one sentence, one next step.

    Args:
        look: Values of the summary: ``state`` (``good``, ``poor`` or ``bad``), ``number``, ``of``
            (the noun that follows the number), ``text``, ``next_step`` (may be empty).
    """
    step = look["next_step"]
    return filled(
        "look",
        # A word from the data is never used directly as a CSS class.
        state=look["state"] if look["state"] in ("good", "poor", "bad") else "",
        number=shown(look["number"]),
        of=look["of"],
        text=look["text"],
        step=["Next: ", step_text(step)] if step else "Nothing to do.",
    )


def spark(lines: Sequence[Sequence[float | None]]) -> Html:
    """Return a small line chart of values; a None breaks its line. Empty without two values."""
    given = [value for line in lines for value in line if value is not None]
    if len(given) < 2:
        return Html()
    low, high = min(given), max(given)
    up = (_HIGH - 2) / ((high - low) or 1)
    flat = 0 if high > low else _HIGH / 2
    paths = []
    for line in lines:
        across, pen, steps = _WIDE / max(len(line) - 1, 1), "M", list[str]()
        for index, value in enumerate(line):
            if value is not None:
                y = _HIGH - 1 - flat - (value - low) * up
                steps.append(f"{pen}{index * across:.0f} {y:.1f}")
            pen = "M" if value is None else "L"
        paths.append(element("path", d="".join(steps)))
    return _drawing(paths, "spark", preserveAspectRatio="none", aria_hidden="true")


def small_bars(values: Sequence[float], texts: Sequence[str], most: int, *, is_bad: bool) -> Html:
    """Return a small bar chart of values, with the latest at the right.

    Args:
        values: Heights, oldest first; 0 or more.
        texts: Text for each bar, shown when the pointer is on the bar.
        most: Maximum number of bars; the latest value is always in the last position.
        is_bad: Whether a value above zero is bad.
    """
    largest, wide = max(values, default=0) or 1, _WIDE / most
    drawn = []
    for index, (value, text) in enumerate(zip(values, texts, strict=True), most - len(values)):
        height = max(1.0, value / largest * _HIGH)
        drawn.append(
            element(
                "rect",
                element("title", text),
                x=f"{index * wide:.1f}",
                y=f"{_HIGH - height:.1f}",
                width=f"{wide - 1.5:.1f}",
                height=f"{height:.1f}",
                class_="base" if not value else "bad" if is_bad else None,
            )
        )
    return _drawing(
        drawn, "bars", preserveAspectRatio="xMinYMid", role="img", aria_label="; ".join(texts)
    )


def _drawing(shapes: Sequence[Html], css: str, **attributes: object) -> Html:
    return element("svg", *shapes, class_=css, viewBox=f"0 0 {_WIDE:.0f} {_HIGH:.0f}", **attributes)
