"""Options shared by several commands."""

from __future__ import annotations

import argparse
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import QueryError, SurvivorshipWarning
from ..model.kind import ADJUSTMENTS, SESSIONS
from ..model.retention import Age
from ..model.texts import counted
from ..model.timeframe import Timeframe
from .output import note

if TYPE_CHECKING:
    from ..model.universe import Members
    from .report import Report

_DATE = re.compile(r"\d{4}-\d\d(-\d\d)?")


def command(
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], Report | int],
    epilog: str | None = None,
) -> None:
    """Turn a parser into a command: set the function that it runs, and add the common options.

    Args:
        parser: Parser that already has the command's own options.
        run: Function that returns the report, or prints by itself and returns the exit code.
        epilog: Text below the options in the help text.
    """
    parser.epilog = epilog
    add_output(parser)
    add_paths(parser)
    parser.set_defaults(run=run)


def add_question(parser: argparse.ArgumentParser) -> None:
    """Add the options of a query for bars, for one symbol or several."""
    parser.add_argument(
        "symbols",
        nargs="+",
        metavar="symbol",
        help="one or more, such as BTCUSDT, AAPL, BRK.B, VOD.L, ^VIX",
    )
    parser.add_argument("timeframe", help="such as 1m, 1h, 1d, 1w, 1M; applies to all symbols")
    add_range(parser)
    parser.add_argument("--provider", help="use only this vendor")
    add_adjustment(parser)
    add_session(parser)
    parser.add_argument(
        "--closed-by",
        metavar="TIME",
        help="only bars that had closed by this UTC time or date",
    )
    flag(parser, "--forming", "include the bar that has not closed yet")
    add_freshness(parser)


def question(args: argparse.Namespace) -> dict[str, Any]:
    """Convert the options added by :func:`add_question` to arguments for ``DataManager.get_ohlcv``.

    The symbols are not included.

    Raises:
        QueryError: A timeframe is among the symbols, or a date among the symbols and the timeframe.
    """
    for word in (*args.symbols[1:], args.timeframe):
        if _DATE.fullmatch(word):
            raise QueryError(
                f"{word!r} is a date, not a symbol or a timeframe",
                hint="give the range with --start and --end",
            )
    for symbol in args.symbols[1:]:
        if symbol[:1].isdigit() and _is_timeframe(symbol):
            raise QueryError(
                f"more than one timeframe is given: {symbol!r} and {args.timeframe!r}",
                hint="give one timeframe, after the symbols",
            )
    return {
        "timeframe": args.timeframe,
        "start_date": args.start,
        "end_date": args.end,
        "force_refresh": args.refresh,
        "bars": args.bars,
        "period": args.period,
        "provider": args.provider,
        "adjustment": args.adjustment,
        "closed_by": args.closed_by,
        "include_forming": args.forming,
        "offline": args.offline,
        "session": args.session,
    }


def refuse_swapped(args: argparse.Namespace) -> None:
    """Reject a timeframe or a date that was given in place of the symbol, in any command.

    Raises:
        QueryError: The first argument is a timeframe or a date.
    """
    symbols = getattr(args, "symbols", None) or [getattr(args, "symbol", None)]
    first = symbols[0] if isinstance(symbols, list) else None
    if not isinstance(first, str) or not first[:1].isdigit():
        return
    if not (_is_timeframe(first) or _DATE.fullmatch(first)):
        return
    others = (*symbols[1:], *(getattr(args, name, None) for name in ("timeframe", "start", "end")))
    what = "timeframe" if _is_timeframe(first) else "date"
    behind = next((o for o in others if isinstance(o, str) and o[:1].isalpha()), "")
    raise QueryError(
        f"a symbol was expected first, not the {what} {first!r}",
        symbol=first,
        hint=f"put the symbol first: {behind} {first}"
        if behind
        else "put a symbol first, such as AAPL or BTCUSDT",
    )


def _is_timeframe(text: str) -> bool:
    try:
        Timeframe.parse(text)
    except QueryError:
        return False
    return True


