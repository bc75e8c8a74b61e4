"""Queries a vendor as its field table describes, and converts the responses to a snapshot."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ...errors import (
    NoDataError,
    ProviderError,
    RefusedError,
    ResponseFormatError,
    SymbolNotFoundError,
    UnsupportedError,
)
from ..model.identity.instrument import Instrument
from ..model.identity.kind import HUNDREDTHS
from ..model.market.fundamentals import (
    FIELDS,
    WITH_CURRENCY,
    Fact,
    Snapshot,
    Statement,
    Unit,
    plain_of,
)
from ..registry import row_of
from .fundamentals_table import (
    Ask,
    Pick,
    TableAnswer,
    TableVendor,
    VendorTable,
    request_of,
    table_of,
)
from .paging import format_errors

# Errors by which a vendor reports that it has no such data, at least not for this account.
_NOT_SERVED = (NoDataError, RefusedError, UnsupportedError)


@dataclass(frozen=True)
class TableQuestion:
    """A request for fundamentals.

    Attributes:
        instrument: Instrument.
        data_type: Type of data.
        now_ms: Time of the request, UTC milliseconds.
        refresh: Whether kept answers do not suffice.
        times: First and last time (UTC milliseconds) between which it matters when reports became
            public, to the second; None if it does not.
        is_stored: Whether only kept filings are used, however old.
    """

    instrument: Instrument
    data_type: str
    now_ms: int
    refresh: bool = False
    times: tuple[int, int] | None = None
    is_stored: bool = False

    @property
    def symbol(self) -> str:
        """The instrument's canonical symbol."""
        return self.instrument.symbol


def ask_by_table(downloader: TableVendor, table: VendorTable, question: TableQuestion) -> Snapshot:
    """Fetch one type of fundamentals, using the vendor's field table.

    Raises:
        DataError: The vendor refused, failed, does not know the symbol, or returned data for a
            different symbol.
    """
    spelled = table.spelled(question.instrument)
    with downloader.guarded_call(f"fundamentals/{question.data_type}", spelled):
        bodies = _bodies(downloader, table, question, spelled)
        with format_errors(table.vendor, "fundamentals"):
            return read(
                table,
                VendorAnswers(
                    question.symbol, spelled, question.data_type, question.now_ms, bodies
                ),
            )


def profile_by_table(downloader: TableVendor, symbol: str, now_ms: int) -> dict[str, Any] | None:
    """Return a company's profile as a flat dict; None if the vendor has none.

    The unit and the period of each value are under ``_metadata``.

    Args:
        downloader: Downloader for one of this library's vendors; others have no field table.
        symbol: Symbol in the vendor's own spelling.
        now_ms: Time of the request, in UTC milliseconds.

    Raises:
        DataError: The vendor refused or failed.
    """
    table = table_of(downloader.name)
    if table is None or row_of(downloader.name).series:  # that needs kept filings
        return None
    question = TableQuestion(Instrument(symbol, max(table.asset_classes)), "profile", now_ms)
    try:
        return plain_of(ask_by_table(downloader, table, question))
    except (NoDataError, SymbolNotFoundError):
        return None


def _bodies(
    downloader: TableVendor, table: VendorTable, question: TableQuestion, spelled: str
) -> dict[Ask, Any]:
    """Send the table's requests; return the bodies by request.

    An optional request is omitted if the vendor has nothing for it or does not serve it. Any other
    failure is an error, because a response without this part would count as complete for months.
    """
    bodies: dict[Ask, Any] = {}
    named = table.naming(question.instrument) if table.naming else {}
    needed = {a.ask for a in table.types[question.data_type] if not a.is_optional}
    for ask in dict.fromkeys(answer.ask for answer in table.types[question.data_type]):
        try:
            request = request_of(table, ask, spelled, downloader, question.now_ms)
            answer = downloader.send(replace(request, params={**named, **request.params}))
            bodies[ask] = answer.json()
        except ProviderError as exc:
            if ask in needed or not isinstance(exc, _NOT_SERVED):
                exc.symbol = exc.symbol or question.symbol
                raise
    return bodies


# --- from responses to a snapshot ------------------------------------------------------------

