"""A feed in the terminal: a live table, lines if output is not a terminal, or JSON line by line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..model.instant import iso
from ..model.printable import printable
from ..model.stream import LiveBar, Revision, StreamState, StreamStatus
from .output import console, print_state
from .report import OK
from .tables import TextTable, aligned, counted, moment, styled

if TYPE_CHECKING:
    from rich.console import Console, Group

    from ..feed.live_feed import FeedSnapshot, LiveFeed
    from ..feed.queue import Item

# Time between checks whether a silent feed has ended, in seconds.
_CHECK_S = 0.5
_STYLES = {
    StreamState.LIVE: "bold green",
    StreamState.STALE: "bold red",
    StreamState.CLOSED: "dim",
}
_VALUES = ("open", "high", "low", "close", "volume")


def follow(feed: LiveFeed, args: argparse.Namespace) -> int:
    """Show a feed's bars and states until the feed ends, ``args.count`` bars have arrived, or Ctrl-C.

    Bars go to standard output; bars that have not closed yet are shown only with ``args.forming``.
    If standard output is not a terminal, states go to standard error.

    Returns:
        Exit code 0, even if interrupted.

    Raises:
        DataError: An error ended the feed.
    """
    try:
        items = _items(feed, args.count, forming=args.forming)
        if args.json:
            for item in items:
                print_item(json.dumps(_item_json(item), allow_nan=False), item)
        elif (screen := console()).is_terminal:
            _show(feed, items, screen, args)
        else:
            for item in items:
                print_item(_line(item), item)
    except KeyboardInterrupt:
        pass  # the usual end
    finally:
        feed.stop()
    return OK


def _items(feed: LiveFeed, count: int | None, *, forming: bool) -> Iterator[Item]:
    """Start the feed and yield its items, until ``count`` closed live bars have arrived."""
    box = feed.subscribe(forming=forming, revisions=True)
    feed.start()
    new = 0
    while not box.is_over and (count is None or new < count):
        item = box.get(timeout=_CHECK_S)
        if item is not None:
            new += isinstance(item, LiveBar) and item.is_closed and item.origin != "history"
            yield item


def print_item(text: str, item: Item) -> None:
    """Print one line: bars on standard output, states on standard error."""
    if isinstance(item, StreamStatus):
        print_state(text)
        return
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _show(feed: LiveFeed, items: Iterator[Item], screen: Console, args: argparse.Namespace) -> None:
    from rich.live import Live

    with Live(console=screen, auto_refresh=False) as live:
        for _ in items:
            table = whole(feed.snapshot(), args.rows, forming=args.forming)
            live.update(table, refresh=True)


# --- a screen ----------------------------------------------------------------------------------


def whole(snapshot: FeedSnapshot, rows: int, *, forming: bool) -> Group:
    """Return the screen's content: the feed's state, its last bars and, if requested, the forming bar."""
    from rich.console import Group
    from rich.text import Text

    status = snapshot.status
    head = Text.assemble(
        (f"{snapshot.symbol} {snapshot.timeframe}", "bold"),
        "  ",
        (str(status.state), _STYLES.get(status.state, "bold yellow")),
        f"  {counted(snapshot.given, 'bar')}",
        f", {counted(snapshot.revisions, 'correction')}" if snapshot.revisions else "",
        (f"  {status.reason}" if status.reason else "", "dim"),
    )
    bars = [*snapshot.bars[-rows:], *([snapshot.forming] if snapshot.forming and forming else [])]
    body = [_table(bars)] if bars else []
    return Group(head, *body, styled("Ctrl-C to stop", "dim"))


def _table(bars: Sequence[LiveBar]) -> TextTable:
    columns = [aligned([getattr(bar, name) for bar in bars]) for name in _VALUES]
    states = ["closed" if bar.is_closed else styled("○ forming", "yellow") for bar in bars]
    stamps = [moment(iso(bar.stamp_ms)) for bar in bars]
    rows = list(zip(stamps, *columns, states, strict=True))
    names = ["opened (UTC)", "open#?", "high#?", "low#?", "close#", "volume#?", ""]
    return TextTable(names, rows)


# --- lines ---------------------------------------------------------------------------------------


def _line(item: Item) -> str:
    """Return an item as one line of text."""
    if isinstance(item, StreamStatus):
        return printable(f"{item.state}{f': {item.reason}' if item.reason else ''}")
    if isinstance(item, Revision):
        return f"corrected: {_line(item.bar)}"
    values = "  ".join(
        f"{name} {value:.10g}" for name, value in zip(_VALUES, item[1:6], strict=True)
    )
    return f"{iso(item.stamp_ms)}  {values}{'' if item.is_closed else '  forming'}"


def _item_json(item: Item) -> dict[str, Any]:
    if isinstance(item, StreamStatus):
        return {"status": {"state": str(item.state), "reason": item.reason, "at": iso(item.at_ms)}}
    if isinstance(item, Revision):
        return {"corrected": _item_json(item.bar)["bar"]}
    values: dict[str, Any] = {
        name: value if value == value else None
        for name, value in zip(_VALUES, item[1:6], strict=True)
    }
    state = {"closed": item.is_closed, "origin": item.origin}
    return {"bar": {"timestamp": iso(item.stamp_ms), **values, **state}}
