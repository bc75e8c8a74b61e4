"""Parses the SEC's answers: the list of tickers, a filer's submissions and its facts.

Only the tags that are used are parsed; the other facts of a company, often 10 MB, are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from math import isfinite
from typing import Any, NamedTuple, TypeVar

import msgspec

from ....errors import ResponseFormatError
from ...model.time.instant import iso

_ACCESSION = re.compile(r"\d{10}-\d{2}-\d{6}")
_PART = re.compile(r"CIK\d{10}-submissions-\d{3}\.json")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
# Reports of American filers; all others, such as 20-F, describe foreign ones.
REPORTS = frozenset({"10-K", "10-Q", "10-KT", "10-QT", "10-K405"})
Row = TypeVar("Row")
# Maps the key of each row to the row and the time of the first answer that lacked or changed it.
Former = Mapping[Any, tuple[Row, int]]
# Ratios of splits.
RATIOS = (
    "StockholdersEquityNoteStockSplitConversionRatio1",
    "StockholdersEquityNoteStockSplitConversionRatio",
)
FOREIGN = frozenset({"20-F", "40-F", "6-K", "20-F/A", "40-F/A", "6-K/A"})


class Listed(NamedTuple):
    """One row of the list of tickers, which is as of today."""

    cik: int
    ticker: str
    title: str


class Part(NamedTuple):
    """An older part of a filer's submissions: its file, and the first and last day of filing."""

    name: str
    first: str
    last: str


@dataclass(frozen=True)
class Filing:
    """One filing.

    Attributes:
        accession: Accession number, such as ``0000320193-18-000145``.
        form: Form, such as ``10-K/A``.
        filed: ISO date of filing, in New York.
        accepted_raw: Time of acceptance as the SEC writes it; empty if it is unknown.
        report: ISO date of the end of the reported period; empty if there is none.
        items: Items of an 8-K, such as ``2.02``.
        document: File name of the main document.
        has_facts: Whether the filing has structured facts.
        accepted_ms: Time of acceptance (UTC milliseconds); None if it is unknown.
        is_certain: Whether the time zone of ``accepted_raw`` is proven.
        part: Older part of the list that has the time of acceptance, if it was not requested.
    """

    accession: str
    form: str
    filed: str
    accepted_raw: str
    report: str = ""
    items: tuple[str, ...] = ()
    document: str = ""
    has_facts: bool = False
    accepted_ms: int | None = None
    is_certain: bool = False
    part: str = ""

    @property
    def accepted(self) -> str:
        """The time of acceptance, ISO in UTC; empty if it is unknown."""
        return "" if self.accepted_ms is None else iso(self.accepted_ms)

    @property
    def is_report(self) -> bool:
        """Whether this is an annual or quarterly report of an American filer, or its amendment."""
        return self.form.removesuffix("/A") in REPORTS


@dataclass(frozen=True)
class Submissions:
    """The filings of one filer.

    Attributes:
        cik: Number of the filer.
        name: Name of the filer today.
        tickers: Symbols of the filer today.
        names_since: ISO dates on which the filer's name changed, ascending.
        filings: Filings as in the answer, the latest first.
        parts: Older parts of the list, which are separate answers.
    """

    cik: int
    name: str = ""
    tickers: tuple[str, ...] = ()
    names_since: tuple[str, ...] = ()
    filings: tuple[Filing, ...] = ()
    parts: tuple[Part, ...] = ()


class RawFact(NamedTuple):
    """One value as filed.

    Attributes:
        unit: Unit, such as ``USD`` or ``USD/shares``.
        start: ISO date of the first day; empty for a value at one date.
        end: ISO date of the last day, or of the date itself.
        value: The value.
        accession, form, filed: Filing that contains the value; ``filed`` is an ISO date.
    """

    unit: str
    start: str
    end: str
    value: float
    accession: str
    form: str
    filed: str

    @property
    def days(self) -> int:
        """Length of the period in days; 0 for a value at one date."""
        if not self.start:
            return 0
        return (date.fromisoformat(self.end) - date.fromisoformat(self.start)).days + 1


