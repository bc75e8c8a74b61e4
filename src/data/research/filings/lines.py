"""Statement lines as a frame: each value with its filing, its tag and its restatements."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from ...core.filings.service import Company, CompanyLines, Line
from ...core.model.market.fundamentals import FIELDS
from ...core.model.time.instant import from_ms
from ...errors import QueryError
from .company import american_stock, known_ms_of, warn_of_notes, warn_of_unproven, with_facts

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = (
    "line value unit period start end accession form filed accepted accepted_raw tag version derived "
    "is_certain"
)


def statement_lines(
    manager: Any, symbol: Any, *, adjusted: bool = False, timeout: Any = None
) -> pd.DataFrame:
    """Return the lines of a company's reports; see the data manager.

    Args:
        manager: Data manager, which may be one as of a past time.
        symbol, adjusted, timeout: See :meth:`~onetape.DataManager.statement_lines`.

    Raises:
        QueryError, DataError: See there.
    """
    if not isinstance(adjusted, bool):
        raise QueryError(f"adjusted is {adjusted!r:.40}, but must be True or False")
    services = manager._services
    instrument, known_ms = american_stock(services, symbol), known_ms_of(services)

    def answer() -> tuple[Company, CompanyLines]:
        """Return the company and its lines."""
        times = known_ms, known_ms
        company, lines = services.filings.reports(instrument, times, for_all=True)
        warn_of_unproven(company)
        warn_of_notes(company)
        return company, lines

    company, found = services.filings.within(timeout, instrument.symbol, answer)
    known = [line for line in found.lines if line.known_ms < known_ms]
    by_class = {"price", "shares"} if company.proof.classes else set()
    known = [line for line in known if FIELDS[line.name] not in by_class]
    frame = _frame(known)
    if adjusted:
        actions = manager.get_actions(instrument.symbol, timeout=timeout)
        _adjust(frame, actions[actions["type"] == "split"])
    return with_facts(
        frame,
        company,
        adjusted=adjusted,
        classes=list(company.proof.classes),
        withheld=dict(found.withheld),
    )


def _frame(lines: list[Line]) -> pd.DataFrame:
    import pandas as pd

    rows = [
        (
            line.name,
            line.value,
            line.unit,
            line.period,
            line.start or None,
            line.end,
            line.filing.accession,
            line.filing.form,
            line.filing.filed,
            None if line.filing.accepted_ms is None else from_ms(line.filing.accepted_ms),
            line.filing.accepted_raw,
            line.tag,
            line.version,
            line.is_derived,
            line.filing.is_certain,
        )
        for line in lines
    ]
    frame = pd.DataFrame(rows, columns=_COLUMNS.split())
    for name in ("start", "end", "filed", "accepted"):
        frame[name] = pd.to_datetime(frame[name]).astype("datetime64[ns]")
    return frame


def _adjust(frame: pd.DataFrame, splits: pd.DataFrame) -> None:
    """Convert values per share and numbers of shares to today's shares, by splits after each filing.

    The column ``splits`` names these splits.
    """
    import pandas as pd

    days = pd.DatetimeIndex(splits.index).date
    dated = list(zip(days, map(float, splits["ratio"]), strict=True))
    texts = []
    values = frame["value"].to_list()
    rows = zip(frame["line"], frame["filed"], strict=True)
    for number, (line, filed) in enumerate(rows):
        unit, later = FIELDS[line], list[tuple[date, float]]()
        if unit in ("price", "shares"):
            later = [(day, ratio) for day, ratio in dated if day > filed.date()]
        for _, ratio in later:
            values[number] = values[number] * ratio if unit == "shares" else values[number] / ratio
        texts.append(", ".join(f"{ratio:g}:1 on {day}" for day, ratio in later))
    frame["value"], frame["splits"] = values, texts
