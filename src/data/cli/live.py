"""Output that is updated in place in a terminal, such as a feed's bars."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from ..core.model.market.stream import LiveBar, Revision, StreamStatus
from ..core.model.time.instant import iso
from ..core.model.words.printable import printable
from .output import console, print_state
from .result import OK, Shown, show
from .tables import TextTable, aligned, counted, moment, styled

if TYPE_CHECKING:
    from rich.live import Live

    from ..feed.live_feed import FeedSnapshot, LiveFeed
    from ..feed.queue import Item

# Time between checks whether a silent feed has ended, in seconds.
_CHECK_S = 0.5
_VALUES = ("open", "high", "low", "close", "volume")


class Screen(AbstractContextManager["Screen"]):
    """The terminal, whose content each update replaces; a pipe receives each update in full."""

    def __init__(self) -> None:
        from rich.live import Live

        screen = console()
        self._live: Live | None = None
        if screen.is_terminal:
            self._live = Live(console=screen, auto_refresh=False)
            self._live.start()

    def update(self, content: Shown) -> None:
        """Show new content."""
        if self._live is None:
            show(content)
            sys.stdout.flush()
            return
        from rich.console import Group

        self._live.update(Group(*content), refresh=True)  # type: ignore[arg-type]

    def __exit__(self, *_: object) -> None:
        """Leave the last content in the terminal."""
        if self._live is not None:
            self._live.stop()


# --- a feed --------------------------------------------------------------------------------------


def follow(feed: LiveFeed, args: argparse.Namespace) -> int:
    """Show a feed's bars and states until the feed ends, ``args.count`` bars have arrived, or Ctrl-C.

    Bars go to standard output; bars that have not closed yet are shown only with ``args.forming``.
    If standard output is not a terminal, states go to standard error.

    Returns:
        Exit code 0, even if interrupted.

    Raises:
        DataError: An error ended the feed.
    """
    items = _items(feed, args.count, forming=args.forming)
    try:
        if args.json or not console().is_terminal:
            for item in items:
                text = json.dumps(_item_json(item), allow_nan=False) if args.json else _line(item)
                print_item(text, item)
        else:
            with Screen() as screen:
                for _ in items:
                    screen.update(feed_shown(feed.snapshot(), args.rows, forming=args.forming))
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


def feed_shown(snapshot: FeedSnapshot, rows: int, *, forming: bool) -> Shown:
    """Yield the feed's state, its last bars and, if requested, the forming bar."""
    status = snapshot.status
    head = [f"{snapshot.symbol} {snapshot.timeframe}  {status.state}"]
    head.append(counted(snapshot.given, "bar"))
    if snapshot.revisions:
        head[-1] += f", {counted(snapshot.revisions, 'correction')}"
    yield styled("  ".join(filter(None, [*head, status.reason])), "bold")
    bars = [*snapshot.bars[-rows:], *([snapshot.forming] if snapshot.forming and forming else [])]
    if bars:
        columns = [aligned([getattr(bar, name) for bar in bars]) for name in _VALUES]
        states = ["closed" if bar.is_closed else styled("○ forming", "yellow") for bar in bars]
        stamps = [moment(iso(bar.stamp_ms)) for bar in bars]
        names = ["opened (UTC)", "open#?", "high#?", "low#?", "close#", "volume#?", ""]
        yield TextTable(names, list(zip(stamps, *columns, states, strict=True)))
    yield styled("Ctrl-C to stop", "dim")


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