@dataclass(frozen=True)
class CompanyFacts:
    """The facts of one filer, parsed tag by tag.

    Attributes:
        cik: Number of the filer.
        name: Name of the filer.
        tags: Maps each taxonomy to its tags, each with unparsed values.
        kept: Maps each tag to values of earlier answers, by unit, period and filing; they take the
            place of the values of this answer.
        withdrawn: Accession numbers of filings whose values do not count.
    """

    cik: int
    name: str
    tags: Mapping[str, Mapping[str, msgspec.Raw]] = field(default_factory=dict, repr=False)
    kept: Mapping[str, Mapping[tuple[str, ...], tuple[RawFact, ...]]] = field(default_factory=dict)
    withdrawn: frozenset[str] = frozenset()

    def of(self, tag: str) -> list[RawFact]:
        """Return the usable values of a tag by all answers; see :meth:`sent`."""
        kept = self.kept.get(tag, {})
        found = [f for f in self.sent(tag) if (f.unit, f.start, f.end, f.accession) not in kept]
        found += [fact for rows in kept.values() for fact in rows]
        return [fact for fact in found if fact.accession not in self.withdrawn]

    def sent(self, tag: str) -> list[RawFact]:
        """Return the usable values of a tag; one without accession number or date of filing is dropped.

        Args:
            tag: Name with its taxonomy, such as ``dei:EntityCommonStockSharesOutstanding``, or
                without it for ``us-gaap``.

        Raises:
            ResponseFormatError: The values are something else.
        """
        taxonomy, _, name = tag.rpartition(":")
        raw = self.tags.get(taxonomy or "us-gaap", {}).get(name)
        if raw is None:
            return []
        concept = _decoded(raw, _CONCEPT, f"values of {name}")
        return [fact for unit, rows in concept.units.items() for fact in _usable(unit, rows)]


class _Row(msgspec.Struct):
    end: str
    val: float | None = None
    start: str = ""
    accn: str | None = None
    form: str | None = None
    filed: str | None = None


class _Concept(msgspec.Struct):
    units: dict[str, list[_Row]]


class _Facts(msgspec.Struct):
    cik: int | str
    facts: dict[str, dict[str, msgspec.Raw]]
    entityName: str | None = ""  # noqa: N815 - the name in the answer


class _Ticker(msgspec.Struct):
    cik_str: int
    ticker: str
    title: str = ""


class _Columns(msgspec.Struct):
    accessionNumber: list[str]  # noqa: N815 - the name in the answer
    filingDate: list[str]  # noqa: N815 - the name in the answer
    acceptanceDateTime: list[str | None]  # noqa: N815 - the name in the answer
    form: list[str]
    reportDate: list[str] | None = None  # noqa: N815 - the name in the answer
    items: list[str] | None = None
    primaryDocument: list[str] | None = None  # noqa: N815 - the name in the answer
    isXBRL: list[int] | None = None  # noqa: N815 - the name in the answer


class _Older(msgspec.Struct):
    name: str
    filingFrom: str  # noqa: N815 - the name in the answer
    filingTo: str  # noqa: N815 - the name in the answer


class _Filings(msgspec.Struct):
    recent: _Columns
    files: list[_Older] = []


class _FormerName(msgspec.Struct):
    name: str
    to: str | None = None


class _Submissions(msgspec.Struct):
    cik: int | str
    filings: _Filings
    name: str = ""
    tickers: list[str] = []
    formerNames: list[_FormerName] = []  # noqa: N815 - the name in the answer; as above


_CONCEPT = msgspec.json.Decoder(_Concept)
_FACTS = msgspec.json.Decoder(_Facts)
_TICKERS = msgspec.json.Decoder(dict[str, _Ticker])
_SUBMISSIONS = msgspec.json.Decoder(_Submissions)
_COLUMNS = msgspec.json.Decoder(_Columns)


def parse_tickers(body: bytes) -> dict[str, Listed]:
    """Parse ``{"0": {"cik_str": 320193, "ticker": "AAPL", "title": "Apple Inc."}, ...}``.

    Returns:
        Maps each ticker, without separators, to its row.

    Raises:
        ResponseFormatError: The answer is something else.
    """
    rows = _decoded(body, _TICKERS, "the list of tickers").values()
    return {letters(row.ticker): Listed(row.cik_str, row.ticker, row.title) for row in rows}


def parse_submissions(body: bytes, cik: int) -> Submissions:
    """Parse a filer's submissions.

    Raises:
        ResponseFormatError: The answer is something else, or is about another filer.
    """
    answer = _decoded(body, _SUBMISSIONS, "submissions")
    _check_filer(answer.cik, cik)
    parts = [Part(each.name, each.filingFrom, each.filingTo) for each in answer.filings.files]
    if any(not _PART.fullmatch(part.name) for part in parts):
        raise ResponseFormatError("sec names a part of submissions in an unexpected way")
    return Submissions(
        cik,
        answer.name,
        tuple(answer.tickers),
        tuple(sorted(_changes(answer.name, answer.formerNames))),
        _filings(answer.filings.recent),
        tuple(parts),
    )


