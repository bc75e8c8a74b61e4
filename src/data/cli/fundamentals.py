"""``onetape fundamentals``: a company or coin, field by field, with the vendor of each."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import AllProvidersFailedError
from ..model.instant import SECOND_MS, parse_iso
from .arguments import add_timeout, command, listed
from .output import busy
from .report import Report, Shown
from .tables import TextTable, styled

if TYPE_CHECKING:
    pass

_SCALES = ((1e12, "T"), (1e9, "B"), (1e6, "M"))
_LONG = ("description", "website", "symbol")
_DAY_S, _HOUR_S, _MINUTE_S = 86_400, 3_600, 60


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    parser.add_argument("symbol", help="such as AAPL, BRK.B, VOD.L, BTCUSDT")
    parser.add_argument("--provider", type=listed, metavar="A,B", help="use only these vendors")
    parser.add_argument(
        "--type", default="general", dest="data_type", help="general, ratios, statements, ..."
    )
    parser.add_argument(
        "--strategy",
        default="priority_based",
        choices=("priority_based", "quality_based", "consensus"),
        help="how values of several vendors are combined; default: the first vendor in order",
    )
    parser.add_argument("--as-of", metavar="DATE", help="only data that was public by this date")
    parser.add_argument("--refresh", action="store_true", help="refetch even if fresh")
    add_timeout(
        parser,
        (
            "stop waiting for vendors after this time; default: time_budget_seconds in the "
            "fundamentals file (20)"
        ),
    )
    command(parser, run)


def run(args: argparse.Namespace) -> Report:
    """Return the record; the exit code is 1 if no vendor has any data.

    Raises:
        QueryError, ConfigError: The query or the configuration is invalid.
    """
    from ..fundamentals.request import Wish
    from ..wiring import build

    wish = Wish(
        args.provider,
        args.refresh,
        args.strategy,
        args.data_type,
        as_of=args.as_of,
        timeout=args.timeout,
    )
    services = build(args.cache_dir, args.config)
    try:
        with busy(args, "fetching fundamentals"):
            record = services.fundamentals.find(args.symbol, wish)
    except AllProvidersFailedError as error:
        return Report({}, errors=[error], ok=False)
    return Report(record, _record_shown(record))


def _record_shown(record: Mapping[str, Any]) -> Shown:
    metadata = record["_metadata"]
    yield styled(f"{record['symbol']}  {record.get('company_name', '')}", "bold")
    rows = [
        _row(name, record[name], facts, metadata)
        for name, facts in metadata["fields"].items()
        if name not in _LONG
    ]
    if rows:
        yield TextTable(["field", "value#", "unit", "source", "period?", "age#?"], rows)
    for title, lines in _sections_below_table(metadata):
        yield ""
        yield styled(title, "bold")
        for line in lines:
            yield f"  {line}"


def _row(name: str, value: Any, facts: Mapping[str, str], metadata: Mapping[str, Any]) -> list[Any]:
    unit = facts.get("currency") or facts.get("unit", "").replace("text", "")
    period = f"{facts.get('period', '')} {facts.get('period_end', '')}".strip()
    age = _age(facts["fetched_at"], metadata["combination_timestamp"])
    is_percent = facts.get("unit") == "fraction"
    text = f"{value:.2%}" if is_percent and not isinstance(value, str) else number(value)
    return [name, text, "" if is_percent else unit, facts["source"], period, age]


def _sections_below_table(metadata: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Yield the sections below the table, with their titles."""
    conflicts = [
        f"{c['field']}: {c['vendor']} {number(c['value'])} {c['currency']}".rstrip()
        + f", {c['chosen_vendor']} {number(c['chosen'])} {c['chosen_currency']}".rstrip()
        + f" ({c['why']})"
        for c in metadata["conflicts"]
    ]
    stale = [v for v, facts in metadata["providers"].items() if facts["is_stale"]]
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
        "stale copies used instead": stale,
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
