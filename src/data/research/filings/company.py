"""The company that a symbol means, as of the time that a data manager knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...core.filings.service import Company
from ...core.model.answer.provenance import ATTRS_KEY, freeze
from ...core.model.identity.instrument import Instrument
from ...core.model.time.instant import iso
from ...core.model.words.caller import warn_user
from ...errors import IncompleteDataWarning, QueryError

if TYPE_CHECKING:
    import pandas as pd


def american_stock(services: Any, symbol: Any) -> Instrument:
    """Return the stock that a symbol means.

    Raises:
        QueryError: The symbol does not mean a stock.
    """
    instrument: Instrument = services.selector.instrument(symbol)
    if instrument.asset_class != "stock":
        raise QueryError(
            f"{instrument.symbol} is {instrument.asset_class}: only stocks have filings",
            symbol=instrument.symbol,
        )
    return instrument


def known_ms_of(services: Any) -> int:
    """Return the time (UTC milliseconds) by which filings must have been accepted: by default, now."""
    return int(getattr(services, "known_ms", services.clock.now_ms()))


def warn_of_notes(company: Company) -> None:
    """Warn if the SEC's answers differ from earlier ones, or a part of them is missing."""
    for note in company.notes:
        warn_user(f"{company.symbol}: {note}", IncompleteDataWarning)


def warn_of_unproven(company: Company, since: str = "") -> None:
    """Warn if filings since a date of filing (ISO; empty for all) are left out as unproven."""
    if since < company.proof.since:
        message = (
            f"filings before {company.proof.since} are not proven to be those of {company.symbol}, "
            "and are left out"
        )
        warn_user(message, IncompleteDataWarning)


def with_facts(frame: pd.DataFrame, company: Company, **own: Any) -> pd.DataFrame:
    """Return a frame with the facts about its company, and its ``own`` facts, in its ``attrs``."""
    frame.attrs[ATTRS_KEY] = freeze(
        {
            "symbol": company.symbol,
            "vendor": "sec",
            "filer": company.cik,
            "company": company.submissions.name,
            "rows": len(frame),
            "proven_since": company.proof.since,
            **own,
            "notes": list(company.notes),
            "fetched_at": iso(company.fetched_ms),
        }
    )
    return frame
