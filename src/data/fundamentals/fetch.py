"""Asking vendors: loaded when somebody has to be asked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from functools import partial
from typing import Any

from ..cache.fundamentals_cache import FundamentalsCache
from ..clock import Clock, SystemClock
from ..errors import (
    CacheError,
    DataError,
    MissingCredentialsError,
    NoDataError,
    ProviderTimeoutError,
    ResponseFormatError,
)
from ..model.fundamentals import Snapshot
from ..model.fundamentals_plain import snapshot_of
from ..model.fundamentals_rules import FundamentalsRules
from ..net.background import BackgroundCall
from ..net.deadline import current_deadline
from ..vendors.base import BaseDataDownloader
from ..vendors.foreign import OwnSender, call_foreign, call_own
from ..vendors.fundamentals_request import TableQuestion, ask_by_table
from ..vendors.fundamentals_table import table_of
from ..vendors.pool import own_sender, supplied

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FundamentalsSupply:
    """The vendors of one installation.

    Args:
        selector: makes downloaders; duck-typed, users patch its ``downloaders``.
        cache: keeps what they say, late answers too.
        rules: how long a lookup may take, and how many copies are kept.
        clock: measures what is left of the call's time.
    """

    selector: Any
    cache: FundamentalsCache
    rules: FundamentalsRules
    clock: Clock

    def ask(self, vendors: Iterable[str], asked: TableQuestion) -> Mapping[str, Outcome]:
        """Ask ``vendors`` at once; what each said, or the error that kept it from answering."""
        jobs = {vendor: partial(self._asked_and_kept, vendor, asked) for vendor in vendors}
        return ask_all(jobs, self.clock, self.rules.budget_s)

    def _asked_and_kept(self, vendor: str, asked: TableQuestion) -> Snapshot:
        snapshot = self._job(vendor, asked)()
        try:
            self.cache.keep(snapshot)
            if self.rules.cleans_up:
                self.cache.tidy(snapshot.symbol, self.rules.copies, self.rules.min_quality)
        except CacheError as exc:
            log.warning("what %s says about %s is not kept: %s", vendor, asked.symbol, exc)
        return snapshot

    def _job(self, vendor: str, asked: TableQuestion) -> Job:
        """Return what asks a vendor; downloaders are made when first needed.

        Raises:
            MissingCredentialsError: there is none, and none can be made.
        """
        downloader = supplied(self.selector, vendor)
        if downloader is None:
            raise MissingCredentialsError(f"{vendor} cannot be used here", provider=vendor)
        table = table_of(vendor)
        if table is not None and is_asked_by_table(downloader):
            return partial(ask_by_table, downloader, table, asked)
        sender = own_sender(self.selector, vendor, downloader)
        return partial(ask_foreign, downloader, vendor, asked, sender)


# --- ask several vendors at once and wait for them as long as a lookup may take

Job = Callable[[], Snapshot]
Outcome = Snapshot | DataError
# Threads are waited for in real time, whatever clock the lookup is kept by.
_CLOCK = SystemClock()


def ask_all(jobs: Mapping[str, Job], clock: Clock, budget_s: float) -> dict[str, Outcome]:
    """Return what each job came to; together they take no longer than what they have.

    That is the time that the caller gave to the call, and ``budget_s`` seconds where it gave none.
    A vendor that takes longer counts as failed. Its thread goes on, so that what it says in the
    end can be kept, and keeps no process from ending.
    """
    deadline = current_deadline(clock)
    if deadline.is_over:
        return {vendor: deadline.over(vendor) for vendor in jobs}
    seconds = deadline.left_s()
    if not deadline.is_fixed:
        seconds = min(seconds, budget_s)
    until = _CLOCK.monotonic() + seconds
    begun = {vendor: _begun(vendor, job) for vendor, job in jobs.items()}
    outcomes = {}
    for vendor, call in begun.items():
        late = _late(vendor, seconds, deadline.is_fixed)
        outcomes[vendor] = call if isinstance(call, DataError) else _outcome(call, until, late)
    return outcomes


def _begun(vendor: str, job: Job) -> BackgroundCall[Snapshot] | DataError:
    ask = partial(call_foreign, job, vendor)
    try:
        return BackgroundCall(vendor, ask, name=f"onetape-fundamentals-{vendor}")
    except DataError as error:
        return error


def _outcome(call: BackgroundCall[Snapshot], until: float, late: DataError) -> Outcome:
    try:
        return call.result(max(0.0, until - _CLOCK.monotonic()), late)
    except DataError as error:
        return error


def _late(vendor: str, seconds: float, is_fixed: bool) -> ProviderTimeoutError:
    error = ProviderTimeoutError(
        f"{vendor} did not answer within the {seconds:.3g} s of a lookup",
        provider=vendor,
        hint="timeout= is the bound"
        if is_fixed
        else "error_handling.time_budget_seconds in fundamentals.json is the bound",
    )
    error.by_caller = is_fixed
    return error


# --- ask one vendor: by its table where it is ours, by its own method where it is a user's


def is_asked_by_table(downloader: Any) -> bool:
    """Tell whether a downloader is ours, and nobody has replaced its ``get_fundamentals``."""
    method = getattr(type(downloader), "get_fundamentals", None)
    own = getattr(downloader, "__dict__", {})
    return method is BaseDataDownloader.get_fundamentals and "get_fundamentals" not in own


def ask_foreign(
    downloader: Any, vendor: str, asked: TableQuestion, make_sender: OwnSender | None = None
) -> Snapshot:
    """Return what ``downloader.get_fundamentals(symbol)`` says; a mapping or a dataclass.

    Raises:
        NoDataError: it has nothing.
        ResponseFormatError: it returned something else.
        ForeignError: it raised something of its own.
        DataError: it raised this, or failed lately and was not asked.
    """
    spelled = asked.instrument.spelling(vendor)
    door = f"fundamentals/{asked.data_type}"
    found = call_own(
        lambda: _read(downloader.get_fundamentals(spelled), vendor, asked.symbol),
        vendor,
        door,
        make_sender,
    )
    if not found:
        raise NoDataError(f"{vendor} has nothing about {asked.symbol}", provider=vendor)
    return snapshot_of(vendor, asked.symbol, found, asked.now_ms)


def _read(found: Any, vendor: str, symbol: str) -> Mapping[str, Any]:
    """Return what a downloader that is not ours told; None is nothing.

    Raises:
        ResponseFormatError: it is neither a mapping nor a dataclass.
    """
    if is_dataclass(found) and not isinstance(found, type):
        found = asdict(found)
    if found is not None and not isinstance(found, Mapping):
        raise ResponseFormatError(
            f"{vendor} returned a {type(found).__name__} for {symbol}, not a mapping",
            provider=vendor,
            symbol=symbol,
        )
    return found or {}
