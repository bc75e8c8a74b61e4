"""``onetape quote``: the last price of one symbol or several."""

from __future__ import annotations

import argparse
from functools import partial

from ..errors import QueryError
from .arguments import command, given, option, seconds, usual
from .cached import manager_of
from .output import asking, described
from .result import Report, Shown
from .tables import styled, table

EXAMPLES = ("quote AAPL BTCUSDT", "quote EURUSD=X --json")

_STYLES = {"live": "green", "forming": "green", "stale": "yellow"}
_COLUMNS = "symbol price# currency change# change_percent# state time vendor?"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    option(parser, "symbols+ SYMBOL", "such as BTCUSDT, AAPL, VOD.L")
    option(
        parser,
        "--max-age SECONDS",
        "reuse a quote from this process that is at most this old (default 5)",
        type=partial(seconds, least=0.0),
        default=5.0,
    )
    usual(parser, "provider session timeout")
    command(
        parser,
        run,
        (
            "forming: the price in the current minute; closed: the last close in a closed "
            "market; stale: anything older. The change is relative to the close of the "
            "previous session."
        ),
    )


def run(args: argparse.Namespace) -> Report:
    """Fetch quotes; the exit code is 1 if a price is missing, and 2 if no symbol was valid."""
    manager = manager_of(args, makes_folder=True)
    with asking(args):
        quotes = manager.get_quotes(
            args.symbols, args.max_age, **given(args, "timeout session provider")
        )
    rows = [quote.as_dict() for quote in quotes.values()]
    errors = quotes.errors.values()

    def shown() -> Shown:
        """Yield the prices, then notes on some of them."""
        if rows:
            changes = [None if row["change"] is None else f"{row['change']:+.6g}" for row in rows]
            shortened = [r | {"change": text} for r, text in zip(rows, changes, strict=True)]
            yield table(shortened, _COLUMNS, styles=_STYLES)
        for quote in quotes.values():
            if quote.note:
                yield styled(f"{quote.symbol}: {quote.note}", "dim")

    return Report(
        {"quotes": rows, "errors": {name: described(e) for name, e in quotes.errors.items()}},
        shown,
        errors=errors,
        ok=not errors,
        is_misuse=not quotes and all(isinstance(error, QueryError) for error in errors),
    )
