"""Asking vendors: loaded when somebody has to be asked."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..cache.fundamentals_cache import FundamentalsCache
from ..clock import Clock
from ..errors import CacheError, MissingCredentialsError
from ..model.fundamentals import Snapshot
from ..model.fundamentals_rules import FundamentalsRules
from ..vendors.fundamentals_request import TableQuestion, ask_by_table
from ..vendors.fundamentals_table import table_of
from ..vendors.pool import own_sender, supplied
from .fetcher import Job, Outcome, ask_all
from .vendor_call import ask_foreign, is_asked_by_table

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