def parse_part(body: bytes) -> tuple[Filing, ...]:
    """Parse an older part of a filer's submissions.

    Raises:
        ResponseFormatError: The answer is something else.
    """
    return _filings(_decoded(body, _COLUMNS, "a part of submissions"))


def parse_facts(body: bytes, cik: int) -> CompanyFacts:
    """Parse a company's facts; the values of a tag are parsed when they are needed.

    Raises:
        ResponseFormatError: The answer is something else, or is about another filer.
    """
    answer = _decoded(body, _FACTS, "company facts")
    _check_filer(answer.cik, cik)
    if not any(answer.facts.values()):
        raise ResponseFormatError(f"sec returned no fact of the filer {cik}")
    return CompanyFacts(cik, answer.entityName or "", answer.facts)


def packed(former: Former[Any]) -> bytes:
    """Return rows of earlier answers as JSON."""
    return msgspec.json.encode([(key, row, since) for key, (row, since) in former.items()])


def unpacked(body: bytes, row: Any) -> dict[Any, tuple[Any, int]]:
    """Parse rows that :func:`packed` wrote.

    Raises:
        ResponseFormatError: The text is something else.
    """
    decoder = msgspec.json.Decoder(list[tuple[str | tuple[str, ...], row, int]])
    rows = _decoded(body, decoder, "rows of earlier answers")
    return {key: (value, since_ms) for key, value, since_ms in rows}


def letters(symbol: str) -> str:
    """Return a symbol without separators and in uppercase, so that BRK-B, BRK.B and brkb are equal."""
    return re.sub(r"[^A-Z0-9]", "", symbol.upper())


def _decoded(body: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[Any], what: str) -> Any:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise ResponseFormatError.of_page(
            f"sec returned something other than {what} ({len(bytes(body))} bytes: {str(exc)[:80]})"
        ) from exc


def _check_filer(named: int | str, cik: int) -> None:
    if not str(named).isascii() or not str(named).isdigit() or int(named) != cik:
        raise ResponseFormatError(f"sec answered for the filer {str(named)[:20]!r}, not {cik}")


def _changes(name: str, former: list[_FormerName]) -> Iterator[str]:
    """Yield the days on which the name changed; another spelling of a name is not a change."""
    newer = _plain(name)
    for each in sorted(former, key=lambda each: each.to or "", reverse=True):
        if _plain(each.name) != newer and each.to:
            yield each.to[:10]
        newer = _plain(each.name)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", re.sub(r"\s*/[a-z]{2,3}/?\s*$", "", name.lower()))


def _filings(columns: _Columns) -> tuple[Filing, ...]:
    count = len(columns.accessionNumber)
    blank, none = [""] * count, [0] * count
    rows = zip(
        columns.accessionNumber,
        columns.form,
        columns.filingDate,
        columns.acceptanceDateTime,
        blank if columns.reportDate is None else columns.reportDate,
        blank if columns.items is None else columns.items,
        blank if columns.primaryDocument is None else columns.primaryDocument,
        none if columns.isXBRL is None else columns.isXBRL,
        strict=True,
    )
    try:
        return tuple(
            Filing(
                accession,
                form,
                filed,
                raw or "",
                report,
                tuple(filter(None, items.split(","))),
                document,
                bool(has_facts),
            )
            for accession, form, filed, raw, report, items, document, has_facts in rows
            if _ACCESSION.fullmatch(accession) and is_day(filed)
        )
    except ValueError as exc:
        raise ResponseFormatError("the columns of sec's submissions differ in length") from exc


def _usable(unit: str, rows: list[_Row]) -> Iterator[RawFact]:
    for row in rows:
        is_known = row.val is not None and isfinite(row.val) and is_day(row.end)
        if not is_known or (row.start and not "" < row.start <= row.end):
            continue
        if row.start and not is_day(row.start):
            continue
        if row.accn and row.form and is_day(row.filed or "") and _ACCESSION.fullmatch(row.accn):
            value = float(row.val or 0.0)
            yield RawFact(unit, row.start, row.end, value, row.accn, row.form, row.filed or "")


def is_day(text: str) -> bool:
    """Return whether a text is an ISO date."""
    if not _DAY.fullmatch(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
