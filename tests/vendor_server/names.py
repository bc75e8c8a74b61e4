"""Searches for names: which listings fit, in the order of the truth."""

from __future__ import annotations

from .face import Context, Face
from .listings import Listing


def matching(face: Face, text: str, context: Context) -> list[Listing]:
    """Return the listings of a vendor whose symbol or name has ``text``, case apart."""
    wanted = text.casefold()
    return [
        one
        for one in context.truth.listings()
        if face.spelling(one) and (wanted in one.symbol.casefold() or wanted in one.name.casefold())
    ]


def plain_spelling(face: Face, listing: Listing) -> str:
    """Return how the vendor writes a listing."""
    spelled = listing.spellings.get(face.name, face.spelling(listing))
    assert spelled is not None
    return spelled