def flag(parser: argparse._ActionsContainer, name: str, text: str) -> None:
    """Add an option without a value, with its help text."""
    parser.add_argument(name, action="store_true", help=text)


def add_series(parser: argparse.ArgumentParser) -> None:
    """Add the arguments for the symbol and the timeframe."""
    parser.add_argument("symbol", help="such as BTCUSDT, AAPL, BRK.B, VOD.L, ^VIX")
    parser.add_argument("timeframe", help="such as 1m, 1h, 1d, 1w, 1M")


def add_range(parser: argparse.ArgumentParser) -> None:
    """Add the options for a date range, or for a number of bars instead."""
    parser.add_argument(
        "--start", help="date (whole session), UTC time, 2024-06 or -30d, inclusive"
    )
    parser.add_argument("--end", help="date (whole session) or UTC time, inclusive; default: now")
    parser.add_argument("--bars", type=positive, help="the last N closed bars")
    period = parser.add_mutually_exclusive_group()
    period.add_argument(
        "--period", metavar="LENGTH", help="instead of --start: 30d, 6mo, 1y, ytd, max"
    )
    period.add_argument(
        "--days", type=_days, dest="period", metavar="N", help="the last N days: --period Nd"
    )


def _days(text: str) -> str:
    """Parse a number of days, and return it as a period such as ``30d``."""
    return f"{positive(text)}d"


def add_universe(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the options that name a universe instead of symbols.

    Args:
        parser: Parser of the command.
        default: Help text that describes the period whose members are used if no day is given.
    """
    parser.add_argument(
        "--universe",
        metavar="NAME",
        help=(
            "the members of a universe (extra db; `onetape universe`), including delisted "
            f"ones: each symbol that was a member {default}"
        ),
    )
    parser.add_argument(
        "--as-of", metavar="DAY", help="the members of the universe on this day only"
    )


def check_one(args: argparse.Namespace, example: str, *, with_timeframe: bool = False) -> None:
    """Reject arguments unless they name exactly one of: a symbol, a universe, all stored series.

    Raises:
        QueryError: None or several of these are named, or the timeframe that a symbol requires is
            missing.
    """
    count = sum(map(bool, (args.symbol, args.all, args.universe is not None)))
    if count != 1 or (with_timeframe and bool(args.symbol) != bool(args.timeframe)):
        series = "a symbol and a timeframe" if with_timeframe else "a symbol"
        command = example.partition(" ")[0]
        raise QueryError(
            (
                f"exactly one of these is needed: {series}, --universe NAME, or --all for every "
                "stored series"
            ),
            hint=f"such as `onetape {example}` or `onetape {command} --all`",
        )


def members_of(args: argparse.Namespace, start: Any = None, end: Any = None) -> Members | None:
    """Return the members of the universe on the command line, or None if none is named.

    If no day is given, these are all symbols that were members during the range. See
    :func:`add_universe`.

    Raises:
        QueryError: A day is given without a universe, or is not a valid date.
        UniverseError: The universe does not exist, or has no member on that day or in that range.
        MissingExtraError: The extra ``db`` is not installed.
        DatabaseError: The database cannot be used.
    """
    if args.universe is None:
        if args.as_of is not None:
            raise QueryError(
                "--as-of needs --universe", hint="add --universe NAME, or omit --as-of"
            )
        return None
    from ..clock import SystemClock
    from ..data_manager import get_universes
    from ..members import named_members

    bounds, now_ms = (start, end), SystemClock().now_ms()
    with warnings.catch_warnings():  # the line below reports the same
        warnings.simplefilter("ignore", SurvivorshipWarning)
        members = named_members(get_universes(), args.universe, args.as_of, now_ms, bounds)
    is_of_all = args.as_of is None and start is None
    every = f"{members.name} until {members.as_of}: {counted(len(members), 'symbol')} in total"
    note(every if is_of_all else str(members))
    return members


def add_adjustment(parser: argparse._ActionsContainer) -> None:
    """Add the option for the price adjustment."""
    parser.add_argument(
        "--adjustment",
        choices=ADJUSTMENTS,
        default="split",
        help=(
            "prices as traded (raw), adjusted for splits (split, default), or adjusted for "
            "splits and dividends (all)"
        ),
    )


def add_session(parser: argparse._ActionsContainer) -> None:
    """Add the option for the session hours of the bars."""
    parser.add_argument(
        "--session",
        choices=SESSIONS,
        default="regular",
        help="trading hours of the bars; extended: 04:00 to 20:00 New York time, for US stocks",
    )


def add_freshness(parser: argparse.ArgumentParser) -> None:
    """Add the options to use only the cache, or to bypass it."""
    either = parser.add_mutually_exclusive_group()
    flag(either, "--offline", "use only the cache; send no request")
    flag(either, "--refresh", "fetch the whole range again, even if cached")


def add_paths(parser: argparse.ArgumentParser) -> None:
    """Add the options for the cache folder and the rules file."""
    parser.add_argument("--cache-dir", metavar="DIR", help="cache folder")
    parser.add_argument(
        "--config", metavar="FILE", help="rules file, merged over the packaged rules"
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the options for the output format and the log format."""
    flag(parser, "--json", "print JSON")
    # Also allowed after the command; if not given there, the value before the command is used.
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        default=argparse.SUPPRESS,
        help="show the log",
    )
    parser.add_argument(
        "-q",
        "--quiet",
        action="store_true",
        default=argparse.SUPPRESS,
        help="print only results and errors, without progress and notes",
    )
    parser.add_argument(
        "--log",
        choices=("text", "json"),
        metavar="FORMAT",
        default=argparse.SUPPRESS,
        help="log as text or json",
    )


