"""Answers a query about a company from fresh cached data, or else from all vendors in parallel."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from ...errors import (
    AllProvidersFailedError,
    Attempt,
    DataError,
    IncompleteDataWarning,
    MissingCredentialsError,
    QueryError,
    shortened,
)
from ..cache.beside.fundamentals_cache import FundamentalsCache
from ..clock import Clock
from ..config.fundamentals_file import find_file, load_fundamentals_rules
from ..config.offered import known_vendor
from ..model.display.texts import by_reason
from ..model.market.fundamentals import Snapshot, copied, may_be_public_within
from ..model.request.query import check_switches
from ..model.request.settings import Settings
from ..model.time.instant import DAY_MS, date_of
from ..model.words.caller import warn_user
from ..net.calls.deadline import run_call, seconds_of
from ..net.limits.locks import SeriesLocks
from ..observability.logs import Subject as LogSubject
from ..observability.logs import running
from ..registry import row_of
from ..runtime.once import cached_property
from .candidates import NO_FILING_DAYS, NO_KEY, Candidates, CompanyQuery
from .combiner import FundamentalsCombiner
from .point_in_time import as_known, last_turn_ms
from .record import RecordContext
from .request import Wish, age_of, data_type_of, day_of, instant_of, vendors_of

if TYPE_CHECKING:
    from ..vendors.fundamentals_request import TableQuestion
    from .fetch import FundamentalsSupply

log = logging.getLogger(__name__)

# Time for which a failed vendor is not queried again for the same symbol while others answer.
_FAILURE_S = 600.0
_MOST_FAILURES = 10_000
_MOST_COMBINED = 1_000
_SUPPORTED = ("stock", "crypto")
_LISTING = ("symbol_type", "market", "exchange", "country", "currency", "international")
# Fields that screeners need; cached answers of any vendor and any data type may supply them.
_FILLED = ("market_cap", "avg_volume")


@dataclass(frozen=True)
class FundamentalsPlan:
    """The plan of a lookup: the fresh cached copies, and the vendors to query for the rest.

    Attributes:
        question: Question for the vendors.
        fresh: Fresh cached copies.
        vendors: Vendors that would be queried, in order.
        has_copies: Whether any copies are cached, whether fresh or not.
        error: Error that a lookup would raise, if no copy is fresh and no vendor can be queried;
            else None.
    """

    question: TableQuestion
    fresh: tuple[Snapshot, ...]
    vendors: tuple[str, ...]
    has_copies: bool
    error: DataError | None


@dataclass
class _Lookup:
    """The state of one call, used only by that call's thread."""

    about: CompanyQuery
    wish: Wish
    now_ms: int
    began_s: float
    oldest_ms: int
    as_of: date | None
    named: tuple[str, ...] | None
    vendors: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    not_asked: dict[str, str] = field(default_factory=dict)
    fresh_from_ms: int = 0
    cached: Mapping[str, Snapshot] = field(default_factory=dict)
    answers: dict[str, Snapshot] = field(default_factory=dict)
    fetched: frozenset[str] = frozenset()
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def symbol(self) -> str:
        """The symbol of the instrument, for errors and provenance."""
        return self.about.instrument.symbol

    @property
    def unanswered(self) -> list[str]:
        """The vendors that have neither answered nor failed, in order."""
        return [v for v in self.vendors if v not in self.answers and v not in self.failed]

    @property
    def question(self) -> TableQuestion:
        """The question for the vendors. Its module is imported when a vendor is first queried."""
        from ..vendors.fundamentals_request import TableQuestion

        wish, about = self.wish, self.about
        return TableQuestion(
            about.instrument, about.data_type, self.now_ms, wish.force_refresh, wish.times
        )


