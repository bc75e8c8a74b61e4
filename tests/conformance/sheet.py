"""The sheet of a vendor: the facts that the conformance checks need about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from typing import Literal

from src.data.core.config.rules_file import packaged_rules
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.kind import Adjustment
from src.data.core.model.time.instant import parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.registry import SERVED
from src.data.core.symbols.classify import classify
from src.data.core.vendors.factory import downloader_class
from src.data.errors import (
    AuthenticationError,
    DataError,
    EntitlementError,
    NoDataError,
    RateLimitedError,
    RegionError,
    ResponseFormatError,
    SymbolNotFoundError,
    UnavailableError,
)

# Vendors of the registry that the kit cannot examine, and who does it in its place.
ABSENT: Mapping[str, str] = {
    "demo": "it has sample bars: tests/core/vendors/test_demo.py",
    "ibkr": "it speaks to a gateway and not over HTTP: tests/core/vendors/test_ibkr.py",
    "mock": "it asks nobody: tests/core/vendors/test_mock.py",
}

Situation = Literal[
    "unauthorized", "forbidden", "restricted", "unknown_symbol", "throttled", "banned", "firewall",
    "limit_in_200", "down", "before_listing", "after_delisting", "future", "html", "nothing",
]  # fmt: skip
USUAL: Mapping[Situation, type[DataError]] = {
    "unauthorized": AuthenticationError,
    "forbidden": EntitlementError,
    "restricted": RegionError,
    "unknown_symbol": SymbolNotFoundError,
    "throttled": RateLimitedError,
    "banned": RateLimitedError,
    "firewall": EntitlementError,
    "limit_in_200": RateLimitedError,
    "down": UnavailableError,
    "before_listing": NoDataError,
    "after_delisting": NoDataError,
    "future": NoDataError,
    "html": ResponseFormatError,
    "nothing": NoDataError,
}
NAMELESS = {"another_symbol_is_never_the_one_asked_for": "its bars name no symbol"}
NAMELESS_SPLITS = {"splits_of_another_symbol_are_refused": "its splits name no symbol"}

# What users type, as ``Sheet.spellings`` has it.
SYMBOLS = ("BRK.B", "BAC-PL", "VOD.L", "BHP.AX", "0700.HK", "EUR/USD", "BTCUSDT", "BTC-USD",
           "ETHBTC", "^GSPC", "ES=F")  # fmt: skip

TEXT_LABELS = {"stamps_in_another_unit_are_read_or_refused": "its stamps are texts of a date"}


@dataclass(frozen=True)
class Series:
    """Bars to ask a vendor for.

    Attributes:
        symbol: what users type, which is also its name in the ground truth.
        timeframe: our label.
        start, end: stamps ``[start, end)`` as ISO texts in UTC.
        anchor: what hours of shares are counted from, ``session`` or ``clock``.
        listing: its name in the ground truth, where that is another.
    """

    symbol: str
    timeframe: str
    start: str
    end: str
    anchor: str = "session"
    listing: str = ""

    @property
    def span(self) -> Span:
        """The stamps asked for."""
        return Span(parse_iso(self.start), parse_iso(self.end))

    @property
    def frame(self) -> Timeframe:
        """The length of its bars."""
        return Timeframe.parse(self.timeframe)

    @property
    def instrument(self) -> Instrument:
        """What the symbol means by the packaged rules."""
        found = classify(self.symbol, packaged_rules().classification)
        assert isinstance(found, Instrument), found
        return found


@dataclass(frozen=True)
class Sheet:
    """All that is particular about one vendor.

    Attributes:
        vendor: canonical name; of a family, that of a member.
        face: who plays it in the vendor server, where that is another.
        series: what must come out as the truth has it; the first is of days, at least seven bars
            in one page, and is what faults are tried on.
        young: a series that begins before its listing; without it none is known here.
        gone: a series that goes on after its delisting.
        unknown: a symbol that no vendor has.
        keys: environment name to a key that no other text of an answer holds.
        adjustment: what its prices are adjusted for.
        errors: situation to the error that it is for this vendor, where it is not the usual one.
        empties: bodies that are this vendor's own way of saying that there is nothing.
        nothings: fields that say so with another value, as dotted path and value.
        actionless: bodies with which it says that there are no splits or dividends, beside those.
        absences: fields without which an answer says that there is nothing, as dotted paths.
        paging: what a page is a number of; empty where one answer holds any range.
        paged: the series that is asked page by page, the first one when left out.
        row: where the first row of bars stands in an answer, as a dotted path; a star is the only key,
            or the last.
        changed: the recording that is changed to show that a change is reported; without one, it is
            what the vendor server answers.
        shapeless: the reason why it declares no shapes.
        spellings: those of ``SYMBOLS`` that this vendor is asked for, as they are sent to it.
        volume: whether it tells volumes.
        files: whether it is asked by opening files.
        excused: check to the reason why it cannot apply, beside those that :func:`inapplicable` derives.
    """

    vendor: str
    series: tuple[Series, ...]
    unknown: str
    young: Series
    gone: Series
    keys: Mapping[str, str] = field(default_factory=dict)
    adjustment: Adjustment = "raw"
    errors: Mapping[Situation, type[DataError]] = field(default_factory=dict)
    empties: frozenset[str] = frozenset()
    nothings: frozenset[tuple[str, str]] = frozenset()
    actionless: frozenset[str] = frozenset()
    absences: frozenset[str] = frozenset()
    paging: Literal["rows", "days", "months", ""] = ""
    paged: Series | None = None
    row: str = ""
    changed: str = ""
    shapeless: str = ""
    spellings: Mapping[str, str] = field(default_factory=dict)
    volume: bool = True
    files: bool = False
    face: str = ""
    excused: Mapping[str, str] = field(default_factory=dict)

    @property
    def main(self) -> Series:
        """The series that faults are tried on."""
        return self.series[0]

    def error(self, situation: Situation) -> type[DataError]:
        """Return what a situation must come out as."""
        return self.errors.get(situation, USUAL[situation])


SHARES = {
    "unknown": "ZZZZ",
    "young": Series("YOUNG", "1d", "2024-04-15", "2024-05-04"),
    "gone": Series("GONE", "1d", "2023-03-01", "2023-03-18"),
}


@lru_cache
def sheet_of(vendor: str) -> Sheet:
    """Return the sheet of a vendor."""
    found = import_module(f"tests.conformance.sheets.{vendor}").SHEET
    assert isinstance(found, Sheet) and found.vendor.partition(":")[0] == vendor
    return found


@lru_cache
def inapplicable(vendor: str) -> Mapping[str, str]:
    """Return the checks that a vendor's class excuses it from, each with the reason."""
    sheet = sheet_of(vendor)
    cls, asset_class = downloader_class(sheet.vendor), sheet.main.instrument.asset_class
    declared, found = cls.capabilities, dict[str, str]()
    if not declared.tells_actions:
        checks = (
            "splits_and_dividends_are_told",
            "what_fails_is_never_no_splits",
            "splits_of_another_symbol_are_refused",
        )
        found |= dict.fromkeys(checks, "it declares neither `actions` nor `actions_apart`")
    if not declared.depth_days:
        found["a_range_deeper_than_declared_is_not_asked"] = "it declares no `depth_days`"
    if not cls.requires_api_key:
        found["a_missing_key_is_said"] = "it does not declare `requires_api_key`"
    if not sheet.paging:
        found["pages_travel_over_one_connection"] = (
            "its sheet has no `paging`: one answer has any range"
        )
    if not cls.secrets:
        found["a_key_is_sent_and_never_shown"] = "it declares no `secrets`"
    if declared.kinds[asset_class].anchor == "clock":
        found["days_are_dated_by_whatever_hour_they_are_labelled_with"] = (
            "its days begin at a time of the clock, so another label is another day"
        )
    if not declared.asset_classes & {"crypto", "stock"}:
        found["the_same_letters_elsewhere_are_another_thing"] = "it serves neither coins nor shares"
    return found


def examined() -> list[str]:
    """Return the vendors of the registry that the kit examines."""
    return [name for name in SERVED if name not in ABSENT]
