"""Who can be asked at all: found out without loading a single downloader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..config.credentials import VENDOR_KEYS, vendor_credentials
from ..config.offered import known_vendor
from ..model.fundamentals_rules import FundamentalsRules
from ..model.instrument import Instrument
from .registry import table_of


@dataclass(frozen=True)
class Subject:
    """About whom and what is asked.

    Attributes:
        market: the instrument's, such as ``US``; ``unknown`` for coins.
    """

    instrument: Instrument
    data_type: str
    market: str


@dataclass(frozen=True)
class Candidates:
    """Tells who can be asked.

    Args:
        selector: holds the rules and the downloaders; duck-typed, users patch its ``downloaders``.
        rules: the order of vendors.
    """

    selector: Any
    rules: FundamentalsRules

    def usual(self, about: Subject) -> tuple[str, ...]:
        """Return the vendors of the rules that can be asked, and others' downloaders, in order."""
        known = (*self.rules.order(about.data_type), *self.selector.downloaders)
        names = dict.fromkeys(known_vendor(name) or name for name in known)
        able = tuple(name for name in names if not self.objection(name, about))
        return able if self.rules.asks_others else able[:1]

    def objections(self, about: Subject) -> dict[str, str]:
        """Return why each vendor of the rules cannot be asked, for those that cannot."""
        named = {name: self.objection(name, about) for name in self.rules.order(about.data_type)}
        return {name: why for name, why in named.items() if why}

    def objection(self, vendor: str, about: Subject) -> str:
        """Return why a vendor cannot be asked, or an empty text."""
        downloader = self.selector.downloaders.get(vendor)
        if downloader is not None and _is_foreign(downloader):
            return ""
        table = table_of(vendor)
        if table is None:
            known = known_vendor(vendor) is not None
            return "it serves no fundamentals here" if known else "there is no such provider"
        return table.objection(about.instrument, about.market, about.data_type) or (
            self._lacking(vendor)
        )

    def _lacking(self, vendor: str) -> str:
        said = self.selector.parsed_rules.provider(vendor)
        if not said.api_key_required:
            return ""
        keys = vendor_credentials(vendor, said.api_key_env, said.secret_key_env)
        missing = [name for name in VENDOR_KEYS.get(vendor, ()) if name not in keys]
        return f"{missing[0]} is not set" if missing else ""


def _is_foreign(downloader: Any) -> bool:
    """Tell whether a downloader answers by its own ``get_fundamentals``."""
    from .asking import is_asked_by_table

    return not is_asked_by_table(downloader)
