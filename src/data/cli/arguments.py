"""Options shared by several commands."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..core.model.display.texts import counted
from ..core.model.identity.kind import ADJUSTMENTS, SESSIONS
from ..core.model.stored.retention import Age
from ..core.model.time.timeframe import Timeframe
from ..errors import QueryError, SurvivorshipWarning
from .output import note

if TYPE_CHECKING:
    from ..core.model.identity.universe import Members
    from .result import Report


# What `add_question` adds, but for the symbols.
QUESTION = "timeframe start end bars period provider adjustment session closed_by offline refresh"


def command(
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], Report | int],
    epilog: str | None = None,
    *,
    has_cache: bool = True,
) -> None:
    """Turn a parser into a command: set the function that it runs, and add the common options.

    Args:
        parser: Parser of the command.
        run: Function that returns the report, or prints by itself and returns the exit code.
        epilog: Text below the options in the help text.
        has_cache: Whether the command uses a cache folder and rules.
    """
    parser.epilog = epilog
    common = parser.add_argument_group("common options")
    add_output(common)
    if has_cache:
        option(common, "--cache-dir DIR", "cache folder")
        option(common, "--config FILE", "rules file, merged over the packaged rules")
    parser.set_defaults(run=run)


class Actions:
    """The actions of a command, each of which is one function.

    Args:
        parser: Parser of the command.
    """

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def add(
        self,
        run: Callable[[argparse.Namespace], Report | int],
        epilog: str | None = None,
        **others: Any,
    ) -> argparse.ArgumentParser:
        """Add an action, and return its parser.

        Args:
            run: Function that returns the report, or prints by itself and returns the exit code.
                Its name is the name of the action, and the first line of its docstring the help.
            epilog: Text below the options in the help text.
            others: As for :func:`command`.
        """
        text = (run.__doc__ or "").partition("\n")[0].rstrip(".")
        parser = self.nest(run.__name__.strip("_"), f"{text[:1].lower()}{text[1:]}")
        command(parser, run, epilog, **others)
        return parser

    def nest(self, name: str, text: str) -> argparse.ArgumentParser:
        """Add an action that has options or actions of its own, and return its parser."""
        text = text.replace("%", "%%")
        return self._actions.add_parser(name.replace("_", "-"), help=text, description=f"{text}.")


def usual(parser: argparse.ArgumentParser, names: str) -> None:
    """Add options that several commands have, by name: ``series`` for :func:`add_series`, and so on."""
    for name in names.split():
        _USUAL[name](parser)


def add_question(parser: argparse.ArgumentParser) -> None:
    """Add the options of a query for bars, for one symbol or several."""
    option(parser, "symbols+ symbol", "one or more, such as BTCUSDT, AAPL, BRK.B, VOD.L, ^VIX")
    option(parser, "timeframe", "such as 1m, 1h, 1d, 1w, 1M; applies to all symbols")
    usual(parser, "range provider adjustment session")
    option(parser, "--closed-by TIME", "only bars that had closed by this UTC time or date")
    add_freshness(parser)


def add_forming(parser: argparse.ArgumentParser) -> None:
    """Add the option for the bar that has not closed yet."""
    text = "include the bar that has not closed yet"
    option(parser, "--forming", text, dest="include_forming")


def add_recipes(parser: argparse.ArgumentParser, text: str, *, required: bool = False) -> None:
    """Add the options of features."""
    option(parser, "-r --recipes RECIPES", text, required=required, default=())
    option(parser, "--anchor ANCHOR", "session, listing or a date, for anchored recipes")
    option(parser, "--store", "keep the computed blocks, and read those that are kept")


def given(args: argparse.Namespace, names: str) -> dict[str, Any]:
    """Return the values of options, by name: keyword arguments for the library, which has the same."""
    return {name: getattr(args, name) for name in names.split()}


def option(
    parser: argparse._ActionsContainer, spec: str, text: str | None = None, **others: Any
) -> None:
    """Add an option or an argument.

    Args:
        parser: Parser, or a group of it.
        spec: For an option, its names and the name of its value: ``-o --out FILE``; without the
            latter, and without ``type`` or ``choices``, it takes no value. For an argument, its name
            with ``?``, ``*`` or ``+`` as in ``nargs``, and how it is shown: ``symbols+ SYMBOL``.
        text: Help text.
        others: As for ``add_argument``.
    """
    first, *rest = spec.split()
    if not first.startswith("-"):
        names = [first.rstrip("?*+")]
        others |= {"nargs": first[-1]} if first[-1] in "?*+" else {}
    else:
        names = [first, *(name for name in rest if name.startswith("-"))]
        rest = rest[len(names) - 1 :]
        if not rest and not others.keys() & {"type", "choices", "nargs"}:
            others["action"] = "store_true"
    if rest:
        others["metavar"] = rest[0]
    parser.add_argument(*names, help=text, **others)


def add_series(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """Add the arguments for the symbol and the timeframe."""
    nargs = "?" if optional else None
    default = "; default: all timeframes" if optional else ""
    option(parser, "symbol", "such as BTCUSDT, AAPL, BRK.B, VOD.L, ^VIX", nargs=nargs)
    option(parser, "timeframe", f"such as 1m, 1h, 1d, 1w, 1M{default}", nargs=nargs)


def add_which(parser: argparse.ArgumentParser, all_text: str) -> None:
    """Add the arguments that name a series, and the option that names all of them instead."""
    add_series(parser, optional=True)
    option(parser, "--all", all_text)


def add_span(parser: argparse.ArgumentParser, start_text: str = "") -> None:
    """Add the options for the first and last date; ``start_text`` describes the default."""
    start = "date (whole session), UTC time, 2024-06 or -30d, inclusive"
    default = f"; default: {start_text}" if start_text else ""
    option(parser, "--start TIME", start + default)
    option(parser, "--end TIME", "date (whole session) or UTC time, inclusive; default: now")


def add_rows(parser: argparse.ArgumentParser, text: str = "rows to show on the screen") -> None:
    """Add the option that limits the rows on the screen."""
    option(parser, "--rows", f"{text} (default 10)", type=positive, default=10)


def add_version(parser: argparse.ArgumentParser) -> None:
    """Add the options that ask for an older version, or for all bars."""
    option(parser, "--strict", "fail if anything is missing")
    text = "the series as it was after this commit (see `onetape cache log`)"
    option(parser, "--version N", text, type=positive)


def add_range(parser: argparse.ArgumentParser) -> None:
    """Add the options for a date range, or for a number of bars instead."""
    add_span(parser)
    option(parser, "--bars", "the last N closed bars", type=positive)
    period = parser.add_mutually_exclusive_group()
    option(period, "--period LENGTH", "instead of --start: 30d, 6mo, 1y, ytd, max")
    option(period, "--days N", "the last N days: --period Nd", type=_days, dest="period")


def _days(text: str) -> str:
    """Parse a number of days, and return it as a period such as ``30d``."""
    return f"{positive(text)}d"


def add_universe(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the options that name a universe instead of symbols.

    Args:
        parser: Parser of the command.
        default: Help text that describes the period whose members are used if no day is given.
    """
    option(
        parser,
        "--universe NAME",
        (
            "the members of a universe (extra db; `onetape db universe`), including delisted "
            f"ones: each symbol that was a member {default}"
        ),
    )
    option(parser, "--as-of DAY", "the members of the universe on this day only")


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
    from ..core.clock import SystemClock
    from ..core.members import named_members
    from ..data_manager import get_universes

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
    option(
        parser,
        "--adjustment",
        (
            "prices as traded (raw), adjusted for splits (split, default), or adjusted for "
            "splits and dividends (all)"
        ),
        choices=ADJUSTMENTS,
        default="split",
    )