class FundamentalsService:
    """Answers questions about companies and coins. Thread-safe and fork-aware.

    Args:
        settings: Settings with the locations of the cache and the rules.
        selector: Resolves symbols and creates downloaders. It is duck-typed.
        clock: Source of the current time.
        on_failure: Function called with the error if a call has no result; it must not raise.
        of_filings: Function that answers a question from kept filings.
    """

    def __init__(
        self,
        settings: Settings,
        selector: Any,
        clock: Clock,
        on_failure: Callable[[DataError], object] = lambda error: None,
        of_filings: Callable[[TableQuestion], Snapshot] | None = None,
    ) -> None:
        self._of_filings = of_filings
        self._settings = settings
        self._selector = selector
        self._clock = clock
        self._on_failure = on_failure
        self._locks = SeriesLocks()
        # Maps vendor, symbol and type to the monotonic time and reason of the last failure; entries
        # are replaced whole.
        self._failures: dict[tuple[str, str, str], tuple[float, str]] = {}
        # Maps symbol, type and strategy to the last merged record and its sources.
        self._combinations: dict[
            Any, tuple[RecordContext, tuple[Snapshot, ...], dict[str, Any]]
        ] = {}

    @cached_property
    def combiner(self) -> FundamentalsCombiner:
        """The combiner that merges responses; the rules are read when it is first needed."""
        rules = load_fundamentals_rules(find_file(self._settings.rules_path))
        return FundamentalsCombiner(rules=rules, clock=self._clock)

    @cached_property
    def cache(self) -> FundamentalsCache:
        """The cache of vendor responses."""
        return FundamentalsCache(
            self._settings.cache_dir,
            self.combiner,
            clock=self._clock,
            private=self._selector.parsed_rules.cache.private,
        )

    @cached_property
    def _candidates(self) -> Candidates:
        return Candidates(self._selector, self.combiner.rules)

    @cached_property
    def supply(self) -> FundamentalsSupply:
        """Access to individual vendors, for a job that queries each one separately."""
        from .fetch import FundamentalsSupply

        rules, made = self.combiner.rules, self._of_filings
        return FundamentalsSupply(self._selector, self.cache, rules, self._clock, made)

    def get(self, symbol: Any, wish: Wish) -> dict[str, Any]:
        """Return the result of :meth:`find`; if that fails, warn once and return an empty record."""
        try:
            return self.find(symbol, wish)
        except DataError as exc:
            warn_user(_failure(symbol, exc), IncompleteDataWarning)
            return {}

    def find(self, symbol: Any, wish: Wish) -> dict[str, Any]:
        """Return one record about ``symbol``; a failure is logged and reported as an event.

        Raises:
            QueryError: An argument is invalid (a ``ValueError``).
            ConfigError: The fundamentals file is invalid.
            AllProvidersFailedError: No vendor has any data.
        """
        with running(LogSubject(symbol if isinstance(symbol, str) else "")):
            try:
                seconds = seconds_of(wish.timeout, symbol)
                lookup = self._lookup(symbol, wish)
                return run_call(self._clock, seconds, self._answer, lookup)
            except DataError as exc:
                log.warning("%s", _failure(symbol, exc))
                self._on_failure(exc)
                raise

    def plan(self, symbol: Any, wish: Wish) -> FundamentalsPlan:
        """Return the plan for :meth:`find`; no vendor is queried.

        Raises:
            QueryError: An argument is invalid (a ``ValueError``).
            ConfigError: The fundamentals file is invalid.
        """
        lookup = self._lookup(symbol, wish)
        self._read_cache(lookup)
        fresh, vendors = tuple(lookup.answers.values()), tuple(lookup.unanswered)
        error = None if fresh or vendors else _lookup_error(lookup)
        return FundamentalsPlan(lookup.question, fresh, vendors, bool(lookup.cached), error)

    # --- internals -------------------------------------------------------------------------

    def _lookup(self, symbol: Any, wish: Wish) -> _Lookup:
        """Check the arguments of a call and return its initial state.

        Raises:
            QueryError: An argument is invalid.
            ConfigError: The fundamentals file is invalid.
        """
        check_switches(force_refresh=wish.force_refresh)
        rules, now_ms = self.combiner.rules, self._clock.now_ms()
        text = symbol.strip().upper() if isinstance(symbol, str) else ""
        instrument = self._selector.instrument(rules.symbols.get(text, symbol))
        if instrument.asset_class not in _SUPPORTED:
            raise QueryError(
                f"asset class {instrument.asset_class} of {instrument.symbol} has no fundamentals",
                symbol=instrument.symbol,
            )
        data_type, days = data_type_of(wish.data_type), age_of(wish.max_age_days)
        listing = self._selector.classify_symbol_for_fundamentals(instrument.symbol)
        ttl_ms = rules.ttl_of(data_type) if days is None else round(days * DAY_MS)
        listed = {name: listing[name] for name in _LISTING}
        query = CompanyQuery(instrument, data_type, listed, wish.needs_filing_days)
        day, named = day_of(wish.as_of), vendors_of(wish.providers)
        if day is not None and wish.times is None:
            wish = replace(wish, times=(instant_of(wish.as_of, now_ms),) * 2)
        return _Lookup(query, wish, now_ms, self._clock.monotonic(), now_ms - ttl_ms, day, named)

    def _answer(self, lookup: _Lookup) -> dict[str, Any]:
        self._read_cache(lookup)
        if lookup.unanswered:
            with self._locks.hold((lookup.symbol, lookup.about.data_type), self._clock):
                self._read_cache(lookup)  # the previous caller may have fetched the same data
                if lookup.unanswered:
                    self._fetch(lookup)
        self._add_stale(lookup)
        return self._record(lookup)

    def _read_cache(self, lookup: _Lookup) -> None:
        """Use the cached copies that are fresh enough; choose the vendors for the rest."""
        lookup.cached = self.cache.latest(lookup.symbol, lookup.about.data_type)
        lookup.fresh_from_ms = lookup.oldest_ms
        # A caller that specifies an age accepts answers of that age, even if a report appeared
        # since.
        if lookup.cached and lookup.wish.max_age_days is None:
            turn_ms = last_turn_ms(self.cache.announced(lookup.symbol), lookup.now_ms)
            lookup.fresh_from_ms = max(lookup.oldest_ms, turn_ms)
        oldest = lookup.now_ms + 1 if lookup.wish.force_refresh else lookup.fresh_from_ms
        lookup.answers = {
            v: s
            for v, s in lookup.cached.items()
            if s.fetched_at_ms >= oldest and self._is_current(s, lookup)
        }
        self._choose_vendors(lookup)

    def _is_current(self, snapshot: Snapshot, lookup: _Lookup) -> bool:
        """Return whether a copy made of filings is of this day, with the times that the call needs.

        Copies of other vendors always are.
        """
        undated = [s.filed_at for s in snapshot.statements if s.source.get("part")]
        if any(may_be_public_within(day, lookup.wish.times) for day in undated):
            return False
        if not row_of(snapshot.vendor).series or lookup.wish.max_age_days is not None:
            return True
        return date_of(snapshot.fetched_at_ms) == date_of(lookup.now_ms)

    def _choose_vendors(self, lookup: _Lookup) -> None:
        """Choose the vendors to query; if the caller named vendors, drop the copies from all others."""
        query = lookup.about
        if lookup.named is None:
            queryable, lookup.not_asked = self._candidates.queryable(query)
            # A vendor's cached copy counts, even if the vendor can no longer be queried.
            lookup.vendors = tuple(dict.fromkeys((*queryable, *lookup.answers)))
        else:
            lookup.vendors = tuple(dict.fromkeys(known_vendor(n) or n for n in lookup.named))
            lookup.answers = {v: s for v, s in lookup.answers.items() if v in lookup.vendors}
            objections = {v: self._candidates.objection(v, query) for v in lookup.unanswered}
            lookup.failed |= {vendor: reason for vendor, reason in objections.items() if reason}
        if not lookup.wish.force_refresh:
            lookup.failed |= {
                v: reason for v in lookup.unanswered if (reason := self._recent_failure(v, lookup))
            }

    def _fetch(self, lookup: _Lookup) -> None:
        outcomes = self.supply.ask(lookup.unanswered, lookup.question)
        lookup.fetched = frozenset(v for v, o in outcomes.items() if isinstance(o, Snapshot))
        for vendor, outcome in outcomes.items():
            if isinstance(outcome, Snapshot):
                lookup.answers[vendor] = outcome
            else:
                self._note_failure(vendor, outcome, lookup)

    def _note_failure(self, vendor: str, error: DataError, lookup: _Lookup) -> None:
        error_name = type(error).__name__
        log.warning("%s has no data on %s: %s: %s", vendor, lookup.symbol, error_name, error)
        # Records are shown to end users, so the vendor's own text is only in the log and in the
        # error.
        lookup.failed[vendor] = reason = f"{error_name}: {error.brief}"
        seconds = self._clock.monotonic() - lookup.began_s
        lookup.attempts.append(Attempt(vendor, error_name, str(error), seconds, error=error))
        if getattr(error, "by_caller", False):
            return  # the call had no time left; the next one may have more
        if len(self._failures) >= _MOST_FAILURES:
            self._failures = {}
        key = (vendor, lookup.symbol, lookup.about.data_type)
        self._failures[key] = (self._clock.monotonic(), reason)

    def _recent_failure(self, vendor: str, lookup: _Lookup) -> str:
        """Return the reason why a vendor is not queried again so soon, or an empty string."""
        key = (vendor, lookup.symbol, lookup.about.data_type)
        failed_s, reason = self._failures.get(key, (-math.inf, ""))
        # While this call waited for its turn; or recently, and others have answered.
        is_new = failed_s > lookup.began_s
        is_lately = lookup.began_s - failed_s < _FAILURE_S
        can_wait = bool(lookup.answers) and not lookup.wish.force_refresh
        return reason if is_new or (is_lately and can_wait) else ""

    def _add_stale(self, lookup: _Lookup) -> None:
        """Use old copies, marked as stale, in place of vendors that failed."""
        rules = self.combiner.rules
        if not rules.serves_stale:
            return
        longest = max(rules.stale_ms, 2 * (lookup.now_ms - lookup.oldest_ms))
        for vendor in lookup.failed:
            copy = lookup.cached.get(vendor) or self._of_stored(vendor, lookup)
            if copy is not None and lookup.now_ms - copy.fetched_at_ms <= longest:
                lookup.answers[vendor] = replace(
                    copy, is_stale=copy.fetched_at_ms < lookup.fresh_from_ms
                )

    def _of_stored(self, vendor: str, lookup: _Lookup) -> Snapshot | None:
        """Return the answer of kept filings, however old; None if they do not suffice."""
        if self._of_filings is not None and row_of(vendor).series:
            with suppress(DataError):
                return self._of_filings(replace(lookup.question, is_stored=True))
        return None

    def _record(self, lookup: _Lookup) -> dict[str, Any]:
        if lookup.wish.needs_filing_days:
            for vendor, snapshot in list(lookup.answers.items()):
                if not any(report.filed_at for report in snapshot.statements):
                    del lookup.answers[vendor]
                    lookup.failed.setdefault(vendor, NO_FILING_DAYS)
        answers, withheld, filling = dict(lookup.answers), {}, tuple[Snapshot, ...]()
        if lookup.as_of is not None:
            known_ms = instant_of(lookup.wish.as_of, lookup.now_ms)
            public = {
                vendor: as_known(snapshot, lookup.as_of, known_ms)
                for vendor, snapshot in answers.items()
            }
            answers = {vendor: snapshot for vendor, (snapshot, _) in public.items()}
            withheld = {vendor: reason for vendor, (_, reason) in public.items() if reason}
        elif lookup.named is None:
            filling = self._filling(answers, lookup)
        snapshots = (*answers.values(), *filling)
        context = RecordContext(
            lookup.symbol,
            lookup.about.data_type,
            lookup.now_ms,
            lookup.vendors,
            lookup.failed,
            frozenset(s.vendor for s in snapshots) - lookup.fetched,
            lookup.as_of.isoformat() if lookup.as_of else "",
            withheld,
            self.combiner.rules.required_fields,
            lookup.not_asked,
            lookup.about.listing,
        )
        order = lookup.vendors if lookup.named is not None else ()
        record = self._combine(snapshots, lookup.wish.strategy, context, order)
        if not record:
            raise _lookup_error(lookup)
        return record

    def _combine(
        self,
        snapshots: tuple[Snapshot, ...],
        strategy: str,
        context: RecordContext,
        order: tuple[str, ...],
    ) -> dict[str, Any]:
        """Return the merged record; repeated calls with the same responses merge them only once."""
        key = (context.symbol, context.data_type, str(strategy), order)
        combination = self._combinations.get(key)
        if (
            combination is None
            or combination[0] != replace(context, now_ms=0)
            or not _are_same(combination[1], snapshots)
        ):
            if len(self._combinations) >= _MOST_COMBINED:
                self._combinations = {}
            record = self.combiner.record(snapshots, strategy, context, order)
            combination = self._combinations[key] = replace(context, now_ms=0), snapshots, record
        return {name: copied(value) for name, value in combination[2].items()}

    def _filling(self, answers: Mapping[str, Snapshot], lookup: _Lookup) -> tuple[Snapshot, ...]:
        """Return values that screeners need but the responses lack, from copies of other data types."""
        lacking = [
            n for n in _FILLED if not any(n in snapshot.facts for snapshot in answers.values())
        ]
        if not lacking or not answers:
            return ()
        rules, filling = self.combiner.rules, list[Snapshot]()
        for snapshot in self.cache.latest(lookup.symbol).values():
            facts = {name: snapshot.facts[name] for name in lacking if name in snapshot.facts}
            age_ms = lookup.now_ms - snapshot.fetched_at_ms
            if facts and age_ms <= rules.stale_ms:
                types = snapshot.data_types or (lookup.about.data_type,)
                is_stale = age_ms > min(map(rules.ttl_of, types))
                bare = replace(snapshot, statements=(), blocks={}, dropped={})
                filling.append(replace(bare, facts=facts, is_stale=is_stale))
        return tuple(filling)


