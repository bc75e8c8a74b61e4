"""One answer about a company: from the cache where it is fresh, else from all vendors at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..cache.fundamentals_cache import FundamentalsCache
from ..clock import Clock
from ..config.fundamentals_file import find_file, load_fundamentals_rules
from ..config.offered import known_vendor
from ..errors import AllProvidersFailedError, DataError, QueryError
from ..model.fundamentals import Snapshot
from ..model.fundamentals_plain import copied
from ..model.instant import DAY_MS, MINUTE_MS
from ..model.settings import Settings
from ..net.deadline import run_call, seconds_of
from ..net.locks import SeriesLocks
from ..observability.logs import Subject as LogSubject
from ..observability.logs import running
from .candidates import Candidates, CompanyQuery
from .combiner import FundamentalsCombiner
from .point_in_time import as_known, last_turn_ms
from .record import RecordContext
from .request import Wish, age_of, data_type_of, day_of, vendors_of

if TYPE_CHECKING:
    from .fetch import FundamentalsSupply, Outcome

log = logging.getLogger(__name__)

# So long a vendor that failed is not asked again about the same symbol, while others answer.
_QUIET_MS = 10 * MINUTE_MS
_MOST_QUIET = 10_000
_MOST_COMBINED = 1_000
_KNOWN = ("stock", "crypto")
_LISTING = ("symbol_type", "market", "exchange", "country", "currency", "international")
# What screeners cannot do without: any copy of any vendor and type may tell it.
_FILLED = ("market_cap", "avg_volume")


@dataclass
class _Lookup:
    """One call on its way; never leaves its thread."""

    about: CompanyQuery
    wish: Wish
    now_ms: int
    oldest_ms: int
    as_of: date | None
    named: tuple[str, ...] | None
    vendors: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    not_asked: dict[str, str] = field(default_factory=dict)
    fresh_from_ms: int = 0
    held: Mapping[str, Snapshot] = field(default_factory=dict)
    said: dict[str, Snapshot] = field(default_factory=dict)
    fetched: frozenset[str] = frozenset()

    @property
    def symbol(self) -> str:
        return self.about.instrument.symbol

    @property
    def unanswered(self) -> list[str]:
        return [v for v in self.vendors if v not in self.said and v not in self.failed]


class FundamentalsService:
    """Answers about companies and coins. Thread-safe and fork-aware.

    Args:
        settings: where the cache and the rules lie.
        selector: understands symbols and makes downloaders; duck-typed.
        clock: tells how old an answer is.
        on_failure: told why a call gave nothing; it observes and must not raise.
    """

    def __init__(
        self,
        settings: Settings,
        selector: Any,
        clock: Clock,
        on_failure: Callable[[DataError], object] = lambda error: None,
    ) -> None:
        self._settings = settings
        self._selector = selector
        self._clock = clock
        self._on_failure = on_failure
        self._locks = SeriesLocks()
        # Vendor, symbol and type to when it failed last, and how; entries are replaced whole.
        self._quiet: dict[tuple[str, str, str], tuple[int, str]] = {}
        # Symbol, type and strategy to what was merged last, and out of what.
        self._combinations: dict[
            Any, tuple[RecordContext, tuple[Snapshot, ...], dict[str, Any]]
        ] = {}

    @cached_property
    def combiner(self) -> FundamentalsCombiner:
        """What merges; the rules are read when it is first needed."""
        rules = load_fundamentals_rules(find_file(self._settings.rules_path))
        return FundamentalsCombiner(rules=rules, clock=self._clock)

    @cached_property
    def cache(self) -> FundamentalsCache:
        """What is kept of the vendors' words."""
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
    def _supply(self) -> FundamentalsSupply:
        from .fetch import FundamentalsSupply

        return FundamentalsSupply(self._selector, self.cache, self.combiner.rules, self._clock)

    def get(self, symbol: Any, wish: Wish) -> dict[str, Any]:
        """Return one record about ``symbol``, empty where nobody knows; it never raises.

        Why it is empty is logged, and told as an event.
        """
        with running(LogSubject(symbol if isinstance(symbol, str) else "")):
            try:
                seconds = seconds_of(wish.timeout, symbol)
                lookup = self._lookup(symbol, wish)
                return run_call(self._clock, seconds, self._answer, lookup)
            except DataError as exc:
                log.warning("no fundamentals of %r: %s", symbol, exc)
                self._on_failure(exc)
                return {}

    # --- inside ----------------------------------------------------------------------------

    def _lookup(self, symbol: Any, wish: Wish) -> _Lookup:
        """Return a checked question.

        Raises:
            QueryError: an argument cannot be understood.
            ConfigError: the fundamentals file is wrong.
        """
        rules, now_ms = self.combiner.rules, self._clock.now_ms()
        text = symbol.strip().upper() if isinstance(symbol, str) else ""
        instrument = self._selector.instrument(rules.symbols.get(text, symbol))
        if instrument.asset_class not in _KNOWN:
            raise QueryError(
                f"{instrument.symbol} is of class {instrument.asset_class}, which has no fundamentals",
                symbol=instrument.symbol,
            )
        kind, days = data_type_of(wish.data_type), age_of(wish.max_age_days)
        listing = self._selector.classify_symbol_for_fundamentals(instrument.symbol)
        ttl_ms = rules.ttl_of(kind) if days is None else round(days * DAY_MS)
        about = CompanyQuery(instrument, kind, {name: listing[name] for name in _LISTING})
        return _Lookup(
            about, wish, now_ms, now_ms - ttl_ms, day_of(wish.as_of), vendors_of(wish.providers)
        )

    def _answer(self, lookup: _Lookup) -> dict[str, Any]:
        self._look(lookup)
        if lookup.unanswered:
            with self._locks.hold((lookup.symbol, lookup.about.data_type), self._clock):
                self._look(lookup)  # whoever was before us may have asked the same
                if lookup.unanswered:
                    self._fetch(lookup)
        self._stand_in(lookup)
        return self._told(lookup)

    def _look(self, lookup: _Lookup) -> None:
        """Take what the cache holds and is fresh enough; see who is to be asked for the rest."""
        lookup.held = self.cache.latest(lookup.symbol, lookup.about.data_type)
        lookup.fresh_from_ms = lookup.oldest_ms
        # Who names an age takes what is that old, whatever has been reported since.
        if lookup.held and lookup.wish.max_age_days is None:
            turn_ms = last_turn_ms(self.cache.announced(lookup.symbol), lookup.now_ms)
            lookup.fresh_from_ms = max(lookup.oldest_ms, turn_ms)
        oldest = lookup.now_ms + 1 if lookup.wish.force_refresh else lookup.fresh_from_ms
        lookup.said = {v: s for v, s in lookup.held.items() if s.fetched_at_ms >= oldest}
        self._choose(lookup)

    def _choose(self, lookup: _Lookup) -> None:
        """Decide who is to say something, and who cannot; nobody else's copies are used then."""
        about = lookup.about
        if lookup.named is None:
            usual, lookup.not_asked = self._candidates.usual(about)
            # Those who could not be asked any more have said what they have said.
            lookup.vendors = tuple(dict.fromkeys((*usual, *lookup.said)))
        else:
            lookup.vendors = tuple(dict.fromkeys(known_vendor(n) or n for n in lookup.named))
            lookup.said = {v: s for v, s in lookup.said.items() if v in lookup.vendors}
            told = {v: self._candidates.objection(v, about) for v in lookup.unanswered}
            lookup.failed |= {vendor: why for vendor, why in told.items() if why}
        if not lookup.wish.force_refresh:
            lookup.failed |= {
                v: why for v in lookup.unanswered if (why := self._why_quiet(v, lookup))
            }

    def _fetch(self, lookup: _Lookup) -> None:
        from ..vendors.fundamentals_request import TableQuestion

        asked = TableQuestion(lookup.about.instrument, lookup.about.data_type, lookup.now_ms)
        heard = self._supply.ask(lookup.unanswered, asked)
        lookup.fetched = frozenset(heard)
        for vendor, outcome in heard.items():
            if isinstance(outcome, Snapshot):
                lookup.said[vendor] = outcome
            else:
                self._failed(vendor, outcome, lookup)

    def _failed(self, vendor: str, error: Outcome, lookup: _Lookup) -> None:
        why = f"{type(error).__name__}: {error}"
        log.warning("%s told nothing about %s: %s", vendor, lookup.symbol, why)
        lookup.failed[vendor] = why
        if getattr(error, "by_caller", False):
            return  # the call had no time: the next one may have more
        if len(self._quiet) >= _MOST_QUIET:
            self._quiet = {}
        key = (vendor, lookup.symbol, lookup.about.data_type)
        self._quiet[key] = (self._clock.now_ms(), why)

    def _why_quiet(self, vendor: str, lookup: _Lookup) -> str:
        """Return why a vendor is not asked again so soon, or an empty text."""
        key = (vendor, lookup.symbol, lookup.about.data_type)
        failed_ms, why = self._quiet.get(key, (0, ""))
        # While we waited for our turn, or lately and others have answered.
        is_news = failed_ms > lookup.now_ms
        is_lately = lookup.now_ms - failed_ms < _QUIET_MS
        can_wait = bool(lookup.said) and not lookup.wish.force_refresh
        return why if is_news or (is_lately and can_wait) else ""

    def _stand_in(self, lookup: _Lookup) -> None:
        """Let old copies stand in for vendors that failed, marked."""
        rules = self.combiner.rules
        if not rules.serves_stale:
            return
        longest = max(rules.stale_ms, 2 * (lookup.now_ms - lookup.oldest_ms))
        for vendor in lookup.failed:
            copy = lookup.held.get(vendor)
            if copy is not None and lookup.now_ms - copy.fetched_at_ms <= longest:
                lookup.said[vendor] = replace(
                    copy, is_stale=copy.fetched_at_ms < lookup.fresh_from_ms
                )

    def _told(self, lookup: _Lookup) -> dict[str, Any]:
        said, withheld = dict(lookup.said), {}
        if lookup.as_of is not None:
            known = {vendor: as_known(one, lookup.as_of) for vendor, one in said.items()}
            said = {vendor: one for vendor, (one, _) in known.items()}
            withheld = {vendor: why for vendor, (_, why) in known.items() if why}
        elif lookup.named is None:
            self._fill(said, lookup)
        story = RecordContext(
            lookup.symbol,
            lookup.about.data_type,
            lookup.now_ms,
            lookup.vendors,
            lookup.failed,
            frozenset(said) - lookup.fetched | frozenset(v for v in said if said[v].is_stale),
            lookup.as_of.isoformat() if lookup.as_of else "",
            withheld,
            self.combiner.rules.required_fields,
            lookup.not_asked,
            lookup.about.listing,
        )
        order = lookup.vendors if lookup.named is not None else ()
        record = self._combined(said, lookup.wish.strategy, story, order)
        if not record:
            why = {**lookup.failed, **lookup.not_asked}
            raise AllProvidersFailedError(
                f"no vendor tells {lookup.about.data_type} of {lookup.symbol}: "
                + "; ".join(f"{vendor}: {said}" for vendor, said in why.items()),
                symbol=lookup.symbol,
            )
        return record

    def _combined(
        self, said: dict[str, Snapshot], strategy: str, story: RecordContext, order: tuple[str, ...]
    ) -> dict[str, Any]:
        """Return the record; the very same words make the very same one, and are merged once."""
        words = tuple(said.values())
        key = (story.symbol, story.data_type, str(strategy), order)
        known = self._combinations.get(key)
        if known is None or known[0] != replace(story, now_ms=0) or not _are_same(known[1], words):
            if len(self._combinations) >= _MOST_COMBINED:
                self._combinations = {}
            record = self.combiner.record(words, strategy, story, order)
            known = self._combinations[key] = replace(story, now_ms=0), words, record
        return {name: copied(value) for name, value in known[2].items()}

    def _fill(self, said: dict[str, Snapshot], lookup: _Lookup) -> None:
        """Take from copies for other types what screeners need and nobody has told."""
        lacking = [n for n in _FILLED if not any(n in one.facts for one in said.values())]
        if not lacking or not said:
            return
        for vendor, one in self.cache.latest(lookup.symbol).items():
            facts = {name: one.facts[name] for name in lacking if name in one.facts}
            if facts and lookup.now_ms - one.fetched_at_ms <= self.combiner.rules.stale_ms:
                mine = said.get(vendor, replace(one, facts={}, statements=(), blocks={}))
                said[vendor] = replace(mine, facts=facts | dict(mine.facts))


def _are_same(ones: tuple[Snapshot, ...], others: tuple[Snapshot, ...]) -> bool:
    """Tell whether these are the very same values; files that have not changed are read once."""
    return len(ones) == len(others) and all(a is b for a, b in zip(ones, others, strict=True))
