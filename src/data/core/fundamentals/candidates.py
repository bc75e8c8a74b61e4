"""Determines which vendors can be queried for fundamentals, without loading any downloader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import UnknownProviderError
from ..config.credentials import vendor_credentials
from ..config.fundamentals_rules import FundamentalsRules
from ..config.offered import PROVIDERS, known_vendor, offer_of
from ..model.identity.instrument import Instrument
from ..registry import key_names, row_of
from ..vendors.fundamentals_table import VendorTable, table_of

# The reason for not querying a vendor without its key; it follows the name of the variable.
NO_KEY = "is not set"
NO_FILING_DAYS = "its statements have no filing days"


@dataclass(frozen=True)
class CompanyQuery:
    """The company and the type of data that a call requests.

    Attributes:
        listing: Market, exchange, country and currency of the instrument's listing.
        needs_filing_days: Whether statements without filing days are of no use.
    """

    instrument: Instrument
    data_type: str
    listing: Mapping[str, Any]
    needs_filing_days: bool = False

    @property
    def market(self) -> str:
        """The market, such as ``US``; ``unknown`` for coins."""
        return str(self.listing["market"])


@dataclass(frozen=True)
class Candidates:
    """Decides which vendors can be queried.

    Args:
        selector: Selector with the rules and the downloaders. It is duck-typed, because users patch
            its ``downloaders``.
        rules: Order of the vendors.
    """

    selector: Any
    rules: FundamentalsRules

    def queryable(self, query: CompanyQuery) -> tuple[tuple[str, ...], dict[str, str]]:
        """Return the vendors that can be queried, in order, and the reasons why others cannot.

        The vendors are those in the rules and other packages' downloaders. The second value gives a
        reason for each vendor in the rules that cannot be queried.
        """
        ours = self.rules.order(query.data_type)
        # One of this library's vendors that the rules do not name is not a candidate, even if its
        # downloader was created for bars.
        others = [
            n for n, downloader in self.selector.downloaders.items() if _is_foreign(downloader)
        ]
        names = dict.fromkeys(known_vendor(n) or n for n in (*ours, *others))
        objections = {name: self.objection(name, query) for name in names}
        able = tuple(name for name, reason in objections.items() if not reason)
        unable = {name: reason for name, reason in objections.items() if reason and name in ours}
        return (able if self.rules.asks_others else able[:1]), unable

    def objection(self, vendor: str, query: CompanyQuery) -> str:
        """Return why a vendor cannot be queried, or an empty string."""
        downloader = self.selector.downloaders.get(vendor)
        if downloader is not None and _is_foreign(downloader):
            return ""
        try:
            table = table_of(vendor)
        except UnknownProviderError as error:
            return str(error.args[0])
        if table is None:
            if known_vendor(vendor) is None:
                return "unknown provider"
            return row_of(vendor).no_fundamentals or "it does not serve fundamentals here"
        if query.needs_filing_days and not table.has_filing_days:
            return NO_FILING_DAYS
        return table.objection(query.instrument, query.market, query.data_type) or (
            self._missing_key(vendor, table)
        )

    def _missing_key(self, vendor: str, table: VendorTable) -> str:
        rules = self.selector.parsed_rules.provider(vendor)
        names, is_required = key_names(vendor), rules.api_key_required
        secrets: Sequence[str | tuple[str, ...]] = ()
        if offer_of(PROVIDERS, vendor) is not None:  # its class declares its keys
            from ..vendors.factory import downloader_class, keys_declared

            try:
                cls = downloader_class(vendor)
            except UnknownProviderError as error:
                return str(error.args[0])
            names, secrets = keys_declared(vendor), cls.secrets
            is_required = is_required or cls.requires_api_key
            undeclared = {key.secret for key in table.keys} - {*names}
            if undeclared:
                return f"its `secrets` lack {', '.join(sorted(undeclared))}, which its table sends"
        if not is_required:
            return ""
        variables, given = (rules.api_key_env, rules.secret_key_env), rules.keys
        keys = vendor_credentials(vendor, *variables, names=secrets, defaults=given)
        missing = [name for name in names if name not in keys]
        return f"{missing[0]} {NO_KEY}" if missing else ""


def _is_foreign(downloader: Any) -> bool:
    """Return whether a downloader has its own ``get_fundamentals``."""
    from .fetch import is_asked_by_table

    return not is_asked_by_table(downloader)
