"""Decides from when on a filer's filings are those of a symbol. Pure.

The SEC's list of tickers is today's. What a filing itself says proves a symbol for its time: the cover
page, or the name of the main document, which by EDGAR's rule begins with the trading symbol
(``aapl-20200926.htm``). Before the first filing that proves it, the symbol counts as long as the
filer had the same name and no document is named after another symbol.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from html import unescape

from .answers import Filing, Submissions, letters

_NAMED = re.compile(r"([a-z]{1,6})[-_]\w[\w-]*\.html?")
# The form of name that is only used with a symbol; others, such as `form-10k.htm`, contradict nothing.
_BY_RULE = re.compile(r"([a-z]{1,6})-\d{8}\.html?")
_ROW = re.compile(r"Trading Symbol\s*(?:<[^>]*>\s*)+([^<]{1,40})", re.IGNORECASE)
# Letters that mark warrants, units and rights, which are not classes of shares.
_NOT_SHARES = re.compile(r"(-?P[A-Z]?|-?WS?|-?WT|-?U|-?R)")


@dataclass(frozen=True)
class Proof:
    """The time for which filings prove a symbol.

    Attributes:
        since: ISO date of filing from which they are those of the symbol; empty for all.
        classes: Other symbols of the filer's common shares; values per share are then ambiguous.
    """

    since: str
    classes: tuple[str, ...] = ()


def proof_of(
    symbol: str,
    submissions: Submissions,
    filings: Iterable[Filing],
    covers: Mapping[str, Collection[str]],
) -> Proof | None:
    """Return the time for which a symbol is proven; None if no filing proves it.

    Args:
        symbol: Symbol that the list of tickers has for the filer.
        submissions: The filer's names and present symbols.
        filings: Known filings of the filer.
        covers: Maps accession numbers to the symbols on the cover pages that were read.
    """
    own = {letters(ticker) for ticker in submissions.tickers} | {letters(symbol)}
    proofs, last_other = [], ""
    for filing in filings:
        if not filing.is_report and filing.form.removesuffix("/A") != "8-K":
            continue
        on_cover = covers.get(filing.accession)
        by_rule = _BY_RULE.fullmatch(filing.document)
        named = _NAMED.fullmatch(filing.document)
        if on_cover is not None:
            is_proof = letters(symbol) in {letters(each) for each in on_cover}
            is_other = not is_proof and bool(on_cover)
        else:
            is_proof = named is not None and letters(named[1]) in own
            is_other = by_rule is not None and not is_proof
        if is_proof:
            proofs.append(filing.filed)
        elif is_other:
            last_other = max(last_other, filing.filed)
    proofs = [day for day in proofs if day > last_other]
    if not proofs:
        return None
    named_since = max((day for day in submissions.names_since if day <= min(proofs)), default="")
    since = min(proofs) if last_other > named_since else named_since
    return Proof(since, classes_beside(symbol, submissions.tickers))


def symbols_on_cover(page: str) -> tuple[str, ...]:
    """Return the trading symbols on a cover page (``R1.htm`` of a filing)."""
    found = (unescape(match).strip() for match in _ROW.findall(page))
    return tuple(dict.fromkeys(symbol for symbol in found if letters(symbol)))


def classes_beside(symbol: str, tickers: Iterable[str]) -> tuple[str, ...]:
    """Return the other tickers of a filer that are classes of its common shares, such as GOOG for GOOGL.

    For a preferred share or a warrant, they are the common shares that values per share are about.
    """
    own = letters(symbol)
    return tuple(t for t in tickers if letters(t) != own and _are_classes(own, letters(t)))


def _are_classes(own: str, other: str) -> bool:
    if own.startswith(other):
        return len(own) - len(other) <= 2
    if other.startswith(own):
        return len(other) - len(own) <= 2 and not _NOT_SHARES.fullmatch(other[len(own) :])
    return len(own) == len(other) > 1 and own[:-1] == other[:-1]
