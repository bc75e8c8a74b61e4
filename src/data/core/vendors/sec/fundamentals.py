"""The SEC's table of fundamentals; its statements are made by :mod:`.statements`, from kept answers."""

from __future__ import annotations

from ..fundamentals_table import Ask, Key, TableAnswer, VendorTable
from ..us_equities import share

_KEYS = (Key("SEC_CONTACT", header="User-Agent", prefix="onetape "),)
_PARTS = tuple(
    TableAnswer(Ask(path), {}, statement="income", filed_at="filed")
    for path in ("/submissions/{symbol}", "/api/xbrl/companyfacts/{symbol}")
)
TABLE = VendorTable(
    vendor="sec",
    asset_classes=frozenset({"stock"}),
    types={"profile": _PARTS, "statements": _PARTS},
    keys=_KEYS,
    markets=frozenset({"US"}),
    spelling=lambda instrument: share(instrument, "sec", "-", "-P"),
)