def add_timeout(
    parser: argparse.ArgumentParser,
    help_text: str = "stop waiting for vendors after this time; default: after 30 s without a response",
) -> None:
    """Add the option that limits how long the command waits for vendors and other callers."""
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help=help_text,
    )


def add_processes(parser: argparse.ArgumentParser) -> None:
    """Add the option that runs work that queries no vendor in several processes."""
    parser.add_argument(
        "--processes",
        type=positive,
        metavar="N",
        help="number of processes to use; default: this process",
    )


def listed(text: str) -> list[str]:
    """Split a list such as ``A,B C`` at commas and spaces.

    Raises:
        argparse.ArgumentTypeError: The list is empty.
    """
    names = [name for name in text.replace(",", " ").split() if name]
    if not names:
        raise argparse.ArgumentTypeError("the list is empty; give at least one item, such as A,B,C")
    return names


def positive(text: str) -> int:
    """Parse an integer of at least 1.

    Raises:
        argparse.ArgumentTypeError: The text is not a positive integer.
    """
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"invalid value {text!r}; use a positive integer")
    return int(text)


def age(text: str) -> Age:
    """Parse an age such as 5y, 18mo, 2w or 90d.

    Raises:
        argparse.ArgumentTypeError: The text is not an age.
    """
    try:
        return Age.parse(text)
    except QueryError as exc:
        raise argparse.ArgumentTypeError(f"{exc.args[0]}: {exc.hint}") from None


def seconds(text: str, least: float = 0.1) -> float:
    """Parse a number of seconds between ``least`` and one day.

    Raises:
        argparse.ArgumentTypeError: The text is not a number in this range.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not least <= value <= 86_400:
        raise argparse.ArgumentTypeError(
            f"invalid value {text!r}; use a number of seconds from {least:g} to 86400"
        )
    return value


def every(text: str) -> float:
    """Parse an interval such as 15m, 4h or 1d; return seconds.

    Raises:
        argparse.ArgumentTypeError: The text is not an interval, or is shorter than a minute.
    """
    try:
        step_ms = Timeframe.parse(text).step_ms or 0
    except QueryError:
        step_ms = 0
    if step_ms < 60_000:
        raise argparse.ArgumentTypeError(
            f"invalid duration {text!r}; use a form such as 15m, 4h or 1d"
        )
    return step_ms / 1000
