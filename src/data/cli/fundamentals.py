"""``onetape fundamentals``: facts about a company, coin or future, each with its vendor."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..core.model.time.instant import SECOND_MS, parse_iso
from ..errors import AllProvidersFailedError, QueryError
from .answers import Provenance, attempts_shown, bars_table, dated, records
from .arguments import add_span, command, given, listed, option, usual
from .cached import manager_of
from .output import asking, busy
from .result import Report, Shown
from .tables import counted, milliseconds, percent, styled, table, titled

if TYPE_CHECKING:
    import pandas as pd

    from ..data_manager import DataManager

EXAMPLES = ("fundamentals AAPL --type statements", "fundamentals BTCUSDT --type funding")

_SCALES = ((1e12, "T"), (1e9, "B"), (1e6, "M"))
_LONG = ("description", "website", "symbol")
_DAY_S, _HOUR_S, _MINUTE_S = 86_400, 3_600, 60
_ACTIONS = "actions"
# Frames from filings, with their columns.
_FILINGS = {
    "announcements": "accepted timing session accession early_close? form? items?",
    "lines": "line value# unit period? end accepted? accession version#? form? derived? start? tag?",
}
# Figures of perpetual futures.
_FIGURES = ("funding", "open-interest", "long-short")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    option(parser, "symbol", "such as AAPL, BRK.B, VOD.L, BTCUSDT")
    option(
        parser,
        "timeframe? PERIOD",
        "for open-interest and long-short: interval such as 5m, 1h (default), 1d",
    )
    option(
        parser,
        "--type --what DATA_TYPE",
        (
            "general, ratios, statements, ...; actions: splits and dividends; from filings with the "
            f"SEC: {', '.join(_FILINGS)}; of a perpetual future: {', '.join(_FIGURES)}"
        ),
        default="general",
        dest="data_type",
    )
    option(parser, "--provider A,B", "use only these vendors", type=listed)
    option(
        parser,
        "--strategy",
        "how values of several vendors are combined (default: priority_based)",
        default="priority_based",
        choices=("priority_based", "quality_based", "consensus"),
    )
    option(parser, "--as-of --at DATE", "only data that was public by this date", dest="as_of")
    add_span(
        parser, "for actions the earliest, for figures 29 days ago, for announcements a year ago"
    )
    option(parser, "--refresh", "refetch even if fresh")
    usual(parser, "timeout rows")
    command(
        parser,
        run,
        (
            "Amounts of dividends are per share in terms of today's shares; `paid` is per share in "
            "terms of the shares on the ex-date."
        ),
    )


def run(args: argparse.Namespace) -> Report:
    """Return the facts; the exit code is 1 if no vendor has any, or some could not be fetched.

    Raises:
        QueryError, ConfigError: The query or the configuration is invalid.
    """
    is_frame = args.data_type == _ACTIONS or args.data_type in _FIGURES
    if args.data_type in _FILINGS:
        _refuse(args, ("timeframe", "provider"))
        return _filings(args)
    _refuse(args, ("as_of",) if is_frame else ("start", "end", "timeframe"))
    if args.data_type == _ACTIONS:
        return _actions(args)
    if is_frame:
        _refuse(args, ("provider",))
        return _figures(args)
    from ..core.interface import Wish
    from ..core.wiring import build

    wish = Wish(args.provider, args.refresh, **given(args, "strategy data_type as_of timeout"))
    services = build(args.cache_dir, args.config)
    try:
        with busy(args, "fetching fundamentals"):
            record = services.fundamentals.find(args.symbol, wish)
    except AllProvidersFailedError as error:
        return Report({}, errors=[error], ok=False)
    return Report(record, _record_shown(record))


def _refuse(args: argparse.Namespace, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(args, name) is not None:
            option = name if name == "timeframe" else f"--{name.replace('_', '-')}"
            raise QueryError(f"{option} does not apply to --type {args.data_type}")


# --- the fields of a record --------------------------------------------------------------------


def _record_shown(record: Mapping[str, Any]) -> Shown:
    metadata = record["_metadata"]
    yield styled(f"{record['symbol']}  {record.get('company_name', '')}", "bold")
    rows = [
        _field(name, record[name], facts, metadata["combination_timestamp"])
        for name, facts in metadata["fields"].items()
        if name not in _LONG
    ]
    if rows:
        yield table(rows, "field value# unit source period? age#?")
    for title, lines in _sections_below_table(metadata):
        yield ""
        yield styled(title, "bold")
        for line in lines:
            yield f"  {line}"


def _field(name: str, value: Any, facts: Mapping[str, str], now: str) -> dict[str, Any]:
    is_percent = facts.get("unit") == "fraction" and not isinstance(value, str)
    unit = facts.get("currency") or facts.get("unit", "").replace("text", "")
    return {
        "field": name,
        "value": f"{value:.2%}" if is_percent else number(value),
        "unit": "" if is_percent else unit,
        "source": facts["source"],
        "period": f"{facts.get('period', '')} {facts.get('period_end', '')}".strip(),
        "age": _age(facts["fetched_at"], now),
    }


def _sections_below_table(metadata: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Yield the sections below the table, with their titles."""
    conflicts = [
        f"{c['field']}: {c['vendor']} {number(c['value'])} {c['currency']}".rstrip()
        + f", {c['chosen_vendor']} {number(c['chosen'])} {c['chosen_currency']}".rstrip()
        + f" ({c['why']})"
        for c in metadata["conflicts"]
    ]
    withheld: dict[str, list[str]] = {}
    for fields in metadata.get("withheld", {}).values():
        for field, reason in fields.items():
            withheld.setdefault(reason, []).append(field)
    parts = {
        "conflicts": conflicts,
        "not trusted": [f"{d['field']}: {d['vendor']}, {d['reason']}" for d in metadata["dropped"]],
        f"not public by {metadata.get('as_of')}": [
            f"{reason}: {', '.join(fields)}" for reason, fields in withheld.items()
        ],
        "no answer": [f"{v}: {reason}" for v, reason in metadata["providers_failed"].items()],
        "stale copies used instead": [
            v for v, facts in metadata["providers"].items() if facts["is_stale"]
        ],
        "lacking": metadata["missing"],
    }
    yield from ((title, lines) for title, lines in parts.items() if lines)