def _failure(symbol: object, error: DataError) -> str:
    """Return the sentence about a failed lookup, without a symbol of the wrong type."""
    name = f" for {shortened(symbol)!r}" if isinstance(symbol, str) else ""
    return f"no fundamentals{name}: {error}"


def _lookup_error(lookup: _Lookup) -> AllProvidersFailedError:
    """Return the error for a lookup that no vendor has answered."""
    subject = f"{lookup.about.data_type} for {lookup.symbol}"
    keys = {v: why.split()[0] for v, why in lookup.not_asked.items() if NO_KEY in why}
    without_key = ", ".join(f"{vendor} ({key})" for vendor, key in keys.items())
    unable = by_reason({v: why for v, why in lookup.not_asked.items() if v not in keys})
    hints = [f"skipped without a key: {without_key}"] if keys else []
    hint = "; ".join([*hints, *unable])
    in_full = {
        attempt.provider: f"{attempt.outcome}: {attempt.message}" for attempt in lookup.attempts
    }
    reasons = lookup.failed | in_full  # by names that a program may have chosen
    listed = "; ".join(f"{shortened(vendor)}: {why}" for vendor, why in reasons.items())
    lacking = {v: why for v, why in (lookup.failed | lookup.not_asked).items() if NO_KEY in why}
    return AllProvidersFailedError(
        f"no vendor has {subject}: {listed or 'none could be queried'}",
        symbol=lookup.symbol,
        attempts=lookup.attempts or [_without_key(vendor, why) for vendor, why in lacking.items()],
        hint=hint or None,
    )


def _without_key(vendor: str, reason: str) -> Attempt:
    error = MissingCredentialsError(reason, provider=vendor)
    return Attempt(vendor, type(error).__name__, reason, error=error)


def _are_same(ones: tuple[Snapshot, ...], others: tuple[Snapshot, ...]) -> bool:
    """Return whether both contain identical objects; an unchanged file always yields the same object."""
    return len(ones) == len(others) and all(a is b for a, b in zip(ones, others, strict=True))
