"""The page of a report: plain values to HTML. Pure.

Every number and text that stands there is one of the data, and says which: ``data-at`` is its place,
such as ``series/0/rows``. So page and JSON can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..model.html import Html, element, joined
from ..model.texts import counted, moment
from .heat import MONTHS_OF_YEAR, STATES, by_year
from .page import DATA_ID, page

HEAT_ID = "heat"
STYLE = """
.cards { display: flex; flex-wrap: wrap; gap: .5rem; margin: .75rem 0; }
.cards > div { background: var(--panel); border-radius: .4rem; padding: .5rem .8rem; min-width: 7rem; }
.cards b { display: block; font-size: 1.15rem; font-variant-numeric: tabular-nums; }
.cards > div > span { color: var(--faint); font-size: .85rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; } code { overflow-wrap: anywhere; }
details { margin: .5rem 0; } summary { cursor: pointer; color: var(--accent); }
.heat td { padding: 0; width: 1.9rem; height: 1.5rem; text-align: center; vertical-align: middle;
  border: 2px solid var(--paper); font: 600 13px ui-monospace, monospace; }
.heat thead th { font-weight: 400; font-size: .8rem; color: var(--faint); padding: 0 .2rem;
  text-align: center; border: 0; }
.heat tbody th { font-weight: 400; padding: 0 .5rem 0 0; border: 0; }
.key { display: flex; flex-wrap: wrap; gap: .25rem 1rem; font-size: .85rem; padding: 0; list-style: none; }
.key i { display: inline-block; width: 1.5rem; height: 1.4rem; text-align: center; margin-right: .4rem;
  border-radius: .2rem; vertical-align: middle; font: 600 13px/1.4rem ui-monospace, monospace; }
.s-final { background: var(--c-final); color: var(--on-final); }
.s-provisional { background: var(--c-provisional); color: var(--on-provisional); }
.s-suspect { background: var(--c-suspect); color: var(--on-suspect); }
.s-partial { background: var(--c-partial); color: var(--on-partial); }
.s-holes { background: var(--c-holes); color: var(--on-holes); }
.s-empty { background: var(--c-empty); color: var(--on-empty); }
.s-never { background: var(--c-never); color: var(--on-never); box-shadow: inset 0 0 0 1px var(--line); }
#heat > div { display: flex; width: max-content; } canvas { display: block; }
.names { position: sticky; left: 0; background: var(--paper); }
.picture > svg { min-width: 42rem; }
.short td { white-space: nowrap; }
:root { --c-final: #2f7d5b; --on-final: #d8efe4; --c-provisional: #8fc7ee; --on-provisional: #10344d;
  --c-suspect: #b42318; --on-suspect: #fff; --c-partial: #e9c46a; --on-partial: #3d2c00;
  --c-holes: #9ccbb2; --on-holes: #123526; --c-empty: #d9dde3; --on-empty: #39424e;
  --c-never: transparent; --on-never: var(--faint); }
