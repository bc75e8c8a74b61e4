"""Answers questions about companies' filings from kept answers, or else from the SEC."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
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
from ..model.market.fundamentals import Snapshot
from ..model.time.instant import DAY_MS, NEVER_MS, date_of, iso
from ..model.words.caller import warn_user
from ..net.calls.deadline import run_call, seconds_of
from ..net.limits.locks import SeriesLocks
from ..observability.logs import Subject, running
from ..vendors.factory import creation_error, downloader_for
from ..vendors.sec.acceptance import NEW_YORK, with_times
from ..vendors.sec.answers import (
    CompanyFacts,
    Filing,
    Listed,
    Part,
    RawFact,
    Submissions,
    letters,
    parse_facts,
    parse_part,
    parse_submissions,
    parse_tickers,
)
from ..vendors.sec.filings import SecDataDownloader, address_of
from ..vendors.sec.fundamentals import TABLE
from ..vendors.sec.identity import Proof, proof_of, symbols_on_cover
from ..vendors.sec.lines import CompanyLines, Line, LineRule, known_ms, lines_of, rules_of, summary
from ..vendors.sec.statements import facts_of, statements_of
from .kept import KeptAnswers

if TYPE_CHECKING:
    from ..model.identity.symbol_changes import SymbolChange
    from ..vendors.fundamentals_request import TableQuestion

# Names of the vendor's folder that the packages above use are here.
__all__ = (
    "NEW_YORK", "Company", "CompanyFacts", "CompanyLines", "Filing", "FilingsService", "Line", "RawFact",
    "address_of", "known_ms", "line_rules",
)  # fmt: skip

FOLDER = "_filings"
VENDOR = "sec"
# Time after which the list of tickers is requested again even if it has the symbol.
_LIST_MS = 30 * DAY_MS
_TICKERS = "company_tickers.json"
_T = TypeVar("_T")


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
    """

    symbol: str
    submissions: Submissions
    filings: tuple[Filing, ...]
    proof: Proof
    fetched_ms: int
    missing: tuple[Part, ...] = ()

    @property
    def cik(self) -> int:
        """The filer's number."""
        return self.submissions.cik


