"""Progress for people: a bar in a terminal or notebook, and by default nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ...core.model.words.html import element
from ...core.model.words.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from .events import Listener, Progress


@contextmanager
def listening(listener: Listener | None) -> Iterator[Listener | None]:
    """Yield the listener to report to: ``listener`` or, if it is None, a progress bar.

    ``listener`` is the caller's ``progress=`` argument. If it is None and nobody could see a bar,
    None is yielded.
    """
    if listener is not None or not _is_seen():
        yield listener
        return
    from rich.console import Console

    screen = Console(stderr=True)
    if not (screen.is_terminal or screen.is_jupyter):
        yield None
        return
    with bar_in_notebook() if screen.is_jupyter else bar_on(screen) as bar:
        yield bar


def _is_seen() -> bool:
    """Return whether there may be a terminal or a notebook; the check is cheap."""
    return "ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())


@contextmanager
def bar_in_notebook() -> Iterator[Listener]:
    """Yield a listener that shows a bar below the cell, from its first call until the block ends.

    No widgets are needed: a single display is updated when the work has progressed by half a
    percent or the state has changed.
    """
    display = import_module("IPython.display")
    handle: Any = None
    last_state: tuple[int, str, bool] | None = None

    def show(now: Progress) -> None:
        """Show ``now``, if it differs from what is shown."""
        nonlocal handle, last_state
        state = (int(now.share * 200), now.waiting, now.is_over and not now.result.ok)
        if state == last_state:
            return
        last_state = state
        text = f" {now.done:,}/{now.total:,} {now.text()}"
        bar = element("progress", value=f"{now.share:.3f}", max="1")
        shown = {"text/html": str(element("div", bar, text)), "text/plain": text}
        if handle is None:
            handle = display.display(shown, raw=True, display_id=True)
        else:
            handle.update(shown, raw=True)

    try:
        yield show
    finally:
        if handle is not None:
            # Programs without HTML would show an empty `HTML` object by its name.
            handle.update({"text/html": "", "text/plain": ""}, raw=True)


@contextmanager
def bar_on(screen: Console) -> Iterator[Listener]:
    """Yield a listener that shows a bar on ``screen``, from its first call to the end of the block.

    If the application already has a live display there, no bar is shown.
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
