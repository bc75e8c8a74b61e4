"""Announcements of earnings: 8-K filings with item 2.02, with the time of their acceptance."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ...core.calendars.calendar import calendar_for, closes_early
from ...core.calendars.localtime import local_date
from ...core.calendars.ranges import resolve_instants
from ...core.filings.service import NEW_YORK, Company, Filing, address_of
from ...core.filings.service import known_ms as known_since
from ...core.model.display.texts import counted
from ...core.model.identity.instrument import Instrument
from ...core.model.time.instant import DAY_MS, SECOND_MS, date_of, from_ms, iso
from ...core.model.words.caller import warn_user
from ...errors import IncompleteDataWarning, QueryError
from .company import american_stock, known_ms_of, warn_of_notes, warn_of_unproven, with_facts

if TYPE_CHECKING:
    import pandas as pd

_ITEM = "2.02"
_YEAR = timedelta(days=365)
# The longest time from a filing to the next session.
_AHEAD = timedelta(days=10)


def announcements(
    services: Any, symbol: Any, start: Any = None, end: Any = None, *, timeout: Any = None
) -> pd.DataFrame:
    """Return a company's announcements of earnings; see the data manager.

    Args:
        services: Services of a data manager.
        symbol, start, end, timeout: See :meth:`~onetape.DataManager.announcements`.

    Raises:
        QueryError, DataError: See there.
    """
    instrument, known_ms = american_stock(services, symbol), known_ms_of(services)
    first = from_ms(known_ms) - _YEAR if start is None else start
    if end is None:  # a later start is not an end before it
        _check_past(
            instrument, resolve_instants(instrument, first, first, known_ms).start, known_ms
        )
    span = resolve_instants(instrument, first, from_ms(known_ms) if end is None else end, known_ms)
    _check_past(instrument, span.end - DAY_MS, known_ms)
    since = date_of(span.start - DAY_MS).isoformat()

    def answer() -> pd.DataFrame:
        """Return the frame."""
        company: Company = services.filings.company(
            instrument, since=since, copy_from_ms=span.start
        )
        warn_of_unproven(company, since)
        warn_of_notes(company)
        until = min(span.end, known_ms)
        about = [
            f for f in company.filings if f.form.removesuffix("/A") == "8-K" and _ITEM in f.items
        ]
        found = [
            f for f in about if f.accepted_ms is not None and span.start <= f.accepted_ms < until
        ]
        first, last = date_of(span.start).isoformat(), date_of(span.end - 1).isoformat()
        undated = [
            f
            for f in about
            if f.accepted_ms is None
            and first <= f.filed <= last
            # At a past time, those that had certainly been filed; now, all that the SEC lists.
            and min(known_since(f), company.fetched_ms) <= known_ms
        ]
        if undated:
            warn_user(
                f"{counted(len(undated), 'announcement')} without a usable time of acceptance left out: "
                f"{', '.join(f.accession for f in undated[:3])}{', ...' * (len(undated) > 3)}",
                IncompleteDataWarning,
            )
        found.sort(key=lambda f: f.accepted_ms or 0)
        return _frame(instrument, company, found, len(undated))

    frame: pd.DataFrame = services.filings.within(timeout, instrument.symbol, answer)
    return frame


def _check_past(instrument: Instrument, time_ms: int, known_ms: int) -> None:
    """Raise ``QueryError`` if a time is in the future."""
    if time_ms > known_ms:
        raise QueryError(
            f"announcements after {iso(known_ms // SECOND_MS * SECOND_MS)} are not available: "
            "they are read from filings, and dates of future reports are estimates",
            symbol=instrument.symbol,
            hint="use a range that ends today, or leave out the end",
        )


def timing_of(instrument: Instrument, accepted_ms: int) -> tuple[str, str, bool]:
    """Return whether a time is before, during or after a session, the session, and whether it closes early.

    On a day without a session, and before the first one, it is before the next session.
    """
    day = local_date(NEW_YORK, accepted_ms)
    sessions = calendar_for(instrument).sessions(day, day + _AHEAD)
    for session in sessions:
        if accepted_ms < session.close_ms or session.day == day:
            before = accepted_ms < session.open_ms
            label = "before" if before else "during" if accepted_ms < session.close_ms else "after"
            return label, session.day.isoformat(), closes_early(instrument, session)
    return "", "", False


def _frame(
    instrument: Instrument, company: Company, filings: list[Filing], undated: int
) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for filing in filings:
        timing, session, is_early = timing_of(instrument, filing.accepted_ms or 0)
        rows.append(
            {
                "accepted": from_ms(filing.accepted_ms or 0),
                "timing": timing,
                "session": session,
                "early_close": is_early,
                "form": filing.form,
                "items": ",".join(filing.items),
                "accession": filing.accession,
                "url": f"{address_of(company.cik, filing.accession)}/{filing.document}",
                "accepted_raw": filing.accepted_raw,
                "is_certain": filing.is_certain,
            }
        )
    names = "accepted timing session early_close form items accession url accepted_raw is_certain"
    frame = pd.DataFrame(rows, columns=names.split())
    for name in ("accepted", "session"):
        frame[name] = pd.to_datetime(frame[name]).astype("datetime64[ns]")
    return with_facts(frame, company, undated=undated)
