"""Coverage by month on a page: a table of years for one series, a drawn map for many. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ..model.html import Html, element, joined
from ..model.texts import counted
from .heat import MONTHS_OF_YEAR, STATES, by_year
from .parts import Values, folded

# The element in which the page's script draws the map of many series.
HEAT_ID = "heat"
_TITLE = "Coverage by month"


def coverage_by_year(heat: Values) -> Iterator[Html]:
    """Yield the heat map of one series as a table with a row for each year and a cell for each month."""
    states = {state.sign: state for state in STATES}
    head = element("thead", element("tr", *(element("th", m) for m in ("", *MONTHS_OF_YEAR))))
    yield element("h3", _TITLE)
    for row in heat.data["rows"]:
        lines = []
        for year, signs in by_year(heat.data["first"], row["cells"]):
            shown = (states[sign] for sign in signs)
            cells = (
                element("td", state.sign, class_=f"s-{state.name}", title=state.text)
                for state in shown
            )
            lines.append(element("tr", element("th", year, scope="row"), *cells))
        table = element("table", head, element("tbody", *lines), class_="heat")
        yield element("div", table, class_="wide")
    yield _legend()


def heat_shown(heat: Values) -> Iterator[Html]:
    """Yield a heat map of many series, drawn by the script, and the same data as a table."""
    rows = heat.data["rows"]
    if not rows:
        return
    yield element("h2", _TITLE)
    yield _legend()
    words = f"{counted(len(rows), 'series')} by month; the table below has the same in numbers"
    yield element("div", id=HEAT_ID, class_="wide", role="img", aria_label=words)
    names = [state.name for state in STATES]
    # Plain rows, because with five hundred series this table is most of the page.
    lines = (
        element(
            "tr",
            element("th", row["name"]),
            *(element("td", row["counts"].get(name, "")) for name in names),
        )
        for row in rows
    )
    head = element("tr", element("th", "months"), *(element("th", name) for name in names))
    table = element("table", element("thead", head), element("tbody", *lines), id="months")
    span = joined([heat.show("first"), " to ", heat.show("last")])
    yield folded(joined(["Months by state, ", span]), element("div", table, class_="wide"))


def _legend() -> Html:
    lines = (
        element(
            "li", element("i", state.sign, class_=f"s-{state.name}"), f"{state.name}: {state.text}"
        )
        for state in STATES
    )
    return element("ul", *lines, class_="key")