# Strings that vendors use for a missing value.
_NOTHING = frozenset({"", "none", "n/a", "na", "-", "--", "null", "nan", "unknown"})
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_CODE = re.compile(r"[A-Z]{3}")
# Size limits, because parts of a response stay on disk for months. The longest real company
# descriptions have 5,000 characters, the largest blocks about 100,000, and reports go back about 40
# years.
_LONGEST_TEXT = 50_000
_LONGEST_BLOCK = 2_000_000
_MOST_STATEMENTS = 2_000
_LONGEST_PERIOD = 40


class VendorAnswers(NamedTuple):
    """The responses for one query, by request; responses to optional requests may be missing."""

    symbol: str
    spelled: str
    data_type: str
    fetched_at_ms: int
    bodies: Mapping[Ask, Any]


def read(table: VendorTable, answers: VendorAnswers) -> Snapshot:
    """Parse the responses for one query into a snapshot.

    Args:
        table: Table that describes how the vendor's responses are parsed.
        answers: Query and responses; responses to optional requests may be missing.

    Raises:
        SymbolNotFoundError: The responses contain no data.
        ResponseFormatError: The responses are for another symbol.
        KeyError, IndexError, TypeError, ValueError, AttributeError: The responses have an
            unexpected format.
    """
    sheet = _Sheet(table.vendor)
    for answer in table.types[answers.data_type]:
        if answer.ask in answers.bodies:
            sheet.add(answer, answers.bodies[answer.ask], answers.spelled)
    if not sheet.facts and not sheet.statements:
        raise SymbolNotFoundError(
            f"{table.vendor} has no {answers.data_type} for {answers.symbol}",
            provider=table.vendor,
            symbol=answers.symbol,
        )
    newest = sorted(sheet.statements, key=lambda s: (s.period_end, s.filed_at), reverse=True)
    return Snapshot(
        vendor=table.vendor,
        symbol=answers.symbol,
        fetched_at_ms=answers.fetched_at_ms,
        facts=sheet.facts,
        statements=tuple(newest),
        blocks=sheet.blocks,
        dropped=sheet.dropped,
        data_types=(answers.data_type,),
        names_symbol=sheet.names_symbol,
    )


class _Sheet:
    """Collects facts and statements from responses; the first value of a repeated field is kept."""

    def __init__(self, vendor: str) -> None:
        self._vendor = vendor
        self.facts: dict[str, Fact] = {}
        self.statements: list[Statement] = []
        self.blocks: dict[str, Any] = {}
        self.dropped: dict[str, str] = {}
        self.names_symbol = False

    def add(self, answer: TableAnswer, body: Any, spelled: str) -> None:
        """Add the content of one response."""
        content = at(body, answer.row)
        if content is not None and answer.shape is not None:
            content = answer.shape(content)
        if not content:
            return
        self._check_whose(answer, body, spelled)
        if answer.statement:
            if len(content) > _MOST_STATEMENTS:
                self.dropped[answer.statement] = f"{len(content):,} reports are too many"
                return
            self.statements += [s for row in content if (s := self._statement(answer, row))]
            return
        if answer.block:
            older = {name: at(content, path) for name, path in answer.also.items()}
            aliases = {name: value for name, value in older.items() if value is not None}
            self._keep_block(answer.block, {**aliases, **content} if aliases else content)
        for name, where in answer.fields.items():
            if name not in self.facts and (fact := self._fact(answer, name, _pick(where), content)):
                self.facts[name] = fact

    def _keep_block(self, name: str, block: Any) -> None:
        size = len(json.dumps(block))
        if size > _LONGEST_BLOCK:
            self.dropped[name] = f"{size:,} characters are too many"
        else:
            self.blocks[name] = block

    def _check_whose(self, answer: TableAnswer, body: Any, spelled: str) -> None:
        """Raise an error if a response names a symbol other than the requested one."""
        named = at(body, answer.symbol) if answer.symbol else None
        names = [
            s for name in (named if isinstance(named, list) else [named]) if (s := text_of(name))
        ]
        if not names:
            return
        wanted = spelled.rpartition(".")[0] or spelled if answer.is_bare else spelled
        if _letters(wanted) not in map(_letters, names):
            raise ResponseFormatError(
                f"{self._vendor} answered for {', '.join(map(repr, names))[:80]} instead of "
                f"{spelled}",
                provider=self._vendor,
                symbol=spelled,
            )
        self.names_symbol = True

    def _fact(self, answer: TableAnswer, name: str, pick: Pick, row: Any) -> Fact | None:
        unit: Unit = FIELDS.get(name, "")
        raw = at(row, pick.at)
        if unit == "text":
            text = text_of(raw)
            if text is not None and len(text) > _LONGEST_TEXT:
                self.dropped[name] = f"a string of {len(text):,} characters is too long"
                return None
            return None if text is None else Fact(_tidy(name, text), "text")
        number = self._number(name, raw, zero_is_unknown=pick.zero_is_unknown)
        if number is None:
            return None
        currency = ""
        if unit in WITH_CURRENCY:
            path = answer.currency if pick.currency is None else pick.currency
            currency, divisor = major(text_of(at(row, path)) or "")
            number = number / divisor if unit == "price" else number
        period = text_of(at(row, answer.period if pick.period is None else pick.period)) or ""
        period = period[:_LONGEST_PERIOD]
        end = day_of(at(row, answer.period_end)) if period else ""
        filed = day_of(at(row, answer.filed_at))
        return Fact(number * pick.scale, unit, currency, period, end, filed)

    def _number(self, name: str, raw: Any, *, zero_is_unknown: bool = False) -> float | None:
        number = number_of(raw)
        if number is None and text_of(raw) is not None:
            self.dropped[name] = f"{str(raw)[:40]!r} is not a number"
        return None if number == 0 and zero_is_unknown else number

    def _statement(self, answer: TableAnswer, row: Any) -> Statement | None:
        period_end = day_of(at(row, answer.period_end))
        if not period_end:
            return None
        currency, divisor = major(text_of(at(row, answer.currency)) or "")
        picks = {name: _pick(where) for name, where in answer.fields.items()}
        scales = {n: p.scale / (divisor if FIELDS[n] == "price" else 1) for n, p in picks.items()}
        numbers = {name: number_of(at(row, pick.at)) for name, pick in picks.items()}
        values = {n: v * scales[n] for n, v in numbers.items() if v is not None}
        if not values:
            return None
        period = (text_of(at(row, answer.period)) or "FY")[:_LONGEST_PERIOD]
        filed = day_of(at(row, answer.filed_at))
        return Statement(answer.statement, period, period_end, filed, currency, values)