class FilingsService:
    """Answers questions about filings. Thread-safe, and safe across processes.

    ``<cache>/_filings`` contains the SEC's answers as they were sent, each with its time. A filer's
    list of filings is requested once a day (UTC), its facts after a report was filed.

    Args:
        cache_dir: Root of the cache.
        selector: Creates downloaders. It is duck-typed.
        clock: Source of the current time.
        changes: Function that returns the recorded changes in a symbol's meaning.
    """

    def __init__(
        self,
        cache_dir: Path,
        selector: Any,
        clock: Clock,
        changes: Callable[[str], Sequence[SymbolChange]] = lambda symbol: (),
    ) -> None:
        self._changes = changes
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
            listed = self._listed(instrument, now_ms, copy_from_ms)
            submissions, fetched_ms = self._answer(
                f"CIK{listed.cik:010d}.json",
                lambda: self._vendor().submissions(listed.cik),
                lambda body: parse_submissions(body, listed.cik),
                lambda fetched_ms: not refresh and date_of(fetched_ms) == date_of(now_ms),
                copy_from_ms,
            )
            known = {f.accession: f for f in submissions.filings}
            older, missing = self._parts(submissions, since, parts, now_ms)
            for filing in older:
                known.setdefault(filing.accession, filing)
            filings = with_times(known.values(), fetched_ms)
            proof = self._proof(symbol, submissions, filings, now_ms)
        own = tuple(f for f in filings if f.filed >= proof.since)
        return Company(symbol, submissions, own, proof, fetched_ms, missing)

    def reports(
        self, instrument: Instrument, *, refresh: bool = False, copy_from_ms: int = 0
    ) -> tuple[Company, CompanyLines]:
        """Return a company with the statement lines of its reports; for arguments, see :meth:`company`.

        If one older part of the list of filings contains all reports whose times of acceptance are not
        known, it is requested.

        Raises:
            NoDataError: The filer has no facts, or is a foreign one.
            DataError: See :meth:`company`.
        """
        company = self.company(instrument, refresh=refresh, copy_from_ms=copy_from_ms)
        facts = self.facts(company, refresh=refresh, copy_from_ms=copy_from_ms)
        lines = self._lines(company, facts)
        known = {filing.accession for filing in company.filings}
        days = {ln.filing.filed for ln in lines.lines if ln.filing.accession not in known}
        needed = [p.name for p in company.missing if any(p.first <= d <= p.last for d in days)]
        is_of_today = date_of(company.fetched_ms) == date_of(self._clock.now_ms())
        if len(needed) == 1 and is_of_today:
            with suppress(ProviderError):  # the reports then count from the end of their days
                company = self.company(instrument, parts=needed)
                lines = self._lines(company, facts)
        return company, lines

    def _lines(self, company: Company, facts: CompanyFacts) -> CompanyLines:
        lines = lines_of(facts, company.filings, line_rules())
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

    def facts(
        self, company: Company, *, refresh: bool = False, copy_from_ms: int = 0
    ) -> CompanyFacts:
        """Return the facts of a company; for arguments and errors, see :meth:`reports`."""
        now_ms, cik = self._clock.now_ms(), company.cik
        reports = [known_ms(f) for f in company.filings if f.is_report and f.has_facts]
        # The facts of a report may be complete only some hours after it.
        due_ms = max(reports, default=0) + DAY_MS

        def is_current(fetched_ms: int) -> bool:
            return fetched_ms >= due_ms or date_of(fetched_ms) == date_of(now_ms)

        try:
            with self._locks.hold(cik, self._clock):
                return self._answer(
                    f"CIK{cik:010d}-facts.json",
                    lambda: self._vendor().facts(cik),
                    lambda body: parse_facts(body, cik),
                    lambda fetched_ms: not refresh and is_current(fetched_ms),
                    copy_from_ms,
                )[0]
        except SymbolNotFoundError as error:
            message = f"{company.symbol} (filer {cik}) has no facts at the SEC, as funds do not"
            raise NoDataError(message, symbol=company.symbol) from error

    def snapshot(self, question: TableQuestion) -> Snapshot:
        """Return a company's statements as a vendor's response; for errors, see :meth:`reports`.

        No kept answer takes the place of a failed request: the caller has its own copies.
        """
        company, lines = self.reports(
            question.instrument, refresh=question.refresh, copy_from_ms=NEVER_MS
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
    ) -> tuple[_T, int]:
        """Return an answer, parsed, and its time; an answer that cannot be parsed is never kept."""
        now_ms = self._clock.now_ms()
        kept = self._kept.read(name, now_ms)
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
        self._kept.write(name, body, now_ms)
        return parsed, now_ms

    def _listed(self, instrument: Instrument, now_ms: int, copy_from_ms: int) -> Listed:
        spelled = letters(TABLE.spelled(instrument))
        rows, fetched_ms = self._list(
            lambda fetched_ms: now_ms - fetched_ms < _LIST_MS, copy_from_ms
        )
        if spelled not in rows and date_of(fetched_ms) != date_of(now_ms):
            rows, _ = self._list(lambda fetched_ms: False)
        if spelled not in rows:
            raise SymbolNotFoundError(
                f"the SEC's list of tickers does not have {instrument.symbol}",
                provider=VENDOR,
                symbol=instrument.symbol,
            )
        return rows[spelled]

    def _list(
        self, is_current: Callable[[int], bool], copy_from_ms: int = NEVER_MS
    ) -> tuple[dict[str, Listed], int]:
        def fetch() -> bytes:
            return self._vendor().tickers()

        return self._answer(_TICKERS, fetch, parse_tickers, is_current, copy_from_ms)

    def _parts(
        self, submissions: Submissions, since: str | None, names: Collection[str], now_ms: int
    ) -> tuple[list[Filing], tuple[Part, ...]]:
        """Return the filings in older parts that are kept or needed, and the other parts."""
        found, missing = list[Filing](), list[Part]()
        for part in submissions.parts:
            kept = self._kept.read(part.name, now_ms)
            parsed = parse_part(kept.body) if kept is not None else ()
            is_whole = any(filing.filed >= part.last for filing in parsed)
            is_needed = part.name in names or (since is not None and part.last >= since)
            if is_needed and not is_whole:
                body = self._vendor().part(submissions.cik, part)
                parsed = parse_part(body)
                self._kept.write(part.name, body, now_ms)
            elif not is_whole:
                missing.append(part)
            found += parsed
        return found, tuple(missing)

    def _proof(
        self, symbol: str, submissions: Submissions, filings: Sequence[Filing], now_ms: int
    ) -> Proof:
        """Return the proof of a symbol, by a cover page if no document is named after the symbol."""
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
        named = [c.ex_date for c in self._changes(symbol) if c.begins(symbol)]
        if proof is not None and named:
            return replace(proof, since=max(named).isoformat())
        if proof is None:
            raise NoDataError(
                f"no filing proves that {symbol} is {submissions.name} (filer {submissions.cik}), "
                "which the SEC's list of today names",
                symbol=symbol,
            )
        return proof


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
