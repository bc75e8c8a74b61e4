"""Queries all vendors for fundamentals in parallel; loaded only if the cache is not sufficient."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from functools import partial
from typing import Any

from ...errors import (
    CacheError,
    DataError,
    MissingCredentialsError,
    NoDataError,
    ProviderTimeoutError,
    ResponseFormatError,
)
from ..cache.beside.fundamentals_cache import FundamentalsCache
from ..clock import Clock, SystemClock
from ..config.fundamentals_rules import FundamentalsRules
from ..model.display.texts import duration
from ..model.market.fundamentals import Snapshot, snapshot_of
from ..model.request.health import Quota
from ..net.calls.background import BackgroundCall
from ..net.calls.deadline import current_deadline
from ..registry import row_of
from ..runtime.compute_slots import waiting
from ..vendors.base import BaseDataDownloader
from ..vendors.factory import downloader_for, own_sender
from ..vendors.foreign import OwnSender, call_foreign, call_own
from ..vendors.fundamentals_request import TableQuestion, ask_by_table
from ..vendors.fundamentals_table import table_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FundamentalsSupply:
    """Queries one data manager's vendors, and stores their responses.

    Args:
        selector: Creates downloaders. It is duck-typed, because users patch its ``downloaders``.
        cache: Stores the answers, including late ones.
        rules: Time limit of a lookup, and number of copies to keep.
        clock: Clock that measures the remaining time of the call.
        of_filings: Function that answers a question from kept filings, which takes the place of
            requests by a vendor's table.
    """

    selector: Any
    cache: FundamentalsCache
    rules: FundamentalsRules
    clock: Clock
    of_filings: Callable[[TableQuestion], Snapshot] | None = None

    def ask(
        self, vendors: Iterable[str], question: TableQuestion, *, must_keep: bool = False
    ) -> Mapping[str, Outcome]:
        """Query ``vendors`` in parallel; return each vendor's response or error.

        With ``must_keep``, an answer that cannot be stored is replaced by an error.
        """
        jobs = {
            vendor: partial(self._fetch_and_keep, vendor, question, must_keep) for vendor in vendors
        }
        return ask_all(jobs, self.clock, self.rules.budget_s)

    def cost(self, vendor: str, question: TableQuestion) -> tuple[int, int]:
        """Return the maximum number of requests for a question, and their cost in rate-limit units."""
        table = table_of(vendor)
        if table is None or not is_asked_by_table(downloader_for(self.selector, vendor)):
            return 1, 1
        requests = {answer.ask for answer in table.types[question.data_type]}
        return len(requests), sum(ask.cost for ask in requests)

    def quotas(self, vendor: str, question: TableQuestion) -> tuple[Quota, ...]:
        """Return the state of a vendor's limits; empty if this library does not limit its requests."""
        downloader = downloader_for(self.selector, vendor)
        if not isinstance(downloader, BaseDataDownloader):
            return ()
        status = downloader.session.status(_endpoint(question))
        return () if status is None else status.health(question.now_ms).quotas

    def _fetch_and_keep(self, vendor: str, question: TableQuestion, must_keep: bool) -> Snapshot:
        snapshot = self._job(vendor, question)()
        try:
            self.cache.keep(snapshot)
            if self.rules.cleans_up:
                self.cache.tidy(snapshot.symbol, self.rules.copies, self.rules.min_quality)
        except CacheError as exc:
            log.warning(
                "the answer from %s about %s was not kept: %s", vendor, question.symbol, exc
            )
            if must_keep:
                raise
        return snapshot

    def _job(self, vendor: str, question: TableQuestion) -> Job:
        """Return a function that queries a vendor; downloaders are created when first needed.

        Raises:
            MissingCredentialsError: The vendor has no downloader, and none can be created.
        """
        downloader = downloader_for(self.selector, vendor)
        if downloader is None:
            raise MissingCredentialsError(f"{vendor} cannot be used here", provider=vendor)
        table = table_of(vendor)
        if table is not None and is_asked_by_table(downloader):
            if row_of(vendor).series and self.of_filings is not None:
                return partial(self.of_filings, question)
            return partial(ask_by_table, downloader, table, question)
        sender = own_sender(self.selector, vendor, downloader)
        return partial(ask_foreign, downloader, vendor, question, sender)


