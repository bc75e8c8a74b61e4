"""Answers questions about companies' filings from kept answers, or else from the SEC."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from copy import copy
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...errors import (
    CircuitOpenError,
    ConfigError,
    IncompleteDataWarning,
    NoDataError,
    ProviderError,
    ResponseFormatError,
    SymbolNotFoundError,
    TransientError,
)
from ..clock import Clock
from ..config.packaged import packaged_path
from ..disk.files import Disk
from ..model.identity.instrument import Instrument
from ..model.market.fundamentals import Snapshot, may_be_public_within
from ..model.time.instant import DAY_MS, NEVER_MS, date_of, iso
from ..model.words.caller import warn_user
from ..net.calls.deadline import run_call, seconds_of
from ..net.limits.locks import SeriesLocks
from ..observability.logs import Subject, running
from ..vendors.factory import creation_error, downloader_for
from ..vendors.sec.acceptance import NEW_YORK, with_times
from ..vendors.sec.answers import (
    RATIOS,
    CompanyFacts,
    Filing,
    Former,
    Listed,
    Part,
    RawFact,
    Submissions,
    letters,
    packed,
    parse_facts,
    parse_part,
    parse_submissions,
    parse_tickers,
    unpacked,
)
from ..vendors.sec.filings import SecDataDownloader, address_of
from ..vendors.sec.former import (
    Facts,
    fact_rows,
    filing_rows,
    known_facts,
    known_filings,
    lacking,
)
from ..vendors.sec.fundamentals import TABLE
from ..vendors.sec.identity import Proof, classes_beside, proof_of, symbols_on_cover
from ..vendors.sec.lines import CompanyLines, Line, LineRule, known_ms, lines_of, rules_of, summary
from ..vendors.sec.statements import facts_of, statements_of
from .kept import KeptAnswers

if TYPE_CHECKING:
    from ..model.identity.symbol_changes import SymbolChange
    from ..vendors.fundamentals_request import TableQuestion

# Names of the vendor's folder that the packages above use are here.
__all__ = (
    "NEW_YORK", "RATIOS", "SHARES", "Company", "CompanyFacts", "CompanyLines", "Filing", "FilingsService",
    "Line", "RawFact", "address_of", "known_ms", "line_rules",
)  # fmt: skip

log = logging.getLogger(__name__)

FOLDER = "_filings"
VENDOR = "sec"
# Time after which the list of tickers is requested again even if it has the symbol.
_LIST_MS = 30 * DAY_MS
_TICKERS = "company_tickers.json"
SHARES = "dei:EntityCommonStockSharesOutstanding"
_T = TypeVar("_T")
Times = tuple[int, int]


@dataclass(frozen=True)
class Company:
    """The filings of the filer that a symbol means.

    Attributes:
        symbol: Symbol, in the library's spelling.
        submissions: Names and present symbols of the filer.
        filings: Filings that are proven to be those of the symbol, the latest first.
        proof: Time for which the symbol is proven.
        fetched_ms: Time of the list of filings, UTC milliseconds.
        missing: Older parts of that list that were not requested.
        withdrawn: Accession numbers of filings that the SEC no longer lists.
        notes: Sentences about the differences between the SEC's answers, and about failed requests.
    """

    symbol: str
    submissions: Submissions
    filings: tuple[Filing, ...]
    proof: Proof
    fetched_ms: int
    missing: tuple[Part, ...] = ()
    withdrawn: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

    @property
    def cik(self) -> int:
        """The filer's number."""
        return self.submissions.cik


