"""Computes the run of a scheduled report that is due. Pure."""

from __future__ import annotations

from datetime import UTC

from ..errors import QueryError
from ..model.instant import MINUTE_MS, from_ms, iso, to_ms
from .alert_book import DueReport
from .alert_deliveries import AlertRun
from .alert_values import AlertEvent
from .cron import Cron

__all__ = ["next_report"]


def next_report(due: DueReport, now_ms: int) -> tuple[AlertRun, int | None]:
    """Return the run for a report that is due, and the next due time in UTC milliseconds.

    If several due times have passed, because the job did not run or could not deliver, only the run
    for the latest is made; its text states since when no reports have been sent. If the schedule
    cannot be parsed or has no further times, the run reports this, and the next due time is None.
    """
    try:
        cron, now = Cron.parse(due.cron), from_ms(now_ms).replace(tzinfo=UTC)
        at_ms = max(to_ms(cron.last(now)), due.due_ms)
        next_ms = to_ms(cron.after(now))
        text = f"schedule {due.id}, due {_minute(at_ms)}"
        if at_ms > due.due_ms:
            text += f"; those due since {_minute(due.due_ms)} were not sent"
    except QueryError as error:
        event = AlertEvent(
            due.id, "failed", due.due_ms, now_ms, f"schedule {due.id} has ended: {error}"
        )
        return _run(due, event), None
    return _run(due, AlertEvent(due.id, "due", at_ms, at_ms, text)), next_ms


def _run(due: DueReport, event: AlertEvent) -> AlertRun:
    return AlertRun(due.id, event.bar_ms, due.recipient, due.channel, due.report, (event,))


def _minute(at_ms: int) -> str:
    return iso(at_ms // MINUTE_MS * MINUTE_MS)