def add_session(parser: argparse._ActionsContainer) -> None:
    """Add the option for the session hours of the bars."""
    option(
        parser,
        "--session",
        "trading hours of the bars; extended: 04:00 to 20:00 New York time, for US stocks",
        choices=SESSIONS,
        default="regular",
    )


def add_provider(parser: argparse._ActionsContainer) -> None:
    """Add the option that names one vendor."""
    option(parser, "--provider VENDOR", "use only this vendor")


def add_freshness(parser: argparse.ArgumentParser) -> None:
    """Add the options to use only the cache, or to bypass it."""
    either = parser.add_mutually_exclusive_group()
    option(either, "--offline", "use only the cache; send no request")
    option(either, "--refresh", "fetch the whole range again, even if cached")


def add_output(parser: argparse._ActionsContainer) -> None:
    """Add the options for the output format and the log format."""
    option(parser, "--json", "print JSON")
    # Also allowed after the command; if not given there, the value before the command is used.
    option(parser, "-v --verbose", "show the log", default=argparse.SUPPRESS)
    option(
        parser,
        "-q --quiet",
        "print only results and errors, without progress and notes",
        default=argparse.SUPPRESS,
    )
    option(
        parser,
        "--log FORMAT",
        "log as text or json",
        choices=("text", "json"),
        default=argparse.SUPPRESS,
    )


def add_timeout(
    parser: argparse.ArgumentParser,
    help_text: str = "stop waiting for vendors after this time; default: after 30 s without a response",
) -> None:
    """Add the option that limits how long the command waits for vendors and other callers."""
    option(parser, "--timeout SECONDS", help_text, type=seconds)


def add_processes(parser: argparse.ArgumentParser) -> None:
    """Add the option that runs work that queries no vendor in several processes."""
    option(
        parser, "--processes N", "number of processes to use; default: this process", type=positive
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


_USUAL: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "adjustment": add_adjustment,
    "forming": add_forming,
    "freshness": add_freshness,
    "processes": add_processes,
    "provider": add_provider,
    "question": add_question,
    "range": add_range,
    "rows": add_rows,
    "series": add_series,
    "session": add_session,
    "span": add_span,
    "timeout": add_timeout,
    "version": add_version,
}