def number(value: Any) -> str:
    """Format a value for display: large numbers in T, B or M; text is unchanged."""
    if isinstance(value, str):
        return value
    for scale, letter in _SCALES:
        if abs(value) >= scale:
            return f"{value / scale:,.2f}{letter}"
    return (
        f"{value:,.0f}" if value == round(value) else f"{value:,.{2 if abs(value) >= 10 else 4}f}"
    )


def _age(fetched_at: str, now: str) -> str:
    seconds = max(0, parse_iso(now) - parse_iso(fetched_at)) // SECOND_MS
    for length, letter in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "m")):
        if seconds >= length:
            return f"{seconds // length}{letter}"
    return "now"


# --- splits, dividends, and figures of futures -------------------------------------------------


def _actions(args: argparse.Namespace) -> Report:
    """Fetch splits and dividends; the exit code is 1 if no vendor answered for some ex-dates."""
    names = args.provider or [None]
    if len(names) > 1:
        raise QueryError(f"--type {_ACTIONS} takes one vendor, not {', '.join(names)}")
    manager, wish = manager_of(args, makes_folder=True), given(args, "start end timeout")
    with asking(args) as notes:
        frame = manager.get_actions(args.symbol, **wish, provider=names[0])
    provenance, rows = frame.attrs["onetape"], records(dated(frame))
    asset_class = manager.provider_selector.instrument(args.symbol).asset_class
    title = f"{provenance['symbol']} · {counted(len(rows), 'action')}"

    def shown() -> Shown:
        """Yield the actions, those that are not applied, and the requests."""
        yield table(
            rows, "ex_date kind ratio# amount# paid#? currency? pay_date? source? dispute?", title
        )
        for action in provenance["left_out"]:
            text = f"not applied: {action['type']} on {action['ex_date']}"
            yield styled(f"{text} ({action['source']}; {action['dispute']})", "yellow")
        if asset_class == "stock":
            yield from attempts_shown(provenance)
        else:
            text = f"{provenance['symbol']} is {asset_class}: only stocks have splits and dividends"
            yield styled(text, "dim")

    document = {"provenance": provenance, "rows": rows}
    return Report(document, shown, notes, ok=provenance["complete"])


def _filings(args: argparse.Namespace) -> Report:
    """Return announcements or statement lines from filings."""
    is_list = args.data_type == "announcements"
    _refuse(args, () if is_list else ("start", "end"))
    manager = manager_of(args, makes_folder=True)
    with busy(args, "reading filings"):
        known = manager if args.as_of is None else manager.at(args.as_of)
        get = known.announcements if is_list else known.statement_lines
        frame = get(args.symbol, **given(args, "start end timeout" if is_list else "timeout"))
    provenance, rows = frame.attrs["onetape"], records(frame)
    latest = rows[-args.rows :]
    count = counted(len(rows), "row")
    if len(latest) < len(rows):
        count = f"latest {len(latest)} of {count}"

    def shown() -> Shown:
        """Yield the latest rows."""
        title = f"{provenance['symbol']} · {provenance['company']} · {count} · times in UTC"
        cells = [row | {"value": number(row["value"])} if "value" in row else row for row in latest]
        yield table(cells, _FILINGS[args.data_type], title)

    return Report({"provenance": provenance, "rows": rows}, shown)


def _figures(args: argparse.Namespace) -> Report:
    """Fetch the figures of a future; the exit code is 1 if anything is missing."""
    manager, started = manager_of(args, makes_folder=True), time.perf_counter()
    with asking(args) as notes:
        frame = _fetch_figures(manager, args)
    provenance, seconds = frame.attrs["onetape"], time.perf_counter() - started
    return Report(
        lambda: {"provenance": provenance, "rows": records(frame)},
        _figures_shown(frame, provenance, args.rows, seconds),
        notes,
        ok=provenance["complete"],
    )


def _fetch_figures(manager: DataManager, args: argparse.Namespace) -> pd.DataFrame:
    options = {"timeout": args.timeout}
    bounds = args.start, args.end, args.refresh
    if args.data_type == "funding":
        return manager.get_funding_rate(args.symbol, *bounds, **options)
    is_interest = args.data_type == "open-interest"
    get: Callable[..., pd.DataFrame] = (
        manager.get_open_interest if is_interest else manager.get_long_short_ratio
    )
    return get(args.symbol, args.timeframe or "1h", *bounds, **options)


def _figures_shown(frame: pd.DataFrame, provenance: Provenance, rows: int, seconds: float) -> Shown:
    name = f"{provenance['symbol']} {provenance['measure'].replace('_', ' ')}"
    facts = [counted(provenance["rows"], "row"), f"{percent(provenance['from_cache'])} from cache"]
    yield titled(name, " · ".join([*facts, milliseconds(seconds)]))
    yield ""
    if len(frame):
        yield bars_table(frame, rows)
        yield ""
    else:
        yield styled("no rows in this range", "dim")
    yield from attempts_shown(provenance)