@media (prefers-color-scheme: dark) { :root { --c-final: #2c7a58; --c-provisional: #3d7fae;
  --on-provisional: #eaf5fd; --c-suspect: #d9503f; --c-partial: #a8811f; --on-partial: #fff6dc;
  --c-holes: #55917a; --on-holes: #06140e; --c-empty: #3a4350; --on-empty: #c3cbd6; } }
.key li { padding-left: 2rem; text-indent: -2rem; }
.key i { text-indent: 0; }
@media (max-width: 40rem) { body { padding: 1rem .6rem 2rem; } th, td { padding-right: .5rem; }
  .heat td { width: 1.4rem; padding: 0; } .heat thead th { font-size: .65rem; padding: 0; } }
"""
# Draws the map: the names of the rows, which stay in sight, and beside them a coloured cell for each
# month with its sign on it, in the colours of the page. Browsers bound the size of a canvas: it is drawn
# in pieces.
SCRIPT = f"""
(() => {{
  const map = JSON.parse(document.getElementById("{DATA_ID}").textContent).heat;
  const place = document.getElementById("{HEAT_ID}");
  if (!place || !map.rows.length) return;
  const [year, month] = map.first.split("-").map(Number), months = map.rows[0].cells.length;
  const high = 16, top = 18, piece = 250, label = place.clientWidth < 600 ? 100 : 150;
  const wide = Math.max(8, Math.min(16, Math.floor((place.clientWidth - label) / months)));
  const ratio = map.rows.length > 1000 ? 1 : devicePixelRatio || 1;
  const named = i => new Date(Date.UTC(year, month - 1 + i)).toISOString().slice(0, 7);
  const pen = (canvas, width, height) => {{
    canvas.width = width * ratio; canvas.height = height * ratio;
    canvas.style.width = `${{width}}px`; canvas.style.height = `${{height}}px`;
    const brush = canvas.getContext("2d");
    brush.scale(ratio, ratio); brush.textBaseline = "middle"; brush.font = "12px system-ui, sans-serif";
    return brush;
  }};
  const draw = ({{rows, names, cells}}) => {{
    const style = getComputedStyle(document.body), ink = name => style.getPropertyValue(name).trim();
    const height = top + rows.length * high, paint = {{}};
    for (const [sign, name] of Object.entries(map.signs))
      paint[sign] = [ink(`--c-${{name}}`), ink(`--on-${{name}}`)];
    const left = pen(names, label, height), right = pen(cells, months * wide, height);
    left.fillStyle = ink("--ink"); right.fillStyle = ink("--faint");
    for (let i = (13 - month) % 12; i < months; i += 12)
      right.fillText(named(i).slice(0, 4), i * wide, top / 2);
    right.textAlign = "center"; right.font = "600 10px ui-monospace, monospace";
    rows.forEach((row, r) => {{
      const y = top + r * high;
      left.fillText(row.name, 0, y + high / 2, label - 6);
      for (let i = 0; i < months; i++) {{
        const sign = row.cells[i]; if (sign === " ") continue;
        right.fillStyle = paint[sign][0]; right.fillRect(i * wide, y, wide - 1, high - 1);
        right.fillStyle = paint[sign][1]; right.fillText(sign, (i + 0.5) * wide - 0.5, y + high / 2);
      }}
    }});
  }};
  const all = [];
  for (let first = 0; first < map.rows.length; first += piece) {{
    const one = {{rows: map.rows.slice(first, first + piece)}}, line = document.createElement("div");
    for (const name of ["names", "cells"]) {{
      one[name] = document.createElement("canvas"); one[name].className = name; line.append(one[name]);
    }}
    one.cells.addEventListener("pointermove", event => {{
      const row = one.rows[Math.floor((event.offsetY - top) / high)];
      const at = Math.floor(event.offsetX / wide), sign = row && row.cells[at];
      one.cells.title = sign ? `${{row.name}} ${{named(at)}}: ${{map.signs[sign]}}` : "";
    }});
    place.append(line); all.push(one); draw(one);
  }}
  place.scrollLeft = place.scrollWidth;
  place.dataset.cell = JSON.stringify({{top, wide, high}});
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => all.forEach(draw));
}})();
"""
# Columns of numbers, and of texts that are broken.
STYLE += "".join(
    f".n{place} td:nth-child({place}) {{ text-align: right; }} "
    f".t{place} td:nth-child({place}) {{ white-space: normal; min-width: 15rem; }}\n"
    for place in range(1, 16)
)


class Values:
    """Plain values that are shown, each with its place.

    Attributes:
        data: a part of what the page has as JSON.
        at: its place.
    """

    def __init__(self, data: Any, at: str = "") -> None:
        self.data, self.at = data, at

    def of(self, *path: str | int) -> Values:
        """Return the part at a path."""
        data = self.data
        for key in path:
            data = data[key]
        return Values(data, "/".join(filter(None, (self.at, *map(str, path)))))

    def each(self, *path: str | int) -> Iterator[Values]:
        """Yield the entries of the list, or the values of the mapping, at a path."""
        part = self.of(*path)
        keys: Iterable[str | int] = (
            part.data if isinstance(part.data, dict) else range(len(part.data))
        )
        for key in keys:
            yield part.of(key)

    def show(self, *path: str | int, as_text: Callable[[Any], str] | None = None) -> Html:
        """Return the value at a path, and where it stands in the data."""
        part = self.of(*path)
        return element("span", (as_text or shown)(part.data), data_at=part.at)


def shown(value: Any) -> str:
    """Return a plain value as a page has it: whole numbers with commas, all others as they are."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def page_of(data: dict[str, Any], pictures: Sequence[Html | None]) -> str:
    """Return the page of a report.

    Args:
        data: as :class:`~.report.StoredReport` has it.
        pictures: a chart for each series; nothing where the report is of everything.
    """
    values = Values(data)
    subject = data["subject"]
    name = subject or "everything that is stored"
    head = [
        element("h1", values.show("subject") if subject else "All that is stored"),
        element("p", "made ", values.show("made", as_text=moment), " UTC by onetape ",
                values.show("onetape"), "; no vendor was asked", class_="faint"),
    ]  # fmt: skip
    if subject:
        parts = [
            part
            for place in range(len(data["series"]))
            for part in _series(values.of("series", place), pictures[place])
        ]
        body = [*head, *parts, *_incidents(values), *_sources(values.of("sources"))]
        return page(f"{name} · report", element("main", *body), style=STYLE, data=data)
    body = [*head, *_summary(values), *heat_shown(values.of("heat")), *_incidents(values)]
    body += [*_all_series(values), *_gaps(values)]
    return page(f"{name} · report", element("main", *body), style=STYLE, script=SCRIPT, data=data)


# --- one series ------------------------------------------------------------------------------


def _series(one: Values, picture: Html | None) -> Iterator[Html]:
    data = one.data
    lane = [" · lane ", one.show("lane")] if data["lane"] else []
    other = "" if data["answers"] else ", kept beside the series that answers by the rules"
    if lane or other:
        yield element("h2", one.show("symbol"), " ", one.show("timeframe"), *lane, other)
    yield from problems(one)
    quality = data["quality"]
    facts: list[tuple[str, object]] = []
    if quality is not None:
        facts = [
            ("bars", one.show("quality", "rows")),
            ("first", one.show("quality", "first", as_text=moment)),
            ("last", one.show("quality", "last", as_text=moment)),
            ("quality", one.show("quality", "score")),
        ]
    facts += [
        ("vendors", one.show("vendors", as_text=_joined_names)),
        ("confirmed by a second vendor", one.show("confirmed")),
        ("contradicted", one.show("contradicted")),
    ]
    yield cards(facts)
    if picture is not None:
        yield element("div", picture, class_="wide picture")
    if data["fingerprint"]:
        yield element("p", "fingerprint of these bars ", element("code", one.show("fingerprint")))
    yield from _years(one.of("heat"))
    yield from _quality(one)
    yield element("h3", "Gaps")
    yield from _gap_list(list(one.each("gaps", "gaps")), sum(data["gaps"]["counts"].values()))
    yield from _coverage(one)
    yield from _proof(one)
    yield from _commits(one)


def problems(one: Values) -> Iterator[Html]:
    """Yield what could not be read of a series."""
    for part in one.of("problems").data:
        yield element("p", f"{part} cannot be read: ", one.show("problems", part), class_="bad")


def cards(facts: Iterable[tuple[str, object]]) -> Html:
    """Return names and values as a row of small panels."""
    parts = (element("div", element("b", value), element("span", name)) for name, value in facts)
    return element("div", *parts, class_="cards")


def _years(heat: Values) -> Iterator[Html]:
    """Yield the map of one series: a row for each year, a cell for each month."""
    names = {state.sign: state for state in STATES}
    yield element("h3", "Coverage by month")
    for row in heat.data["rows"]:
        lines = [
            element(
                "tr",
                element("th", year, scope="row"),
                *(
                    element("td", sign, class_=f"s-{names[sign].name}", title=names[sign].text)
                    for sign in cells
                ),
            )
            for year, cells in by_year(heat.data["first"], row["cells"])
        ]
        head = element("thead", element("tr", *(element("th", m) for m in ("", *MONTHS_OF_YEAR))))
        whole = element("table", head, element("tbody", *lines), class_="heat")
        yield element("div", whole, class_="wide")
    yield _key()


def _key() -> Html:
    """Return what the signs of a map mean."""
    parts = (
        element(
            "li", element("i", state.sign, class_=f"s-{state.name}"), f"{state.name}: {state.text}"
        )
        for state in STATES
    )
    return element("ul", *parts, class_="key")


def _quality(one: Values) -> Iterator[Html]:
    quality = one.data["quality"]
    if quality is None:
        return
    yield element("h3", "Findings")
    findings = list(one.each("quality", "findings"))
    if findings:
        yield records(findings, _FINDINGS)
    else:
        yield element("p", "none", class_="good")
    if count := len(quality["not_checked"]):
        yield folded(
            f"{counted(count, 'check')} did not run", reasons_table(one, "quality", "not_checked")
        )


def _gap_list(gaps: Sequence[Values], total: int) -> Iterator[Html]:
    if not total:
        yield element("p", "none", class_="good")
        return
    yield records(gaps, _GAPS)
    yield more_than(total, len(gaps))


def _coverage(one: Values) -> Iterator[Html]:
    spans = list(one.each("coverage"))
    total = len(spans) + one.data["coverage_more"]
    yield folded(
        f"Spans: {counted(total, 'span')}, newest first",
        records(spans[::-1], _SPANS),
        more_than(total, len(spans)),
    )


def _proof(one: Values) -> Iterator[Html]:
    compared = list(one.each("comparisons"))
    if not compared:
        return
    total = len(compared) + one.data["comparisons_more"]
    yield element("h3", "Compared with second vendors: ", one.show("proof"))
    yield records(compared, _COMPARISONS)
    yield more_than(total, len(compared))


def _commits(one: Values) -> Iterator[Html]:
    commits = list(one.each("commits"))
    total = len(commits) + one.data["commits_more"]
    yield folded(
        f"Log: {counted(total, 'commit')}, newest first",
        records(commits, _COMMITS),
        more_than(total, len(commits)),
    )
    kept = one.data["quarantined"]
    if kept and (kept["rows"] or kept["files"]):
        aside = one.of("quarantined")
        yield element("h3", "Kept aside")
        yield element("p", aside.show("rows"), " rows that cannot be bars")
        if kept["files"]:
            yield records(list(aside.each("files")), _KEPT_FILES)


def _sources(sources: Values) -> Iterator[Html]:
    data = sources.data
    yield element("h2", "Sources by the rules")
    if data["route"]:
        yield records(list(sources.each("route")), _ROUTE)
    if data["why_not"]:
        yield element("p", sources.show("why_not"), class_="poor")
    if count := len(data["unasked"]):
        yield folded(f"{counted(count, 'vendor')} not asked", reasons_table(sources, "unasked"))


# --- everything ------------------------------------------------------------------------------


def _summary(values: Values) -> Iterator[Html]:
    data = values.data
    yield element("p", counted(len(data["series"]), "series"), data_count="series")
    if data["samples"]:
        words = f"left out: {counted(data['samples'], 'series')} of samples; each has a report of its own"
        yield element("p", words, class_="faint")
    elif not data["series"]:
        yield element("p", "Nothing is stored in this cache.", class_="poor")


def heat_shown(heat: Values) -> Iterator[Html]:
    """Yield a map of many series, which :data:`SCRIPT` draws, and the same as a table."""
    rows = heat.data["rows"]
    if not rows:
        return
    yield element("h2", "Coverage by month")
    yield _key()
    words = f"{counted(len(rows), 'series')} by month; the table below has the same in numbers"
    yield element("div", id=HEAT_ID, class_="wide", role="img", aria_label=words)
    names = [state.name for state in STATES]
    # Bare rows: of five hundred series this table is most of the page.
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


def _incidents(values: Values) -> Iterator[Html]:
    incidents = values.of("incidents")
    if incidents.data:
        yield element("h2", "Incidents")
        yield element("ul", *(element("li", incidents.show(i)) for i in range(len(incidents.data))))


def _all_series(values: Values) -> Iterator[Html]:
    if not values.data["series"]:
        return
    yield element("h2", "Series")
    yield records(list(values.each("series")), _SERIES)
    for one in values.each("series"):
        if one.data["problems"]:
            yield element("p", joined([one.show("symbol"), " ", one.show("timeframe")]))
            yield from problems(one)


def _gaps(values: Values) -> Iterator[Html]:
    yield element("h2", "Gaps")
    gaps = list(values.each("gaps"))
    if not gaps:
        yield element("p", "none", class_="good")
        return
    yield records(gaps, (Column("symbol", "symbol"), *_SERIES_NAME, *_GAPS))
    yield more_than(len(gaps) + values.data["gaps_more"], len(gaps))


# --- parts that pages share ------------------------------------------------------------------


class Column(NamedTuple):
    """A column of a table whose rows are entries of the data.

    Attributes:
        name: its heading; with ``#`` at the end it is of numbers, with ``_`` of texts that are broken.
        key: where its value stands in an entry, such as ``health/ready``.
        as_text: how it is written.
    """

    name: str
    key: str
    as_text: Callable[[Any], str] | None = None


def records(entries: Sequence[Values], columns: Sequence[Column]) -> Html:
    """Return a table with a row for each entry.

    Its row names the entry (``data-at``) and its heading the value (``data-key``): a table of many rows
    stays small.
    """
    head = (
        element("th", one.name.rstrip("#_"), data_key=one.key, class_=_number(one.name))
        for one in columns
    )
    keys = [one.key.split("/") for one in columns]
    lines = []
    for entry in entries:
        cells = [
            element("td", (one.as_text or shown)(entry.of(*key).data))
            for one, key in zip(columns, keys, strict=True)
        ]
        lines.append(element("tr", *cells, data_at=entry.at))
    kinds = {"#": "n", "_": "t"}
    classes = [
        f"{kinds[one.name[-1]]}{place}"
        for place, one in enumerate(columns, 1)
        if one.name[-1] in kinds
    ]
    table = element(
        "table",
        element("thead", element("tr", *head)),
        element("tbody", *lines),
        class_=" ".join(["short", *classes]),
    )
    return element("div", table, class_="wide")


def _number(name: str) -> str | None:
    return "number" if name.endswith("#") else None


def reasons_table(values: Values, *path: str | int) -> Html:
    """Return a mapping of names to reasons as a table."""
    part = values.of(*path)
    rows = (
        element("tr", element("th", name), element("td", part.show(name))) for name in part.data
    )
    return element("div", element("table", element("tbody", *rows)), class_="wide")


def more_than(total: int, listed: int) -> Html:
    """Return how many of a list are not shown; nothing where all are."""
    if total <= listed:
        return Html()
    return element("p", f"and {total - listed:,} more, of {total:,}", class_="faint")


def folded(summary: object, *parts: object) -> Html:
    """Return parts that open below a line."""
    return element("details", element("summary", summary), *parts)


def _spaced(name: Any) -> str:
    return str(name).replace("_", " ")


def _or_never(due: Any) -> str:
    return moment(due) if due else "never"


def _joined_names(names: Any) -> str:
    return ", ".join(names) or "–"


def counts_text(counts: Mapping[str, int]) -> str:
    """Return counts by name in one line: ``never asked 2, vendor hole 1``."""
    return ", ".join(f"{_spaced(name)} {count:,}" for name, count in counts.items()) or "–"


_RANGE = (Column("from", "start", moment), Column("up to", "end", moment))
_SERIES_NAME = (Column("timeframe", "timeframe"), Column("lane", "lane"))
_GAPS = (
    *_RANGE,
    Column("bars#", "bars"),
    Column("class", "class", _spaced),
    Column("evidence_", "evidence"),
    Column("what to do_", "next_step"),
)
_FINDINGS = (
    Column("severity", "severity"),
    Column("check", "check"),
    Column("bars#", "rows"),
    Column("evidence_", "evidence"),
    Column("what to do_", "next_step"),
)
_SPANS = (
    *_RANGE,
    Column("state", "state"),
    Column("vendor", "vendor"),
    Column("due again", "next_due", _or_never),
    Column("why_", "reason"),
)
_COMPARISONS = (
    *_RANGE,
    Column("beside", "vendor"),
    Column("bars#", "bars"),
    Column("confirmed#", "confirmed"),
    Column("contradicted#", "contradicted"),
    Column("when", "at", moment),
    Column("remarks_", "said"),
)
_COMMITS = (
    Column("version#", "generation"),
    Column("when", "at", moment),
    Column("vendor", "vendor"),
    *_RANGE,
    Column("added#", "added"),
    Column("changed#", "changed"),
    Column("removed#", "removed"),
    Column("deleted by", "deleted"),
)
_KEPT_FILES = (Column("damaged file", "name"), Column("why_", "reason"))
_ROUTE = (
    Column("vendor", "vendor"),
    Column("prices", "adjustment"),
    Column("its symbol", "spelling"),
    Column("days back#", "depth_days"),
    Column("ready", "health/ready"),
    Column("last failure_", "health/reason"),
)
_SERIES = (
    Column("symbol", "symbol"),
    *_SERIES_NAME,
    Column("bars#", "rows"),
    Column("first", "first", moment),
    Column("last", "last", moment),
    Column("vendors", "vendors", _joined_names),
    Column("quality#", "score"),
    Column("errors#", "findings/error"),
    Column("warnings#", "findings/warning"),
    Column("confirmed#", "confirmed"),
    Column("contradicted#", "contradicted"),
    Column("gaps", "gaps", counts_text),
)
