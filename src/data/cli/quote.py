"""``onetape quote``: the last price of one symbol or several."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from ..errors import QueryError
from ..model.instant import iso, to_ms
from ..model.quote import Quote
from .arguments import add_session, add_timeout, command, seconds
from .cached import manager_of
from .output import asking, described
from .report import Report, Shown
from .tables import TextTable, styled

if TYPE_CHECKING:
    pass

_STYLES = {"live": "green", "forming": "green", "closed": "", "stale": "yellow"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    parser.add_argument("symbols", nargs="+", metavar="SYMBOL", help="such as BTCUSDT, AAPL, VOD.L")
    parser.add_argument(
        "--max-age",
        type=partial(seconds, least=0.0),
        default=5.0,
        metavar="SECONDS",
        help="reuse a quote from this process that is at most this old (default 5)",
    )
    add_session(parser)
    add_timeout(parser)
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
            args.symbols, args.max_age, timeout=args.timeout, session=args.session
        )
    facts = {
        "quotes": [quote.as_dict() for quote in quotes.values()],
        "errors": {name: described(error) for name, error in quotes.errors.items()},
    }
    errors = quotes.errors.values()
    are_wrong = not quotes and all(isinstance(error, QueryError) for error in errors)
    return Report(facts, _quotes_shown(quotes), errors=errors, ok=not errors, is_misuse=are_wrong)


def _quotes_shown(quotes: Mapping[str, Quote]) -> Shown:
    if quotes:
        names = ["symbol", "price#", "currency", "change#", "%#", "state", "time (UTC)", "vendor?"]
        yield TextTable(names, [_row(quote) for quote in quotes.values()])
    for quote in quotes.values():
        if quote.note:
            yield styled(f"{quote.symbol}: {quote.note}", "dim")


def _row(quote: Quote) -> list[object]:
    change, percent = quote.change, quote.change_percent
    return [
        quote.symbol,
        f"{quote.price:.12g}",
        quote.currency or "",
        "" if change is None else f"{change:+.6g}",
        "" if percent is None else f"{percent:+.2f}",
        styled(quote.state, _STYLES[quote.state]),
        iso(to_ms(quote.time)).replace("T", " ").rstrip("Z").split(".")[0],
        quote.vendor,
    ]
