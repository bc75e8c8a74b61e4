"""Listings that a text may mean, the likeliest first, and those nearest to an unknown symbol."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from itertools import chain

from ..errors import DataError
from ..model.listings import Listing

_WORD = re.compile(r"\w+")
# Below this likeness two symbols are no misspelling of each other.
_ALIKE = 0.75
# Of the ranks below, the last at which a name has the words that were typed.
_HAS_WORDS = 4
_SHORTEST = 3
# The last rank at which the text is the symbol or the name itself.
_IS_NAME = 1
# For each letter that one text has more than the other, so much less alike they are.
_LONGER = 0.15
# A name of fewer letters is like too many others.
_SHORTEST_NAME = 6


def normalized(text: str) -> str:
    """Return what a search compares: words in one case, single blanks between them."""
    return " ".join(text.casefold().split())


def rank_of(text: str, listing: Listing) -> int | None:
    """Return how well a listing fits a normalised text, 0 best; None: not at all.

    0 its symbol, 1 its name, 2 the beginning of its symbol, 3 the first words of its name, 4 words
    of its name, 5 beginnings of words of its name, 6 a part of symbol or name.
    """
    symbol, name = listing.symbol.casefold(), normalized(listing.name)
    plain = symbol.partition(".")[0]
    if text in (symbol, plain, symbol.lstrip("^")):
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
    if all(any(word.startswith(one) for word in words) for one in wanted):
        return 5
    return 6 if len(text) >= _SHORTEST and (text in symbol or text in name) else None


def ranked(text: str, listings: Iterable[Listing], places: Mapping[str, int]) -> list[Listing]:
    """Return the listings that fit a normalised text, or were answered for it, the best first.

    Those that fit equally well stand in the order of the answers, then by length and letters.

    Args:
        text: normalised.
        listings: each symbol once.
        places: symbol to its place in a vendor's answer to this text.
    """
    beyond = len(places)
    keyed = []
    for listing in listings:
        rank, place = rank_of(text, listing), places.get(listing.symbol)
        if rank is None and place is None:
            continue
        order = (
            7 if rank is None else rank,
            beyond if place is None else place,
            len(listing.symbol),
        )
        keyed.append((order, listing.symbol, listing))
    return [listing for *_, listing in sorted(keyed, key=lambda entry: entry[:2])]


def nearest(symbol: str, listings: Iterable[Listing], count: int = 3) -> list[Listing]:
    """Return the listings nearest to an unknown symbol: alike in letters, or with it in their name.

    A name is alike if the whole of it or its first word is. Where the text is the name of some, these
    alone are returned.
    """
    text, matches = symbol.casefold(), []
    matcher = SequenceMatcher(b=text, autojunk=False)

    def likeness_to(theirs: str) -> float:
        """Return how alike two texts are, those of one length more so; 0 where that is too little."""
        distance = abs(len(theirs) - len(text))
        if distance > 2:
            return 0.0
        matcher.set_seq1(theirs)
        is_near = matcher.real_quick_ratio() >= _ALIKE and matcher.quick_ratio() >= _ALIKE
        is_near = is_near and matcher.ratio() >= _ALIKE
        return matcher.ratio() - distance * _LONGER if is_near else 0.0

    for listing in listings:
        theirs = listing.symbol.casefold()
        if theirs == text:
            continue
        rank = rank_of(text, listing) if len(text) >= _SHORTEST else None
        if rank is not None and rank <= _HAS_WORDS:
            place = rank - 10.0
        else:
            place = -likeness_to(theirs)
            if not place and listing.name and len(text) >= _SHORTEST_NAME:
                name = normalized(listing.name)
                first = next(iter(_WORD.findall(name)), "")
                place = -likeness_to(name) or -likeness_to(first) / 2
        if place:
            # Of the two pairs of a coin the one that is written without a dash comes first.
            matches.append(((place, len(theirs), theirs.replace("-", "~")), listing))
    matches.sort(key=lambda match: match[0])
    named = [listing for (place, *_), listing in matches if place <= _IS_NAME - 10.0]
    return (named or [listing for _, listing in matches])[:count]


def propose(error: DataError, listings: Iterable[Listing]) -> None:
    """Let an error name the listings that may have been meant, as candidates and in its hint."""
    near = list(listings)
    if near:
        error.candidates = tuple(one.symbol for one in near)
        error.hint = f"did you mean {', '.join(map(str, near))}? {error.hint or ''}".rstrip()


def merged(lists: Iterable[Iterable[Listing]]) -> dict[str, Listing]:
    """Return symbol to its listing; an earlier list counts, a later one fills in what it lacks."""
    by_symbol: dict[str, Listing] = {}
    for listing in chain.from_iterable(lists):
        earlier = by_symbol.get(listing.symbol)
        by_symbol[listing.symbol] = listing if earlier is None else _completed(earlier, listing)
    return by_symbol


def _completed(listing: Listing, other: Listing) -> Listing:
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
