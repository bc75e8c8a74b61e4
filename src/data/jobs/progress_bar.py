"""Progress where people look: a bar on a terminal and in a notebook, by default nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..model.printable import printable
from .progress import Listener, Progress

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def listening(listener: Listener | None) -> Iterator[Listener | None]:
    """Yield what a caller passes as ``progress=``; where that is None a bar, if anybody can see one."""
    if listener is not None or not _is_seen():
        yield listener
        return
    from rich.console import Console

    screen = Console(stderr=True)
    if not (screen.is_terminal or screen.is_jupyter):
        yield None
        return
    with bar_on(screen) as shown:
        yield shown


def _is_seen() -> bool:
    """Tell cheaply whether there may be a terminal or a notebook."""
    return "ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())


@contextmanager
def bar_on(screen: Console) -> Iterator[Listener]:
    """Yield a listener that shows a bar on ``screen``, from its first call to the end of the block.

    Where the program shows something else there that changes, there is none.
    """
    from rich import progress as rich
    from rich.errors import LiveError

    columns = (
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(bar_width=None),
        rich.TextColumn("{task.fields[count]}"),
        rich.TimeElapsedColumn(),
    )
    bar = rich.Progress(*columns, console=screen, transient=True)
    task = bar.add_task("", total=1, count="")
    is_begun = can_show = False

    def show(now: Progress) -> None:
        """Show ``now`` on the bar."""
        nonlocal is_begun, can_show
        if not is_begun:
            is_begun = True
            try:
                bar.start()
                can_show = True
            except LiveError:
                pass
        if can_show:
            count = f"{now.done:,}/{now.total:,}"
            bar.update(task, completed=now.share, description=printable(now.text()), count=count)

    try:
        yield show
    finally:
        if can_show:
            bar.stop()