# --- all at once, as long as a lookup may take --------------------------------------------------

Job = Callable[[], Snapshot]
Outcome = Snapshot | DataError
# Waiting for threads uses real time, whatever clock the lookup uses.
_CLOCK = SystemClock()


def ask_all(jobs: Mapping[str, Job], clock: Clock, budget_s: float) -> dict[str, Outcome]:
    """Run all jobs in parallel and return their outcomes, within the time limit of the call.

    The limit is the caller's ``timeout`` or, if the caller did not set one, ``budget_s`` seconds. A
    vendor that takes longer counts as failed. Its thread continues, so that a late answer can be
    stored, but does not prevent the process from exiting.
    """
    deadline = current_deadline(clock)
    if deadline.is_over:
        return {vendor: deadline.timeout_error(vendor) for vendor in jobs}
    seconds = deadline.left_s()
    if not deadline.is_fixed:
        seconds = min(seconds, budget_s)
    until = _CLOCK.monotonic() + seconds
    outcomes = {}
    with waiting():
        calls = {vendor: _start_call(vendor, job) for vendor, job in jobs.items()}
        for vendor, call in calls.items():
            late = _timeout_error(vendor, seconds, deadline.is_fixed)
            outcomes[vendor] = call if isinstance(call, DataError) else _outcome(call, until, late)
    return outcomes


def _start_call(vendor: str, job: Job) -> BackgroundCall[Snapshot] | DataError:
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


def _timeout_error(vendor: str, seconds: float, is_fixed: bool) -> ProviderTimeoutError:
    error = ProviderTimeoutError(
        f"{vendor} did not answer within the {duration(seconds)} allowed for a lookup",
        provider=vendor,
        hint="timeout= sets this limit"
        if is_fixed
        else "error_handling.time_budget_seconds in fundamentals.json sets this limit",
    )
    error.by_caller = is_fixed
    return error


# --- one vendor: by its table, or by a method of a user's downloader ------------------------------


def is_asked_by_table(downloader: Any) -> bool:
    """Return whether a downloader is packaged and its ``get_fundamentals`` has not been replaced."""
    method = getattr(type(downloader), "get_fundamentals", None)
    attributes = getattr(downloader, "__dict__", {})
    return method is BaseDataDownloader.get_fundamentals and "get_fundamentals" not in attributes


def ask_foreign(
    downloader: Any, vendor: str, question: TableQuestion, make_sender: OwnSender | None = None
) -> Snapshot:
    """Return the result of ``downloader.get_fundamentals(symbol)``, a mapping or a dataclass.

    Raises:
        NoDataError: The downloader has no data.
        ResponseFormatError: The returned value is neither a mapping nor a dataclass.
        ForeignError: The downloader raised one of its own errors.
        DataError: The downloader raised this error, or was not called because it failed recently.
    """
    spelled = question.instrument.spelling(vendor)
    payload = call_own(
        lambda: _read(downloader.get_fundamentals(spelled), vendor, question.symbol),
        vendor,
        _endpoint(question),
        make_sender,
    )
    if not payload:
        raise NoDataError(f"{vendor} has no data on {question.symbol}", provider=vendor)
    return snapshot_of(vendor, question.symbol, payload, question.now_ms)


def _endpoint(question: TableQuestion) -> str:
    """Return the endpoint name that circuit breakers and rate limits use for a question."""
    return f"fundamentals/{question.data_type}"


def _read(payload: Any, vendor: str, symbol: str) -> Mapping[str, Any]:
    """Return a custom downloader's payload as a mapping; None becomes an empty mapping.

    Raises:
        ResponseFormatError: The payload is neither a mapping nor a dataclass.
    """
    if is_dataclass(payload) and not isinstance(payload, type):
        payload = asdict(payload)
    if payload is not None and not isinstance(payload, Mapping):
        raise ResponseFormatError(
            f"{vendor} returned a {type(payload).__name__} for {symbol}, not a mapping",
            provider=vendor,
            symbol=symbol,
        )
    return payload or {}
