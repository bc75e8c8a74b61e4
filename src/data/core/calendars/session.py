"""A trading session, and the names of the calendars that are defined by a rule."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

from ..model.time.span import Span

ALWAYS_OPEN = "24/7"
FOREX = "FX"


class Session(NamedTuple):
    """One trading day.

    Attributes:
        day: Session date, i.e. the date of the daily bar.
        open_ms, close_ms: UTC instants ``[open, close)``; futures and FX open on the previous
            evening.
        breaks: Pauses within the session, such as lunch, which are not gaps.
    """

    day: date
    open_ms: int
    close_ms: int
    breaks: tuple[Span, ...] = ()
