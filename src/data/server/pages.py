"""The pages: what needs attention, and everything about one series. Texts are always escaped. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any
from urllib.parse import quote

from ..core.model.display.texts import counted, moment
from ..core.model.words.html import Html, element, escaped, joined, with_code
from ..core.model.words.printable import printable
from ..show.charts.pages import (
    as_data,
    cards,
    packaged,
    paragraph,
    records,
    shown,
    small_bars,
    titled,
)
from ..show.charts.pages import summary as summary_of
from ..show.charts.paints import styles

__all__ = ["asset", "board_page", "brief_page", "error_page", "page"]

# Number of rows of each table on the first page; the JSON of the page contains all of them.
_MOST, _MOST_NEVER = 100, 20
_NO_NIGHT = element(
    "p",
    with_code(
        "no run of populate, sync or validate is recorded yet: `onetape populate --symbols AAPL,MSFT` "
        "fills the cache, and `onetape sync` updates it each night"
    ),
    class_="faint",
)
_UNKNOWN = paragraph("not examined yet", "faint")
_NAME = {"symbol": "symbol", "timeframe": "timeframe", "lane": "lane"}
_NEEDS = {**_NAME, "why": "text", "what to do": "next_step"}
_STALE = {**_NAME, "last bar": "last", "bars behind": "behind", "what to do": "next_step"}
_NIGHTS = {"night": "night", "state": "state", "jobs": "text"}
_QUALITY = {"vendor": "vendor", "quality, oldest first": "score", "series failed": "failed"}
_CHECKS = {"what": "name", "state": "level", "finding": "text", "what to do": "next_step"}
_SERIES = {**_NAME, "bars": "rows", "first": "first", "last": "last", "quality": "score"} | {
    "vendors": "vendors", "gaps": "gaps",
}  # fmt: skip


def asset(name: str) -> tuple[str, str] | None:
    """Return the text and the media type of a script or style sheet of the pages, or None."""
    if name == "page.css":
        return packaged("page.css") + styles() + _own("server.css"), "text/css"
    if name == "live.js":
        return _own(name), "text/javascript"
    if name in ("lightweight-charts.js", "chart.js", "report.js"):
        return packaged(name), "text/javascript"
    return None


@cache
def _own(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def page(
    title: str,
    main: object,
    data: Mapping[str, Any],
    *,
    scripts: Sequence[str] = (),
    symbol: str = "",
) -> str:
    """Return a whole page, whose scripts and styles are files of the server.

    Args:
        title: Title of the browser window.
        main: Content of the page.
        data: Maps the id of each data element to its values, which JSON can represent.
        scripts: Names of the packaged scripts that run at the end of the page, in this order.
        symbol: Symbol to whose brief the page links; empty for none.
    """
    links = [element("a", "onetape", href="/")]
    if symbol:
        links.append(element("a", f"brief on {symbol}", href=f"/brief/{quote(symbol, safe='')}"))
    values = [
        element("script", as_data(one), id=name, type="application/json")
        for name, one in data.items()
    ]
    sources = [element("script", src=f"/static/{name}") for name in (*scripts, "live.js")]
    parts = {
        "links": joined(links),
        "main": main,
        "data": joined(values),
        "scripts": joined(sources),
    }
    filled = {name: escaped(part) for name, part in parts.items()}
    return Template(_own("page.html")).substitute(filled, title=escaped(printable(title)))


def board_page(board: Mapping[str, Any]) -> str:
    """Return the first page: what needs attention, worst first, then vendors, series and places."""
    checks, nights = board["checks"], board["nights"]["nights"]
    faults = checks and [check for check in checks if check["level"] == "fault"]
    never = [need for need in board["needs"] or () if need["kind"] == "never"]
    needs = board["needs"] and board["needs"][len(never) :]
    sections = {
        # Only the first of them, so that they do not hide wrong bars.
        "Never had a bar": records(never[:_MOST_NEVER], _NEEDS, len(never)),
        "To look at, the worst first": _linked(needs, _NEEDS),
        "To fix here": _checks(faults, "name"),
        "Stale": element("div", _linked(board["stale"], _STALE), class_="old"),
        "The last nights": _nights(board["nights"]),
        "Quality by vendor": _quality(board["nights"]),
        "Vendors": _checks(checks, "vendors"),
        "Series": _linked(board["series"], _SERIES),
        "Health": _checks(checks, "health"),
        "Disk": _checks(checks, "places"),
    }
    quality = board["nights"]["vendors"]
    empty = {"Never had a bar": never, "Stale": board["stale"], "Quality by vendor": quality}
    counts = {name.replace("_", " "): count for name, count in board["counts"].items()}
    made = f"series as of {moment(board['made'])}" if board["made"] else "series not examined yet"
    main = [
        element("h1", "What needs me"),
        paragraph(f"as of {moment(board['as_of'])} UTC; {made}; no vendor was queried", "faint"),
        summary_of(board["look"]) if board["look"] else paragraph(board["problem"], "poor"),
        cards(counts | {"last night": nights[-1]["state"] if nights else None}),
        *(titled(name, content) for name, content in sections.items() if empty.get(name, True)),
    ]
    return page("What needs me · onetape", joined(main), {})


def _nights(nights: Mapping[str, Any]) -> Html:
    """Return the last nights as a table, the latest first."""
    damaged, problem = nights["damaged"], nights["problem"]
    text = f"{counted(damaged, 'line')} of the record cannot be read" if damaged else problem
    table = records(reversed(nights["nights"]), _NIGHTS) if nights["nights"] else _NO_NIGHT
    return joined([*([] if problem else [table]), paragraph(text, "poor")])


def _quality(nights: Mapping[str, Any]) -> Html:
    """Return the quality of each vendor's bars in the last nights as a table with small charts."""
    days = [night["night"] for night in nights["nights"]]
    rows, drawn = list[dict[str, Any]](), list[Html]()
    for vendor in nights["vendors"]:
        scores = ["–" if score is None else f"{score:.2f}" for score in vendor["score"]]
        texts = [f"{day}: {score}" for day, score in zip(days, scores, strict=True)]
        heights = [score or 0 for score in vendor["score"]]
        drawn.append(small_bars(heights, texts, len(days), is_bad=False))
        failed = list(map(shown, vendor["failed"]))
        rows.append({"vendor": vendor["vendor"], "score": scores, "failed": failed})
    return records(rows, _QUALITY, links=drawn)


