"""``onetape verify``: compares the cache with its vendors now, or two vendors with each other."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..core.model.time.instant import iso
from ..core.prices.differences import GRAVE
from ..errors import QueryError
from .arguments import add_timeout, command, given, option
from .cached import manager_of
from .output import busy
from .result import Line, Report, Shown
from .tables import TextTable, aligned, counted, percent, styled, table, titled

if TYPE_CHECKING:
    from rich.text import Text

    from ..core.model.market.bars import Bar
    from ..core.prices.differences import Difference
    from ..jobs.validation.verify import Comparison, Verification

EXAMPLES = ("verify AAPL 1d", "verify AAPL 1d --against yahoo")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    option(parser, "symbol?", "such as BTCUSDT, AAPL, BRK.B, VOD.L, ^VIX")
    option(parser, "timeframe?", "such as 1m, 1h, 1d, 1w, 1M")
    option(
        parser,
        "--start START",
        "date (whole session) or UTC time, inclusive; default: the last 500 bars",
    )
    option(parser, "--end END", "date (whole session) or UTC time, inclusive; default: now")
    option(parser, "--provider A", "compare only cached bars from vendor A")
    option(parser, "--against B", "compare vendor A with vendor B instead of the cache")
    option(
        parser,
        "--actions",
        "with --against sec: what filings say about the splits of SYMBOL; changes nothing",
    )
    option(parser, "--all", "compare all cached bars, however many requests this takes")
    add_timeout(parser, "stop waiting for vendors after this time; default: 30 s for each request")
    command(parser, run)


def run(args: argparse.Namespace) -> Report | int:
    """Compare bars; the exit code is 1 if anything differs or could not be fetched.

    Raises:
        QueryError: Options are mutually exclusive, or no series is given.
    """
    from ..jobs.validation.verify import verify

    if args.actions:
        return _splits(args)
    if not args.symbol or not args.timeframe:
        raise QueryError("give a symbol and a timeframe", hint="such as: onetape verify AAPL 1d")
    with busy(args, "comparing; stores nothing"):
        verification = verify(
            **given(args, "symbol timeframe start end provider against timeout cache_dir"),
            whole=args.all,
            config_path=args.config,
        )
    return Report(
        verification.to_json, _verification_shown(verification), ok=verification.ok, is_check=True
    )


def _splits(args: argparse.Namespace) -> Report:
    """Return the evidence of filings on splits; the exit code is 1 if they contradict one.

    Raises:
        QueryError: Other options are given, or no symbol.
    """
    others = (args.timeframe, args.start, args.end, args.provider, args.all or None)
    if not args.symbol or args.against != "sec" or any(others):
        raise QueryError(
            "--actions needs a symbol and --against sec, and no timeframe, range or other vendor",
            hint="such as: onetape verify AAPL --actions --against sec",
        )
    from ..research.filings.splits import split_report

    with busy(args, "comparing; stores no bars"):
        found = split_report(manager_of(args, makes_folder=True), args.symbol, timeout=args.timeout)
    rows = [
        {**row, "accessions": ", ".join(row["accessions"])} for row in found.to_json()["splits"]
    ]

    def shown() -> Shown:
        """Yield a row for each split."""
        title = f"{found.symbol} · {counted(len(rows), 'split')} · evidence, not a source"
        yield table(rows, "ex_date ratio# verdict reason accessions?", title)

    return Report(found.to_json, shown, ok=found.ok, is_check=True)


def _verification_shown(verification: Verification) -> Shown:
    for comparison in verification.comparisons:
        yield _headline(verification, comparison)
        if comparison.differences:
            yield ""
            yield _table(comparison)
            for difference in comparison.differences:
                details = f": {difference.said}" if difference.said else ""
                yield Line(f"  {_name(comparison, difference)}{details}")
                yield Line(f"    → {verification.advice(comparison, difference)}", "yellow")
        for remark in comparison.remarks:
            yield styled(f"  {remark}", "dim")
        yield ""
    yield _verdict(verification)


def _headline(verification: Verification, comparison: Comparison) -> Text:
    name = str(verification.subject)
    lane = f" ({comparison.lane})" if "@" in comparison.lane else ""
    sides = f"{comparison.ours} and {comparison.theirs}{lane}"
    if comparison.compared is None:
        return titled(name, f"{sides}: ").append(comparison.error, style="red")
    adjusted = (
        f"{comparison.basis.adjustment} prices as of {comparison.basis.as_of}"
        if comparison.basis.as_of
        else ""
    )
    requests = counted(comparison.requests, "request")
    facts = [sides, counted(comparison.compared.rows, "bar"), adjusted, requests]
    line = titled(name, " · ".join(filter(None, facts)))
    if not comparison.compared.rows:
        return line
    return line.append(" · ").append(
        f"{percent(comparison.equal_share, 2)} equal", style="green" if comparison.ok else "yellow"
    )


def _table(comparison: Comparison) -> TextTable:
    sides = [side.replace(" ", "_") for side in (comparison.ours, comparison.theirs)]
    rows = []
    for d in comparison.differences:
        row = {"what": _name(comparison, d), "first": iso(d.first_ms), "last": iso(d.last_ms)}
        bars = {"bars": None if d.cause == "actions" else d.rows}
        rows.append(row | bars | dict(zip(sides, _closes(d), strict=True)))
    styles = {
        _name(comparison, d): "red" if d.cause in GRAVE else "yellow"
        for d in comparison.differences
    }
    columns = f"what bars# first {sides[0]}#? {sides[1]}#? last?"
    return table(rows, columns, styles=styles)


def _name(comparison: Comparison, difference: Difference) -> str:
    """Return the name of a difference; for missing bars, it includes the side that lacks them."""
    missing = {"missing here": comparison.ours, "missing there": comparison.theirs}
    return (
        f"not in {missing[difference.cause]}" if difference.cause in missing else difference.cause
    )


def _closes(difference: Difference) -> list[str]:
    """Return both sides' first differing value (price or volume) in the first bar."""
    if difference.ours is None or difference.theirs is None:
        return [_close(difference.ours), _close(difference.theirs)]
    names = ("close", "open", "high", "low", "volume")
    pairs = {
        name: (getattr(difference.ours, name), getattr(difference.theirs, name)) for name in names
    }
    name = next((n for n, (ours, other) in pairs.items() if ours != other), "close")
    return [f"{name} {value}" for value in aligned(pairs[name])]


def _close(bar: Bar | None) -> str:
    return "-" if bar is None else f"close {aligned([bar.close])[0]}"


def _verdict(verification: Verification) -> Text:
    count = len(verification.comparisons)
    failures = sum(c.compared is None for c in verification.comparisons)
    if not any(c.compared and c.compared.rows for c in verification.comparisons):
        why = (
            f"{failures} of {count} failed" if failures else "neither side has a bar in this range"
        )
        return styled(f"nothing compared: {why}", "yellow")
    if verification.ok:
        return styled("both sides are the same", "bold green")
    partial = sum(c.is_partial for c in verification.comparisons)
    differences = [d for c in verification.comparisons for d in c.differences]
    rows = sum(d.rows for d in differences if d.cause != "actions")
    actions = sum(d.rows for d in differences if d.cause == "actions")
    parts = [f"{counted(rows, 'bar')} differ" if rows != 1 else "1 bar differs"] if rows else []
    some = f"{actions:,} splits or dividends differ"
    parts += [some if actions != 1 else "1 split or dividend differs"] if actions else []
    parts += [f"{failures} of {count} could not be compared"] if failures else []
    parts += [f"{partial} of {count} could be compared only in part"] if partial else []
    return styled(", ".join(parts), "bold red")