def at(row: Any, path: str) -> Any:
    """Return the value to which ``path`` (keys joined by dots, alternatives by ``|``) leads, or None."""
    for way in path.split("|"):
        value = way[1:] if way.startswith("=") else _follow(row, way.split(".") if way else ())
        if value is not None and not (isinstance(value, str) and _is_nothing(value)):
            return value
    return None


def _follow(row: Any, keys: Iterable[str]) -> Any:
    for key in keys:
        if isinstance(row, Mapping):
            row = row.get(key)
        elif isinstance(row, list | tuple) and key.isdigit() and int(key) < len(row):
            row = row[int(key)]
        else:
            return None
    return row


def number_of(value: Any) -> float | None:
    """Return a number or numeric text as a finite float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        # A vendor can send integers of any length, not all of which fit into a float.
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def text_of(value: Any) -> str | None:
    """Return a string, or a number as a string; None if the value only marks missing data."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = str(value).strip()
    return None if _is_nothing(text) else text


def day_of(value: Any) -> str:
    """Return the ISO date at the beginning of a text; empty if there is no date."""
    match = _DATE.match(value) if isinstance(value, str) else None
    return match[0] if match else ""


def major(code: str) -> tuple[str, float]:
    """Return the currency for a vendor's code, and the units per currency unit: 100 for pence, else 1.

    An unknown code gives an empty currency.
    """
    if code in HUNDREDTHS:
        return HUNDREDTHS[code], 100.0
    upper = code.upper()
    return (upper, 1.0) if _CODE.fullmatch(upper) else ("", 1.0)


def _pick(where: str | Pick) -> Pick:
    return where if isinstance(where, Pick) else Pick(where)


def _is_nothing(text: str) -> bool:
    return text.strip().lower() in _NOTHING


def _letters(symbol: str) -> str:
    """Return a symbol without separators, so that BRK-B, BRK.B and BRK/B are equal."""
    return re.sub(r"[-./ ]", "", symbol).upper()


def _tidy(name: str, text: str) -> str:
    return (major(text)[0] or text) if name == "currency" else text