def _checks(checks: Sequence[Mapping[str, Any]] | None, section: str) -> Html:
    """Return checks as a table: those of one section or, if it is ``name``, all with their sections."""
    if checks is None:
        return _UNKNOWN
    rows = [
        {
            "name": check["name"] if section == "name" else check["name"].partition(" ")[2],
            "level": check["level"],
            "text": check["sentence"],
            "next_step": check["remedy"],
        }
        for check in checks
        if section in ("name", check["name"].partition(" ")[0])
    ]
    return records(rows, _CHECKS)


def _linked(rows: Sequence[Mapping[str, Any]] | None, columns: Mapping[str, str]) -> Html:
    """Return rows as a table in which each has a link to the page of its series."""
    if rows is None:
        return _UNKNOWN
    few = rows[:_MOST]
    return records(few, columns, len(rows), [_link(row) for row in few])


def _link(row: Mapping[str, Any]) -> Html:
    path = "/".join(quote(row[name], safe="") for name in ("symbol", "timeframe"))
    return element("a", "open", href=f"/series/{path}")


def brief_page(title: str, text: str) -> str:
    """Return the page of a brief, whose text can be copied."""
    heading = element("h1", title)
    return page(f"{title} · onetape", joined([heading, element("pre", text, class_="brief")]), {})


def error_page(text: str, hint: str) -> str:
    """Return a page about a request that could not be answered."""
    step = element("p", with_code(hint), class_="faint") if hint else ""
    main = [element("h1", "No answer"), paragraph(text), step]
    return page("No answer · onetape", joined(main), {})