class FilingsService:
    """Answers questions about filings. Thread-safe, and safe across processes.

    ``<cache>/_filings`` contains the SEC's answers as they were sent, each with its time. A filer's
    list of filings is requested once a day (UTC), its facts after a report was filed. What an answer
    lacks that an earlier one had is kept beside it.

    Args:
        cache_dir: Root of the cache.
        selector: Creates downloaders. It is duck-typed.
        clock: Source of the current time.
        changes: Function that returns the recorded changes in a symbol's meaning.
        leases: Function that returns the leases by which processes take turns at requests.
    """

    # Whether only kept answers are used, however old; nothing is requested.
    _is_offline = False

    def __init__(
        self,
        cache_dir: Path,
        selector: Any,
        clock: Clock,
        changes: Callable[[str], Sequence[SymbolChange]] = lambda symbol: (),
        leases: Callable[[], Any] = lambda: None,
    ) -> None:
        self._changes, self._leases = changes, leases
        disk = Disk(root=cache_dir, private=selector.parsed_rules.cache.private)
        self._kept = KeptAnswers(disk, cache_dir / FOLDER)
        self._selector, self._clock = selector, clock
        self._locks = SeriesLocks()

    def within(self, timeout: Any, symbol: str, answer: Callable[[], _T]) -> _T:
        """Return the result of ``answer``, within the time limit of a call about a symbol.

        Raises:
            QueryError: ``timeout`` is not a number of seconds.
            ProviderTimeoutError: The time was not enough.
        """
        with running(Subject(symbol)):
            return run_call(self._clock, seconds_of(timeout, symbol), answer)

    def company(
        self,
        instrument: Instrument,
        *,
        since: str | None = None,
        parts: Collection[str] = (),
        refresh: bool = False,
        copy_from_ms: int = 0,
    ) -> Company:
        """Return the filings of the filer that a symbol means.

        Args:
            instrument: American stock.
            since: ISO date from which all filings are needed; None for those of the first part.
            parts: Names of older parts that are needed as well.
            refresh: Whether to request the list of filings again.
            copy_from_ms: Earliest time of a kept answer that takes the place of a failed request; a
                warning has its time.

        Raises:
            SymbolNotFoundError: The SEC's list of tickers does not have the symbol.
            NoDataError: No filing proves that the symbol means the listed filer.
            ConfigError: No contact address is set, or it is not one.
            DataError: The SEC refused, failed or returned an unexpected response.
        """
        now_ms, symbol = self._clock.now_ms(), instrument.symbol
        with self._locks.hold(letters(symbol), self._clock):
            listed, notes = self._listed(instrument, now_ms, copy_from_ms)
            name = f"CIK{listed.cik:010d}.json"
            submissions, fetched_ms = self._answer(
                name,
                lambda: self._vendor().submissions(listed.cik),
                lambda body: parse_submissions(body, listed.cik),
                lambda fetched_ms: not refresh and date_of(fetched_ms) == date_of(now_ms),
                copy_from_ms,
                lambda answer: filing_rows(answer.filings),
                Filing,
            )
            former = self._former(name, Filing)
            older, missing, in_parts = self._parts(submissions, since, parts)
            known = known_filings(submissions, older, in_parts | former, fetched_ms)
            filings = with_times(known.filings, fetched_ms)
            proof = self._proof(symbol, submissions, filings)
        own = tuple(f for f in filings if f.filed >= proof.since)
        notes = (*notes, *known.notes)
        return Company(symbol, submissions, own, proof, fetched_ms, missing, known.withdrawn, notes)

    def reports(
        self,
        instrument: Instrument,
        times: Times | None = None,
        *,
        for_all: bool = False,
        refresh: bool = False,
        copy_from_ms: int = 0,
    ) -> tuple[Company, CompanyLines]:
        """Return a company with the statement lines of its reports.

        Args:
            times: First and last time (UTC milliseconds) between which times of acceptance must be
                known; the older parts of the list of filings that have them are requested. Default:
                none. If that fails, a note says so.
            for_all: Whether to request the older part that has all times, if it is a single one.
            instrument, refresh, copy_from_ms: See :meth:`company`.

        Raises:
            NoDataError: The filer has no facts, or is a foreign one.
            DataError: See :meth:`company`.
        """
        company = self.company(instrument, refresh=refresh, copy_from_ms=copy_from_ms)
        company, facts = self._facts(company, refresh, copy_from_ms)
        lines = self._lines(company, facts)
        undated = {(ln.filing.part, ln.filing.filed) for ln in lines.lines if ln.filing.part}
        needed = {part for part, day in undated if may_be_public_within(day, times)}
        if for_all and len({part for part, _ in undated}) == 1:
            needed = {part for part, _ in undated}
        if needed:
            day = date_of(company.fetched_ms)
            try:
                if day != date_of(self._clock.now_ms()):
                    raise NoDataError(f"the list itself is of {day}")
                more = self.company(instrument, parts=needed)
                company = replace(more, notes=company.notes)
                lines = self._lines(company, facts)
            except ProviderError as error:
                text = (
                    f"an older part of the list of filings was not read ({type(error).__name__}: "
                    f"{error.brief}): its reports count from the end of their date of filing"
                )
                company = replace(company, notes=(*company.notes, text))
        return company, lines

    def _lines(self, company: Company, facts: CompanyFacts) -> CompanyLines:
        lines = lines_of(facts, company.filings, line_rules(), company.missing)
        name = f"{company.symbol} (filer {company.cik})"
        if lines.is_foreign:
            raise NoDataError(
                f"{name} files as a foreign company (20-F, 40-F, 6-K or IFRS), which is not read",
                symbol=company.symbol,
            )
        own = tuple(line for line in lines.lines if line.filing.filed >= company.proof.since)
        if not own:
            raise NoDataError(f"{name} has no reports with facts", symbol=company.symbol)
        return replace(lines, lines=own)

    def facts(self, company: Company) -> tuple[Company, CompanyFacts]:
        """Return a company with its facts; for errors, see :meth:`reports`."""
        return self._facts(company, refresh=False, copy_from_ms=0)

    def _facts(
        self, company: Company, refresh: bool, copy_from_ms: int
    ) -> tuple[Company, CompanyFacts]:
        now_ms, cik = self._clock.now_ms(), company.cik
        reports = [known_ms(f) for f in company.filings if f.is_report and f.has_facts]
        # The facts of a report may be complete only some hours after it.
        due_ms = max(reports, default=0) + DAY_MS
        name, tags = f"CIK{cik:010d}-facts.json", _tags()

        def is_current(fetched_ms: int) -> bool:
            return fetched_ms >= due_ms or date_of(fetched_ms) == date_of(now_ms)

        try:
            with self._locks.hold(cik, self._clock):
                answer, fetched_ms = self._answer(
                    name,
                    lambda: self._vendor().facts(cik),
                    lambda body: parse_facts(body, cik),
                    lambda fetched_ms: not refresh and is_current(fetched_ms),
                    copy_from_ms,
                    lambda answer: fact_rows(answer, tags),
                    Facts,
                )
                former = self._former(name, Facts)
        except SymbolNotFoundError as error:
            message = f"{company.symbol} (filer {cik}) has no facts at the SEC, as funds do not"
            raise NoDataError(message, symbol=company.symbol) from error
        facts, notes = known_facts(answer, former, company.withdrawn, fetched_ms)
        return replace(company, notes=(*company.notes, *notes)), facts

    def snapshot(self, question: TableQuestion) -> Snapshot:
        """Return a company's statements as a vendor's response; for errors, see :meth:`reports`.

        No kept answer takes the place of a failed request: the caller has its own copies. If the
        question is about what is stored, nothing is requested.

        Raises:
            NoDataError: The question is about what is stored, and nothing is.
        """
        service = copy(self)
        service._is_offline = question.is_stored
        company, lines = service.reports(
            question.instrument,
            question.times,
            refresh=question.refresh,
            copy_from_ms=NEVER_MS,
        )
        classes, dropped = company.proof.classes, dict[str, str]()
        if company.proof.since:
            dropped["statements"] = (
                f"filings before {company.proof.since} are not proven to be those of "
                f"{question.symbol}"
            )
        if classes:
            dropped["shares"] = f"the company also has the class {', '.join(classes)}"
        if lines.withheld:
            dropped["lines"] = summary(lines.withheld)
        if company.notes:
            dropped["filings"] = "; ".join(company.notes)
        return Snapshot(
            VENDOR,
            question.symbol,
            company.fetched_ms,
            facts_of(company.submissions.name),
            statements_of(lines, has_classes=bool(classes)),
            dropped=dropped,
            data_types=(question.data_type,),
            names_symbol=True,
        )

    # --- the answers --------------------------------------------------------------------------

    def _vendor(self) -> SecDataDownloader:
        """Return the downloader; for errors, see :meth:`company`."""
        if self._is_offline:
            raise NoDataError("the answers of the SEC that this needs are not stored")
        vendor: SecDataDownloader | None = downloader_for(self._selector, VENDOR)
        if vendor is None or vendor.lacking:
            raise creation_error(self._selector, VENDOR) or ConfigError("sec cannot be used")
        return vendor

    def _answer(
        self,
        name: str,
        fetch: Callable[[], bytes],
        parse: Callable[[bytes], _T],
        is_current: Callable[[int], bool],
        copy_from_ms: int = NEVER_MS,
        rows: Callable[[_T], Mapping[Any, Any]] | None = None,
        row: Any = None,
    ) -> tuple[_T, int]:
        """Return an answer, parsed, and its time; an answer that cannot be parsed is never kept.

        Args:
            rows: Function that returns the rows of an answer. Rows of the answer before that the new
                one lacks or states differently are kept beside it.
            row: Type of a row.
            name, fetch, parse, is_current, copy_from_ms: Name and origin of the answer; see
                :meth:`company`.
        """
        kept = self._kept.read(name, self._clock.now_ms())
        if kept is not None and (self._is_offline or is_current(kept.fetched_ms)):
            return parse(kept.body), kept.fetched_ms
        with self._turn(name):
            now_ms = self._clock.now_ms()
            kept = self._kept.read(name, now_ms)  # another process may have requested it
            if kept is not None and is_current(kept.fetched_ms):
                return parse(kept.body), kept.fetched_ms
            try:
                body = fetch()
                parsed = parse(body)
            except (TransientError, CircuitOpenError, ResponseFormatError) as error:
                if kept is None or kept.fetched_ms < copy_from_ms:
                    raise
                warn_user(
                    f"sec did not answer ({type(error).__name__}: {error.brief}): "
                    f"its answer of {iso(kept.fetched_ms)} is used",
                    IncompleteDataWarning,
                )
                return parse(kept.body), kept.fetched_ms
            if rows is not None and kept is not None:
                former, before = self._former(name, row), rows(parse(kept.body))
                found = lacking(former, before, kept.fetched_ms, rows(parsed), now_ms)
                if found or former:
                    self._kept.write(_beside(name), packed(found), now_ms)
            self._kept.write(name, body, now_ms)
        return parsed, now_ms

    def _turn(self, name: str) -> AbstractContextManager[object]:
        """Return a block that one process at a time enters to request an answer."""
        leases = None if self._is_offline else self._leases()
        return nullcontext() if leases is None else leases.hold(f"filings {name}")

    def _former(self, name: str, row: Any) -> dict[Any, tuple[Any, int]]:
        """Return the differences of earlier answers from the kept one."""
        kept = self._kept.read(_beside(name), self._clock.now_ms())
        try:
            return {} if kept is None else unpacked(kept.body, row)
        except ResponseFormatError as error:
            log.warning("%s is not read: %s", _beside(name), error)
            return {}

    def _listed(
        self, instrument: Instrument, now_ms: int, copy_from_ms: int
    ) -> tuple[Listed, tuple[str, ...]]:
        """Return the row of a symbol in the list of tickers, and sentences about earlier lists."""
        spelled = letters(TABLE.spelled(instrument))
        rows, fetched_ms = self._list(
            lambda fetched_ms: now_ms - fetched_ms < _LIST_MS, copy_from_ms
        )
        former: Former[Listed] = self._former(_TICKERS, Listed)
        if spelled not in rows and date_of(fetched_ms) != date_of(now_ms):
            # What earlier lists had does not need today's.
            rows, fetched_ms = self._list(
                lambda fetched_ms: False, 0 if spelled in former else NEVER_MS
            )
            former = self._former(_TICKERS, Listed)
        row, (before, since_ms) = rows.get(spelled), former.get(spelled, (None, 0))
        if row is None and before is None:
            raise SymbolNotFoundError(
                f"the SEC's list of tickers does not have {instrument.symbol}",
                provider=VENDOR,
                symbol=instrument.symbol,
            )
        if before is None or (row is not None and row.cik == before.cik):
            return row or before, ()  # type: ignore[return-value]
        said = f"{instrument.symbol} was filer {before.cik} ({before.title}) in the SEC's lists of tickers"
        said += f" until {date_of(since_ms)}"
        if row is None:
            return before, (f"{said}, which no longer have it",)
        return row, (f"{said}, and is filer {row.cik} ({row.title}) since; only its filings count",)

    def _list(
        self, is_current: Callable[[int], bool], copy_from_ms: int = NEVER_MS
    ) -> tuple[dict[str, Listed], int]:
        def fetch() -> bytes:
            return self._vendor().tickers()

        return self._answer(_TICKERS, fetch, parse_tickers, is_current, copy_from_ms, dict, Listed)

    def _parts(
        self, submissions: Submissions, since: str | None, names: Collection[str]
    ) -> tuple[list[Filing], tuple[Part, ...], dict[Any, tuple[Filing, int]]]:
        """Return the filings in older parts that are kept or needed, the other parts, and what they lack."""
        found, missing, former = list[Filing](), list[Part](), dict[Any, tuple[Filing, int]]()
        for part in submissions.parts:
            kept = self._kept.read(part.name, self._clock.now_ms())
            parsed = parse_part(kept.body) if kept is not None else ()
            is_whole = any(filing.filed >= part.last for filing in parsed)
            is_needed = part.name in names or (since is not None and part.last >= since)
            if is_needed and not is_whole:
                parsed, _ = self._answer(
                    part.name,
                    lambda part=part: self._vendor().part(submissions.cik, part),  # type: ignore[misc]
                    parse_part,
                    lambda fetched_ms: False,
                    rows=filing_rows,
                    row=Filing,
                )
            elif not is_whole:
                missing.append(part)
            found += parsed
            former |= self._former(part.name, Filing)
        return found, tuple(missing), former

    def _proof(self, symbol: str, submissions: Submissions, filings: Sequence[Filing]) -> Proof:
        """Return the proof of a symbol: a recorded change, its filings, or else a cover page."""
        named = [c.ex_date for c in self._changes(symbol) if c.begins(symbol)]
        if named:
            return Proof(max(named).isoformat(), classes_beside(symbol, submissions.tickers))
        proof = proof_of(symbol, submissions, filings, {})
        reports = [f for f in filings if f.is_report and f.has_facts]
        if proof is None and reports:
            latest = max(reports, key=known_ms)
            cik, accession = submissions.cik, latest.accession
            with suppress(SymbolNotFoundError):  # the filing has no such page
                on_cover, _ = self._answer(
                    f"CIK{cik:010d}-{accession}-R1.htm",
                    lambda: self._vendor().cover(cik, accession),
                    lambda body: symbols_on_cover(body.decode("utf-8", "replace")),
                    lambda fetched_ms: True,
                )
                proof = proof_of(symbol, submissions, filings, {accession: on_cover})
        if proof is None:
            raise NoDataError(
                f"no filing proves that {symbol} is {submissions.name} (filer {submissions.cik}), "
                "which the SEC's list of today names",
                symbol=symbol,
            )
        return proof


def _beside(name: str) -> str:
    """Return the name of the file for what the answers before lacked."""
    return f"{name.removesuffix('.json')}-former.json"


@lru_cache(maxsize=1)
def _tags() -> frozenset[str]:
    """Return the tags whose values are compared with those of earlier answers."""
    tags: set[str] = {SHARES, *RATIOS}
    for rule in line_rules():
        tags |= {*rule.tags, *(other for others in rule.beside.values() for other in others)}
    return frozenset(tags)


@lru_cache(maxsize=1)
def line_rules() -> tuple[LineRule, ...]:
    """Return the packaged table of lines.

    Raises:
        ConfigError: The table cannot be read.
    """
    from ..config.yaml_text import read_yaml

    try:
        return rules_of(read_yaml(packaged_path("statement_lines.yaml").read_bytes()).value)
    except (OSError, LookupError, TypeError) as error:
        raise ConfigError(f"the packaged table of statement lines: {error}") from error
