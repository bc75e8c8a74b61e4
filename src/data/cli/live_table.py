"""A feed in the terminal: a live table; lines where that is no terminal; or JSON line by line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from ..model.instant import iso
from ..model.stream import LiveBar, Revision, StreamState, StreamStatus
from . import OK
from .output import console
from .tables import TextTable, aligned, counted, moment, styled

if TYPE_CHECKING:
    from rich.console import Console, Group

    from ..feed.live_feed import FeedSnapshot, LiveFeed
    from ..feed.queue import Item

# How often a silent screen checks whether the feed is over, in seconds.
_CHECK_S = 0.5
_STYLES = {
    StreamState.LIVE: "bold green",
    StreamState.STALE: "bold red",
    StreamState.CLOSED: "dim",
}
_VALUES = ("open", "high", "low", "close", "volume")


def follow(feed: LiveFeed, args: argparse.Namespace) -> int:
    """Show the items of ``feed`` until it ends, ``args.count`` new bars came, or Ctrl-C.

    Returns:
        0, also when interrupted.

    Raises:
        DataError: what made an end of the feed.
    """
    try:
        if args.json:
            for item in _items(feed, args.count):
                sys.stdout.write(json.dumps(_plain(item), allow_nan=False) + "\n")
                sys.stdout.flush()
        else:
            _show(feed, args.rows, args.count)
    except KeyboardInterrupt:
        pass  # the usual end
    finally:
        feed.stop()
    return OK


def _items(feed: LiveFeed, count: int | None) -> Iterator[Item]:
    """Start the feed and yield all its items, up to so many bars that are not history."""
    box = feed.subscribe(forming=True, revisions=True)
    feed.start()
    new = 0
    while not box.is_over and (count is None or new < count):
        item = box.get(timeout=_CHECK_S)
        if item is not None:
            new += isinstance(item, LiveBar) and item.is_closed and item.origin != "history"
            yield item


def _show(feed: LiveFeed, rows: int, count: int | None) -> None:
    from rich.live import Live

    screen = console()
    live = Live(console=screen, auto_refresh=False) if screen.is_terminal else None
    with live or nullcontext():
        for item in _items(feed, count):
            if live is not None:
                live.update(whole(feed.snapshot(), rows), refresh=True)
            else:
                _print_line(screen, item)


# --- a screen ----------------------------------------------------------------------------------


def whole(shown: FeedSnapshot, rows: int) -> Group:
    """Return the whole screen: the feed's state, the last bars, the running one marked."""
    from rich.console import Group
    from rich.text import Text

    status = shown.status
    head = Text.assemble(
        (f"{shown.symbol} {shown.timeframe}", "bold"),
        "  ",
        (str(status.state), _STYLES.get(status.state, "bold yellow")),
        f"  {counted(shown.given, 'bar')}",
        f", {counted(shown.revisions, 'correction')}" if shown.revisions else "",
        (f"  {status.reason}" if status.reason else "", "dim"),
    )
    bars = [*shown.bars[-rows:], *([shown.forming] if shown.forming else [])]
    body = [_table(bars)] if bars else []
    return Group(head, *body, styled("Ctrl-C ends this", "dim"))


def _table(bars: Sequence[LiveBar]) -> TextTable:
    columns = [aligned([getattr(bar, name) for bar in bars]) for name in _VALUES]
    states = ["closed" if bar.is_closed else styled("○ forming", "yellow") for bar in bars]
    stamps = [moment(iso(bar.stamp_ms)) for bar in bars]
    rows = list(zip(stamps, *columns, states, strict=True))
    names = ["opened (UTC)", "open#?", "high#?", "low#?", "close#", "volume#?", ""]
    return TextTable(names, rows)


# --- lines ---------------------------------------------------------------------------------------


def _print_line(screen: Console, item: Item) -> None:
    """Print what is new; running bars are for screens."""
    if isinstance(item, StreamStatus):
        screen.print(f"{item.state}{f': {item.reason}' if item.reason else ''}", soft_wrap=True)
    elif isinstance(item, Revision):
        screen.print(f"corrected: {_line(item.bar)}", soft_wrap=True)
    elif item.is_closed:
        screen.print(_line(item), soft_wrap=True)
    sys.stdout.flush()


def _line(bar: LiveBar) -> str:
    values = "  ".join(
        f"{name} {value:.10g}" for name, value in zip(_VALUES, bar[1:6], strict=True)
    )
    return f"{iso(bar.stamp_ms)}  {values}"


def _plain(item: Item) -> dict[str, Any]:
    if isinstance(item, StreamStatus):
        return {"status": {"state": str(item.state), "reason": item.reason, "at": iso(item.at_ms)}}
    if isinstance(item, Revision):
        return {"corrected": _plain(item.bar)["bar"]}
    values: dict[str, Any] = {
        name: value if value == value else None
        for name, value in zip(_VALUES, item[1:6], strict=True)
    }
    state = {"closed": item.is_closed, "origin": item.origin}
    return {"bar": {"timestamp": iso(item.stamp_ms), **values, **state}}
