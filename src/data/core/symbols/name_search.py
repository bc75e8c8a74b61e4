"""Finds the listings that match a search text, and those nearest to an unknown symbol."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from itertools import chain

from ...errors import DataError
from ..model.identity.listings import Listing

_WORD = re.compile(r"\w+")
# Two symbols less similar than this are not considered misspellings of each other.
_ALIKE = 0.75
# The last rank, as in :func:`rank_of`, at which the name contains the typed words.
_HAS_WORDS = 4
_SHORTEST = 3
# The last rank at which the text is the symbol or the name itself.
_IS_NAME = 1
# Reduction of the similarity for each letter by which the lengths differ.
_LONGER = 0.15
# Shorter names resemble too many others.
_SHORTEST_NAME = 6


def normalized(text: str) -> str:
    """Return a string in the form used for searching: case-folded, with single spaces."""
    return " ".join(text.casefold().split())


def rank_of(text: str, listing: Listing) -> int | None:
    """Return how well a listing matches a normalized text: 0 is best, None means no match.

    The result says what the text matches:

    - 0: the listing's symbol
    - 1: its name
    - 2: a prefix of its symbol
    - 3: the first words of its name
    - 4: words of its name, in any order
    - 5: prefixes of words in its name
    - 6: a substring of its symbol or name
    """
    symbol, name = listing.symbol.casefold(), normalized(listing.name)
    ticker = symbol.partition(".")[0]
    if text in (symbol, ticker, symbol.lstrip("^")):
        return 0
    if text == name:
        return 1
    if symbol.startswith(text):
        return 2
    wanted, words = _WORD.findall(text), _WORD.findall(name)
    if not wanted:
        return None
    if words[: len(wanted)] == wanted:
        return 3
    if set(wanted) <= set(words):
        return 4
    if all(any(word.startswith(start) for word in words) for start in wanted):
        return 5
    return 6 if len(text) >= _SHORTEST and (text in symbol or text in name) else None


def ranked(text: str, listings: Iterable[Listing], positions: Mapping[str, int]) -> list[Listing]:
    """Return the listings that match a text, or that a vendor returned for it, best match first.

    Equally good matches are ordered by their position in the vendor's answer, then by the length of
    the symbol, then alphabetically.

    Args:
        text: Normalized text.
        listings: Listings, at most one for each symbol.
        positions: Maps each symbol to its position in the vendor's response for this text.
    """
    beyond = len(positions)
    keyed = []
    for listing in listings:
        rank, position = rank_of(text, listing), positions.get(listing.symbol)
        if rank is None and position is None:
            continue
        order = (
            7 if rank is None else rank,
            beyond if position is None else position,
            len(listing.symbol),
        )
        keyed.append((order, listing.symbol, listing))
    return [listing for *_, listing in sorted(keyed, key=lambda entry: entry[:2])]


def nearest(symbol: str, listings: Iterable[Listing], count: int = 3) -> list[Listing]:
    """Return listings that are spelled like an unknown symbol, or that contain it in their name.

    A name counts as similar if it, or its first word, is spelled similarly. If the symbol is the
    exact name of some listings, only these are returned.
    """
    text, matches = symbol.casefold(), []
    matcher = SequenceMatcher(b=text, autojunk=False)

    def likeness_to(candidate: str) -> float:
        """Return how similar a candidate is to the symbol; 0 if it is not similar enough.

        A difference in length reduces the similarity.
        """
        distance = abs(len(candidate) - len(text))
        if distance > 2:
            return 0.0
        matcher.set_seq1(candidate)
        is_near = matcher.real_quick_ratio() >= _ALIKE and matcher.quick_ratio() >= _ALIKE
        is_near = is_near and matcher.ratio() >= _ALIKE
        return matcher.ratio() - distance * _LONGER if is_near else 0.0

    for listing in listings:
        candidate = listing.symbol.casefold()
        if candidate == text:
            continue
        rank = rank_of(text, listing) if len(text) >= _SHORTEST else None
        if rank is not None and rank <= _HAS_WORDS:
            distance = rank - 10.0
        else:
            distance = -likeness_to(candidate)
            if not distance and listing.name and len(text) >= _SHORTEST_NAME:
                name = normalized(listing.name)
                first = next(iter(_WORD.findall(name)), "")
                distance = -likeness_to(name) or -likeness_to(first) / 2
        if distance:
            # If a coin has two pairs, the one written without a dash comes first.
            matches.append(((distance, len(candidate), candidate.replace("-", "~")), listing))
    matches.sort(key=lambda match: match[0])
    named = [listing for (distance, *_), listing in matches if distance <= _IS_NAME - 10.0]
    return (named or [listing for _, listing in matches])[:count]


def propose(error: DataError, listings: Iterable[Listing]) -> None:
    """Add to an error the listings that the user may have meant, as candidates and in the hint."""
    near = list(listings)
    if near:
        error.candidates = tuple(listing.symbol for listing in near)
        error.hint = f"did you mean {', '.join(map(str, near))}? {error.hint or ''}".rstrip()


def merged(lists: Iterable[Iterable[Listing]]) -> dict[str, Listing]:
    """Merge lists into one listing per symbol; later lists only fill in missing values."""
    by_symbol: dict[str, Listing] = {}
    for listing in chain.from_iterable(lists):
        earlier = by_symbol.get(listing.symbol)
        by_symbol[listing.symbol] = listing if earlier is None else _complete_row(earlier, listing)
    return by_symbol


def _complete_row(listing: Listing, other: Listing) -> Listing:
    if listing.name and listing.venue and listing.currency and listing.type != "other":
        return listing
    return Listing(
        listing.symbol,
        listing.name or other.name,
        listing.venue or other.venue,
        other.type if listing.type == "other" else listing.type,
        listing.currency or other.currency,
        listing.vendor,
    )
